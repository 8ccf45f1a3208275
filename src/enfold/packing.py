"""From padded or listed ids to one packed batch and back: the only place where padding exists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.arch import Architecture

__all__ = ["Packed", "pack", "position_ids", "token_budget_batches"]


@dataclass(frozen=True)
class Packed:
    """Sequences without padding, one after another; arrays are numpy's or torch's.

    ``ids``, ``positions`` and ``types`` are integers (T,); ``embeds`` (T, D) replaces the word embeddings where given;
    ``starts`` (B + 1,) says where each sequence begins, and the end; ``spans`` says it in Python's integers.
    """

    ids: Any
    positions: Any
    types: Any
    starts: Any
    spans: list[tuple[int, int]]
    embeds: Any = None


def position_ids(arch: Architecture, ids: Any) -> Any:
    """Rows of the position table for ids (…, S), a numpy array or a torch tensor, counted along the last axis."""
    counted_from = arch.positions.counted_from if arch.positions else None
    if counted_from is None:
        return (ids == ids).cumsum(-1) - 1
    real = ids != counted_from
    return real.cumsum(-1) * real + counted_from


def spans_of(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Where each sequence begins and ends in the packed row."""
    ends = np.cumsum(lengths, dtype=np.int64).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True)) if ends else []


def pack(arch: Architecture, ids: Sequence[NDArray[Any]], types: Sequence[NDArray[Any]] | None = None) -> Packed:
    """A batch of numpy arrays from sequences of ids, each (S,), and their token types."""
    lengths = [len(row) for row in ids]
    flat = np.concatenate(ids).astype(np.int64, copy=False) if ids else np.zeros(0, np.int64)
    positions = [position_ids(arch, row) for row in ids]
    return Packed(
        ids=flat,
        positions=np.concatenate(positions) if positions else flat,
        types=np.concatenate(types).astype(np.int64, copy=False) if types is not None else np.zeros_like(flat),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        spans=spans_of(lengths),
    )


def token_budget_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of consecutive sequences whose tokens together stay within ``budget`` (one alone may exceed it)."""
    batch: list[int] = []
    tokens = 0
    for index, length in enumerate(lengths):
        if batch and tokens + length > budget:
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += length
    if batch:
        yield batch
