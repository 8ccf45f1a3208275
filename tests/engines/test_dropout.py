"""Where dropout falls while training, against the reference: as often, at the same rates."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from enfold.auto import load_model
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
