"""A real model from a GGUF file: the reference's numbers, and its texts."""

from functools import cache
from typing import Any

import numpy as np
import torch
import transformers

import enfold
from enfold.generation.config import GenerationConfig
from enfold.model import PreTrainedModel
from tests.checkpoint.gguf.make import reference
from tests.support import smollm2

PROMPTS = ("The capital of France is", "def fibonacci(n):\n", "Once upon a time, in a small village,")


@cache
def theirs() -> Any:
    """The reference's model of the file's values, dequantized once."""
    (file,) = smollm2().glob("*.gguf")
    stored = reference(file)
    config = transformers.AutoConfig.for_model(**stored["config"])
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM._from_config(config, dtype=torch.float32)
    tensors = {name: torch.as_tensor(array).float() for name, array in stored["tensors"].items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False, assign=True)
    assert missing == ["lm_head.weight"] and not unexpected
    model.tie_weights()
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model.eval()


@cache
def ours() -> PreTrainedModel:
    model: PreTrainedModel = enfold.AutoModelForCausalLM.from_pretrained(smollm2(), engine="cpu")
    return model


@cache
def prompts() -> list[list[int]]:
    tokenizer = enfold.Tokenizer.from_pretrained(smollm2())
    return [tokenizer(text)["input_ids"] for text in PROMPTS]


def test_logits_equal_the_reference() -> None:
    for prompt in prompts():
        with torch.no_grad():
            expected = theirs()(torch.tensor([prompt])).logits.numpy()
        np.testing.assert_allclose(ours().forward(input_ids=[prompt]).logits, expected, atol=1e-3, rtol=0)


def test_greedy_texts_equal_the_reference() -> None:
    written = ours().generate(prompts(), max_new_tokens=20, do_sample=False)
    for row, prompt in zip(written.tolist(), prompts(), strict=True):
        expected = theirs().generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False)[0].tolist()
        assert row[: len(expected)] == expected


def test_drafts_from_the_prompt_change_nothing() -> None:
    plain = ours().generate(prompts()[1:2], max_new_tokens=20, do_sample=False)
    drafted = ours().generate(prompts()[1:2], max_new_tokens=20, do_sample=False, prompt_lookup_num_tokens=4)
    np.testing.assert_array_equal(drafted, plain)


def test_options_stand_in_the_file() -> None:
    (file,) = smollm2().glob("*.gguf")
    for source in (smollm2(), file):
        config = GenerationConfig.from_pretrained(source)
        assert config == ours().generation_config
        assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, 2)
    assert enfold.AutoModelForCausalLM.from_pretrained(file, engine="cpu").generation_config == config
