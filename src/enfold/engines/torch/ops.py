"""The adapter's array operations in PyTorch; see :class:`enfold.adapter.Ops`."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from enfold.errors import InputError


def integers(values: Any, name: str) -> Tensor:
    try:
        tensor = values if isinstance(values, Tensor) else torch.as_tensor(values)
    except (ValueError, TypeError) as cause:
        raise InputError(
            f"{name} can't be made a tensor ({cause}): call the tokenizer with padding=True, return_tensors='pt'"
        ) from cause
    if tensor.is_floating_point() and not torch.equal(tensor, tensor.trunc()):
        raise InputError(f"{name} are {tensor.dtype}, expected whole numbers")
    return tensor.long()


def from_numpy(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(values)


def mask(values: Any, ids: Tensor) -> Tensor:
    if values is None:
        return torch.ones(ids.shape, dtype=torch.bool, device=ids.device)
    tensor = torch.as_tensor(values, device=ids.device)
    if tensor.shape != ids.shape:
        raise InputError(f"attention_mask has the shape {tuple(tensor.shape)}, expected the ids' {tuple(ids.shape)}")
    return tensor != 0


def zeros_like(ids: Tensor) -> Tensor:
    return torch.zeros(ids.shape, dtype=torch.long, device=ids.device)


def lengths(mask: Tensor) -> list[int]:
    return mask.sum(dim=1).tolist()


def lowest(values: Tensor) -> float:
    return torch.finfo(values.dtype).min


def rows(mask: Tensor) -> Tensor:
    return torch.arange(len(mask), device=mask.device)


def starts(lengths: list[int], like: Tensor) -> Tensor:
    return torch.tensor([0, *lengths], device=like.device).cumsum(0)


def scatter(flat: Tensor, mask: Tensor, fill: float) -> Tensor:
    if bool(mask.all()):
        return flat.reshape(*mask.shape, *flat.shape[1:])
    padded = flat.new_full((*mask.shape, *flat.shape[1:]), fill)
    return padded.masked_scatter(mask.view(*mask.shape, *[1] * (flat.ndim - 1)), flat)


def pad_attentions(rows: list[Tensor], mask: Tensor, key_mask: Tensor) -> Tensor:
    batch, length = mask.shape
    padded = rows[0].new_zeros(batch, len(rows[0]), length, key_mask.shape[1])
    for index, probabilities in enumerate(rows):
        real, keys = mask[index].nonzero()[:, 0], key_mask[index].nonzero()[:, 0]
        padded[index, :, real[:, None], keys] = probabilities
    return padded


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits, labels, ignore_index=-100)


def squared_error(logits: Tensor, labels: Any) -> Tensor:
    return functional.mse_loss(logits.squeeze(), torch.as_tensor(labels).to(logits).squeeze())


def binary_cross_entropy(logits: Tensor, labels: Any) -> Tensor:
    targets = torch.as_tensor(labels).to(logits)
    if targets.shape != logits.shape:
        raise InputError(f"labels have the shape {tuple(targets.shape)}, expected the logits' {tuple(logits.shape)}")
    return functional.binary_cross_entropy_with_logits(logits, targets)


def is_floating(labels: Any) -> bool:
    return torch.as_tensor(labels).is_floating_point()


def bounds(values: Tensor) -> tuple[int, int]:
    low, high = torch.aminmax(values)
    return int(low), int(high)
