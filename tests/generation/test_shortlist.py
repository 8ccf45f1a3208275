"""A shortlist writes what forbidding all other tokens writes, and computes only what it lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from enfold.auto import load_model
from enfold.engines.cpu.blocks import BlockMatrix
from enfold.engines.cpu.matrices import ByteMatrix, FloatMatrix
from enfold.errors import InputError
from enfold.generation.config import GenerationConfig
from tests.generation.models import ENGINES, TYPES, folder, writer

LISTED = [31, 7, 8, 9, 12, 13, 20, 21, 22, 40]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model_type", TYPES)
def test_only_listed_tokens_are_written(model_type: str, engine: str) -> None:
    model = writer(model_type, engine)
    ends = model.generation_config.eos_token_ids
    others = [token for token in range(model.arch.vocab_size) if token not in {*LISTED, *ends}]
    given: dict[str, Any] = {"max_new_tokens": 6, "return_dict_in_generate": True, "output_logits": True}
    found = model.generate([[5, 6, 7], [8, 9]], shortlist=LISTED, **given)
    expected = model.generate([[5, 6, 7], [8, 9]], suppress_tokens=others, **given)
    assert np.asarray(found.sequences).tolist() == np.asarray(expected.sequences).tolist()
    for some, every in zip(found.logits, expected.logits, strict=True):
        running = np.asarray(every).any(axis=1)  # after a text's end there are zeros
        some, every = np.asarray(some)[running], np.asarray(every)[running]
        assert (some[:, others] == -np.inf).all()
        np.testing.assert_allclose(some[:, LISTED], every[:, LISTED], atol=1e-5)


MODES: list[dict[str, Any]] = [
    {"num_beams": 3},
    {"do_sample": True, "seed": 3},
    {"guidance_scale": 1.5},
    {"guidance_scale": 0.0},
    {"guidance_scale": -1.0},
    {"remove_invalid_values": True, "num_beams": 2},
    {"prompt_lookup_num_tokens": 2},
    {"penalty_alpha": 0.6, "top_k": 3},
    {"cache_implementation": "quantized", "num_beams": 2},
]


@pytest.mark.parametrize("options", MODES, ids=lambda options: "-".join(map(str, options.items())))
@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_every_mode_and_type_keeps_to_it(dtype: str, options: dict[str, Any]) -> None:
    model = load_model(folder("gpt2"), "causal-lm", engine="cpu", dtype=dtype)
    ends = set(model.generation_config.eos_token_ids) | {model.generation_config.pad_token_id}
    for text in model.generate([[5, 6], [7, 8, 9]], shortlist=LISTED, max_new_tokens=8, **options):
        assert set(np.asarray(text).tolist()) <= {5, 6, 7, 8, 9, *LISTED} | ends


@pytest.mark.parametrize("make", [FloatMatrix, lambda w: ByteMatrix.quantize(w, (3,)), BlockMatrix.quantize])
def test_a_matrix_of_some_rows(make: Any) -> None:
    draw = np.random.default_rng(0)
    matrix, x = make(draw.standard_normal((50, 64), np.float32)), draw.standard_normal((5, 64), np.float32)
    ids = np.array([49, 0, 17, 33, 2] * 5)
    tolerance = 0.05 if isinstance(matrix, BlockMatrix) else 1e-5  # whose shortlist rounds nothing that comes in
    np.testing.assert_allclose(matrix.only(ids).product(x), matrix.product(x)[:, ids], atol=tolerance * 8)
    np.testing.assert_array_equal(matrix.only(ids).rows(np.arange(25)), matrix.rows(ids))


def test_ids_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match="shortlist has 99999"):
        writer("gpt2", "cpu").generate([[5]], shortlist=[4, 99_999], max_new_tokens=2)
    with pytest.raises(InputError, match="shortlist"):
        writer("gpt2", "cpu").generate([[5]], shortlist=[], max_new_tokens=2)
    with pytest.raises(InputError, match="all of shortlist is in suppress_tokens"):
        writer("gpt2", "cpu").generate([[5]], shortlist={7, 8}, suppress_tokens=[7, 8, 9], max_new_tokens=2)
    with pytest.raises(InputError, match="force_words_ids has 30, which shortlist leaves out"):
        writer("gpt2", "cpu").generate([[5]], shortlist=range(8), force_words_ids=[[30]], num_beams=2)


def test_end_tokens_that_the_vocabulary_lacks_do_no_harm() -> None:
    model = writer("gpt2", "cpu")
    own = model.generation_config
    model.generation_config = GenerationConfig.from_dict({"eos_token_id": [999]}).unasked()
    try:
        assert set(np.asarray(model.generate([[5]], shortlist=[7, 8], max_new_tokens=3)[0]).tolist()) <= {5, 7, 8}
    finally:
        model.generation_config = own


def test_what_must_be_written_and_may_not_is_an_error() -> None:
    model = writer("gpt2", "cpu")
    with pytest.raises(InputError, match="the options forbid every token"):
        model.generate([[5]], shortlist=[7, 8], prefix_allowed_tokens_fn=lambda *_: [9], max_new_tokens=3)


def test_what_listens_to_the_head_or_stands_in_its_place_still_does() -> None:
    model = load_model(folder("gpt2"), "causal-lm", engine="torch")
    expected = model.generate([[5, 6]], shortlist=LISTED, max_new_tokens=4)
    heard = []
    head = model.tree.head.get_submodule("0")
    hook = head.output.register_forward_hook(lambda *_: heard.append(1))
    assert model.generate([[5, 6]], shortlist=LISTED, max_new_tokens=4).tolist() == expected.tolist() and heard
    hook.remove()
    head.output = torch.nn.Sequential(head.output)
    assert model.generate([[5, 6]], shortlist=LISTED, max_new_tokens=4).tolist() == expected.tolist()
