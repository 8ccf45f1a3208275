"""The loss of a model that is called with padded arguments, and how many labels those have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.training.goals.base import IGNORED, class_losses

__all__ = ["count_labels", "loss_of_outputs"]


def loss_of_outputs(model: TorchModel, outputs: Any, inputs: Mapping[str, Any], smoothing: float) -> Tensor:
    """The model's own loss; with smoothing that of its logits.

    Raises:
        InputError: there were no labels.
    """
    if not (isinstance(outputs, Mapping) and "loss" in outputs):
        raise InputError(
            f"the model gave no loss, with {', '.join(inputs)}: the features need labels, or override compute_loss"
        )
    labels = inputs.get("labels")
    if not smoothing or labels is None:
        loss: Tensor = outputs["loss"]
        return loss
    logits: Tensor = outputs["logits"].float()
    if labels.is_floating_point():
        smoothed = labels * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, smoothed)
    if model.kind == "causal-lm":
        logits, labels = logits[:, :-1], labels[:, 1:]
    losses = class_losses(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), None, smoothing)
    mean: Tensor = losses.sum() / (labels != IGNORED).sum()
    return mean


def count_labels(model: TorchModel, inputs: Mapping[str, Any]) -> int:
    """The labels of a batch that are learnt; its rows where labels are not whole numbers."""
    labels = inputs.get("labels")
    if not isinstance(labels, Tensor) or labels.is_floating_point() or model.kind == "sequence-classification":
        rows = next((len(value) for value in inputs.values() if isinstance(value, Tensor) and value.ndim), 1)
        return rows if not _are_classes(labels) else int((torch.as_tensor(labels) != IGNORED).sum())
    if model.kind == "causal-lm":
        labels = labels[..., 1:]
    return int((labels != IGNORED).sum())


def _are_classes(labels: Any) -> bool:
    return isinstance(labels, Tensor) and labels.ndim == 1 and not labels.is_floating_point()
