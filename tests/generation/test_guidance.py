"""Classifier-free guidance: the reference's scores."""

from typing import Any

import numpy as np
import pytest
import torch

from enfold.errors import InputError
from tests.generation.models import ENGINES, reference, writer

PROMPTS = torch.tensor([[5, 9, 30, 12, 41], [7, 8, 9, 10, 11]])
NEGATIVES = torch.tensor([[20, 21, 22], [33, 34, 35]])
KEPT: dict[str, Any] = {"output_scores": True, "output_logits": True, "return_dict_in_generate": True}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
@pytest.mark.parametrize("scale", [0.5, 1.7, 4.0])
@pytest.mark.parametrize("negative", [False, True])
def test_equals_the_reference(model_type: str, engine: str, scale: float, negative: bool) -> None:
    given = {"negative_prompt_ids": NEGATIVES} if negative else {}
    options = {"max_new_tokens": 8, "min_new_tokens": 8, "guidance_scale": scale, "repetition_penalty": 1.2, **KEPT}
    theirs = reference(model_type).generate(PROMPTS, **given, **options)
    ours = writer(model_type, engine).generate(PROMPTS.tolist(), **{k: v.tolist() for k, v in given.items()}, **options)
    np.testing.assert_array_equal(np.asarray(ours.sequences), theirs.sequences)
    for name in ("scores", "logits"):
        for mine, its in zip(ours[name], theirs[name], strict=True):
            np.testing.assert_allclose(np.asarray(mine), its, atol=2e-4)


def test_goes_with_every_way_of_choosing() -> None:
    model = writer("llama", "cpu")
    options: dict[str, Any] = {"guidance_scale": 2.0, "max_new_tokens": 10}
    prompts, negatives = PROMPTS.tolist(), NEGATIVES.tolist()
    plain = model.generate(prompts, negative_prompt_ids=negatives, **options)
    drafted = model.generate(prompts, negative_prompt_ids=negatives, prompt_lookup_num_tokens=3, **options)
    np.testing.assert_array_equal(plain, drafted)
    for way in ({"num_beams": 3}, {"penalty_alpha": 0.6, "top_k": 3}, {"do_sample": True, "num_return_sequences": 2}):
        together = model.generate(prompts, negative_prompt_ids=negatives, seed=1, **way, **options)
        guided = model.generate(prompts[:1], negative_prompt_ids=negatives[:1], seed=1, **way, **options)
        copies = way.get("num_return_sequences", 1)
        np.testing.assert_array_equal(together[:copies, : guided.shape[1]], guided)
        assert not np.array_equal(guided, model.generate(prompts[:1], seed=1, max_new_tokens=10, **way))


def test_each_text_has_its_own_negative_prompt() -> None:
    model = writer("llama", "cpu")
    given = [[5, 9, 30, 12, 41], [7, 8], [9, 10, 11]]
    negatives = [[20], [21, 22], [23, 24, 25]]
    options: dict[str, Any] = {"guidance_scale": 3.0, "max_new_tokens": 8, "min_new_tokens": 8}
    together = model.generate(given, negative_prompt_ids=negatives, **options).tolist()
    for row, prompt, negative in zip(together, given, negatives, strict=True):
        alone = model.generate([prompt], negative_prompt_ids=[negative], **options)[0].tolist()
        assert row[: len(alone)] == alone


def test_texts_may_come_and_go() -> None:
    model = writer("llama", "cpu")
    prompts = PROMPTS.tolist() * 2
    options: dict[str, Any] = {"guidance_scale": 2.0, "max_new_tokens": 10}
    found = dict(model.generate_many(prompts, batch_size=2, **options))
    for index, prompt in enumerate(prompts):
        assert found[index][0].tokens == model.generate([prompt], **options)[0].tolist()


@pytest.mark.parametrize(
    ("model_type", "options", "message"),
    [
        ("gpt2", {"negative_prompt_ids": [[3]]}, "no effect without guidance"),
        ("gpt2", {"negative_prompt_ids": [[3]] * 3, "guidance_scale": 2}, "3 negative prompts for 2 prompts"),
        (
            "gpt2",
            {"negative_prompt_ids": [[3] * 60] * 2, "guidance_scale": 2},
            "60 tokens and the new ones are 80, and this model reads 64",
        ),
        ("bart", {"guidance_scale": 2}, "guidance_scale is for decoder-only models"),
    ],
)
def test_what_does_not_fit_is_refused(model_type: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        writer(model_type, "cpu").generate(PROMPTS.tolist(), **options)
