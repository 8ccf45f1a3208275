"""Embeddings that have to find their own partner among those of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from enfold.errors import InputError, NumericalError
from enfold.training.metrics.base import Metric, Sums
from enfold.training.metrics.checks import numbers

__all__ = ["InBatch"]


class InBatch(Metric):
    """``accuracy@1`` and ``mrr`` (mean reciprocal rank) of each row's own column.

    Equal similarities count against the row, so that a model that finds everything equal is not praised. The figures
    depend on the number of candidates: compare those of equal batches.
    """

    unit = "queries"

    def __init__(self) -> None:
        """Starts a stream."""
        self._sums = Sums({"first": np.zeros((), np.int64), "reciprocal_ranks": np.zeros((), np.float64)})
        super().__init__({"sums": self._sums})

    def update(self, similarities: Any) -> None:
        """Counts a batch.

        Args:
            similarities: of each query (row) with each candidate (column), (B, B); row i belongs to column i. Further
                columns are candidates that belong to nobody.

        Raises:
            InputError: another shape, or fewer columns than rows.
            NumericalError: similarities that are NaN.
        """
        given = numbers("similarities", similarities, "(B, B)")
        rows, columns = given.shape
        if columns < rows:
            raise InputError(f"similarities have shape {given.shape}, expected a column for every row, (B, B)")
        if missing := int(np.isnan(given).sum()):
            raise NumericalError(f"{missing} of {given.size} similarities are NaN: a model computed them")
        # its own column is among those that are as similar, so this counts from 1
        ranks = (given >= np.diagonal(given)[:, None]).sum(axis=1)
        self._sums.add("first", (ranks == 1).sum())
        self._sums.add("reciprocal_ranks", (1.0 / ranks).sum())
        self.examples += rows

    def _figures(self) -> dict[str, float]:
        return {
            "accuracy@1": float(self._sums["first"]) / self.examples,
            "mrr": float(self._sums["reciprocal_ranks"]) / self.examples,
        }
