"""The contract of every family and head: both engines give what the reference gives."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from enfold.auto import load_model
from enfold.families import FAMILIES
from enfold.heads import HeadKind
from tests.reference import CASES, REFERENCE_FAMILIES, Reference, make_reference

SEEDS = range(6)
TOLERANCE = 1e-5

every_case = pytest.mark.parametrize(("model_type", "kind"), CASES)
every_seed = pytest.mark.parametrize("seed", SEEDS)


def run(reference: Reference, kind: Any, engine: str, **extra: Any) -> Any:
    model = load_model(reference.folder, kind, engine=engine)
    inputs = reference.inputs if engine == "torch" else {k: v.numpy() for k, v in reference.inputs.items()}
    with torch.no_grad():
        return model(**inputs, **extra)


def on_real_tokens(values: Any, rows: np.ndarray, columns: np.ndarray, *, attention: bool) -> np.ndarray:
    array = np.asarray(values)
    if attention:
        return np.concatenate([a[:, m][:, :, n].reshape(-1) for a, m, n in zip(array, rows, columns, strict=True)])
    return array[rows] if array.shape[:2] == rows.shape else array


def assert_close(ours: Any, theirs: Any, mask: np.ndarray, name: str, *, decodes: bool = False) -> None:
    """``decodes``: the model has an encoder and a decoder, whose tokens are all real, and the mask is the encoder's."""
    assert np.shape(ours) == np.shape(theirs), name
    attention = "attentions" in name
    of_decoder = decodes and not name.startswith("encoder_")
    rows = np.ones(np.shape(theirs)[:: 2 if attention else 1][:2], bool) if of_decoder else mask
    columns = mask if name.startswith("cross") or not of_decoder else rows
    a, b = (on_real_tokens(values, rows, columns, attention=attention) for values in (ours, theirs))
    np.testing.assert_allclose(a, b, atol=TOLERANCE * max(1.0, np.abs(b).max()), rtol=0, err_msg=name)


def assert_same_fields(ours: Any, theirs: Any, reference: Reference) -> None:
    expected = [name for name, value in theirs.items() if value is not None and not (name[0] == "c" and value == ())]
    assert list(ours) == expected
    for name in expected:
        if name == "past_key_values":  # the caches' contents are compared by what follows from them
            continue
        many = isinstance(theirs[name], tuple)
        pairs = zip(ours[name], theirs[name], strict=True) if many else [(ours[name], theirs[name])]
        for index, (a, b) in enumerate(pairs):
            decodes = reference.model.config.is_encoder_decoder
            assert_close(a, b, reference.mask.numpy(), f"{name} {index}", decodes=decodes)


@every_seed
@every_case
def test_both_engines_equal_the_reference(model_type: str, kind: Any, seed: int, tmp_path: Path) -> None:
    reference = make_reference(model_type, kind, seed, tmp_path)
    wanted = {"output_hidden_states": True, "output_attentions": True}
    theirs = reference.outputs(**wanted)
    for engine in ("torch", "cpu"):
        assert_same_fields(run(reference, kind, engine, **wanted), theirs, reference)


@every_case
def test_the_fast_path_equals_the_one_that_shows_attentions(model_type: str, kind: Any, tmp_path: Path) -> None:
    reference = make_reference(model_type, kind, 7, tmp_path)
    theirs = reference.outputs()
    for engine in ("torch", "cpu"):
        assert_same_fields(run(reference, kind, engine), theirs, reference)


@pytest.mark.parametrize("model_type", REFERENCE_FAMILIES)
def test_left_padding_gives_the_same_hidden_states(model_type: str, tmp_path: Path) -> None:
    reference = make_reference(model_type, "base", 11, tmp_path, padding="left")
    theirs, decodes = reference.outputs().last_hidden_state, reference.model.config.is_encoder_decoder
    for engine in ("torch", "cpu"):
        ours = run(reference, "base", engine).last_hidden_state
        assert_close(ours, theirs, reference.mask.numpy(), "last_hidden_state", decodes=decodes)


@pytest.mark.parametrize("tied", [True, False])
@every_case
def test_saved_models_load_in_the_reference(model_type: str, kind: Any, tied: bool, tmp_path: Path) -> None:
    # with nothing tied there is no table for Marian's stacks to share
    own = {"share_encoder_decoder_embeddings": False} if model_type == "marian" and not tied else {}
    reference = make_reference(model_type, kind, 5, tmp_path / "theirs", tie_word_embeddings=tied, **own)
    theirs = reference.outputs()
    for engine in ("torch", "cpu"):
        load_model(reference.folder, kind, engine=engine).save_pretrained(tmp_path / engine)
        model_class = type(reference.model)
        back, report = model_class.from_pretrained(
            tmp_path / engine, output_loading_info=True, attn_implementation="eager"
        )
        assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
        with torch.no_grad():
            again = back(**reference.inputs)
        assert torch.equal(again[0], theirs[0])


@every_case
def test_loading_and_saving_keeps_every_byte(model_type: str, kind: Any, tmp_path: Path) -> None:
    reference = make_reference(model_type, kind, 3, tmp_path / "theirs")
    before = load_file(tmp_path / "theirs" / "model.safetensors")
    for engine in ("torch", "cpu"):
        load_model(reference.folder, kind, engine=engine).save_pretrained(tmp_path / engine)
        after = load_file(tmp_path / engine / "model.safetensors")
        assert sorted(after) == sorted(before)
        assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(("model_type", "kind"), [("gpt2", "causal-lm"), ("t5", "seq2seq-lm"), ("bart", "seq2seq-lm")])
def test_an_output_of_its_own_in_the_file_is_not_tied(model_type: str, kind: Any, tmp_path: Path) -> None:
    reference = make_reference(model_type, kind, 9, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    words = next(tensor for name, tensor in tensors.items() if name.endswith(("wte.weight", "shared.weight")))
    tensors["lm_head.weight"] = torch.randn_like(words)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    again = type(reference.model).from_pretrained(tmp_path, attn_implementation="eager").eval()
    with torch.no_grad():
        theirs = again(**reference.inputs)
    for engine in ("torch", "cpu"):
        assert_same_fields(run(reference, kind, engine), theirs, reference)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_exactly_and_written_back(dtype: torch.dtype, tmp_path: Path) -> None:
    reference = make_reference("bert", "masked-lm", 1, tmp_path / "theirs")
    reference.model.to(dtype).save_pretrained(tmp_path / "theirs")
    before = load_file(tmp_path / "theirs" / "model.safetensors")
    reference.model.float()
    theirs = reference.outputs()
    for engine in ("torch", "cpu"):
        assert_same_fields(run(reference, "masked-lm", engine), theirs, reference)
        load_model(reference.folder, "masked-lm", engine=engine).save_pretrained(tmp_path / engine)
        after = load_file(tmp_path / engine / "model.safetensors")
        assert all(torch.equal(after[name], before[name]) and after[name].dtype == dtype for name in before)


def labels_for(kind: str, reference: Reference) -> dict[str, torch.Tensor]:
    ids, rows = reference.inputs["input_ids"], len(reference.inputs["input_ids"])
    count = reference.model.config.num_labels
    per_token = torch.where(reference.mask, torch.randint(0, 2, reference.mask.shape), torch.tensor(-100))
    match kind:
        case "masked-lm" | "causal-lm":
            return {"labels": torch.where(reference.mask, ids, torch.tensor(-100))}
        case "seq2seq-lm":
            labels = torch.randint(3, reference.model.config.vocab_size, reference.inputs["decoder_input_ids"].shape)
            labels[1:, -1] = -100
            del reference.inputs["decoder_input_ids"]
            return {"labels": labels}
        case "pretraining":
            order = "sop_logits" in [
                branch.field for branch in FAMILIES[reference.model.config.model_type].heads[kind].branches
            ]
            second = "sentence_order_label" if order else "next_sentence_label"
            return {
                "labels": torch.where(reference.mask, ids, torch.tensor(-100)),
                second: torch.randint(0, 2, (rows,)),
            }
        case "token-classification":
            return {"labels": per_token.clamp(max=count - 1)}
        case "discriminator":
            return {"labels": per_token.clamp(min=0)}
        case "sequence-classification" if count == 1:
            return {"labels": torch.randn(rows)}
        case "sequence-classification" | "next-sentence":
            return {"labels": torch.randint(0, 2, (rows,))}
        case "multiple-choice":
            return {"labels": torch.randint(0, ids.shape[1], (rows,))}
        case _:
            return {"start_positions": torch.zeros(rows).long(), "end_positions": torch.tensor([1000, 0, 1, 2])}


@every_case
def test_losses_equal_the_reference(model_type: str, kind: Any, tmp_path: Path) -> None:
    if kind == "base":
        return
    reference = make_reference(model_type, kind, 2, tmp_path)
    if kind == "question-answering":  # the reference counts logits of padding in the sum, enfold does not
        reference.inputs["attention_mask"].fill_(1)
        reference.inputs["input_ids"].clamp_(min=reference.model.config.pad_token_id + 1)
        reference.mask.fill_(True)
    labels = labels_for(kind, reference)
    theirs = reference.outputs(**labels).loss
    assert float(run(reference, kind, "torch", **labels).loss) == pytest.approx(float(theirs), rel=1e-5)
    arrays = {key: value.numpy() for key, value in labels.items()}
    assert float(run(reference, kind, "cpu", **arrays).loss) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize("problem", ["regression", "single_label_classification", "multi_label_classification", None])
@pytest.mark.parametrize("count", [1, 3])
def test_problem_types_are_inferred_like_the_reference(problem: str | None, count: int, tmp_path: Path) -> None:
    if problem == "single_label_classification" and count == 1:
        count = 2
    reference = make_reference("bert", "sequence-classification", 4, tmp_path, num_labels=count, problem_type=problem)
    labels = torch.randint(0, 2, (4,)) if problem == "single_label_classification" else torch.rand(4, count).round()
    theirs = reference.outputs(labels=labels).loss
    for engine in ("torch", "cpu"):
        ours = run(reference, "sequence-classification", engine, labels=labels if engine == "torch" else labels.numpy())
        assert float(ours.loss) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize("model_type", REFERENCE_FAMILIES)
def test_gradients_equal_the_reference(model_type: str, tmp_path: Path) -> None:
    classifies = "sequence-classification" in FAMILIES[model_type].heads
    kind: HeadKind = "sequence-classification" if classifies else "seq2seq-lm"
    reference = make_reference(model_type, kind, 6, tmp_path, num_labels=3)
    ours = load_model(tmp_path, kind, engine="torch")
    labels = {"labels": torch.tensor([0, 2, 1, 1])} if classifies else labels_for(kind, reference)
    reference.model(**reference.inputs, **labels).loss.backward()
    ours(**reference.inputs, **labels).loss.backward()
    theirs = sum(p.grad.square().sum() for p in reference.model.parameters() if p.grad is not None)
    mine = sum(p.grad.square().sum() for p in ours.parameters() if p.grad is not None)
    assert float(mine) == pytest.approx(float(theirs), rel=1e-4)


@pytest.mark.parametrize("model_type", REFERENCE_FAMILIES)
def test_configurations_come_back_as_the_reference_wrote_them(model_type: str, tmp_path: Path) -> None:
    reference = make_reference(model_type, "base", 8, tmp_path / "theirs")
    load_model(reference.folder, "base", engine="cpu").save_pretrained(tmp_path / "ours")
    before = json.loads((tmp_path / "theirs" / "config.json").read_text())
    after = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert {key: after[key] for key in before if before[key] is not None and key != "dtype"} == {
        key: value for key, value in before.items() if value is not None and key != "dtype"
    }
    assert transformers.AutoConfig.from_pretrained(tmp_path / "ours").model_type == model_type
