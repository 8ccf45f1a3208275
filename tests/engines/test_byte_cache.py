"""A cache of bytes: kernels and numpy agree on it, and what is written with it is nearly what floats write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from enfold.auto import load_model
from enfold.engines.cpu import attention
from enfold.engines.cpu.byte_cache import allocate, decode, encode
from enfold.engines.cpu.native_module import native
from enfold.errors import InputError
from enfold.generation.session import Session
from tests.generation.models import TYPES, folder, writer

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


@compiled
@pytest.mark.parametrize("size", [8, 20, 64])
@pytest.mark.parametrize("count", [1, 3, 70])
def test_kernels_attend_to_bytes_as_to_what_they_mean(size: int, count: int) -> None:
    draw = np.random.default_rng(size)
    keys, values = (draw.standard_normal((2, 2, 300, size), np.float32) for _ in range(2))
    query = draw.standard_normal((count, 4 * size), np.float32)
    begin, counts, rows, lengths = (np.array([each], np.int64) for each in (0, count, 1, 290))
    outs = [np.empty_like(query) for _ in range(2)]
    rest = (4, begin, counts, rows, lengths, 0.3, True, 0, None)
    native.attend_stored(query, encode(keys), encode(values), *rest, outs[0])
    native.attend_stored(query, decode(encode(keys)), decode(encode(values)), *rest, outs[1])
    np.testing.assert_allclose(outs[0], outs[1], atol=1e-5)


@compiled
@pytest.mark.parametrize("wrong", ["mixed", "narrow"])
def test_stores_that_are_none_are_refused(wrong: str) -> None:
    query, one = np.ones((1, 8), np.float32), np.array([1], np.int64)
    keys = np.zeros((1, 1, 5, 4), np.int8) if wrong == "narrow" else allocate((1, 1, 5, 8))
    values = np.zeros((1, 1, 5, 8), np.float32) if wrong == "mixed" else keys
    with pytest.raises(ValueError, match="of one type" if wrong == "mixed" else "numbers and a scale"):
        native.attend_stored(query, keys, values, 1, one * 0, one, one * 0, one, 1.0, False, 0, None, query.copy())


def logits(model: Any, quantized: bool) -> np.ndarray:
    """What a session says at the beginning, after two texts have gone on, and after one has ended."""
    session = Session(model, quantized=quantized)
    prompts = [[5, 6, 7, 8, 9], [7, 3]]
    sources = [[4, 5, 6, 2], [9, 2]] if model.arch.encoder else None
    answers = [session.open(prompts, sources), session.step([3, 4])]
    session.close(0)
    answers.append(session.step([5]))
    return np.concatenate([answer.logits for answer in answers])


@pytest.mark.parametrize("model_type", TYPES)
def test_texts_go_on_as_with_floats(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = writer(model_type, "cpu")
    plain, rounded = logits(model, False), logits(model, True)
    spread = plain - plain.mean(axis=1, keepdims=True)
    assert 0 < np.linalg.norm(rounded - plain) < 0.02 * np.linalg.norm(spread)
    monkeypatch.setattr(attention, "native", None)
    slow = load_model(folder(model_type), model.kind, engine="cpu")
    slow._plan = slow.plan.__class__(**{**vars(slow.plan), "at_once": None})  # type: ignore[attr-defined]
    np.testing.assert_allclose(logits(slow, True), rounded, atol=1e-4)


def test_it_takes_little_memory() -> None:
    model = writer("gpt2", "cpu")
    caches = [model.new_cache(quantized=quantized) for quantized in (False, True)]
    for cache in caches:
        cache.add(2)
        cache.expect(100)
    size = model.arch.head_size
    assert caches[1].nbytes * 4 * size == caches[0].nbytes * (size + 4)


@pytest.mark.parametrize(
    "options", [{}, {"num_beams": 3}, {"do_sample": True, "seed": 1}], ids=["greedy", "beams", "sample"]
)
def test_texts_do_not_depend_on_each_other(options: dict[str, Any]) -> None:
    given = {**options, "max_new_tokens": 9, "cache_implementation": "quantized"}
    model, prompts = writer("gpt2", "cpu"), [[5, 6, 7], [8], [5, 6, 7, 9]]
    texts = [[int(token) for token in text] for text in model.generate(prompts, **given)]
    alone = [int(token) for token in model.generate(prompts[:1], **given)[0]]
    assert texts[0][: len(alone)] == alone
    if not options:
        drafted = model.generate(prompts[:1], **given, prompt_lookup_num_tokens=2)[0]
        assert [int(token) for token in drafted] == alone


def test_pytorch_says_that_it_has_none() -> None:
    with pytest.raises(InputError, match="load the model with engine='cpu'"):
        writer("gpt2", "torch").generate([[5, 6]], max_new_tokens=2, cache_implementation="quantized")
    with pytest.raises(InputError, match='"quantized"'):
        writer("gpt2", "cpu").generate([[5, 6]], max_new_tokens=2, cache_implementation="quantised")
