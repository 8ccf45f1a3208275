"""Attention on the PyTorch engine, over packed sequences and over a cache, with what it knows of distances.

Without a cache, neighbours of equal length go through one call. With a cache, the first tokens of a row attend to each
other in the same way and are stored; later ones go row by row over the stored keys, unless every row has one new token
and nothing asks to see the probabilities: that step is in :mod:`enfold.engines.torch.bound`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from enfold import leaves as kinds
from enfold.arch import RelativeBias, Rotary
from enfold.cache import Kept, Reading, Store
from enfold.engines.torch.leaves import Leaf, make_linear_leaf
from enfold.packing import Packed
from enfold.positions import depends_on_length, rotary_table
from enfold.relative import HIDDEN, bias_rows, relative_rows

__all__ = ["Attend", "Spans", "make_leaf"]

Spans = list[tuple[int, int]]


def make_leaf(leaves: list[kinds.Leaf]) -> torch.nn.Module:
    """The engine's leaf for the layout's leaves of one place, its parameters empty."""
    match leaves:
        case [kinds.RelativeTable() as leaf]:
            return RelativeTable(leaf)
        case [kinds.Angles() as leaf]:
            return Angles(leaf)
        case [kinds.Attend() as leaf]:
            return Attend(leaf)
        case _:
            return make_linear_leaf(leaves)


class RelativeTable(Leaf):
    """A bias for all sequences of the batch, or the table itself where positions are vectors.

    The bias is (H, S, S) for the longest sequence, or (B, H, 1, S) where each has one new token after a past.
    """

    def forward(self, batch: Packed) -> Tensor:
        if not isinstance(self.leaf.relative, RelativeBias):
            return self.weight
        rows = torch.tensor(bias_rows(self.leaf.relative, batch.spans, batch.pasts), device=self.weight.device)
        bias = functional.embedding(rows.clamp(min=0), self.weight).movedim(-1, -3)
        return bias.masked_fill((rows == HIDDEN).unsqueeze(-3), float("-inf")) if self.leaf.relative.causal else bias


class Angles(Leaf):
    """Cosines and sines (T, size) of the batch's positions; see :func:`enfold.positions.rotary_table`."""

    def __init__(self, leaf: kinds.Angles) -> None:
        super().__init__(leaf)
        self.cosines: Tensor
        self.sines: Tensor
        self.register_buffer("cosines", torch.empty(0, leaf.rotary.size), persistent=False)
        self.register_buffer("sines", torch.empty(0, leaf.rotary.size), persistent=False)

    def forward(self, batch: Packed) -> tuple[Tensor, Tensor]:
        if depends_on_length(self.leaf.rotary):
            return self._by_length(batch)
        needed = max((end - begin for begin, end in batch.spans), default=0) + max(batch.pasts or [0])
        cosines, sines = self.cosines, self.sines  # another thread may replace them meanwhile, one after the other
        known = min(len(cosines), len(sines))
        if known < needed or (len(batch.ids) and int(batch.positions.max()) >= known):
            cosines, sines = self._grow(max(needed, int(batch.positions.max()) + 1))
        return cosines[batch.positions], sines[batch.positions]

    def _grow(self, needed: int) -> tuple[Tensor, Tensor]:
        length = 1 << max(8, (needed - 1).bit_length())
        with torch.inference_mode(False):  # kept for passes with gradients too
            self.cosines, self.sines = grown = self._table(np.arange(length), 0, self.cosines)
        return grown

    def _table(self, positions: np.ndarray[Any, Any], length: int, like: Tensor) -> tuple[Tensor, Tensor]:
        cosines, sines = rotary_table(self.leaf.rotary, positions, length, self.leaf.max_length)
        return torch.from_numpy(cosines).to(like), torch.from_numpy(sines).to(like)

    def _by_length(self, batch: Packed) -> tuple[Tensor, Tensor]:
        places = batch.positions.cpu().numpy()
        pasts = batch.pasts or [0] * len(batch.spans)
        tables = [
            self._table(places[begin:end], past + end - begin, self.cosines)
            for (begin, end), past in zip(batch.spans, pasts, strict=True)
        ]
        return torch.cat([cosines for cosines, _ in tables]), torch.cat([sines for _, sines in tables])


class Attend(Leaf):
    """softmax(scale · Q Kᵀ) V of each sequence over its keys, with what distances add to the scores."""

    @property
    def is_rotary(self) -> bool:
        """Whether distances are angles that queries and keys are turned by."""
        return isinstance(self.leaf.relative, Rotary)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        spans: Spans,
        key_spans: Spans,
        kept: Kept | None,
        distances: Any,
        seen: list[Tensor] | None,
    ) -> Tensor:
        if key is not None and self.is_rotary:
            query, key, distances = self.turned(query, distances), self.turned(key, distances), None
        if kept is None:
            assert key is not None and value is not None
            return self._packed(query, key, value, spans, key_spans, distances, seen)
        store, reading = kept
        if key is not None and value is not None:
            self._write(store, reading, key, value, spans)
            if reading.pasts is not None and not any(reading.pasts):
                return self._packed(query, key, value, spans, spans, distances, seen)
        return self._row_by_row(query, store, reading, spans, distances, seen)

    # ── without a cache ──────────────────────────────────────────────────────

    def _packed(
        self, query: Tensor, key: Tensor, value: Tensor, spans: Spans, key_spans: Spans, distances: Any, seen: Any
    ) -> Tensor:
        mixed = []
        for rows, keys, count in _runs(spans, key_spans):
            q = self._by_head(query[rows], count, self.leaf.heads)
            k, v = (self._by_head(array[keys], count, self.leaf.kv_heads) for array in (key, value))
            mixed.append(self._mix(q, k, v, self._bias(q, k, distances), 0, seen))
        if not mixed:
            return query
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)

    def _by_head(self, array: Tensor, count: int, heads: int) -> Tensor:
        """(count * S, heads * D) to (count, heads, S, D)."""
        return array.view(count, -1, heads, self.leaf.head_size).transpose(1, 2)

    def _mix(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, past: int, seen: list[Tensor] | None
    ) -> Tensor:
        """(count, H, S, D) over (count, kv_heads, S', D) to (count * S, H * D).

        ``past`` keys come before the first query.
        """
        if self.leaf.kv_heads != self.leaf.heads:
            groups = self.leaf.heads // self.leaf.kv_heads
            key, value = (array.repeat_interleave(groups, dim=1) for array in (key, value))
        count, _, length, _ = query.shape
        plain = bias is None and not past and (self.leaf.window is None or length <= self.leaf.window)
        rate = self.leaf.dropout if self.drops else 0.0
        by_hand = seen is not None or (rate and query.device.type == "cpu")  # torch's own dropout is slow there
        if not by_hand and plain:
            causal = self.leaf.causal and length > 1
            result = functional.scaled_dot_product_attention(
                query, key, value, None, rate, is_causal=causal, scale=self.leaf.scale
            )
        else:
            if self.leaf.causal and not isinstance(self.leaf.relative, RelativeBias):
                bias = _causal_mask(length, past, self.leaf.window, query.device, query.dtype)
            if not by_hand:
                result = functional.scaled_dot_product_attention(query, key, value, bias, rate, scale=self.leaf.scale)
            else:
                scores = query @ key.transpose(2, 3) * self.leaf.scale
                probabilities = torch.softmax(scores if bias is None else scores + bias, dim=-1)
                if seen is not None:
                    seen.extend(probabilities)
                result = self.dropped(probabilities, self.leaf.dropout) @ value
        return result.transpose(1, 2).reshape(count * length, -1)

    def _bias(self, query: Tensor, key: Tensor, distances: Any) -> Tensor | None:
        """What is added to scaled scores, (1 or count, H, S, S')."""
        if distances is None:
            return None
        count, heads, length, _ = query.shape
        if isinstance(self.leaf.relative, RelativeBias):
            bias: Tensor = distances[None, :, :length, : key.shape[2]]
            return bias
        rows = _rows(self.leaf.relative, length, query.device).expand(count, heads, -1, -1)
        position_query, position_key = (None if d is None else self._by_head(d, 1, heads) for d in distances)
        bias = query.new_zeros(())
        if position_key is not None:
            bias = bias + torch.gather(query @ position_key.transpose(2, 3), 3, rows)
        if position_query is not None:
            towards = torch.gather(key @ position_query.transpose(2, 3), 3, rows.transpose(2, 3))
            bias = bias + towards.transpose(2, 3)
        return (bias * self.leaf.scale).expand(count, heads, length, length)

    def turned(self, array: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """Queries or keys (T, heads * D) turned by their positions' angles."""
        cosines, sines = (table.unsqueeze(1) for table in angles)
        by_head = array.view(len(array), -1, self.leaf.head_size)
        size = cosines.shape[-1]
        if size == self.leaf.head_size:
            return (by_head * cosines).addcmul_(by_head.roll(size // 2, -1), sines).view(array.shape)
        turning, kept = by_head[..., :size], by_head[..., size:]
        turned = turning * cosines + turning.roll(size // 2, -1) * sines
        return torch.cat([turned, kept], dim=-1).view(array.shape)

    # ── with a cache ─────────────────────────────────────────────────────────

    def _write(self, store: Store, reading: Reading, key: Tensor, value: Tensor, spans: Spans) -> None:
        """Stores the new keys and values after each row's past."""
        assert reading.pasts is not None
        shape = (len(key), self.leaf.kv_heads, self.leaf.head_size)
        key, value = key.detach().reshape(shape), value.detach().reshape(shape)
        for (begin, end), row, past in zip(spans, reading.rows, reading.pasts, strict=True):
            store.keys[row, :, past : past + end - begin] = key[begin:end].transpose(0, 1)
            store.values[row, :, past : past + end - begin] = value[begin:end].transpose(0, 1)

    def _row_by_row(
        self, query: Tensor, store: Store, reading: Reading, spans: Spans, distances: Any, seen: Any
    ) -> Tensor:
        mixed = []
        for index, ((begin, end), row, length) in enumerate(zip(spans, reading.rows, reading.lengths, strict=True)):
            q = self._by_head(query[begin:end], 1, self.leaf.heads)
            k, v = (array[row : row + 1, :, :length] for array in (store.keys, store.values))
            past = length - (end - begin)
            bias = None
            if distances is not None:
                whole = distances[index] if distances.ndim == 4 else distances[:, past:length]
                bias = whole[None, :, :, :length]
            mixed.append(self._mix(q, k, v, bias, past if self.leaf.causal else 0, seen))
        return torch.cat(mixed)


def _runs(spans: Spans, key_spans: Spans) -> Iterator[tuple[slice, slice, int]]:
    """Neighbours of equal lengths, to be attended in one call: their queries, their keys, and how many they are."""
    pairs = zip(spans, key_spans, strict=True)
    for _, group in groupby(pairs, key=lambda pair: (pair[0][1] - pair[0][0], pair[1][1] - pair[1][0])):
        run = list(group)
        yield slice(run[0][0][0], run[-1][0][1]), slice(run[0][1][0], run[-1][1][1]), len(run)


@lru_cache(maxsize=32)
def _rows(relative: Any, length: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # kept for passes with gradients too
        return torch.tensor(relative_rows(relative, length), device=device)


@lru_cache(maxsize=2)  # for the layers of a pass; those of long texts are large
def _causal_mask(length: int, past: int, window: int | None, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(length, past + length): 0 for the keys that a query may see, -inf for the others."""
    with torch.inference_mode(False):
        queries = torch.arange(past, past + length, device=device)[:, None]
        keys = torch.arange(past + length, device=device)[None, :]
        hidden = keys > queries
        if window is not None:
            hidden |= keys <= queries - window
        return torch.zeros(length, past + length, device=device, dtype=dtype).masked_fill(hidden, float("-inf"))
