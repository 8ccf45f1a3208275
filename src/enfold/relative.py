"""Which row of a table of relative positions serves a pair of tokens."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from enfold.arch import Disentangled, RelativeBias

__all__ = ["HIDDEN", "bias_rows", "relative_rows"]

HIDDEN = -1
"""Stands for a row where the query must not see the key."""


@lru_cache(maxsize=32)
def relative_rows(relative: RelativeBias | Disentangled, length: int) -> NDArray[np.int64]:
    """(length, length): the table's row for query ``i`` and key ``j``. The array is shared: don't write to it."""
    places = np.arange(length)
    if isinstance(relative, RelativeBias):
        rows = _bias_buckets(relative, places[None, :] - places[:, None])
    else:
        rows = _disentangled_rows(relative, places[:, None] - places[None, :])
    rows.setflags(write=False)
    return rows


def bias_rows(relative: RelativeBias, spans: list[tuple[int, int]], pasts: list[int] | None) -> NDArray[np.int64]:
    """The table's rows for all sequences of a pass, :data:`HIDDEN` for keys that are still to come.

    Args:
        relative: the table.
        spans: where each sequence is in the packed row.
        pasts: tokens of each that came before.

    Returns:
        (B, 1, S') where every sequence has one token and a past: its own row for each. Otherwise (S', S') for the S'
        tokens that the longest sequence has, of which a sequence takes the rows of its new tokens.
    """
    counts = [end - begin for begin, end in spans]
    lengths = [past + count for past, count in zip(pasts or [0] * len(counts), counts, strict=True)]
    longest = max(lengths, default=0)
    if not pasts or not any(pasts) or any(count != 1 for count in counts):
        return _bias_square(relative, longest)
    roomy = 1 << max(5, longest.bit_length())
    keys = np.arange(longest)
    rows = relative_rows(relative, roomy)[np.array(pasts)[:, None], keys]
    return np.where(keys < np.array(lengths)[:, None], rows, HIDDEN)[:, None]


@lru_cache(maxsize=32)
def _bias_square(relative: RelativeBias, length: int) -> NDArray[np.int64]:
    rows = relative_rows(relative, length)
    places = np.arange(length)
    return np.where(places[None, :] > places[:, None], HIDDEN, rows) if relative.causal else rows


def _bias_buckets(relative: RelativeBias, distance: NDArray[np.int64]) -> NDArray[np.int64]:
    """Section 2.1 of T5 (https://arxiv.org/abs/1910.10683): exact small distances, logarithmic large ones."""
    one_side = relative.buckets if relative.causal else relative.buckets // 2
    exact = one_side // 2
    away = np.maximum(-distance, 0) if relative.causal else np.abs(distance)
    scale = np.float32((one_side - exact) / np.log(relative.max_distance / exact))
    far = exact + (np.log(np.maximum(away, 1).astype(np.float32) / exact) * scale).astype(np.int64)
    bucket = np.where(away < exact, away, np.minimum(far, one_side - 1))
    return bucket if relative.causal else np.where(distance > 0, one_side, 0) + bucket


def _disentangled_rows(relative: Disentangled, distance: NDArray[np.int64]) -> NDArray[np.int64]:
    """DeBERTa-v2: up to half the span each distance has a row, further ones share logarithmically."""
    if relative.max_distance is not None:
        middle = relative.span // 2
        away = np.maximum(np.abs(distance), middle).astype(np.float32)
        steps = np.log(away / middle) / np.float32(np.log((relative.max_distance - 1) / middle))
        far = np.ceil(steps * (middle - 1)).astype(np.int64) + middle
        distance = np.where(np.abs(distance) <= middle, distance, far * np.sign(distance))
    return np.clip(distance + relative.span, 0, 2 * relative.span - 1)
