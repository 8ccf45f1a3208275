"""Matrices as bytes with a scale for each row: the small form of an adapter file.

A matrix ``name`` is stored as ``name.int8`` (int8, its shape) and ``name.scale`` (float32, a number per row):
``matrix = int8 * scale[:, None]``. Vectors stay float32. The form is enfold's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.checkpoint.tensors import TensorView

__all__ = ["restored", "rounded"]

_BYTES, _SCALE = ".int8", ".scale"


def rounded(tensors: Mapping[str, NDArray[np.float32]]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Stored names and arrays of tensors."""
    for name, array in tensors.items():
        if array.ndim != 2:
            yield name, array
            continue
        scale = (np.abs(array).max(axis=1, initial=0) / 127).astype(np.float32)
        divisor = np.where(scale > 0, scale, 1)[:, None]
        yield f"{name}{_BYTES}", np.rint(array / divisor).astype(np.int8)
        yield f"{name}{_SCALE}", scale


def restored(views: Mapping[str, TensorView], problems: list[str]) -> dict[str, TensorView]:
    """The tensors of a file, its matrices of bytes as float32; what doesn't fit together is added to ``problems``."""
    found = {name: view for name, view in views.items() if not name.endswith((_BYTES, _SCALE))}
    for name in views:
        stem = name.removesuffix(_BYTES if name.endswith(_BYTES) else _SCALE)
        bits, scale = views.get(f"{stem}{_BYTES}"), views.get(f"{stem}{_SCALE}")
        if name in found:
            continue
        if bits is None or scale is None:
            problems.append(f"incomplete  {stem}: {name} without {_SCALE if scale is None else _BYTES}")
        elif bits.dtype != "int8" or len(bits.shape) != 2 or scale.shape != bits.shape[:1]:
            problems.append(f"misshapen   {stem}: {bits.dtype} {bits.shape} and scales {scale.shape}")
        elif name.endswith(_BYTES):
            values = bits.raw().astype(np.float32) * scale.numpy("float32")[:, None]
            found[stem] = TensorView(stem, "float32", bits.shape, values)
    return found
