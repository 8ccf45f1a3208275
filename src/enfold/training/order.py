"""The order in which examples are learnt from: steps of an epoch, the same for a seed however often it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from enfold.training.settings import Order

__all__ = ["Steps"]

Integers = NDArray[np.int64]

_POOL = 50
"""Batches whose texts are sorted together: the more, the likelier are equal lengths, and the less chance has a say."""


@dataclass(frozen=True)
class Steps:
    """The batches of every step of a run.

    Attributes:
        lengths: (B,) tokens of each example.
        batch_size: examples of a step.
        order: see :class:`enfold.training.settings.Settings`.
        seed: of the order.
        epochs: how often the data are gone through; a part is allowed.
        max_steps: instead of it.
    """

    lengths: Integers
    batch_size: int
    order: Order
    seed: int
    epochs: float
    max_steps: int | None = None

    @property
    def per_epoch(self) -> int:
        """Steps that go once through the data."""
        return -(-len(self.lengths) // self.batch_size)

    @cached_property
    def total(self) -> int:
        """Steps of the run."""
        return self.max_steps or max(1, round(self.epochs * self.per_epoch))

    def __call__(self, start: int = 0) -> Iterator[Integers]:
        """The examples of each step from ``start`` on."""
        for step in range(start, self.total):
            epoch, index = divmod(step, self.per_epoch)
            yield self._epoch(epoch)[index]

    @lru_cache(maxsize=2)  # noqa: B019 - a run has one such object
    def _epoch(self, epoch: int) -> list[Integers]:
        count, size = len(self.lengths), self.batch_size
        if self.order == "sequential":
            return [np.arange(begin, min(count, begin + size)) for begin in range(0, count, size)]
        draw = np.random.default_rng((self.seed, epoch))
        mixed = draw.permutation(count)
        if self.order == "bucketed":
            pools = [mixed[begin : begin + size * _POOL] for begin in range(0, count, size * _POOL)]
            mixed = np.concatenate([pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools])
        batches = [mixed[begin : begin + size] for begin in range(0, count, size)]
        return [batches[index] for index in draw.permutation(len(batches))]

    def __hash__(self) -> int:
        return id(self)

    def parts(self, chosen: Integers, budget: int) -> list[Integers]:
        """A step's examples, sorted by length and cut where more tokens would go through the model at once."""
        ordered = chosen[np.argsort(self.lengths[chosen], kind="stable")[::-1]]
        parts: list[list[int]] = []
        filled = 0
        for index in ordered.tolist():
            length = int(self.lengths[index])
            if not parts or filled + length > budget:
                parts.append([])
                filled = 0
            parts[-1].append(index)
            filled += length
        return [np.array(part, np.int64) for part in parts]
