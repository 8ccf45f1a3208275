"""Attention on the CPU engine, over packed sequences and over a cache, with what it knows of distances."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold import leaves as kinds
from enfold.arch import RelativeBias, Rotary
from enfold.cache import Kept, Reading, Store
from enfold.engines.cpu import byte_cache, kernels
from enfold.engines.cpu.leaves import Floats, Weights, make_linear_leaf
from enfold.engines.cpu.native_module import empty, native
from enfold.packing import Packed
from enfold.positions import depends_on_length, rotary_table
from enfold.relative import HIDDEN, bias_rows, relative_rows
from enfold.threads import in_parallel

__all__ = ["Attend", "Edges", "arrays_of", "begins_with_queries", "edges", "for_sequences", "make_leaf"]

Spans = list[tuple[int, int]]


def make_leaf(leaves: list[kinds.Leaf], weights: Weights) -> Any:
    """The engine's leaf for the layout's leaves of one place."""
    match leaves:
        case [kinds.RelativeTable() as leaf]:
            return RelativeTable(leaf, weights)
        case [kinds.Angles() as leaf]:
            return Angles(leaf)
        case [kinds.Attend() as leaf]:
            return Attend(leaf)
        case _:
            return make_linear_leaf(leaves, weights)


class RelativeTable:
    """A bias for all sequences of the batch, or the table itself where positions are vectors.

    The bias is (H, S, S) for the longest sequence, or (B, H, 1, S) where each has one new token after a past.
    """

    def __init__(self, leaf: kinds.RelativeTable, weights: Weights) -> None:
        self.weight = weights[f"{leaf.name}.weight"]
        self.relative = leaf.relative

    def __call__(self, batch: Packed) -> Floats:
        if not isinstance(self.relative, RelativeBias):
            return self.weight
        rows = bias_rows(self.relative, batch.spans, batch.pasts)
        bias = np.ascontiguousarray(np.moveaxis(self.weight[rows], -1, -3))
        if self.relative.causal:
            np.copyto(bias, np.float32("-inf"), where=np.expand_dims(rows == HIDDEN, -3))
        return bias


class Angles:
    """Cosines and sines (T, size) of the batch's positions; see :func:`enfold.positions.rotary_table`."""

    def __init__(self, leaf: kinds.Angles) -> None:
        self.rotary, self.max_length = leaf.rotary, leaf.max_length

    def __call__(self, batch: Packed) -> tuple[Floats, Floats]:
        if not depends_on_length(self.rotary):
            return rotary_table(self.rotary, batch.positions, 0, self.max_length)
        pasts = batch.pasts or [0] * len(batch.spans)
        tables = [
            rotary_table(self.rotary, batch.positions[begin:end], past + end - begin, self.max_length)
            for (begin, end), past in zip(batch.spans, pasts, strict=True)
        ]
        return np.concatenate([cosines for cosines, _ in tables]), np.concatenate([sines for _, sines in tables])


class Attend:
    """softmax(scale · Q Kᵀ) V of each sequence over its keys, with what distances add to the scores.

    The heads that share keys stand as several queries of one head of keys: arrays are (kv_heads, groups, S, D).
    """

    def __init__(self, leaf: kinds.Attend) -> None:
        self.kv_heads, self.groups = leaf.kv_heads, leaf.heads // leaf.kv_heads
        self.head_size, self.causal, self.window = leaf.head_size, leaf.causal, leaf.window
        self.relative = leaf.relative
        self.scale = np.float32(leaf.scale)

    def __call__(
        self,
        query: Floats,
        key: Floats | None,
        value: Floats | None,
        spans: Spans,
        key_spans: Spans,
        kept: Kept | None,
        distances: Any,
        seen: list[Floats] | None,
    ) -> Floats:
        if key is not None and isinstance(self.relative, Rotary):
            query, key, distances = self._turned(query, distances), self._turned(key, distances), None
        if native is not None and seen is None and self._is_plain(distances, kept):
            return self._natively(query, key, value, spans, key_spans, kept, distances)
        query = query.reshape(len(query), self.kv_heads, self.groups, self.head_size)
        mixed = np.empty_like(query)
        found: list[Any] = [None] * len(spans)
        keys_of = (
            self._packed_keys(key, value, key_spans) if kept is None else self._stored_keys(key, value, spans, *kept)
        )

        def part(first: int, last: int) -> None:
            for index in range(first, last):
                begin, end = spans[index]
                k, v = keys_of(index)
                probabilities = kernels.softmax(self._scores(query[begin:end], k, distances, index))
                if seen is not None:
                    found[index] = probabilities.reshape(-1, *probabilities.shape[2:])
                mixed[begin:end] = (probabilities @ v).transpose(2, 0, 1, 3)

        in_parallel(part, len(spans), grain=2)
        if seen is not None:
            seen.extend(found)
        return mixed.reshape(len(mixed), self.kv_heads * self.groups * self.head_size)

    # ── by compiled kernels ──────────────────────────────────────────────────

    def _is_plain(self, distances: Any, kept: Kept | None) -> bool:
        """Whether what distances add is nothing, or a bias that every sequence has from its first query on."""
        if distances is None:
            return True
        if not isinstance(self.relative, RelativeBias):
            return False
        return kept is None or begins_with_queries(distances, kept[1])

    def _natively(
        self, query: Floats, key: Any, value: Any, spans: Spans, key_spans: Spans, kept: Kept | None, distances: Any
    ) -> Floats:
        out = empty(*query.shape)
        begin, count = edges(spans)
        causal = self.causal and distances is None
        rest = (float(self.scale), causal, self.window or 0, for_sequences(distances), out)
        heads = self.kv_heads * self.groups
        if kept is None:
            shape = (heads, self.kv_heads, self.head_size)
            native.attend_packed(query, *_alike(key, value), *shape, begin, count, *edges(key_spans), *rest)
            return out
        store, reading = kept
        rows, pasts, lengths = arrays_of(reading)
        if key is not None and pasts is not None:
            native.keep(key, value, store.keys, store.values, begin, count, rows, pasts)
        native.attend_stored(query, store.keys, store.values, heads, begin, count, rows, lengths, *rest)
        return out

    # ── in numpy ─────────────────────────────────────────────────────────────

    def _by_head(self, array: Floats) -> Floats:
        """(S, kv_heads * D) to (kv_heads, 1, S, D)."""
        return array.reshape(len(array), self.kv_heads, 1, self.head_size).transpose(1, 2, 0, 3)

    def _packed_keys(self, key: Any, value: Any, spans: Spans) -> Any:
        keys, values = self._by_head(key), self._by_head(value)

        def keys_of(index: int) -> tuple[Floats, Floats]:
            begin, end = spans[index]
            return keys[:, :, begin:end], values[:, :, begin:end]

        return keys_of

    def _stored_keys(self, key: Any, value: Any, spans: Spans, store: Store, reading: Reading) -> Any:
        if key is not None and reading.pasts is not None:
            shape = (len(key), self.kv_heads, self.head_size)
            key, value = key.reshape(shape), value.reshape(shape)
            for (begin, end), row, past in zip(spans, reading.rows, reading.pasts, strict=True):
                for into, new in ((store.keys, key), (store.values, value)):
                    into[row, :, past : past + end - begin] = byte_cache.like(into, new[begin:end]).swapaxes(0, 1)

        def keys_of(index: int) -> tuple[Floats, Floats]:
            row, length = reading.rows[index], reading.lengths[index]
            keys, values = (byte_cache.floats(each[row, :, None, :length]) for each in (store.keys, store.values))
            return keys, values

        return keys_of

    def _turned(self, array: Floats, angles: tuple[Floats, Floats]) -> Floats:
        """Queries or keys (T, heads * D) turned by their positions' angles."""
        if native is not None:
            native.rotate(array, self.head_size, *angles)  # nobody else reads what was projected
            return array
        cosines, sines = (table[:, None] for table in angles)
        by_head = array.reshape(len(array), -1, self.head_size)
        size = cosines.shape[-1]
        turned = by_head.copy()
        turned[..., :size] *= cosines
        turned[..., : size // 2] += by_head[..., size // 2 : size] * sines[..., : size // 2]
        turned[..., size // 2 : size] += by_head[..., : size // 2] * sines[..., size // 2 :]
        return turned.reshape(array.shape)

    def _scores(self, query: Floats, key: Floats, distances: Any, index: int) -> Floats:
        """(S, kv_heads, groups, D) and (kv_heads, 1, S', D) to (kv_heads, groups, S, S')."""
        query = query.transpose(1, 2, 0, 3)
        scores: Floats = query @ key.swapaxes(2, 3)
        length, keys = scores.shape[2:]
        if self.relative is not None and distances is not None and not isinstance(self.relative, RelativeBias):
            self._add_disentangled(scores, query, key, distances)
        scores *= self.scale
        if isinstance(self.relative, RelativeBias) and distances is not None:
            past = keys - length if self.causal else 0
            bias = distances[index] if distances.ndim == 4 else distances[:, past : past + length]
            scores += bias[:, None, :, :keys]
        elif self.causal and (length > 1 or self.window is not None):
            _hide(scores, self.window)
        return scores

    def _add_disentangled(self, scores: Floats, query: Floats, key: Floats, distances: Any) -> None:
        rows = np.broadcast_to(relative_rows(self.relative, scores.shape[3]), scores.shape)
        position_query, position_key = (None if d is None else self._by_head(d) for d in distances)
        if position_key is not None:
            scores += np.take_along_axis(query @ position_key.swapaxes(2, 3), rows, axis=3)
        if position_query is not None:
            towards = np.take_along_axis(key @ position_query.swapaxes(2, 3), rows.swapaxes(2, 3), axis=3)
            scores += towards.swapaxes(2, 3)


def edges(spans: Spans) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each sequence begins, and how long it is."""
    if isinstance(spans, Edges):
        return spans.arrays
    array = np.array(spans, np.int64).reshape(-1, 2)
    return np.ascontiguousarray(array[:, 0]), array[:, 1] - array[:, 0]


def begins_with_queries(bias: Floats, reading: Reading) -> bool:
    """Whether the bias's first row is that of each sequence's first query."""
    return bias.ndim == 4 or not any(reading.pasts or ())


def for_sequences(bias: Floats | None) -> Floats | None:
    """A bias as (1 or B, H, S, S')."""
    return bias if bias is None or bias.ndim == 4 else bias[None]


def arrays_of(reading: Reading) -> tuple[NDArray[np.int64], NDArray[np.int64] | None, NDArray[np.int64]]:
    """Rows, pasts and lengths, made once for all layers."""
    if "arrays" not in reading.memo:
        pasts = None if reading.pasts is None else np.array(reading.pasts, np.int64)
        reading.memo["arrays"] = np.array(reading.rows, np.int64), pasts, np.array(reading.lengths, np.int64)
    arrays: tuple[NDArray[np.int64], NDArray[np.int64] | None, NDArray[np.int64]] = reading.memo["arrays"]
    return arrays


class Edges(list[tuple[int, int]]):
    """Spans that make their arrays once for all layers."""

    @cached_property
    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """See :func:`edges`."""
        return edges(list(self))


def _alike(key: Floats, value: Floats) -> tuple[Floats, Floats]:
    """Keys and values whose rows are equally far apart."""
    if key.strides == value.strides:
        return key, value
    return np.ascontiguousarray(key), np.ascontiguousarray(value)


def _hide(scores: Floats, window: int | None) -> None:
    """-inf for the keys that a query may not see: those after it, and those before its window."""
    length, keys = scores.shape[2:]
    places: NDArray[np.int64] = np.arange(keys)
    queries = np.arange(keys - length, keys)[:, None]
    hidden = places > queries
    if window is not None:
        hidden |= places <= queries - window
    np.copyto(scores, np.float32("-inf"), where=hidden)
