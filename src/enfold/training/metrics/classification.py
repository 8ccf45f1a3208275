"""One label of several: accuracy, F1, Matthews correlation, and how far the probabilities can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError
from enfold.training.metrics.base import Metric, Sums
from enfold.training.metrics.checks import Floats, check_labels, distribution, label_ids
from enfold.training.metrics.counts import Rates, share

__all__ = ["Classification"]

_BINS = 15
_SMALLEST = float(np.finfo(np.float64).eps)
"""A true label's probability below this counts as this, so that one 0 doesn't make the log loss infinite."""


class Classification(Metric):
    """Figures of a classifier that gives each example one label.

    ``accuracy``; ``precision``, ``recall`` and ``f1`` of the second label where there are two, their macro averages
    where there are more; ``precision_macro``, ``recall_macro``, ``f1_macro`` and ``f1_weighted`` over the labels that
    are true or predicted anywhere; ``matthews_correlation``; ``log_loss`` in nats; ``calibration_error``, the
    expected calibration error over 15 equal bins of the likeliest label's probability (Guo et al. 2017,
    arXiv 1706.04599).

    >>> metric = Classification(["negative", "positive"])
    >>> metric.update([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1])
    >>> round(metric.result()["f1"], 4), metric.confusion.tolist()
    (0.6667, [[1, 0], [1, 1]])
    """

    def __init__(self, labels: Sequence[str]) -> None:
        """Starts a stream.

        Args:
            labels: names in the order of the model's outputs, two or more.

        Raises:
            InputError: fewer than two labels, or one twice.
        """
        self.labels = check_labels(labels, 2)
        size = len(self.labels)
        self._sums = Sums(
            {
                "confusion": np.zeros((size, size), np.int64),
                "log_loss": np.zeros((), np.float64),
                # examples, correct ones and the sum of probabilities of each bin
                "bins": np.zeros((3, _BINS), np.float64),
            }
        )
        super().__init__({"sums": self._sums}, {"labels": list(self.labels)})

    @property
    def confusion(self) -> NDArray[np.int64]:
        """How often each label (row) was predicted as each (column), (C, C)."""
        result: NDArray[np.int64] = self._sums["confusion"].copy()
        return result

    @property
    def positive(self) -> str | None:
        """The label that ``precision``, ``recall`` and ``f1`` are of; None: they are means."""
        return self.labels[1] if len(self.labels) == 2 else None

    def update(self, probabilities: Any, truth: Any) -> None:
        """Counts a batch.

        Args:
            probabilities: of the labels, (B, C).
            truth: numbers of the true labels, (B,).

        Raises:
            InputError: other shapes, no probabilities, no label numbers.
            NumericalError: probabilities that are NaN.
        """
        given = distribution("probabilities", probabilities, "(B, C)")
        ids = label_ids(truth, len(given), self.labels)
        size = len(self.labels)
        if not len(given):
            return
        if given.shape[1] != size:
            raise InputError(f"probabilities have shape {given.shape}, expected (B, {size}) for {size} labels")
        guesses = given.argmax(axis=1)
        self._sums.add("confusion", np.bincount(ids * size + guesses, minlength=size * size).reshape(size, size))
        of_truth = given[np.arange(len(given)), ids]
        self._sums.add("log_loss", -np.log(np.clip(of_truth, _SMALLEST, 1.0)).sum())
        self._sums.add("bins", _binned(given.max(axis=1), guesses == ids))
        self.examples += len(given)

    def by_label(self) -> list[dict[str, Any]]:
        """A row for each label: its name, precision, recall, f1, how often it is true and how often predicted.

        Raises:
            InputError: nothing was seen.
        """
        self._require_examples()
        return self._rates().rows(self.labels)

    def _rates(self) -> Rates:
        confusion = self._sums["confusion"]
        return Rates(np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1))

    def _figures(self) -> dict[str, float]:
        rates, examples = self._rates(), self.examples
        per_label = {"precision": rates.precision, "recall": rates.recall, "f1": rates.f1}
        macro = {name: float(values[rates.occurs].mean()) for name, values in per_label.items()}
        binary = len(self.labels) == 2
        counts, correct, confidence = self._sums["bins"]
        return {
            "accuracy": share(rates.correct.sum(), examples),
            **{name: float(values[1]) if binary else macro[name] for name, values in per_label.items()},
            **{f"{name}_macro": value for name, value in macro.items()},
            "f1_weighted": float(rates.f1 @ rates.support) / examples,
            "matthews_correlation": _matthews(rates, examples),
            "log_loss": float(self._sums["log_loss"]) / examples,
            "calibration_error": float(np.abs(correct - confidence).sum() / counts.sum()),
        }


def _binned(confidence: Floats, correct: NDArray[np.bool_]) -> Floats:
    """Examples, correct ones and the sum of probabilities of each bin, which holds its upper edge, (3, bins)."""
    edges = np.linspace(0, 1, _BINS + 1)
    places = np.clip(np.searchsorted(edges, confidence) - 1, 0, _BINS - 1)
    weights = (np.ones(len(confidence)), correct.astype(np.float64), confidence)
    return np.stack([np.bincount(places, weight, _BINS) for weight in weights])


def _matthews(rates: Rates, examples: int) -> float:
    """Of any number of labels (Gorodkin 2004); in Python's integers, since these products pass 64 bits."""
    predicted, support = rates.predicted.tolist(), rates.support.tolist()
    both = examples * sum(rates.correct.tolist()) - sum(p * t for p, t in zip(predicted, support, strict=True))
    spread = math.sqrt(examples**2 - sum(p * p for p in predicted)) * math.sqrt(
        examples**2 - sum(t * t for t in support)
    )
    return both / spread if spread else 0.0
