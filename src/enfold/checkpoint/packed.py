"""Matrices of a few bits in a checkpoint.

A matrix that an engine computes with in a packed form is stored in that form, as several arrays of one file: their
names say which tensors it stands for, by our names, and which part of it each array is. Tensors that nothing but such
matrices needs are not stored besides. The configuration's ``quantization_config`` says how the model computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from enfold.checkpoint.tensors import TensorView
from enfold.config import Config
from enfold.errors import ConfigError, CorruptFileError

__all__ = ["METHOD", "PackedMatrices", "is_packed", "quantization_of", "read_packed", "stored_names"]

PackedMatrices = Mapping[tuple[str, ...], Mapping[str, NDArray[Any]]]
"""Our names of the tensors that stand below each other in a matrix → the matrix's arrays by part."""

METHOD = "enfold"
"""``quant_method`` of what is stored so."""
_PREFIX = "packed:"


def is_packed(name: str) -> bool:
    """Whether a stored array is part of a packed matrix."""
    return name.startswith(_PREFIX)


def stored_names(matrices: PackedMatrices) -> dict[str, NDArray[Any]]:
    """Stored name → array."""
    return {
        f"{_PREFIX}{'+'.join(tensors)}:{part}": array
        for tensors, parts in matrices.items()
        for part, array in parts.items()
    }


def read_packed(weights: Mapping[str, TensorView]) -> dict[tuple[str, ...], dict[str, NDArray[Any]]]:
    """The packed matrices of a checkpoint; their arrays lie in the mapped file.

    Raises:
        CorruptFileError: a name that says nothing.
    """
    found: dict[tuple[str, ...], dict[str, NDArray[Any]]] = {}
    for name, view in weights.items():
        if not is_packed(name):
            continue
        tensors, _, part = name.removeprefix(_PREFIX).rpartition(":")
        if not tensors or not part:
            raise CorruptFileError(f"{name!r} does not say which part of which matrix it is. Quantize the model again")
        found.setdefault(tuple(tensors.split("+")), {})[part] = view.raw()
    return found


def quantization_of(config: Config) -> str | None:
    """How a checkpoint of packed matrices computes; None for another one.

    Raises:
        ConfigError: another library's quantization.
    """
    given = config.get("quantization_config")
    if not given:
        return None
    method = given.get("quant_method") if isinstance(given, Mapping) else given
    if method != METHOD:
        raise ConfigError(
            f"the checkpoint is quantized by {method!r}, which enfold doesn't read. "
            "Take the model as it was before, and enfold quantize or dtype='int8'"
        )
    return str(given.get("compute"))
