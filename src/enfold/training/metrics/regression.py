"""Numbers against numbers: errors and correlations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from enfold.errors import InputError, NumericalError
from enfold.training.metrics.base import Metric, Sums
from enfold.training.metrics.checks import check_lengths, floats, truths
from enfold.training.metrics.moments import Moments
from enfold.training.metrics.ranks import Ranks

__all__ = ["EmbeddingPairs", "Regression"]

_LARGEST = 1e100
"""Values whose squares can be added up."""


class Regression(Metric):
    """``mse``, ``rmse``, ``mae``, ``r2``, ``pearson`` and ``spearman``.

    Spearman's correlation is exact up to 65,536 examples, within 0.0001 beyond where the data don't drift and within
    0.002 over 1,000,000 that do (see ``ranks.py``). Correlations with a constant are 0; ``r2`` where the truth is
    constant is 1 if every prediction is right, else 0.
    """

    def __init__(self) -> None:
        """Starts a stream."""
        self._errors = Sums({"squared": np.zeros((), np.float64), "absolute": np.zeros((), np.float64)})
        self._moments = Moments()
        self._ranks = Ranks()
        super().__init__({"errors": self._errors, "moments": self._moments, "ranks": self._ranks})

    def update(self, predictions: Any, truth: Any) -> None:
        """Counts a batch.

        Args:
            predictions: (B,).
            truth: (B,).

        Raises:
            InputError: other shapes, or a truth that is NaN.
            NumericalError: predictions that are NaN.
        """
        given, true = floats("predictions", predictions, "(B,)"), truths("true values", truth, "(B,)")
        check_lengths("predictions", len(given), "true values", len(true))
        for name, values, error in (("predictions", given, NumericalError), ("true values", true, InputError)):
            if len(values) and np.abs(values).max() > _LARGEST:
                raise error(f"{name} reach {np.abs(values).max():.4g}, expected numbers up to {_LARGEST:g}")
        self._errors.add("squared", ((given - true) ** 2).sum())
        self._errors.add("absolute", np.abs(given - true).sum())
        pairs = np.stack([given, true])
        self._moments.add(pairs)
        self._ranks.add(pairs)
        self.examples += len(given)

    def _figures(self) -> dict[str, float]:
        squared, spread = float(self._errors["squared"]), self._moments.spread
        return {
            "mse": squared / self.examples,
            "rmse": math.sqrt(squared / self.examples),
            "mae": float(self._errors["absolute"]) / self.examples,
            "r2": 1 - squared / spread if spread else float(not squared),
            "pearson": self._moments.correlation,
            "spearman": self._ranks.correlation,
        }


class EmbeddingPairs(Regression):
    """``pearson`` and ``spearman`` of the cosines of pairs of sentences with what people think of their likeness."""

    def _figures(self) -> dict[str, float]:
        figures = super()._figures()
        return {name: figures[name] for name in ("pearson", "spearman")}
