"""Encoded examples side by side, without an object for each, and the batches that are cut from them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from enfold.arch import Architecture
from enfold.packing import Packed, pack

__all__ = ["Batch", "Examples", "Ragged", "as_tensors", "packed_batch"]

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Ragged:
    """Arrays of different lengths, one after another: ``flat`` (N,) and where each begins, ``starts`` (B + 1,)."""

    flat: NDArray[Any]
    starts: Integers

    @classmethod
    def of(cls, arrays: Sequence[NDArray[Any]], dtype: Any = np.int32) -> Ragged:
        """Arrays (S,) each, laid side by side."""
        lengths = np.fromiter((len(array) for array in arrays), np.int64, len(arrays))
        flat = np.concatenate(arrays) if arrays else np.zeros(0, dtype)
        return cls(flat.astype(dtype, copy=False), np.concatenate([[0], np.cumsum(lengths)]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> NDArray[Any]:
        array: NDArray[Any] = self.flat[self.starts[index] : self.starts[index + 1]]
        return array

    @property
    def lengths(self) -> Integers:
        """(B,)"""
        return np.diff(self.starts)

    def take(self, chosen: Integers) -> list[NDArray[Any]]:
        """Some of the arrays."""
        return [self[index] for index in chosen]


@dataclass(frozen=True)
class Examples:
    """What a goal made of a table: ids of every sequence, and what each example should become.

    Attributes:
        ids: of all sequences; an example has ``count`` of them, one after another.
        types: token types likewise, or None where all are 0.
        targets: what is learnt, in the goal's own form: (B, …) or ragged.
        rows: (B,) the table's row of each example.
        count: sequences of an example.
    """

    ids: Ragged
    types: Ragged | None
    targets: NDArray[Any] | Ragged
    rows: Integers
    count: int = 1

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> Integers:
        """(B,) tokens of each example, those that it writes included."""
        own: Integers = self.ids.lengths.reshape(-1, self.count).sum(1)
        return own + self.targets.lengths if isinstance(self.targets, Ragged) and self._writes else own

    @property
    def _writes(self) -> bool:
        """Whether the targets are texts of their own, and not a label for each token that is read."""
        return not (isinstance(self.targets, Ragged) and np.array_equal(self.targets.starts, self.ids.starts))

    def sequences(self, chosen: Integers) -> Integers:
        """The sequences of some examples."""
        return (chosen[:, None] * self.count + np.arange(self.count)).reshape(-1)

    def fingerprint(self) -> str:
        """Changes when any id or target does."""
        digest = hashlib.sha256()
        targets = self.targets
        parts = [
            self.ids.flat,
            self.ids.starts,
            *([targets.flat, targets.starts] if isinstance(targets, Ragged) else [targets]),
        ]
        for part in parts:
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Batch:
    """Some examples as the model reads them.

    Attributes:
        packed: the sequences, tensors; of an encoder-decoder model what the decoder reads.
        targets: what is learnt, (N, …), one for each that the goal's logits have.
        owners: (N,) which of the batch's examples each target is of.
        rows: the table's rows of the examples.
        chosen: the examples themselves, by number.
        weight: how much the batch counts: the sum of its targets' weights.
        tokens: (N,) the tokens of the batch that the head is wanted for; None for all.
        source: what the encoder of an encoder-decoder model reads.
        extra: what else the goal needs.
    """

    packed: Packed
    targets: torch.Tensor
    owners: torch.Tensor
    rows: Integers
    chosen: Integers
    weight: float
    tokens: torch.Tensor | None = None
    source: Packed | None = None
    extra: Any = None

    @property
    def num_tokens(self) -> int:
        """Tokens that the model reads."""
        return len(self.packed.ids) + (len(self.source.ids) if self.source else 0)

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        if device.type == "cpu":
            return self
        moved = {name: getattr(self, name).to(device) for name in ("targets", "owners")}
        tokens = None if self.tokens is None else self.tokens.to(device)
        source = None if self.source is None else _moved(self.source, device)
        return replace(self, packed=_moved(self.packed, device), tokens=tokens, source=source, **moved)


def packed_batch(arch: Architecture, examples: Examples, chosen: Integers) -> Packed:
    """The sequences of some examples as one batch of tensors."""
    sequences = examples.sequences(chosen)
    types = None if examples.types is None else examples.types.take(sequences)
    return as_tensors(pack(arch, examples.ids.take(sequences), types))


def as_tensors(batch: Packed) -> Packed:
    """A batch of numpy arrays as tensors that share their memory."""
    arrays = {name: torch.from_numpy(getattr(batch, name)) for name in ("ids", "positions", "types", "starts")}
    return replace(batch, **arrays)  # type: ignore[arg-type]


def _moved(batch: Packed, device: torch.device) -> Packed:
    moved = {name: getattr(batch, name).to(device) for name in ("ids", "positions", "types", "starts")}
    return replace(batch, **moved)
