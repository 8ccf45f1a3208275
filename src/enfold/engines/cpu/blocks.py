"""Matrices of a few bits a number, in groups with a scale each: computed with as they are, never grown to float32.

One storage serves GGUF files and our own quantization: sixteen rows side by side as a panel, group after group (drawn
in native/gemm_blocks.h), so that a product reads memory strictly in order. The other side of a product is rounded to
signed bytes, in the same groups, as it comes. The twin in numpy does the same arithmetic, a few panels at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.arch import Activation
from enfold.checkpoint.gguf.blocks import BlockType
from enfold.engines.cpu.block_codes import (
    GGUF_CODINGS,
    PANEL,
    Codes,
    Coding,
    codes_of_floats,
    codes_of_gguf,
    pack,
    unpack,
)
from enfold.engines.cpu.kernels import ACTIVATION_NUMBERS, ACTIVATIONS
from enfold.engines.cpu.matrices import FloatMatrix
from enfold.engines.cpu.native_module import empty, native
from enfold.errors import CorruptFileError, InputError
from enfold.threads import in_parallel

__all__ = ["BlockMatrix"]

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

_CHUNK = 1 << 18
"""Numbers that are packed or unpacked at a time, to within a panel."""


def _panels_at_once(columns: int) -> int:
    return max(1, _CHUNK // (PANEL * max(1, columns)))


@dataclass(frozen=True, eq=False)
class BlockMatrix:
    """W of the `shape` (N, K): `panels` (ceil(N / 16), K / group, bytes of a block) of `count` rows."""

    panels: Bytes
    count: int
    coding: Coding
    shape: tuple[int, int] = field(init=False)
    handle: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        coding = self.coding
        object.__setattr__(self, "shape", (self.count, self.panels.shape[1] * coding.group))
        if native is not None:
            parts = (self.count, coding.bits, coding.group, coding.offsets, coding.zero)
            object.__setattr__(self, "handle", native.Blocks(self.panels, *parts))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.panels, self.count, self.coding)

    @classmethod
    def quantize(cls, weights: Floats, bits: int = 4) -> BlockMatrix:
        """Rounds (N, K) numbers to codes of 4 bits with offsets, or of 8 bits, in groups of 32.

        Raises:
            InputError: another type, shape or number of bits, or weights that float16 can't scale.
        """
        if weights.dtype != np.float32 or weights.ndim != 2 or weights.shape[1] % 32 or bits not in (4, 8):
            raise InputError(
                f"{bits} bits of {weights.dtype} weights of the shape {weights.shape}; "
                "expected 4 or 8 bits of float32 (N, K) with K a multiple of 32. Keep this matrix in another type"
            )
        coding = Coding(4, offsets=True) if bits == 4 else Coding(8)
        rows, columns = weights.shape
        return cls._packed(rows, columns, coding, lambda begin, end: codes_of_floats(coding, weights[begin:end]))

    @classmethod
    def from_gguf(cls, raw: Bytes, blocks: BlockType) -> BlockMatrix:
        """The matrix of a GGUF file's blocks, uint8 (N, blocks of a row, block_bytes), code for code.

        Scales that the file itself keeps as codes (Q4_K, Q5_K, Q6_K) are rounded to float16; all else is exact.

        Raises:
            InputError: a type that isn't computed with, or another shape.
        """
        if blocks.name not in GGUF_CODINGS:
            known = ", ".join(GGUF_CODINGS)
            raise InputError(f"{blocks.name} is not computed with as it is, only {known}: dequantize this matrix")
        if raw.dtype != np.uint8 or raw.ndim != 3 or raw.shape[2] != blocks.block_bytes:
            raise InputError(
                f"{raw.dtype} of the shape {raw.shape}; expected {blocks.name} "
                f"as uint8 (N, blocks, {blocks.block_bytes})"
            )

        def read(begin: int, end: int) -> Codes:
            rows = np.ascontiguousarray(raw[begin:end]).reshape(-1).view(blocks.layout)
            return codes_of_gguf(blocks.name, rows, end - begin)

        return cls._packed(len(raw), raw.shape[1] * blocks.size, GGUF_CODINGS[blocks.name], read)

    @classmethod
    def _packed(cls, rows: int, columns: int, coding: Coding, read: Callable[[int, int], Codes]) -> BlockMatrix:
        """Packs the codes that `read` gives of rows from one to another, some panels at a time."""
        count = -(-rows // PANEL)
        panels = _aligned((count, columns // coding.group, coding.block_bytes))

        step = _panels_at_once(columns)

        def part(first: int, last: int) -> None:
            for begin in range(first, last, step):
                end = min(begin + step, last)
                codes = read(begin * PANEL, min(end * PANEL, rows))
                pack(coding, _whole(codes, (end - begin) * PANEL), panels[begin:end])

        in_parallel(part, count, grain=step)
        return cls(panels, rows, coding)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> BlockMatrix:
        """The matrix that :meth:`tensors` took apart; the panels may lie in a mapped file.

        Raises:
            CorruptFileError: these are not its arrays.
        """
        try:
            panels, numbers = tensors["panels"], tensors["coding"].tolist()
            count, bits, group, offsets, zero = numbers
            coding = Coding(bits, group, bool(offsets), zero)
            known = (bits, group) in ((4, 32), (6, 16), (6, 32), (8, 32)) and 0 <= zero < 64 and count >= 0
            whole = panels.dtype == np.uint8 and panels.flags.c_contiguous and panels.ndim == 3
            if known and whole and (panels.shape[0], panels.shape[2]) == (-(-count // PANEL), coding.block_bytes):
                return cls(panels, count, coding)
            found = f"{panels.dtype} panels {panels.shape} of the coding {numbers}"
        except (KeyError, TypeError, ValueError, AttributeError):
            found = f"the arrays {sorted(tensors)}"
        raise CorruptFileError(f"not a matrix in blocks: {found}. Quantize the model again")

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The arrays to be saved: the panels as they are, and what is needed to read them."""
        coding = self.coding
        numbers = [self.count, coding.bits, coding.group, coding.offsets, coding.zero]
        return {"panels": self.panels, "coding": np.array(numbers, np.int64)}

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.panels.nbytes

    def product(
        self, x: Floats, bias: Floats | None = None, activation: Activation | None = None, gate: Floats | None = None
    ) -> Floats:
        """activation(x Wᵀ + bias) · gate: x (M, K), bias (N,), gate (M, N) → (M, N).

        x counts to 1/127 of the largest number of its group. A row with NaN or infinity becomes NaN.

        Raises:
            InputError: another type or shape.
        """
        size, width = self.shape
        rows = x.shape[:1]
        if (
            (x.dtype != np.float32 or x.shape != (*rows, width))
            or (bias is not None and (bias.dtype != np.float32 or bias.shape != (size,)))
            or (gate is not None and (gate.dtype != np.float32 or gate.shape != (*rows, size)))
        ):
            given = (f"{array.dtype} {array.shape}" if array is not None else "None" for array in (x, bias, gate))
            raise InputError(
                f"x, bias and gate are {', '.join(given)}; expected float32 (M, {width}), ({size},) and (M, {size})"
            )
        out = empty(rows[0], size)
        if not out.size:
            return out
        if native is None or self.handle is None:
            return self._numpy_product(x, bias, activation, gate, out)
        bias, gate = bias if bias is None else _behaved(bias), gate if gate is None else _behaved(gate)
        native.gemm_blocks(_behaved(x), self.handle, bias, ACTIVATION_NUMBERS[activation], gate, out)
        return out

    def _numpy_product(
        self, x: Floats, bias: Floats | None, activation: Activation | None, gate: Floats | None, out: Floats
    ) -> Floats:
        rounded = _rounded(x, self.coding.group)
        step = _panels_at_once(self.shape[1])
        with np.errstate(invalid="ignore", over="ignore"):
            for begin in range(0, len(self.panels), step):
                columns = slice(begin * PANEL, min((begin + step) * PANEL, self.count))
                weights = unpack(self.coding, self.panels[begin : begin + step])
                out[:, columns] = rounded @ weights[: columns.stop - columns.start].T
            if bias is not None:
                out += bias
            if activation is not None:
                ACTIVATIONS[activation](out)
            if gate is not None:
                out *= gate
        return out

    def only(self, ids: NDArray[np.int64]) -> FloatMatrix:
        """The matrix of these rows (T,) of W, as float32."""
        return FloatMatrix(self.rows(ids))

    def rows(self, ids: NDArray[np.int64]) -> Floats:
        """Rows of W by their numbers: (T,) → (T, K).

        Raises:
            InputError: ids that are no rows.
        """
        if ids.dtype != np.int64 or ids.ndim != 1:
            raise InputError(f"ids are {ids.dtype} of the shape {ids.shape}; expected int64 (T,)")
        if len(ids) and not (ids.min() >= 0 and ids.max() < self.count):
            raise InputError(f"ids are from {ids.min()} to {ids.max()}; expected 0 to {self.count - 1}")
        out = empty(len(ids), self.shape[1])
        if native is not None and self.handle is not None:
            native.block_rows(self.handle, _behaved(ids), out)
            return out
        step = _panels_at_once(self.shape[1])
        for begin in range(0, len(ids), step):
            chosen = ids[begin : begin + step]
            grown = unpack(self.coding, self.panels[chosen // PANEL]).reshape(len(chosen), PANEL, self.shape[1])
            out[begin : begin + step] = grown[np.arange(len(chosen)), chosen % PANEL]
        return out


def _aligned(shape: tuple[int, int, int]) -> Bytes:
    """An array that begins where a line of the processor's cache does: vectors of two lines cost twice."""
    size = shape[0] * shape[1] * shape[2]
    memory = np.empty(size + 64, np.uint8)
    begin = -memory.ctypes.data % 64
    return memory[begin : begin + size].reshape(shape)


def _behaved(array: NDArray[Any]) -> NDArray[Any]:
    """The array as kernels read it: itself, or a copy where its numbers are apart or not aligned."""
    return array if array.flags.c_contiguous and array.flags.aligned else array.copy()


def _whole(codes: Codes, rows: int) -> Codes:
    """Codes with rows of zeros after them, so that there are `rows`."""
    missing = rows - len(codes.values)
    if not missing:
        return codes

    def longer(array: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([array, np.zeros((missing, array.shape[1]), array.dtype)])

    return Codes(longer(codes.values), longer(codes.scales), None if codes.offsets is None else longer(codes.offsets))


def _rounded(x: Floats, group: int) -> Floats:
    """x as products see it: multiples of 1/127 of the largest number of each group, or NaN where that is no number."""
    groups = x.reshape(len(x), x.shape[1] // group, group)
    peak = np.abs(groups).max(axis=2, keepdims=True)
    usable = (peak > np.float32(1e-30)) & np.isfinite(peak)
    with np.errstate(all="ignore"):
        inverse = np.where(usable, np.float32(127) / peak, np.float32(0))
        step = np.where(usable, peak / np.float32(127), np.where(np.isfinite(peak), np.float32(0), np.float32("nan")))
        codes = np.where(usable, np.rint(groups * inverse), np.float32(0))
        rounded: Floats = (codes * step).reshape(x.shape)
    return rounded
