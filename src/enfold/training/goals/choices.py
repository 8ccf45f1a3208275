"""Multiple choice: which of several endings belongs to a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from enfold.config import Config
from enfold.errors import InputError
from enfold.heads import HeadKind
from enfold.training import metrics
from enfold.training.data import Table
from enfold.training.data.problems import beginning, counted
from enfold.training.data.table import Row
from enfold.training.examples import Batch, Examples, Ragged
from enfold.training.goals.base import Goal, Measured, Meter
from enfold.training.goals.texts import Reading, check_rows, checked_text, one_window, ragged_types
from enfold.training.settings import Settings

__all__ = ["MultipleChoice"]


class MultipleChoice(Goal):
    """A text (or a question) and its choices, one of which is right; all rows have as many choices."""

    name = "multiple-choice"
    head: ClassVar[HeadKind] = "multiple-choice"
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text": ("text", "question", "startphrase", "sent1", "premise", "context"),
        "choices": ("choices", "endings", "options"),
        "label": ("label", "answer", "correct", "target"),
    }
    metric = "accuracy"

    def __init__(self, count: int, smoothing: float = 0.0) -> None:
        super().__init__(tuple(map(str, range(count))), smoothing=smoothing)
        self.count = count

    @classmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> MultipleChoice:
        first = table.rows[0]["choices"]
        count = len(first) if isinstance(first, list | tuple) else 0
        if count < 2:
            raise InputError(f"{table.place(0)}: choices are {beginning(first)}, expected a list of two texts or more")
        return cls(count, settings.label_smoothing)

    def encode(self, table: Table, reading: Reading) -> Examples:
        labels = self._right(table)
        firsts = [text for text in checked_text(table, "text") for _ in range(self.count)]
        seconds = [choice for choices in table.column("choices") for choice in choices]
        encoded = one_window(reading, firsts, seconds, table)
        ids = Ragged.of([each.ids for each in encoded])
        return Examples(ids, ragged_types(encoded), np.array(labels, np.int64), np.arange(len(table)), self.count)

    def logits(self, fields: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return fields["logits"].reshape(-1, self.count)

    def meter(self) -> Meter:
        metric = metrics.Classification(self.labels)
        return Measured(metric, lambda logits, batch: (logits.softmax(-1), batch.targets), ("accuracy",))

    def _right(self, table: Table) -> list[int]:
        """Each row's right choice.

        Raises:
            InputError: other numbers of choices, or none that is right; their places are named.
        """
        found: list[int] = []

        def problem(index: int, row: Row) -> str | None:
            choices, label = row["choices"], row["label"]
            if not isinstance(choices, list | tuple) or len(choices) != self.count:
                size = counted(len(choices), "choice") if isinstance(choices, list | tuple) else "no list of choices"
                return f"{size}, expected {self.count} as in the first row"
            if not all(isinstance(choice, str) and choice.strip() for choice in choices):
                return f"choices are {beginning(choices)}, expected texts"
            place = _place(label, choices)
            if place is None:
                return f"label is {beginning(label)}, expected 0 to {self.count - 1}, or one of the choices"
            found.append(place)
            return None

        check_rows(table, problem)
        return found


def _place(label: Any, choices: Sequence[str]) -> int | None:
    """Which choice a label means: its number from 0, or its text; None where it means none."""
    if isinstance(label, str) and list(choices).count(label) == 1:
        return list(choices).index(label)
    try:
        number = float(label)
    except (TypeError, ValueError):
        return None
    whole = not isinstance(label, bool) and number.is_integer() and 0 <= number < len(choices)
    return int(number) if whole else None
