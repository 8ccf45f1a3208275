"""Precision, recall and F1 from counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.training.metrics.checks import Floats

__all__ = ["Rates", "share"]


def share(part: Any, whole: Any) -> float:
    """Part of whole, 0 where there is nothing."""
    return float(part) / float(whole) if whole else 0.0


@dataclass(frozen=True)
class Rates:
    """Precision, recall and F1 of each label, from three counts (C,) of each; 0 where they are undefined.

    Attributes:
        correct: predicted and true.
        predicted: predicted.
        support: true.
    """

    correct: NDArray[np.int64]
    predicted: NDArray[np.int64]
    support: NDArray[np.int64]

    @property
    def precision(self) -> Floats:
        """Of what was predicted, the share that is true (C,)."""
        return _shares(self.correct, self.predicted)

    @property
    def recall(self) -> Floats:
        """Of what is true, the share that was predicted (C,)."""
        return _shares(self.correct, self.support)

    @property
    def f1(self) -> Floats:
        """The harmonic mean of both (C,)."""
        return _shares(2 * self.correct, self.predicted + self.support)

    @property
    def occurs(self) -> NDArray[np.bool_]:
        """Labels that are true or predicted anywhere (C,)."""
        seen: NDArray[np.bool_] = self.predicted + self.support > 0
        return seen

    @property
    def micro(self) -> Rates:
        """All labels counted as one (1,)."""
        return Rates(*(counts.sum(keepdims=True) for counts in (self.correct, self.predicted, self.support)))

    def rows(self, labels: Sequence[str]) -> list[dict[str, Any]]:
        """One row for each label, of its name, its figures and how often it is true and predicted."""
        columns = (self.precision, self.recall, self.f1, self.support, self.predicted)
        names = ("precision", "recall", "f1", "support", "predicted")
        return [
            {"label": label, **{name: column[row].item() for name, column in zip(names, columns, strict=True)}}
            for row, label in enumerate(labels)
        ]


def _shares(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Floats:
    result: Floats = part / np.maximum(whole, 1)
    return result
