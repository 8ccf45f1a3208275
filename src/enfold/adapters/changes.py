"""What an adapter does to one linear layer, as numbers, and how the changes of parts make that of a fused matrix.

A checkpoint may keep several of our leaves in one matrix (GPT-2's ``c_attn``). A low-rank change of parts is exactly
one of the whole, with the ranks added up::

    query: B₁ A₁                 | B₁  0 |   | A₁ |
    key:   unchanged      ───▶   | 0   0 | · | A₂ |      and the scale stays what it was
    value: B₂ A₂                 | 0   B₂|

DoRA's row lengths are each row's own; a part that it leaves alone keeps the lengths that its rows have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from enfold.checkpoint.arrange import assemble_stored, take
from enfold.errors import InputError
from enfold.families.base import Stored

__all__ = ["Change", "LowRank", "Rescaled", "joined", "part_of", "row_lengths"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LowRank:
    """LoRA and, with ``magnitude``, DoRA.

    Attributes:
        down: A, (rank, inputs).
        up: B, (outputs, rank).
        scale: what B A is multiplied by.
        magnitude: the length (outputs,) of each row of the changed matrix.
    """

    down: Floats
    up: Floats
    scale: float
    magnitude: Floats | None = None

    @property
    def rank(self) -> int:
        """Rows of A."""
        return len(self.down)

    @property
    def outputs(self) -> int:
        """Rows of the matrix that is changed."""
        return len(self.up)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether it changes a matrix of this shape, (outputs, inputs)."""
        return shape == (len(self.up), self.down.shape[1])

    def weight(self, weight: Floats) -> Floats:
        """The changed matrix (outputs, inputs)."""
        changed = weight + np.float32(self.scale) * (self.up @ self.down)
        if self.magnitude is None:
            return changed
        lengths = row_lengths(changed)
        ratio = np.divide(self.magnitude, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        result: Floats = changed * ratio[:, None]
        return result

    def bias(self, bias: Floats) -> Floats:
        """The changed bias: it stays."""
        return bias


@dataclass(frozen=True, eq=False)
class Rescaled:
    """IA3: a factor (n,) for each of a layer's ``"outputs"``, their bias included, or of its ``"inputs"``."""

    factors: Floats
    side: Literal["inputs", "outputs"]

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether it changes a matrix of this shape, (outputs, inputs)."""
        return len(shape) == 2 and len(self.factors) == shape[self.side == "inputs"]

    def weight(self, weight: Floats) -> Floats:
        """The changed matrix (outputs, inputs)."""
        return weight * (self.factors if self.side == "inputs" else self.factors[:, None])

    def bias(self, bias: Floats) -> Floats:
        """The changed bias (outputs,)."""
        return bias if self.side == "inputs" else bias * self.factors


Change = LowRank | Rescaled


def row_lengths(weight: Floats) -> Floats:
    """The Euclidean length (outputs,) of each row."""
    lengths: Floats = np.sqrt(np.einsum("ij,ij->i", weight, weight, dtype=np.float32))
    return lengths


def part_of(change: Change, stored: Stored, heads: int) -> Change | None:
    """What a change of a stored matrix does to the part of it that is one of our leaves; None: nothing.

    Args:
        change: of the whole matrix, its rows the outputs.
        stored: where the leaf lies in it.
        heads: attention heads, between which parts may alternate.
    """
    if stored.parts == 1:
        return change
    rows = replace(stored, transposed=False)
    if isinstance(change, Rescaled):
        whole = change.side == "inputs"
        return change if whole else Rescaled(np.ascontiguousarray(take(change.factors, rows, heads)), "outputs")
    up = take(change.up, rows, heads)
    magnitude = None if change.magnitude is None else np.ascontiguousarray(take(change.magnitude, rows, heads))
    # columns that only other parts use; those that nobody uses yet may be anyone's
    used: NDArray[np.bool_] = np.asarray(up.any(axis=0) | ~change.up.any(axis=0))
    if not used.any():
        if magnitude is None:
            return None
        used[0] = True
    return LowRank(change.down[used], np.ascontiguousarray(up[:, used]), change.scale, magnitude)


def joined(parts: Mapping[int, Change], weights: Mapping[int, Floats], stored: Stored, heads: int) -> Change:
    """The change of a stored matrix that the changes of some of its parts are; the inverse of :func:`part_of`.

    Args:
        parts: changes by the part's number.
        weights: every part's matrix (outputs, inputs) as it was, by its number.
        stored: how any of them lies in the stored matrix.
        heads: attention heads, between which parts may alternate.

    Raises:
        InputError: factors for inputs that differ between the parts.
    """
    if stored.parts == 1:
        return parts[0]
    rows = replace(stored, transposed=False)
    if any(isinstance(change, Rescaled) for change in parts.values()):
        return _joined_factors(parts, weights, rows, heads)
    low = {part: change for part, change in parts.items() if isinstance(change, LowRank)}
    scale, total, begin = next(iter(low.values())).scale, sum(change.rank for change in low.values()), 0
    ups = {part: np.zeros((len(weight), total), np.float32) for part, weight in weights.items()}
    for part, change in low.items():
        ups[part][:, begin : begin + change.rank] = change.up * np.float32(change.scale / scale)
        begin += change.rank
    magnitude = None
    if any(change.magnitude is not None for change in low.values()):
        lengths = {part: row_lengths(weight) for part, weight in weights.items()}
        lengths |= {part: change.magnitude for part, change in low.items() if change.magnitude is not None}
        magnitude = assemble_stored(lengths, rows, heads)
    down = np.concatenate([change.down for change in low.values()])
    return LowRank(down, assemble_stored(ups, rows, heads), scale, magnitude)


def _joined_factors(parts: Mapping[int, Change], weights: Mapping[int, Floats], rows: Stored, heads: int) -> Rescaled:
    given = {part: change for part, change in parts.items() if isinstance(change, Rescaled)}
    sides = {change.side for change in given.values()}
    if sides == {"outputs"}:
        ones = {part: np.ones(len(weight), np.float32) for part, weight in weights.items()}
        factors = {part: change.factors for part, change in given.items()}
        return Rescaled(assemble_stored({**ones, **factors}, rows, heads), "outputs")
    first = next(iter(given.values()))
    same = len(given) == len(weights) and all(np.array_equal(first.factors, each.factors) for each in given.values())
    if len(sides) > 1 or not same:
        raise InputError(
            f"checkpoints keep {len(weights)} of the adapted leaves in one matrix ({rows.name}), and factors for the "
            "inputs of some of them alone can't be written so: leave them out of feed_forward"
        )
    return first
