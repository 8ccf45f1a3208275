"""Means, variances and covariance of pairs, from batches, without cancellation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from enfold.training.metrics.base import array_of
from enfold.training.metrics.checks import Floats

__all__ = ["Moments"]


class Moments:
    """Sums of products of deviations from the mean, joined pairwise (Chan, Golub and LeVeque 1979).

    Deviations are taken before anything is squared, so that values around 10⁹ with a spread of 1 lose nothing, and
    those of a constant are exactly 0.
    """

    def __init__(self) -> None:
        """Starts without pairs."""
        self._count = 0
        self._mean: Floats = np.zeros(2)
        self._products: Floats = np.zeros((2, 2))

    def add(self, pairs: Floats) -> None:
        """Counts pairs (2, B)."""
        if not pairs.shape[1]:
            return
        shifted = pairs - pairs[:, :1]
        offset = shifted.mean(axis=1)
        deviations = shifted - offset[:, None]
        self._join(pairs.shape[1], pairs[:, 0] + offset, deviations @ deviations.T)

    def merge(self, other: Moments) -> None:
        """Takes what another stream has seen."""
        if other._count:
            self._join(other._count, other._mean, other._products)

    @property
    def correlation(self) -> float:
        """Pearson's, 0 where either side is constant."""
        (first, both), (_, second) = self._products
        if not first or not second:
            return 0.0
        return float(np.clip(both / np.sqrt(first) / np.sqrt(second), -1.0, 1.0))

    @property
    def spread(self) -> float:
        """The sum of squared deviations of the second side."""
        return float(self._products[1, 1])

    def state(self) -> dict[str, Any]:
        """Count, means and products."""
        return {"count": self._count, "mean": self._mean.tolist(), "products": self._products.tolist()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Becomes the part that a state was taken of.

        Raises:
            InputError: a state of something else.
        """
        count = int(array_of(state, "count", np.zeros((), np.int64)))
        mean, products = array_of(state, "mean", np.zeros(2)), array_of(state, "products", np.zeros((2, 2)))
        self._count, self._mean, self._products = count, mean, products

    def _join(self, count: int, mean: Floats, products: Floats) -> None:
        if not self._count:
            self._count, self._mean, self._products = count, mean.copy(), products.copy()
            return
        total = self._count + count
        apart = mean - self._mean
        self._products = self._products + products + np.outer(apart, apart) * (self._count / total * count)
        self._mean = self._mean + apart * (count / total)
        self._count = total
