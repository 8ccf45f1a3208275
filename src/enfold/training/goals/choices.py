"""Multiple choice: which of several endings belongs to a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from enfold.config import Config
from enfold.errors import InputError
from enfold.heads import HeadKind
from enfold.training import metrics
from enfold.training.data import Table
from enfold.training.examples import Batch, Examples, Ragged
from enfold.training.goals.base import Goal, Meter, Reading, checked_text, class_losses, encoded_ids, ragged_types
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
        self._count, self._smoothing = count, smoothing

    @classmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> MultipleChoice:
        first = table.rows[0]["choices"]
        count = len(first) if isinstance(first, list | tuple) else 0
        if count < 2:
            raise InputError(f"{table.place(0)}: choices are {first!r:.60}, expected a list of two texts or more")
        return cls(count, settings.label_smoothing)

    def encode(self, table: Table, reading: Reading) -> Examples:
        texts = checked_text(table, "text")
        labels = self._labels_of(table)
        firsts = [text for text in texts for _ in range(self._count)]
        seconds = [choice for row in table.rows for choice in row["choices"]]
        windows = encoded_ids(reading, firsts, seconds, table)
        flat = [each[0] for each in windows]
        ids = Ragged.of([each.ids for each in flat])
        return Examples(ids, ragged_types(flat), np.array(labels, np.int64), np.arange(len(texts)), self._count)

    def batch(
        self, reading: Reading, examples: Examples, chosen: NDArray[np.int64], draw: np.random.Generator
    ) -> Batch:
        return super().batch(reading, examples, chosen, draw)

    def logits(self, fields: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return fields["logits"].reshape(-1, self._count)

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        return class_losses(logits, batch.targets, None, self._smoothing)

    def meter(self) -> Meter:
        return _Choices(metrics.Classification([str(index) for index in range(self._count)]))

    def _labels_of(self, table: Table) -> list[int]:
        labels, problems = [], []
        for index, row in enumerate(table.rows):
            choices, label = row["choices"], _whole(row["label"])
            if not isinstance(choices, list | tuple) or len(choices) != self._count:
                size = len(choices) if isinstance(choices, list | tuple) else "no"
                problems.append(f"{table.place(index)}: {size} choices, and the first row has {self._count}")
            elif not all(isinstance(choice, str) and choice.strip() for choice in choices):
                problems.append(f"{table.place(index)}: a choice is no text")
            elif label is None or not 0 <= label < self._count:
                problems.append(f"{table.place(index)}: label {row['label']!r:.40}, expected 0 to {self._count - 1}")
            else:
                labels.append(label)
        if problems:
            more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
            raise InputError(f"{len(problems)} rows can't be learnt from: {'; '.join(problems[:10])}{more}")
        return labels


class _Choices:
    def __init__(self, metric: metrics.Classification) -> None:
        self.metric = metric

    def update(self, logits: Tensor, batch: Batch) -> None:
        self.metric.update(logits.float().softmax(-1).cpu().numpy(), batch.targets.cpu().numpy())

    def result(self) -> dict[str, float]:
        return {"accuracy": self.metric.result()["accuracy"]}


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
