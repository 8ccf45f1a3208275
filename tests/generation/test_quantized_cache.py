"""What is written with a cache of bytes is nearly what is written with one of floats."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from enfold.auto import load_model
from enfold.engines.cpu import attention
from enfold.errors import InputError
from enfold.generation.config import GenerationConfig
from enfold.generation.session import Session
from tests.generation.models import TYPES, folder, writer


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
    slow._plan = replace(slow.plan, at_once=None)  # type: ignore[attr-defined]
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
    config = GenerationConfig.from_dict({"cache_implementation": "quantized", "max_new_tokens": 2}).unasked()
    model = writer("gpt2", "torch")
    model.generation_config, own = config, model.generation_config
    try:
        assert model.generate([[5, 6]], max_new_tokens=2).shape == (1, 4)  # a file's word, and nobody's wish
    finally:
        model.generation_config = own
    GenerationConfig.from_dict({"cache_implementation": "mamba"})
    with pytest.raises(InputError, match='"quantized"'):
        writer("gpt2", "cpu").generate([[5, 6]], max_new_tokens=2, cache_implementation="quantised")
