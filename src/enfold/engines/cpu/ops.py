"""The adapter's array operations in numpy; see :class:`enfold.adapter.Ops`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError

Array = NDArray[Any]


def integers(values: Any, name: str) -> Array:
    try:
        array = np.asarray(values)
    except ValueError as cause:
        raise InputError(f"{name} have rows of different lengths: call the tokenizer with padding=True") from cause
    if array.dtype.kind not in "iub" and not (array.dtype.kind == "f" and np.array_equal(array, np.trunc(array))):
        raise InputError(f"{name} are {array.dtype}, expected whole numbers")
    return array.astype(np.int64, copy=False)


def from_numpy(values: Array) -> Array:
    return values


def mask(values: Any, ids: Array) -> Array:
    if values is None:
        return np.ones(ids.shape, bool)
    array = np.asarray(values)
    if array.shape != ids.shape:
        raise InputError(f"attention_mask has the shape {array.shape}, expected the ids' {ids.shape}")
    real: Array = array != 0
    return real


def zeros_like(ids: Array) -> Array:
    return np.zeros(ids.shape, np.int64)


def lengths(mask: Array) -> list[int]:
    counts: list[int] = mask.sum(axis=1).tolist()
    return counts


def lowest(values: Array) -> float:
    return float(np.finfo(values.dtype).min)


def rows(mask: Array) -> Array:
    return np.arange(len(mask))


def starts(lengths: list[int], like: Array) -> Array:
    return np.concatenate([[0], np.cumsum(lengths)])


def scatter(flat: Array, mask: Array, fill: float) -> Array:
    padded = np.full((*mask.shape, *flat.shape[1:]), fill, flat.dtype)
    padded[mask] = flat
    return padded


def pad_attentions(rows: list[Array], mask: Array, key_mask: Array) -> Array:
    padded = np.zeros((len(mask), len(rows[0]), mask.shape[1], key_mask.shape[1]), np.float32)
    for index, probabilities in enumerate(rows):
        real, keys = np.flatnonzero(mask[index]), np.flatnonzero(key_mask[index])
        padded[index][:, real[:, None], keys] = probabilities
    return padded


def cross_entropy(logits: Array, labels: Array) -> np.floating[Any]:
    kept = labels != -100
    rows, chosen = logits[kept], labels[kept]
    top = rows.max(axis=1, keepdims=True) if len(rows) else rows
    log_sum = np.log(np.exp(rows - top).sum(axis=1)) + top[:, 0] if len(rows) else np.zeros(0)
    losses = log_sum - rows[np.arange(len(rows)), chosen]
    return np.float32(losses.mean()) if len(rows) else np.float32("nan")


def squared_error(logits: Array, labels: Array) -> np.floating[Any]:
    difference = logits.squeeze() - np.asarray(labels, np.float32).squeeze()
    return np.float32(np.mean(difference * difference))


def binary_cross_entropy(logits: Array, labels: Array) -> np.floating[Any]:
    targets = np.asarray(labels, np.float32)
    if targets.shape != logits.shape:
        raise InputError(f"labels have the shape {targets.shape}, expected the logits' {logits.shape}")
    return np.float32(np.mean(np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))))


def is_floating(labels: Any) -> bool:
    return np.asarray(labels).dtype.kind == "f"


def bounds(values: Array) -> tuple[int, int]:
    return int(values.min()), int(values.max())
