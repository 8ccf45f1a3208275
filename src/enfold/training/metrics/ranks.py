"""Spearman's correlation of any number of pairs in bounded memory.

::

    pairs ──▶ fresh (65,536) ──when full──▶ sorted with what is kept ──▶ at most 577 bins a side ──▶ kept: x, y, weight
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError
from enfold.training.metrics.base import array_of
from enfold.training.metrics.checks import Floats

__all__ = ["EXACT", "Ranks"]

EXACT = 65_536
"""Pairs up to which nothing is lost."""
_FINENESS = 256
"""A bin holds at most 1/256 of all pairs, unless they are tied."""
_GAPS = 64
"""Widest gaps between neighbouring values, at which a bin ends in any case."""


class Ranks:
    """Pairs, or weighted pairs that stand for their neighbours.

    Up to 65,536 pairs are kept as they are, and the result is exact. Of more, each side is cut into bins of
    neighbouring values that hold at most 1/256 of the pairs, or one value alone, and the pairs that share both bins
    become one pair at the bins' medians with their number as its weight. Later pairs are sorted among these, and the
    bins are cut anew, so that data that drift get bins where they went.

    The error: where the data don't drift, ranks are wrong by a part of a bin, such errors cancel, and what stays in the
    correlation is of the order of 1/256² (2e-5 was measured). Where later values come between those of one bin, all of
    the bin is on one side of them: 1e-3 at most was measured over 1,000,000 pairs that were sorted, drifting, growing
    or shrinking in scale, or coming from both ends. Drift that goes on adds a little with every fold: 2.4e-3 after
    6,000,000 pairs whose sides drifted apart all the time. An order that was made to mislead may do worse.
    """

    def __init__(self) -> None:
        """Starts without pairs."""
        self._kept: Floats = np.zeros((3, 0))
        self._fresh: Floats = np.zeros((2, EXACT))
        self._filled = 0

    def add(self, pairs: Floats) -> None:
        """Counts pairs (2, B)."""
        while pairs.shape[1]:
            if self._filled == EXACT:
                self._fold(np.zeros((3, 0)))
            taken = pairs[:, : EXACT - self._filled]
            self._fresh[:, self._filled : self._filled + taken.shape[1]] = taken
            self._filled += taken.shape[1]
            pairs = pairs[:, taken.shape[1] :]

    def merge(self, other: Ranks) -> None:
        """Takes what another stream has seen."""
        self.add(other._fresh[:, : other._filled])
        if other._kept.shape[1]:
            self._fold(other._kept)

    @property
    def correlation(self) -> float:
        """Spearman's, ties at their mean rank; 0 where either side is constant."""
        first, second, weights = self._rows()
        total = weights.sum()
        deviations = [_middle_ranks(values, weights) - total / 2 for values in (first, second)]
        both, *own = ((weights * a * b).sum() for a, b in (deviations, deviations[:1] * 2, deviations[1:] * 2))
        if not all(own):
            return 0.0
        return float(np.clip(both / np.sqrt(own[0]) / np.sqrt(own[1]), -1.0, 1.0))

    def state(self) -> dict[str, Any]:
        """Kept and fresh pairs."""
        return {"kept": self._kept.tolist(), "fresh": self._fresh[:, : self._filled].tolist()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Becomes the part that a state was taken of.

        Raises:
            InputError: a state of something else.
        """
        kept = array_of(state, "kept", np.zeros((3, 0)))
        fresh = array_of(state, "fresh", np.zeros((2, 0)))
        if fresh.shape[1] > EXACT or (kept[2] <= 0).any():
            raise InputError("the state holds too many pairs, or weights below 1: its file is damaged")
        self._kept, self._filled = kept, fresh.shape[1]
        self._fresh[:, : self._filled] = fresh

    def _rows(self) -> Floats:
        """All pairs with their weights, (3, N)."""
        fresh = np.vstack([self._fresh[:, : self._filled], np.ones((1, self._filled))])
        return np.hstack([self._kept, fresh])

    def _fold(self, more: Floats) -> None:
        """All pairs and more (3, N) become one weighted pair for each bin of both sides."""
        first, second, weights = np.hstack([self._rows(), more])
        (columns, x), (rows, y) = _bins(first, weights), _bins(second, weights)
        mass = np.bincount(columns * len(y) + rows, weights, len(x) * len(y))
        cells = np.flatnonzero(mass)
        self._kept = np.stack([x[cells // len(y)], y[cells % len(y)], mass[cells]])
        self._filled = 0


def _sorted(values: Floats, weights: Floats) -> tuple[NDArray[np.intp], Floats, Floats]:
    """The place of each value among the distinct ones (N,), these in order (U,), and the weight up to each (U,)."""
    distinct, places = np.unique(values, return_inverse=True)
    return places, distinct, np.cumsum(np.bincount(places, weights, len(distinct)))


def _middle_ranks(values: Floats, weights: Floats) -> Floats:
    """The weight below each value and half of the value's own, (N,)."""
    places, _, reached = _sorted(values, weights)
    middle = reached - np.diff(reached, prepend=0.0) / 2
    result: Floats = middle[places]
    return result


def _bins(values: Floats, weights: Floats) -> tuple[NDArray[np.intp], Floats]:
    """The bin of each value (N,), and each bin's weighted median.

    Cut from below: a bin takes what it has room for, and at least one value, and ends at the widest gaps. Two that
    touch are together more than the room of one, so that there are at most 2 · 256 + 64 + 1.
    """
    places, distinct, reached = _sorted(values, weights)
    room = reached[-1] / _FINENESS
    cuts = {len(distinct), *(np.argsort(np.diff(distinct))[-_GAPS:] + 1).tolist()}
    begin, below = 0, 0.0
    while begin < len(distinct):
        cuts.add(begin)
        begin = max(begin + 1, int(np.searchsorted(reached, below + room, side="right")))
        below = float(reached[begin - 1])
    edges = np.array(sorted(cuts))
    upto = np.concatenate([[0.0], reached])[edges]
    medians = distinct[np.searchsorted(reached, (upto[:-1] + upto[1:]) / 2)]
    return np.searchsorted(edges, places, side="right") - 1, medians
