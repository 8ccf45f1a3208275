"""Arithmetic on rows of scores over a vocabulary, ``(R, V)``, by compiled kernels where there are some."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from enfold.engines.cpu.native_module import native
from enfold.generation.rows import Scores
from enfold.threads import in_parallel

__all__ = ["highest", "highest_values", "log_softmax"]

_INSERTED_MOST = 64
"""How many of a row the kernel finds faster than a partition does: it keeps them sorted, one by one."""


def log_softmax(scores: Scores) -> Scores:
    """Log-probabilities ``(R, V)``, written in place.

    A row of ``-inf`` alone stays as it is; one that has NaN, or infinity, becomes NaN, which whoever chooses refuses.
    """
    if native is not None and scores.dtype == np.float32 and scores.flags.carray:
        native.log_softmax(scores)
        return scores

    def part(first: int, last: int) -> None:
        weights = np.empty(scores.shape[1], np.float32)
        with np.errstate(invalid="ignore"):
            for row in scores[first:last]:
                if (peak := row.max()) != -np.inf:
                    row -= peak
                    row -= np.log(np.exp(row, out=weights).sum())

    in_parallel(part, len(scores), grain=8)
    return scores


def highest(scores: Scores, count: int) -> tuple[Scores, NDArray[np.int64]]:
    """The best of each row, the best first, of equal ones the first; NaN is above all.

    No row is sorted: the best eight of each of 128 rows of 58,101 scores take 0.7 ms, the best 50 of one of 250,000
    0.04 ms (two cores of an EPYC with AVX2).

    Args:
        scores: (R, V).
        count: how many, N; all where that is more than V.

    Returns:
        The scores (R, N) and their places (R, N).
    """
    rows, size = scores.shape
    count = min(count, size)
    values, places = np.empty((rows, count), np.float32), np.empty((rows, count), np.int64)
    if native is not None and count <= _INSERTED_MOST and scores.dtype == np.float32:
        native.highest(np.require(scores, requirements=["C", "A"]), values, places)
        return values, places
    for row, value, place in zip(scores, values, places, strict=True):
        place[:] = _highest_of(row, count)
        value[:] = row[place]
    return values, places


def highest_values(row: Scores, count: int) -> Scores:
    """The best scores of one row (V,), the best first; NaN is above all."""
    count = min(count, row.size)
    if native is not None and count <= _INSERTED_MOST:
        return highest(row[None], count)[0].reshape(-1)
    rest = row.size - count
    best: Scores = np.sort(np.partition(row, rest)[rest:] if 0 < rest < row.size else row[rest:])
    return best[::-1]


def _highest_of(row: Scores, count: int) -> NDArray[np.int64]:
    """Where the best of one row are; partitions put NaN last, as sorts do."""
    if 0 < count < row.size:
        border = np.partition(row, row.size - count)[row.size - count]
        above = np.flatnonzero(np.isnan(row) if np.isnan(border) else (row > border) | np.isnan(row))[:count]
        level = np.flatnonzero(row == border)[: count - above.size]
        chosen = np.concatenate([above, level])
    else:
        chosen = np.arange(row.size)[:count]
    # a stable sort from the back and then turned round keeps the first of equal ones first
    turned = chosen[::-1]
    return turned[np.argsort(row[turned], kind="stable")][::-1]
