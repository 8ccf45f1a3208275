"""From padded or listed ids to one packed batch and back: the only place where padding exists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.arch import Architecture

__all__ = [
    "Packed",
    "Share",
    "pack",
    "packed_like",
    "position_ids",
    "share_out",
    "spans_of",
    "together",
    "token_budget_batches",
]


@dataclass(frozen=True)
class Packed:
    """Sequences without padding, one after another; arrays are numpy's or torch's.

    ``ids``, ``positions`` and ``types`` are integers (T,); ``embeds`` (T, D) replaces the word embeddings where given;
    ``starts`` (B + 1,) says where each sequence begins, and the end; ``spans`` says it in Python's integers.
    ``pasts`` says how many tokens of each sequence came before and are in a cache. ``last`` (B,) are the tokens that a
    head reads which selects the last of each sequence, where that is not simply the last.
    """

    ids: Any
    positions: Any
    types: Any
    starts: Any
    spans: list[tuple[int, int]]
    embeds: Any = None
    pasts: list[int] | None = None
    last: Any = None


def position_ids(arch: Architecture, ids: Any, past: int = 0) -> Any:
    """Rows of the position table for ids (…, S), a numpy array or a torch tensor, counted along the last axis.

    ``past`` tokens came before.
    """
    offset = arch.positions.offset if arch.positions else 0
    counted_from = arch.positions.counted_from if arch.positions else None
    if counted_from is None:
        return (ids == ids).cumsum(-1) - 1 + offset + past
    real = ids != counted_from
    return (real.cumsum(-1) + past) * real + counted_from


def spans_of(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Where each sequence begins and ends in the packed row."""
    ends = np.cumsum(lengths, dtype=np.int64).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True)) if ends else []


def pack(
    arch: Architecture,
    ids: Sequence[NDArray[Any]],
    types: Sequence[NDArray[Any]] | None = None,
    pasts: list[int] | None = None,
) -> Packed:
    """A batch of numpy arrays from sequences of ids, each (S,), their token types, and how many tokens came before."""
    lengths = [len(row) for row in ids]
    flat = np.concatenate(ids).astype(np.int64, copy=False) if ids else np.zeros(0, np.int64)
    positions = [position_ids(arch, row, past) for row, past in zip(ids, pasts or [0] * len(ids), strict=True)]
    return Packed(
        ids=flat,
        positions=np.concatenate(positions) if positions else flat,
        types=np.concatenate(types).astype(np.int64, copy=False) if types is not None else np.zeros_like(flat),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        spans=spans_of(lengths),
        pasts=pasts,
    )


def together(batches: Sequence[Packed]) -> Packed:
    """Several batches of numpy arrays as one: the sequences of the first, then those of the next."""
    if len(batches) == 1:
        return batches[0]
    lengths = [end - begin for batch in batches for begin, end in batch.spans]
    return Packed(
        ids=np.concatenate([batch.ids for batch in batches]),
        positions=np.concatenate([batch.positions for batch in batches]),
        types=np.concatenate([batch.types for batch in batches]),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        spans=spans_of(lengths),
    )


def packed_like(arch: Architecture, ids: Any, batch: Packed) -> Packed:
    """Other ids (T,) in the sequences of ``batch``; arrays of either engine."""
    positions = batch.positions * 0
    for begin, end in batch.spans:
        positions[begin:end] = position_ids(arch, ids[begin:end])
    return Packed(ids=ids, positions=positions, types=batch.types * 0, starts=batch.starts, spans=batch.spans)


def token_budget_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of consecutive sequences, in as few batches as keep within ``budget`` tokens, about equally full.

    A sequence alone may exceed the budget. A last batch of a few tokens would keep one core busy and not the others.
    """
    total = sum(lengths)
    goal = total / max(1, -(-total // budget))
    batch: list[int] = []
    tokens = 0
    for index, length in enumerate(lengths):
        if batch and (tokens + length > budget or tokens + length / 2 > goal):
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += length
    if batch:
        yield batch


Integers = NDArray[np.int64]
Share = tuple[Packed, Integers | None, Integers]
"""Some sequences of a batch; the tokens of them that a head is wanted for, and where those stand among all wanted."""

_LEAST_TOKENS = 32


def share_out(batch: Packed, tokens: Integers | None, count: int) -> list[Share]:
    """Cuts a batch of numpy arrays between sequences into at most ``count`` shares of about as many tokens.

    Args:
        batch: what is cut.
        tokens: the tokens, (N,) of the whole batch, that a head is wanted for; None for all.
        count: shares wanted; fewer where the batch is small.
    """
    total = len(batch.ids)
    count = min(count, total // _LEAST_TOKENS, len(batch.spans))
    goals = [total * index // count for index in range(1, count)] if count > 1 else []
    cuts = sorted({int(np.abs(batch.starts - goal).argmin()) for goal in goals} - {0, len(batch.spans)})
    if not cuts:
        return [(batch, tokens, np.arange(0))]
    return [_share(batch, tokens, first, last) for first, last in pairwise([0, *cuts, len(batch.spans)])]


def _share(batch: Packed, tokens: Integers | None, first: int, last: int) -> Share:
    begin, end = batch.spans[first][0], batch.spans[last - 1][1]
    part = Packed(
        ids=batch.ids[begin:end],
        positions=batch.positions[begin:end],
        types=batch.types[begin:end],
        starts=batch.starts[first : last + 1] - begin,
        spans=[(a - begin, b - begin) for a, b in batch.spans[first:last]],
    )
    if tokens is None:
        return part, None, np.arange(0)
    places = np.flatnonzero((tokens >= begin) & (tokens < end))
    return part, tokens[places] - begin, places
