"""Goals by the name of what is trained; see :mod:`enfold.training.goals.base`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from enfold.errors import TaskError
from enfold.training.goals.answers import QuestionAnswering
from enfold.training.goals.base import Goal, Judged, Meter
from enfold.training.goals.choices import MultipleChoice
from enfold.training.goals.classification import Classification, MultiLabel, Regression
from enfold.training.goals.embeddings import Embeddings
from enfold.training.goals.language import CausalLM, MaskedLM
from enfold.training.goals.texts import Cut, Reading
from enfold.training.goals.tokens import TokenClassification
from enfold.training.goals.writing import Seq2Seq, SpanCorruption

__all__ = [
    "ALIASES",
    "GOALS",
    "CausalLM",
    "Classification",
    "Cut",
    "Embeddings",
    "Goal",
    "Judged",
    "MaskedLM",
    "Meter",
    "MultiLabel",
    "MultipleChoice",
    "QuestionAnswering",
    "Reading",
    "Regression",
    "Seq2Seq",
    "SpanCorruption",
    "TokenClassification",
    "find_goal",
]

GOALS: Mapping[str, type[Goal]] = {
    "text-classification": Classification,
    "multi-label-classification": MultiLabel,
    "regression": Regression,
    "token-classification": TokenClassification,
    "question-answering": QuestionAnswering,
    "multiple-choice": MultipleChoice,
    "masked-lm": MaskedLM,
    "causal-lm": CausalLM,
    "text2text-generation": Seq2Seq,
    "span-corruption": SpanCorruption,
    "embed": Embeddings,
}
"""Name → goal, in the order in which help lists them."""

ALIASES: Mapping[str, str] = {
    "sentiment-analysis": "text-classification",
    "ner": "token-classification",
    "fill-mask": "masked-lm",
    "text-generation": "causal-lm",
    "translation": "text2text-generation",
    "summarization": "text2text-generation",
    "sentence-similarity": "embed",
}


def find_goal(task: str) -> type[Goal]:
    """The goal of a name.

    Raises:
        TaskError: there is none; names near ones and all.
    """
    name = ALIASES.get(task, task)
    if name in GOALS:
        return GOALS[name]
    near = difflib.get_close_matches(task, [*GOALS, *ALIASES], n=2)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    raise TaskError(
        f"nothing is trained under the name {task!r}{hint}; expected one of {', '.join([*GOALS, *ALIASES])}"
    )
