"""A cache of bytes: kernels and numpy agree on it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from enfold.engines.cpu.byte_cache import allocate, decode, encode, floats
from enfold.engines.cpu.native_module import native

compiled = pytest.mark.skipif(native is None, reason="no compiled kernels")
NUMBERS = st.floats(-(2.0**126), 2.0**126, width=32) | st.sampled_from([0.0, 1e-38, np.nan, np.inf])


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 19)), elements=NUMBERS))
def test_keys_come_back_rounded(keys: np.ndarray) -> None:
    found = decode(encode(keys))
    finite = np.isfinite(keys).all(axis=1)
    assert np.isnan(found[~finite]).all()
    step = np.abs(keys[finite]).max(axis=1, keepdims=True, initial=0) / 127
    assert (np.abs(found[finite] - keys[finite]) <= step * 0.501 + 1e-36).all()


@compiled
@given(st.integers(1, 40), st.integers(1, 3), st.data())
def test_kernels_store_the_same_bytes(size: int, heads: int, data: st.DataObject) -> None:
    keys = data.draw(arrays.arrays(np.float32, (4, heads * size), elements=NUMBERS))
    stores = [allocate((2, heads, 5, size)) for _ in range(2)]
    begin, count, rows, pasts = (np.array(each, np.int64) for each in ([0, 1], [1, 3], [1, 0], [4, 1]))
    native.keep(keys, keys, *stores, begin, count, rows, pasts)
    coded = encode(keys.reshape(4, heads, size))
    expected = allocate((2, heads, 5, size))
    expected[1, :, 4], expected[0, :, 1:4] = coded[0], coded[1:].swapaxes(0, 1)
    for store in stores:
        found, numbers = decode(store), decode(expected)
        np.testing.assert_array_equal(found, numbers)
        np.testing.assert_array_equal(store[~np.isnan(found).any(axis=-1)], expected[~np.isnan(numbers).any(axis=-1)])


def attended(query: np.ndarray, keys: np.ndarray, values: np.ndarray, window: int) -> np.ndarray:
    """(S, heads, size) and (kv_heads, S', size) to (S, heads, size), causal, in float64."""
    count, heads, _ = query.shape
    places, own = np.arange(keys.shape[1]), np.arange(keys.shape[1] - count, keys.shape[1])[:, None]
    hidden = (places > own) | ((places <= own - window) if window else False)
    out = np.empty(query.shape)
    for head in range(heads):
        k, v = (each[head * len(keys) // heads].astype(np.float64) for each in (keys, values))
        scores = np.where(hidden, -np.inf, query[:, head].astype(np.float64) @ k.T * 0.3)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        out[:, head] = weights / weights.sum(axis=1, keepdims=True) @ v
    return out


@compiled
@pytest.mark.parametrize("stored", [lambda keys: keys, encode], ids=["floats", "bytes"])
@given(
    size=st.sampled_from([1, 7, 8, 9, 17, 33, 64, 72, 200]),
    groups=st.sampled_from([1, 2, 3, 7]),
    count=st.sampled_from([1, 2, 3, 4, 60]),
    more=st.sampled_from([0, 1, 2, 127, 128, 129, 257]),
    window=st.sampled_from([0, 1, 5]),
)
@settings(max_examples=60, deadline=None)
def test_kernels_attend_to_what_is_stored(
    stored: Callable[[np.ndarray], np.ndarray], size: int, groups: int, count: int, more: int, window: int
) -> None:
    draw, length = np.random.default_rng(size), count + more
    keys, values = (stored(draw.standard_normal((2, 2, 320, size), np.float32)) for _ in range(2))
    query = draw.standard_normal((count, 2 * groups, size), np.float32)
    begin, counts, rows, lengths = (np.array([each], np.int64) for each in (0, count, 1, length))
    out = np.empty((count, 2 * groups * size), np.float32)
    rest = (0.3, True, window, None, out)
    native.attend_stored(query.reshape(count, -1), keys, values, 2 * groups, begin, counts, rows, lengths, *rest)
    k, v = (floats(each[1, :, :length]) for each in (keys, values))
    np.testing.assert_allclose(out.reshape(query.shape), attended(query, k, v, window), atol=3e-5)


@compiled
@pytest.mark.parametrize("wrong", ["mixed", "narrow"])
def test_stores_that_are_none_are_refused(wrong: str) -> None:
    query, one = np.ones((1, 8), np.float32), np.array([1], np.int64)
    keys = np.zeros((1, 1, 5, 4), np.int8) if wrong == "narrow" else allocate((1, 1, 5, 8))
    values = np.zeros((1, 1, 5, 8), np.float32) if wrong == "mixed" else keys
    with pytest.raises(ValueError, match="of one type" if wrong == "mixed" else "numbers and a scale"):
        native.attend_stored(query, keys, values, 1, one * 0, one, one * 0, one, 1.0, False, 0, None, query.copy())
