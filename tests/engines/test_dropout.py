"""Where dropout falls while training, against the reference: as often, at the same rates."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from enfold.auto import load_model
from enfold.engines.torch.dropout import dropout
from tests.reference import make_reference


def rates(model: Any, inputs: dict, monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Rates above zero with which a forward pass in training drops hidden states."""
    seen: Counter = Counter()
    original = functional.dropout

    def counted(values: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
        if training and p:
            seen[round(p, 3)] += 1
        return original(values, p, training, inplace)

    with monkeypatch.context() as patch:
        patch.setattr(functional, "dropout", counted)
        model.train()
        model(**inputs, output_attentions=True)
    return seen


@pytest.mark.parametrize("model_type", ["bert", "roberta", "electra", "mpnet"])
def test_dropout_falls_as_in_the_reference(model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"hidden_dropout_prob": 0.11, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.13}
    if model_type == "mpnet":  # its configuration has no such key
        del settings["classifier_dropout"]
    reference = make_reference(model_type, "sequence-classification", 0, tmp_path, **settings)
    ours = rates(load_model(tmp_path, "sequence-classification"), reference.inputs, monkeypatch)
    assert ours == rates(reference.model, reference.inputs, monkeypatch)


def test_distilbert_and_albert_drop_once_a_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for model_type, settings in {
        "distilbert": {"dropout": 0.11, "attention_dropout": 0.0, "seq_classif_dropout": 0.13},
        "albert": {"hidden_dropout_prob": 0.11, "attention_probs_dropout_prob": 0.0, "classifier_dropout_prob": 0.13},
    }.items():
        folder = tmp_path / model_type
        reference = make_reference(model_type, "sequence-classification", 0, folder, **settings)
        ours = rates(load_model(folder, "sequence-classification"), reference.inputs, monkeypatch)
        assert ours == rates(reference.model, reference.inputs, monkeypatch), model_type


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_as_much_is_dropped_as_asked_for(rate: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ones = torch.ones(1003, 997, dtype=dtype, requires_grad=True)
    dropped = dropout(ones, rate)
    count = ones.numel()
    spread = (rate * (1 - rate) / count) ** 0.5
    assert abs(float((dropped == 0).float().mean()) - rate) < 5 * spread
    assert dropped.dtype is dtype and float(dropped.detach().float().mean()) == pytest.approx(1, abs=0.02)
    assert float(dropped.detach().max()) == pytest.approx(1 / (1 - rate), rel=0.01)
    dropped.sum().backward()
    assert ones.grad is not None and torch.equal(ones.grad, dropped.detach())
    flat = (dropped.detach() == 0).float().view(-1) - rate
    for apart in (1, 2, 3, 4, 997):  # neighbours come of one random number
        assert abs(float((flat[apart:] * flat[:-apart]).mean())) < 5 * rate * (1 - rate) / count**0.5
    torch.manual_seed(0)
    assert torch.equal(dropout(ones.detach(), rate), dropped.detach())
