"""The cache of keys and values: what no row uses is zero, whatever a model made of it before."""

from typing import Any

import numpy as np
import pytest
import torch

from enfold.arch import Architecture
from enfold.cache import Cache

ARCH: dict[str, Any] = {"vocab_size": 9, "hidden_size": 8, "num_heads": 2, "intermediate_size": 8, "max_length": 99}
DECODER = Architecture(**ARCH, layer_order=(0, 1), causal=True)
BOTH = Architecture(**ARCH, layer_order=(0, 1), causal=True, encoder=Architecture(**ARCH, layer_order=(0,)))


def filled(cache: Cache, rows: list[int], counts: list[int]) -> None:
    """Rows with so many more tokens, all of them NaN."""
    turn = cache.turn(rows, counts)
    for store in turn.own_stores:
        for row, length in zip(rows, turn.own_reading.lengths, strict=True):
            store.keys[row, :, :length] = store.values[row, :, :length] = float("nan")


def unused_is_zero(cache: Cache) -> bool:
    own = [(store, [*cache.lengths]) for store in cache._own]
    memory = [(store, [*cache.sources]) for store in cache._memory]
    return all(
        not np.asarray(array[row, :, length:]).any()
        for store, lengths in own + memory
        for array in (store.keys, store.values)
        for row, length in enumerate(lengths + [0] * (len(array) - len(lengths)))
    )


@pytest.mark.parametrize("allocate", [lambda shape: np.zeros(shape, np.float32), torch.zeros], ids=["numpy", "torch"])
def test_what_no_row_uses_is_zero(allocate: Any) -> None:
    cache = Cache(DECODER, allocate)
    cache.add(3)
    filled(cache, [0, 1, 2], [5, 7, 9])
    assert cache.lengths == [5, 7, 9] and unused_is_zero(cache)
    cache.truncate(2, 4)
    assert cache.lengths == [5, 7, 4] and unused_is_zero(cache)
    cache.copy_row(0, 1, 3)
    assert cache.lengths == [5, 3, 4] and unused_is_zero(cache)
    cache.reorder([1, 1, 0])
    assert cache.lengths == [3, 3, 5] and unused_is_zero(cache)
    cache.pop(2)
    assert cache.lengths == [3] and unused_is_zero(cache)


def test_so_is_the_room_of_sources_that_ended() -> None:
    cache = Cache(BOTH, lambda shape: np.zeros(shape, np.float32))
    nan = np.full((9, 8), np.nan, np.float32)
    cache.remember([(nan, nan)] * 2, [(0, 6), (6, 9)])
    assert cache.forget(0) == 1 and cache.sources == [3] and unused_is_zero(cache)
    assert cache.forget(0) == 0 and cache.sources == [] and unused_is_zero(cache)
