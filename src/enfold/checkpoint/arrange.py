"""Between a tensor of ours and the stored one that it is a part of; see :class:`enfold.families.base.Stored`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.families.base import Stored

__all__ = ["assemble_stored", "stored_shape", "take"]

Array = NDArray[Any]
Shape = tuple[int, ...]


def stored_shape(stored: Stored, shape: Shape) -> Shape:
    """The shape that the stored tensor has, when ours has ``shape``."""
    whole = (shape[0] * stored.parts, *shape[1:])
    if stored.row:
        return (1, *whole)
    return whole[::-1] if stored.transposed else whole


def take(array: Array, stored: Stored, heads: int) -> Array:
    """Our tensor of a stored one, as a view where its arrangement allows.

    Args:
        array: the stored tensor.
        stored: how it is arranged.
        heads: attention heads, between which parts may alternate.
    """
    if stored.row:
        first: Array = array[0]
        return first
    if stored.transposed:
        array = array.T
    if stored.parts == 1:
        return array
    if stored.by_head:
        alternating = array.reshape(heads, stored.parts, -1, *array.shape[1:])
        return alternating[:, stored.part].reshape(-1, *array.shape[1:])
    size = len(array) // stored.parts
    return array[stored.part * size : (stored.part + 1) * size]


def assemble_stored(parts: Mapping[int, Array], stored: Stored, heads: int) -> Array:
    """The stored tensor of ours, the inverse of :func:`take`.

    Args:
        parts: our tensors by their number.
        stored: how any of them is arranged.
        heads: attention heads.
    """
    ordered = [parts[index] for index in sorted(parts)]
    if stored.row:
        return ordered[0][None]
    if stored.by_head:
        by_head = [part.reshape(heads, 1, -1, *part.shape[1:]) for part in ordered]
        array = np.concatenate(by_head, axis=1).reshape(-1, *ordered[0].shape[1:])
    else:
        array = np.concatenate(ordered) if len(ordered) > 1 else ordered[0]
    return np.ascontiguousarray(array.T) if stored.transposed else array
