"""What is handed to ``generate`` and can't be used is said in one clear error."""

from typing import Any

import pytest
import torch

from enfold.errors import InputError
from tests.generation.models import ENGINES, writer

ids = [[5, 6]]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("given", "arguments", "message"),
    [
        (ids, {"streamer": 3}, "streamer is 3, expected an object with put"),
        (ids, {"logits_processor": 3}, "logits_processor is 3, expected a list"),
        (ids, {"stopping_criteria": 3}, "stopping_criteria is 3, expected a list"),
        (ids, {"logits_processor": [3]}, "3 is no logits processor"),
        (ids, {"assistant_model": 3}, "assistant_model is of type int, expected an enfold model"),
        (ids, {"generation_config": {"a": 1}}, "generation_config is a dict: give its options by name"),
        (ids, {"generation_config": 3}, "generation_config is of type int, expected"),
        (ids, {"prefix_allowed_tokens_fn": 3}, "prefix_allowed_tokens_fn is 3, expected a function"),
        (ids, {"eos_token_id": 10**9}, "outside the model's vocabulary of 61: eos_token_id has 1000000000"),
        (ids, {"regex": "a"}, "regex needs the model's tokenizer as well"),
        ([[5.7, 6]], {}, "input_ids: expected token ids, which are whole numbers, got float"),
        ([[5.0], [6.0, 7.0]], {}, "input_ids: expected token ids"),
        (torch.tensor([[5.0]]), {}, "input_ids: expected token ids"),
        ([["a"]], {}, "got texts: tokenizer"),
        ("a", {}, "got texts: tokenizer"),
        ([], {}, "input_ids: empty, so that"),
        ([[[5]]], {}, r"input_ids: the shape is \(1, 1, 1\), expected \(batch, length\)"),
    ],
)
def test_wrong_arguments(given: Any, arguments: dict[str, Any], message: str, engine: str) -> None:
    with pytest.raises(InputError, match=message):
        writer("gpt2", engine).generate(given, **{"eos_token_id": 60, **arguments})


def test_all_problems_are_listed() -> None:
    with pytest.raises(InputError) as caught:
        writer("gpt2", "cpu").generate(ids, streamer=3, logits_processor=3, generation_config={}, top_k=-1, tempo=2)
    for name in ("streamer", "logits_processor", "generation_config", "top_k", "tempo"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("prompts", "arguments", "message"),
    [
        ([[5]], {"batch_size": 0}, "batch_size is 0, expected a whole number of 1 or more"),
        ([[5]], {"generation_config": {}}, "generation_config is a dict"),
        (["text"], {}, "prompt 0: expected token ids, which are whole numbers, got texts"),
        ([5, 6], {}, "prompt 0 is 5, expected a list of token ids"),
        ([[]], {}, "prompt 0: empty"),
    ],
)
def test_wrong_arguments_of_generate_many(prompts: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(writer("gpt2", "cpu").generate_many(prompts, **arguments))


def test_ids_are_checked_against_what_reads_them() -> None:
    with pytest.raises(InputError, match=r"row 0 of decoder_input_ids has .* this model's decoder knows 0 to 60"):
        writer("bart", "cpu").generate(ids, decoder_input_ids=[[1, 61]])
    with pytest.raises(InputError, match=r"row 0 of input_ids has .* this model's encoder knows 0 to 60"):
        writer("bart", "cpu").generate([[1, 61]])
