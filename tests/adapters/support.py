"""Small random models with adapters whose numbers are not the initial ones."""

from pathlib import Path
from typing import Any

import torch

import enfold
from enfold.adapters import IA3, LoRA, add_adapter
from enfold.heads import HeadKind
from enfold.model import PreTrainedModel
from tests.reference import Reference, make_reference

AUTO: dict[HeadKind, str] = {
    "sequence-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "causal-lm": "AutoModelForCausalLM",
    "seq2seq-lm": "AutoModelForSeq2SeqLM",
    "base": "AutoModel",
}


def load(folder: Path, kind: HeadKind, **options: Any) -> Any:
    """A folder's model with a head."""
    return getattr(enfold, AUTO[kind]).from_pretrained(folder, **options)


def scramble(model: Any, seed: int = 0) -> None:
    """Random numbers for all that trains."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=draw))


def adapted(
    folder: Path, model_type: str, kind: HeadKind, settings: LoRA | IA3, seed: int = 0
) -> tuple[Reference, Any]:
    """A reference model in ``folder``, and ours of it with a trained adapter."""
    reference = make_reference(model_type, kind, seed, folder)
    model = load(folder, kind)
    add_adapter(model, settings)
    scramble(model, seed)
    return reference, model


def answers(model: Any, reference: Reference) -> torch.Tensor:
    """The first output for the reference's inputs, zero at padding."""
    with torch.no_grad():
        inputs = reference.inputs
        if isinstance(model, PreTrainedModel) and model.engine == "cpu":
            inputs = {name: tensor.numpy() for name, tensor in inputs.items()}  # type: ignore[misc]
        given = model(**inputs)
    logits = torch.as_tensor(given["logits"] if "logits" in given else given[0])
    if logits.shape[:2] == reference.mask.shape and "decoder_input_ids" not in inputs:
        logits = logits * reference.mask.view(*reference.mask.shape, *(1 for _ in logits.shape[2:]))
    return logits
