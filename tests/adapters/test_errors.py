"""Folders of adapters that can't be used say why, all at once, and nothing in them is executed."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import enfold
from enfold.adapters import LoRA, add_adapter, load_adapter, merge_adapter, save_adapter
from enfold.errors import CheckpointError, ConfigError, InputError, TensorMismatchError, UnsafeFileError
from tests.adapters.support import load, scramble

KIND = "sequence-classification"


def fresh(folder: Path, seed: int = 0, **values: Any) -> Path:
    sizes = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, **values}
    torch.manual_seed(seed)
    enfold.BertForSequenceClassification(enfold.BertConfig(intermediate_size=24, **sizes)).save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    model = load(fresh(tmp_path / "base"), KIND)
    add_adapter(model, LoRA(rank=2))
    scramble(model)
    save_adapter(model, tmp_path / "adapter")
    return tmp_path / "adapter"


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_tensors(folder: Path, change: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]]) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({name: array.copy() for name, array in change(load_file(path)).items()}, path)


def both_ways(folder: Path) -> list[str]:
    """The messages of loading as a model and of loading onto one."""
    messages = []
    model = load(folder.parent / "base", KIND)
    for read in (lambda: load(folder, KIND, engine="cpu"), lambda: load_adapter(model, folder)):
        with pytest.raises(TensorMismatchError) as caught:
            read()
        messages.append(str(caught.value))
    return messages


def test_tensors_that_nobody_needs_and_that_do_not_fit_are_all_listed(adapter: Path) -> None:
    at = "base_model.model.bert.encoder.layer"

    def change(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors[f"{at}.7.attention.self.query.lora_A.weight"] = np.ones((2, 16), np.float32)
        tensors[f"{at}.7.attention.self.query.lora_B.weight"] = np.ones((16, 2), np.float32)
        tensors[f"{at}.0.attention.self.query.lora_A.weight"] = np.ones((2, 15), np.float32)
        return tensors

    change_tensors(adapter, change)
    for message in both_ways(adapter):
        assert "unexpected  bert.encoder.layer.7.attention.self.query" in message
        assert "misshapen   bert.encoder.layer.0.attention.self.query" in message


def test_halves_of_a_change_and_foreign_names_are_all_listed(adapter: Path) -> None:
    at = "base_model.model.bert.encoder.layer"

    def change(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        del tensors[f"{at}.0.attention.self.query.lora_B.weight"]
        tensors[f"{at}.1.attention.self.query.lora_B.weight"] = np.ones((16, 3), np.float32)
        tensors["classifier.weight"] = np.ones((2, 16), np.float32)
        tensors[f"{at}.0.lora_embedding_A"] = np.ones((2, 16), np.float32)
        tensors[f"{at}.0.x.ia3_l"] = np.ones((2, 16), np.float32)
        tensors[f"{at}.0.y.lora_A.weight.int8"] = np.ones((2, 16), np.int8)
        return tensors

    change_tensors(adapter, change)
    for message in both_ways(adapter):
        assert "incomplete  bert.encoder.layer.0.attention.self.query" in message
        assert "misshapen   bert.encoder.layer.1.attention.self.query" in message
        assert "unexpected  classifier.weight" in message
        assert "lora_embedding_A" in message
        assert "x: {'ia3_l': (2, 16)}" in message
        assert "y.lora_A.weight: " in message and "without .scale" in message


def test_a_head_of_another_size_is_an_error(adapter: Path) -> None:
    model = load(adapter.parent / "base", KIND, num_labels=5, new_head=True)
    with pytest.raises(TensorMismatchError, match=r"misshapen   classifier\.weight: \(2, 16\) in the file, \(5, 16\)"):
        load_adapter(model, adapter)
    with pytest.raises(TensorMismatchError, match=r"misshapen .*classifier\.weight"):
        load(adapter, KIND, engine="cpu", num_labels=5)


def test_a_head_of_another_kind_is_an_error(adapter: Path) -> None:
    model = load(adapter.parent / "base", "token-classification")
    with pytest.raises(TensorMismatchError, match="trained for sequence-classification, and the model is for token"):
        load_adapter(model, adapter)
    assert load(adapter, "token-classification", engine="cpu").untrained, "whose classifier it is not"


def test_another_base_of_the_same_size_is_told_by_its_numbers(adapter: Path) -> None:
    other = fresh(adapter.parent / "other", seed=5)
    with pytest.raises(TensorMismatchError, match=r"other base  encoder\.layer\.0\.attention\.self\.query\.weight"):
        load_adapter(load(other, KIND), adapter)
    change_config(adapter, base_model_name_or_path=str(other))
    with pytest.raises(TensorMismatchError, match="has other numbers than where the adapter was trained"):
        load(adapter, KIND, engine="cpu")
    load_adapter(load(other, KIND), adapter, base="any")
    load_adapter(load(adapter.parent / "base", KIND, dtype="bfloat16"), adapter)  # the same, rounded


def test_a_pickle_is_refused_with_advice(adapter: Path, tmp_path: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no adapter_model\.safetensors: is the adapter complete"):
        load(adapter, KIND, engine="cpu")
    torch.save({"x": torch.ones(1)}, adapter / "adapter_model.bin")
    with pytest.raises(UnsafeFileError, match=r"a pickle, which enfold doesn't open.*safe_serialization=True"):
        load(adapter, KIND, engine="cpu")


def test_wrong_settings_are_all_listed(adapter: Path) -> None:
    change_config(
        adapter,
        r="8",
        lora_alpha=-1,
        lora_dropout=2,
        use_dora="yes",
        base_model_name_or_path=["x"],
        alpha_pattern={"(a+)+$": 1},
        init_lora_weights="pissa",
        layer_replication=[[0, 1]],
        use_qalora=True,
    )
    with pytest.raises(ConfigError) as caught:
        load(adapter, KIND, engine="cpu")
    for part in (
        "r is '8', expected a whole number",
        "lora_alpha is -1",
        "lora_dropout is 2",
        "use_dora is 'yes'",
        "base_model_name_or_path is ['x']",
        "alpha_pattern is",
        "init_lora_weights is 'pissa', which changes the base model",
        "layer_replication is",
        "use_qalora is True",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("kind", ["ADALORA", None, 3])
def test_other_kinds_of_adapters_are_refused(adapter: Path, kind: object) -> None:
    change_config(adapter, peft_type=kind)
    with pytest.raises(ConfigError, match=r"peft_type is .*, expected 'LORA' or 'IA3'"):
        load(adapter, KIND, engine="cpu")


def test_damaged_files_are_named(adapter: Path) -> None:
    (adapter / "enfold_adapter.json").write_text('{"base_sample": {"tensor": 3}}')
    with pytest.raises(ConfigError, match=r"enfold_adapter\.json: base_sample is"):
        load(adapter, KIND, engine="cpu")
    (adapter / "adapter_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"adapter_config\.json, the adapter's configuration, isn't valid JSON"):
        load(adapter, KIND, engine="cpu")


def test_a_quantized_base_is_refused(adapter: Path) -> None:
    base = adapter.parent / "base"
    load(base, KIND, engine="cpu", dtype="int8").save_pretrained(adapter.parent / "bytes")
    change_config(adapter, base_model_name_or_path=str(adapter.parent / "bytes"))
    with pytest.raises(CheckpointError, match="is quantized: an adapter is merged before"):
        load(adapter, KIND, engine="cpu")


def test_saving_needs_an_adapter_and_a_base_that_can_be_found(tmp_path: Path) -> None:
    model = load(fresh(tmp_path / "base"), KIND)
    with pytest.raises(InputError, match="has no adapter: add_adapter"):
        save_adapter(model, tmp_path / "adapter")
    add_adapter(model, LoRA())
    with pytest.raises(InputError, match="dtype is 'int4', expected 'float32', 'float16' or 'int8'"):
        save_adapter(model, tmp_path / "adapter", dtype="int4")  # type: ignore[arg-type]
    in_memory = enfold.BertForSequenceClassification(model.config)
    add_adapter(in_memory, LoRA())
    with pytest.raises(InputError, match="base was made in memory"):
        save_adapter(in_memory, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_one_adapter_at_a_time(adapter: Path) -> None:
    model = load(adapter.parent / "base", KIND)
    load_adapter(model, adapter)
    with pytest.raises(InputError, match="base is 'other', expected 'same' or 'any'"):
        load_adapter(model, adapter, base="other")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has an adapter already"):
        load_adapter(model, adapter)


def test_factors_for_the_inputs_of_a_part_of_a_fused_matrix_have_no_form(tmp_path: Path) -> None:
    from enfold.adapters import IA3

    config = enfold.GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    enfold.GPT2LMHeadModel(config).save_pretrained(tmp_path / "base")
    model = load(tmp_path / "base", "causal-lm")
    add_adapter(model, IA3(targets=("query", "value"), feed_forward=("query", "value")))
    with pytest.raises(InputError, match="checkpoints keep 3 of the adapted leaves in one matrix"):
        save_adapter(model, tmp_path / "adapter")
    model = load(tmp_path / "base", "causal-lm")
    add_adapter(model, LoRA(targets="query", also_train="key"))
    with pytest.raises(InputError, match="adapted and leaves that train whole in one"):
        save_adapter(model, tmp_path / "adapter")


def test_a_base_that_changed_since_it_was_loaded_is_not_named(adapter: Path, tmp_path: Path) -> None:
    merged = load(adapter.parent / "base", KIND)
    load_adapter(merged, adapter)
    merge_adapter(merged)
    trained = load(adapter.parent / "base", KIND)
    scramble(trained)
    for model in (merged, trained):
        add_adapter(model, LoRA())
        with pytest.raises(InputError, match=r"is not what lies in .*base: its weights were trained, or another"):
            save_adapter(model, tmp_path / "second")
    save_adapter(merged, tmp_path / "second", base="org/name")
    half = load(adapter.parent / "base", KIND, dtype="bfloat16")
    add_adapter(half, LoRA())
    save_adapter(half, tmp_path / "third")


def test_an_adapter_is_not_written_over_its_own_base(adapter: Path) -> None:
    model = load(adapter, KIND)
    add_adapter(model, LoRA())
    with pytest.raises(InputError, match="is the base of this adapter, and would be lost"):
        save_adapter(model, adapter)
