"""Folders of adapters go both ways between enfold and peft, with the same outputs."""

import json
import random
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from enfold.adapters import IA3, LoRA, load_adapter, merge_adapter, save_adapter
from enfold.adapters.settings import Settings
from enfold.heads import HeadKind
from tests.adapters.support import adapted, answers, load
from tests.reference import Reference, make_reference

MODELS: list[tuple[str, HeadKind]] = [
    ("bert", "sequence-classification"),
    ("bert", "token-classification"),
    ("bert", "base"),
    ("roberta", "sequence-classification"),
    ("gpt2", "causal-lm"),
    ("gpt2", "sequence-classification"),
    ("gpt_neox", "causal-lm"),
    ("llama", "causal-lm"),
    ("llama", "sequence-classification"),
    ("t5", "seq2seq-lm"),
    ("bart", "sequence-classification"),
    ("albert", "token-classification"),
    ("deberta-v2", "question-answering"),
]
SETTINGS: dict[str, Settings] = {
    "lora": LoRA(rank=3, alpha=5),
    "rslora": LoRA(rank=4, alpha=3, use_rslora=True, targets=("query", "*.shrink", "layers.0.attention.output")),
    "all": LoRA(rank=2, targets="all-linear", also_train="norm"),
    "dora": LoRA(rank=2, kind="dora"),
    "dora-all": LoRA(rank=2, kind="dora", targets="all-linear"),
    "ia3": IA3(),
    "ia3-inputs": IA3(targets=("value", "shrink", "output"), feed_forward=("shrink", "output")),
}


USUAL = ("lora", "dora", "ia3")
CASES = [
    (*model, settings)
    for model in MODELS
    for settings in (SETTINGS if model in (("bert", "token-classification"), ("gpt2", "causal-lm")) else USUAL)
]
FEWER = CASES[::2]  # every model


@pytest.mark.parametrize(("model_type", "kind", "settings"), CASES)
def test_peft_reads_what_is_saved(tmp_path: Path, model_type: str, kind: HeadKind, settings: str) -> None:
    reference, model = adapted(tmp_path / "base", model_type, kind, SETTINGS[settings])
    before = answers(reference.model, reference)
    save_adapter(model, tmp_path / "adapter")
    theirs = peft.PeftModel.from_pretrained(reference.model, tmp_path / "adapter").eval()
    ours = answers(model, reference)
    assert not torch.allclose(ours, before, atol=1e-3), "the adapter changes something"
    torch.testing.assert_close(ours, _answers_of_peft(theirs, reference), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("model_type", "kind", "settings"), FEWER)
def test_what_was_saved_comes_back(tmp_path: Path, model_type: str, kind: HeadKind, settings: str) -> None:
    reference, model = adapted(tmp_path / "base", model_type, kind, SETTINGS[settings])
    save_adapter(model, tmp_path / "adapter")
    expected = answers(model, reference)
    again = load(tmp_path / "base", kind)
    load_adapter(again, tmp_path / "adapter")
    torch.testing.assert_close(answers(again, reference), expected, atol=1e-5, rtol=1e-5)
    save_adapter(again, tmp_path / "again")
    for engine in ("torch", "cpu"):
        for folder in ("adapter", "again"):
            whole = load(tmp_path / folder, kind, engine=engine)
            torch.testing.assert_close(answers(whole, reference), expected, atol=1e-5, rtol=1e-5)
    merge_adapter(model)
    torch.testing.assert_close(answers(model, reference), expected, atol=1e-5, rtol=1e-5)


PEFT: list[tuple[str, HeadKind, str, dict[str, Any]]] = [
    ("bert", "sequence-classification", "SEQ_CLS", {"target_modules": ["query", "value"]}),
    ("bert", "token-classification", "TOKEN_CLS", {"target_modules": ["query", "dense"], "bias": "all"}),
    ("bert", "question-answering", "QUESTION_ANS", {"target_modules": ["dense"], "bias": "lora_only"}),
    ("bert", "sequence-classification", "SEQ_CLS", {"target_modules": ["key"], "modules_to_save": ["pooler"]}),
    ("roberta", "sequence-classification", "SEQ_CLS", {"target_modules": ["query"], "use_rslora": True}),
    ("gpt2", "causal-lm", "CAUSAL_LM", {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    ("gpt_neox", "causal-lm", "CAUSAL_LM", {"target_modules": ["query_key_value"]}),
    ("llama", "causal-lm", "CAUSAL_LM", {"target_modules": ["q_proj", "down_proj", "gate_proj"]}),
    ("t5", "seq2seq-lm", "SEQ_2_SEQ_LM", {"target_modules": ["q", "v", "wo"]}),
    (
        "bert",
        "base",
        "FEATURE_EXTRACTION",
        {
            "target_modules": ["query"],
            "rank_pattern": {"layer.0.attention.self.query": 5},
            "alpha_pattern": {"query": 3},
        },
    ),
]


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize(("model_type", "kind", "task", "options"), PEFT)
def test_what_peft_saved_is_read(
    tmp_path: Path, model_type: str, kind: HeadKind, task: str, options: dict[str, Any], use_dora: bool
) -> None:
    reference = make_reference(model_type, kind, 3, tmp_path / "base")
    config = peft.LoraConfig(task_type=task, r=3, lora_alpha=7, use_dora=use_dora, **options)
    _check_reading(tmp_path, reference, config, kind)


@pytest.mark.parametrize(
    ("model_type", "kind", "task", "targets", "feed_forward"),
    [
        ("bert", "sequence-classification", "SEQ_CLS", ["key", "value", "output.dense"], ["output.dense"]),
        ("gpt2", "causal-lm", "CAUSAL_LM", ["c_attn", "mlp.c_proj"], ["mlp.c_proj"]),
        ("gpt2", "causal-lm", "CAUSAL_LM", ["c_attn"], ["c_attn"]),
        ("t5", "seq2seq-lm", "SEQ_2_SEQ_LM", ["k", "v", "wo"], ["wo"]),
    ],
)
def test_what_peft_saved_of_ia3_is_read(
    tmp_path: Path, model_type: str, kind: HeadKind, task: str, targets: list[str], feed_forward: list[str]
) -> None:
    reference = make_reference(model_type, kind, 4, tmp_path / "base")
    turned = model_type == "gpt2"
    config = peft.IA3Config(
        task_type=task, target_modules=targets, feedforward_modules=feed_forward, fan_in_fan_out=turned
    )
    _check_reading(tmp_path, reference, config, kind)


def _answers_of_peft(model: peft.PeftModel, reference: Reference) -> torch.Tensor:
    """Of the model inside: some of peft's wrappers leave token types out."""
    return answers(model.get_base_model(), reference)


def _check_reading(tmp_path: Path, reference: Reference, config: Any, kind: HeadKind) -> None:
    reference.model.name_or_path = str(tmp_path / "base")
    theirs = peft.get_peft_model(reference.model, config).eval()
    draw = torch.Generator().manual_seed(random.Random(kind).randint(0, 99))
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=draw))
    theirs.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    assert not (tmp_path / "adapter" / "config.json").exists()
    expected = _answers_of_peft(theirs, reference)
    for engine in ("torch", "cpu"):
        whole = load(tmp_path / "adapter", kind, engine=engine)
        torch.testing.assert_close(answers(whole, reference), expected, atol=1e-5, rtol=1e-5)
        assert not whole.untrained
    model = load(tmp_path / "base", kind)
    for trainable in (True, False):
        model = load(tmp_path / "base", kind)
        count = load_adapter(model, tmp_path / "adapter", trainable=trainable)
        assert (count.trainable > 0) == trainable
        torch.testing.assert_close(answers(model, reference), expected, atol=1e-5, rtol=1e-5)


def test_the_fused_matrix_of_gpt2_gets_the_sum_of_the_ranks(tmp_path: Path) -> None:
    _, model = adapted(tmp_path / "base", "gpt2", "causal-lm", LoRA(rank=3, alpha=12))
    save_adapter(model, tmp_path / "adapter")
    values = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (values["target_modules"], values["r"], values["lora_alpha"]) == (["c_attn"], 6, 24)
    assert values["fan_in_fan_out"] is True
