"""A tensor of a checkpoint, before any engine owns it: stored bits and what they mean.

Readers (`safetensors`, `torch_file`) produce `TensorView`; writers take float32 arrays through `narrow`.
numpy has no bfloat16, so its bits travel as uint16: a bfloat16 is the upper half of a float32.
"""

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from enfold.errors import InputError

if TYPE_CHECKING:
    from enfold.checkpoint.gguf.blocks import BlockType

__all__ = [
    "DTYPES",
    "MAX_DIMENSIONS",
    "MAX_ELEMENTS",
    "DType",
    "StoredDType",
    "TensorView",
    "item_size",
    "narrow",
    "storage_dtype",
]

DType = Literal[
    "float32", "float16", "float64", "int64", "int32", "int16", "int8",
    "uint64", "uint32", "uint16", "uint8", "bool",
]  # fmt: skip
"""The element types that numpy knows."""

StoredDType = Literal[DType, "bfloat16"]
"""The element types that a checkpoint may hold."""

_STORAGE: Final[dict[str, np.dtype[Any]]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "float64": np.dtype("<f8"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint64": np.dtype("<u8"),
    "uint32": np.dtype("<u4"),
    "uint16": np.dtype("<u2"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("?"),
}

DTYPES: Final = tuple(_STORAGE)
MAX_DIMENSIONS: Final = 64
"""What numpy can hold."""
MAX_ELEMENTS: Final = 2**60
"""More than any memory has: a shape beyond it is damage."""

_FLOATS: Final = ("float64", "float32", "float16", "bfloat16")


def storage_dtype(dtype: StoredDType) -> np.dtype[Any]:
    """The little-endian numpy type that holds the stored bits: uint16 for bfloat16."""
    return _STORAGE[dtype]


def item_size(dtype: StoredDType) -> int:
    """Bytes per element."""
    return _STORAGE[dtype].itemsize


@dataclass(frozen=True, eq=False)
class TensorView:
    """One stored tensor: its name, element type and shape, and its values when asked for.

    The bits usually lie in a memory-mapped file, so holding a view costs no memory and arrays that share
    them are read-only. They may be strided or unaligned there; arrays given out are neither.
    """

    name: str
    dtype: StoredDType
    shape: tuple[int, ...]
    bits: npt.NDArray[Any] = field(repr=False)

    @property
    def nbytes(self) -> int:
        """Size as stored, in bytes."""
        return self.bits.nbytes

    def raw(self) -> npt.NDArray[Any]:
        """The stored bits as an array of `shape`, uint16 for bfloat16; copied only to mend layout."""
        return np.require(self.bits, requirements=("C", "A"))

    def blocks_by_row(self) -> "tuple[npt.NDArray[np.uint8], BlockType] | None":
        """The quantized blocks (N, K / size, bytes of a block) that hold a matrix, and their type; None without any.

        Rows are the matrix's, or its columns where it is stored transposed; see `is_transposed`.
        """
        return None

    @property
    def is_transposed(self) -> bool:
        """Whether what is stored is the transpose of `shape`."""
        return False

    def numpy(self, dtype: DType = "float32") -> npt.NDArray[Any]:
        """The values as `dtype`; shares the stored bits where that is the stored type, else a new array.

        bfloat16 widens exactly to float32.
        """
        if self.dtype == "bfloat16":
            widened = _widen(self.bits)
            return widened if dtype == "float32" else widened.astype(dtype)
        if self.dtype == dtype and sys.byteorder == "little":
            return self.raw()
        return self.bits.astype(dtype, order="C")


def _widen(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """bfloat16 bits as float32 values: sixteen zero bits below each."""
    out = np.empty(bits.shape, np.uint32)
    np.left_shift(bits, 16, out=out, dtype=np.uint32)
    return out.view(np.float32)


def narrow(array: npt.NDArray[Any], dtype: StoredDType) -> npt.NDArray[Any]:
    """The bits to store for `array` as `dtype`: little-endian, C order, uint16 for bfloat16.

    float32 → bfloat16 rounds to nearest, ties to even; NaN stays NaN, and a value that was widened from
    bfloat16 or float16 comes back bit for bit. Integers and booleans are stored as they are.

    Raises:
        InputError: finite values that overflow `dtype`, or a change of kind (float to integer or back).
    """
    if array.dtype.name == dtype:
        return np.asarray(array, _STORAGE[dtype], order="C")
    if array.dtype.kind != "f" or dtype not in _FLOATS:
        raise InputError(
            f"an array of {array.dtype.name} can't be stored as {dtype}; expected {array.dtype.name}, "
            "or floats on both sides"
        )
    with np.errstate(over="ignore"):
        result = _round_to_bfloat16(array) if dtype == "bfloat16" else array.astype(_STORAGE[dtype])
    infinite = (result & 0x7FFF) == 0x7F80 if dtype == "bfloat16" else np.isinf(result)
    overflowed = np.isfinite(array) & infinite
    if overflowed.any():
        raise InputError(
            f"{int(overflowed.sum())} values are too large for {dtype}, the largest "
            f"{float(np.abs(array[overflowed]).max()):.3g}; store the tensor as float32 or bfloat16"
        )
    return np.asarray(result, order="C")


def _round_to_bfloat16(array: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    bits = np.asarray(array, np.float32, order="C").view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16
    # Rounding could carry a NaN's payload away; the quiet bit keeps it one.
    quiet = (bits >> 16) | np.uint32(0x40)
    return np.where(np.isnan(array), quiet, rounded).astype("<u2")
