"""Any number of labels for each example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from enfold.errors import InputError
from enfold.training.metrics.base import Metric, Sums
from enfold.training.metrics.checks import check_labels, check_lengths, shares, truths
from enfold.training.metrics.counts import Rates

__all__ = ["MultiLabel"]

_THRESHOLD = 0.5


class MultiLabel(Metric):
    """Figures of a classifier that says of every label whether it holds: where its probability is over 0.5.

    ``accuracy`` is the share of examples whose labels are all right, ``hamming_loss`` the share of single decisions
    that are wrong; ``precision``, ``recall`` and ``f1`` with ``_micro`` count all decisions, ``f1_macro`` is the mean
    over all labels, 0 for those that never occur.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        """Starts a stream.

        Args:
            labels: names in the order of the model's outputs.

        Raises:
            InputError: no labels, or one twice.
        """
        self.labels = check_labels(labels, 1)
        # of each label: how often predicted and true, predicted, true
        self._sums = Sums(
            {"counts": np.zeros((3, len(self.labels)), np.int64), "right": np.zeros((), np.int64)},
        )
        super().__init__({"sums": self._sums}, {"labels": list(self.labels)})

    def update(self, probabilities: Any, truth: Any) -> None:
        """Counts a batch.

        Args:
            probabilities: of the labels, (B, C).
            truth: 1 where a label holds and 0 where it doesn't, (B, C).

        Raises:
            InputError: other shapes, no probabilities, a truth that is neither 0 nor 1.
            NumericalError: probabilities that are NaN.
        """
        given = shares("probabilities", probabilities, "(B, C)")
        true = truths("true labels", truth, "(B, C)")
        check_lengths("predictions", len(given), "true labels", len(true))
        if not len(given):
            return
        if given.shape != true.shape or given.shape[1] != len(self.labels):
            raise InputError(
                f"probabilities have shape {given.shape} and true labels {true.shape}, "
                f"expected (B, {len(self.labels)}) of both for {len(self.labels)} labels"
            )
        holds = true == 1
        if not (holds | (true == 0)).all():
            raise InputError(
                "true labels are numbers other than 0 and 1, expected 1 where a label holds and 0 where it doesn't; "
                "for one label an example, given by its number, use Classification"
            )
        guesses = given > _THRESHOLD
        self._sums.add("counts", np.stack([each.sum(axis=0) for each in (guesses & holds, guesses, holds)]))
        self._sums.add("right", (guesses == holds).all(axis=1).sum())
        self.examples += len(given)

    def by_label(self) -> list[dict[str, Any]]:
        """A row for each label: its name, precision, recall, f1, how often it is true and how often predicted.

        Raises:
            InputError: nothing was seen.
        """
        self._require_examples()
        return self._rates().rows(self.labels)

    def _rates(self) -> Rates:
        return Rates(*self._sums["counts"])

    def _figures(self) -> dict[str, float]:
        rates = self._rates()
        wrong = (rates.predicted + rates.support - 2 * rates.correct).sum()
        return {
            "accuracy": float(self._sums["right"]) / self.examples,
            "precision_micro": rates.micro.precision.item(),
            "recall_micro": rates.micro.recall.item(),
            "f1_micro": rates.micro.f1.item(),
            "f1_macro": float(rates.f1.mean()),
            "hamming_loss": float(wrong) / (self.examples * len(self.labels)),
        }
