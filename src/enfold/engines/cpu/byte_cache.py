"""A cache of bytes: each stored key and value is a head's numbers in eight bits with a scale of its own.

A quarter of the memory, and of what attention reads, for rounding each number to one in 254 of its head's range.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["allocate", "decode", "encode", "floats", "like"]

Floats = NDArray[np.float32]
Bytes = NDArray[np.int8]

_SCALE = 4
"""Bytes of a scale, which stands behind the numbers (``native/kernels.h``)."""
_LEAST = np.float32(1e-36)
"""What is no larger is zero: the inverse of its scale would be infinite."""


def allocate(shape: tuple[int, ...]) -> Bytes:
    """An empty store for keys (…, head_size)."""
    return np.zeros((*shape[:-1], shape[-1] + _SCALE), np.int8)


def encode(keys: Floats) -> Bytes:
    """Keys or values (…, head_size) as (…, head_size + 4); one that has NaN or infinity becomes NaN as a whole."""
    top = np.abs(keys).max(axis=-1, keepdims=True, initial=0)
    fits = np.isfinite(top)
    inverse = np.divide(np.float32(127), top, out=np.zeros_like(top), where=fits & (top > _LEAST))
    whole = np.rint(np.where(fits, keys, np.float32(0)) * inverse).astype(np.int8)
    scale = np.where(fits, top / np.float32(127), np.float32("nan")).astype(np.float32)
    return np.concatenate([whole, scale.view(np.int8)], axis=-1)


def decode(stored: Bytes) -> Floats:
    """What :meth:`encode` was given, rounded: (…, head_size + 4) to (…, head_size)."""
    scale = np.ascontiguousarray(stored[..., -_SCALE:]).view(np.float32)
    numbers: Floats = stored[..., :-_SCALE] * scale
    return numbers


def like(store: NDArray[Any], keys: Floats) -> NDArray[Any]:
    """Keys or values as a store holds them, in bytes or as they are."""
    return encode(keys) if store.dtype == np.int8 else keys


def floats(stored: NDArray[Any]) -> Floats:
    """What a store of either kind holds."""
    return decode(stored) if stored.dtype == np.int8 else stored
