"""What callers ask to see: the reference's fields, in its order and shapes, with its values."""

from typing import Any

import numpy as np
import pytest
import torch

from enfold.errors import InputError
from tests.generation.golden.weights import prompts
from tests.generation.models import ENGINES, TYPES, reference, writer

KEPT = ("output_scores", "output_logits", "output_attentions", "output_hidden_states")
SHOWN: dict[str, Any] = {**dict.fromkeys(KEPT, True), "return_dict_in_generate": True}


def padded_inputs(model_type: str) -> dict[str, torch.Tensor]:
    """Three prompts, padded where the reference wants it."""
    rows = prompts(8, rows=3, longest=9)
    ids, mask = torch.zeros(3, 9, dtype=torch.long), torch.zeros(3, 9, dtype=torch.long)
    for index, row in enumerate(rows):
        span = slice(9 - len(row), 9) if model_type in ("gpt2", "llama") else slice(0, len(row))
        ids[index, span], mask[index, span] = torch.tensor(row), 1
    return {"input_ids": ids, "attention_mask": mask}


def leaves(value: Any) -> list[Any]:
    """The arrays in nested tuples."""
    return [leaf for each in value for leaf in leaves(each)] if isinstance(value, tuple) else [value]


def structure(value: Any) -> Any:
    """Nested tuples with shapes in the place of arrays."""
    return tuple(structure(each) for each in value) if isinstance(value, tuple) else tuple(value.shape)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model_type", TYPES)
def test_fields_equal_the_reference(model_type: str, engine: str) -> None:
    inputs = padded_inputs(model_type)
    theirs = reference(model_type).generate(**inputs, max_new_tokens=6, min_new_tokens=6, **SHOWN)
    given = inputs if engine == "torch" else {name: value.numpy() for name, value in inputs.items()}
    ours = writer(model_type, engine).generate(**given, max_new_tokens=6, min_new_tokens=6, **SHOWN)
    assert list(ours) == [name for name in theirs if name != "past_key_values"]
    real = inputs["attention_mask"].bool().numpy()
    for name in ours:
        assert structure(ours[name]) == structure(theirs[name]), name
        for mine, its in zip(leaves(ours[name]), leaves(theirs[name]), strict=True):
            assert isinstance(mine, torch.Tensor if engine == "torch" else np.ndarray), name
            mine, its = np.asarray(mine), its.detach().numpy().copy()
            if mine.shape[-2:] == (9, 24) and mine.ndim == 3:  # states of the prompt: padding has none
                mine, its = mine[real], its[real]
            elif mine.shape[-2:] == (9, 9) and mine.ndim == 4:
                rows = np.broadcast_to(real[:, None, :], mine.shape[:-1])
                mine, its = mine[rows], its[rows]
            np.testing.assert_allclose(mine, its, atol=2e-4, err_msg=name)


@pytest.mark.parametrize("model_type", TYPES)
def test_finished_rows_are_padded_as_in_the_reference(model_type: str) -> None:
    inputs = padded_inputs(model_type)
    plain = reference(model_type).generate(**inputs, max_new_tokens=8, min_new_tokens=8)
    ends = {"eos_token_id": int(plain[0, -6])}
    theirs = reference(model_type).generate(**inputs, max_new_tokens=8, **ends, **SHOWN)
    ours = writer(model_type, "torch").generate(**inputs, max_new_tokens=8, **ends, **SHOWN)
    torch.testing.assert_close(ours.sequences, theirs.sequences)
    name = "hidden_states" if model_type in ("gpt2", "llama") else "decoder_hidden_states"
    for mine, its in zip(ours[name][1:], theirs[name][1:], strict=True):
        for states, expected in zip(mine, its, strict=True):
            torch.testing.assert_close(states, expected, atol=2e-4, rtol=0)
    assert [tuple(step.shape) for step in ours.scores] == [tuple(step.shape) for step in theirs.scores]


@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": True, "seed": 1, "num_return_sequences": 2},
        {"num_beams": 2, "num_return_sequences": 2},
        {"penalty_alpha": 0.5, "top_k": 3},
        {"prompt_lookup_num_tokens": 3},
    ],
    ids=["sample", "beam", "contrastive", "drafts"],
)
def test_every_way_of_choosing_is_shown(model_type: str, options: dict[str, Any]) -> None:
    model = writer(model_type, "cpu")
    rows = prompts(8, rows=3, longest=9)
    ours = model.generate(rows, max_new_tokens=5, min_new_tokens=5, **options, **SHOWN)
    count = len(ours.sequences)
    decoder = "decoder_" if model.arch.encoder else ""
    begin = 1 if model.arch.encoder else 9
    states, attentions = ours[f"{decoder}hidden_states"], ours[f"{decoder}attentions"]
    assert [step[0].shape for step in states] == [(count, begin, 24), *[(count, 1, 24)] * 4]
    assert [step[0].shape[2:] for step in attentions] == [(begin, begin), *[(1, begin + 1 + step) for step in range(4)]]
    if model.arch.encoder:
        assert ours.encoder_hidden_states[0].shape == (3, 9, 24)
        assert [step[0].shape[2:] for step in ours.cross_attentions] == [(1, 9)] * 5
    # the state of the last token read says the last token written
    last = model.generate(ours.sequences[:1, :-1], max_new_tokens=1, **SHOWN) if not model.arch.encoder else None
    if last is not None:
        np.testing.assert_allclose(last.hidden_states[0][-1][0, -1], states[-1][-1][0, 0], atol=1e-4)


def test_decoder_prompts_of_different_lengths_are_not_shown() -> None:
    options: dict[str, Any] = {"decoder_input_ids": [[5], [6, 7]], "max_new_tokens": 3}
    model = writer("bart", "cpu")
    assert model.generate([[5], [6]], **options).shape[0] == 2
    with pytest.raises(InputError, match="these have 2, 3 tokens"):
        model.generate([[5], [6]], **options, **SHOWN)


def test_only_what_was_asked_for() -> None:
    model = writer("gpt2", "cpu")
    options: dict[str, Any] = {"return_dict_in_generate": True, "max_new_tokens": 3}
    assert list(model.generate([[5, 6]], **options)) == ["sequences"]
    assert list(model.generate([[5, 6]], output_hidden_states=True, **options)) == ["sequences", "hidden_states"]
    assert list(model.generate([[5, 6]], output_attentions=True, **options)) == ["sequences", "attentions"]


def test_a_training_model_is_shown_without_dropout_and_gradients() -> None:
    from enfold.auto import load_model
    from tests.generation.models import folder

    model: Any = load_model(folder("gpt2"), "causal-lm", engine="torch")
    expected = model.generate([[5, 6, 7]], max_new_tokens=4, **SHOWN)
    model.train()
    output = model.generate([[5, 6, 7]], max_new_tokens=4, **SHOWN)
    torch.testing.assert_close(output.hidden_states, expected.hidden_states)
    assert model.training and not output.hidden_states[0][0].requires_grad


def test_padding_is_an_end_token_where_there_is_none() -> None:
    ends = [2, *range(3, 30)]
    written = writer("gpt2", "cpu").generate([[5, 6], [7, 8, 9]], pad_token_id=-1, eos_token_id=ends, max_new_tokens=9)
    assert (np.asarray(written) >= 0).all()


def test_decoder_prompts_are_one_for_each_input() -> None:
    for starts in ([[2, 5]], [[2, 5]] * 3):
        with pytest.raises(InputError, match=rf"decoder_input_ids have {len(starts)} rows for 2 inputs"):
            writer("bart", "cpu").generate([[5, 6], [7, 8]], decoder_input_ids=starts)
