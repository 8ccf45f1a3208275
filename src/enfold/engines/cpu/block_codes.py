"""How numbers become codes of a few bits, and how codes lie in panels; see :mod:`enfold.engines.cpu.blocks`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from enfold.checkpoint.gguf.blocks import _bits, _column, _five_bits, _nibbles, _pairs, _six_bit_scales
from enfold.errors import InputError

__all__ = ["GGUF_CODINGS", "PANEL", "Codes", "Coding", "codes_of_floats", "codes_of_gguf", "pack", "unpack"]

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

PANEL: Final = 16
"""Rows of a panel."""


@dataclass(frozen=True)
class Coding:
    """How a number is written: scale · code + offset, or scale · (code - zero) where there are no offsets.

    Attributes:
        bits: 4: codes 0 to 15, two in a byte. 6: codes 0 to 63, a byte each. 8: signed bytes.
        group: how many numbers along K share a scale. 16 is for 6 bits alone.
        offsets: whether each group has an offset.
        zero: the code of zero.
    """

    bits: Literal[4, 6, 8]
    group: Literal[16, 32] = 32
    offsets: bool = False
    zero: int = 0

    @property
    def code_bytes(self) -> int:
        """Bytes of the codes of a panel's group."""
        return PANEL * self.group * (4 if self.bits == 4 else 8) // 8

    @property
    def block_bytes(self) -> int:
        """Bytes of a panel's group."""
        return self.code_bytes + PANEL * 2 * (1 + self.offsets)


@dataclass(frozen=True, eq=False)
class Codes:
    """Rows of codes: `values` (R, K) of one byte each, `scales` and `offsets` (R, K / group) float16."""

    values: NDArray[Any]
    scales: NDArray[np.float16]
    offsets: NDArray[np.float16] | None = None


def pack(coding: Coding, codes: Codes, panels: Bytes) -> None:
    """Writes codes of 16 · P rows into panels (P, K / group, block_bytes); gemm_blocks.h draws them."""
    count, groups, _ = panels.shape
    fours = codes.values.view(np.uint32)
    words = panels.view(np.uint32)[:, :, : coding.code_bytes // 4]
    if coding.bits == 4:
        halves = fours.reshape(count, 2, PANEL // 2, groups, coding.group // 4)
        fours, width = halves[:, 0] | (halves[:, 1] << np.uint32(4)), PANEL // 2
    else:
        fours, width = fours.reshape(count, PANEL, groups, coding.group // 4), PANEL
    words.reshape(count, groups, coding.group // 4, width)[...] = fours.transpose(0, 2, 3, 1)
    numbers = panels.view(np.float16)[:, :, coding.code_bytes // 2 :]
    numbers[:, :, :PANEL] = codes.scales.reshape(count, PANEL, groups).transpose(0, 2, 1)
    if codes.offsets is not None:
        numbers[:, :, PANEL:] = codes.offsets.reshape(count, PANEL, groups).transpose(0, 2, 1)


def unpack(coding: Coding, panels: Bytes) -> Floats:
    """The numbers of panels (P, K / group, block_bytes) as float32, (16 · P, K)."""
    count, groups, _ = panels.shape
    panels = np.require(panels, requirements="A")
    width = PANEL // 2 if coding.bits == 4 else PANEL
    packed = panels[:, :, : coding.code_bytes].reshape(count, groups, coding.group // 4, width, 4)
    packed = packed.transpose(0, 3, 1, 2, 4)
    if coding.bits == 4:
        packed = np.concatenate([packed & 0x0F, packed >> 4], axis=1)
    elif coding.bits == 8:
        packed = packed.view(np.int8)
    values = packed.astype(np.float32).reshape(count, PANEL, groups, coding.group)
    numbers = panels[:, :, coding.code_bytes :].copy().view(np.float16).astype(np.float32)
    numbers = numbers.reshape(count, groups, 1 + coding.offsets, PANEL).transpose(2, 0, 3, 1)[..., None]
    with np.errstate(invalid="ignore", over="ignore"):  # scales of a damaged file come through as they are
        values -= np.float32(coding.zero)
        values *= numbers[0]
        if coding.offsets:
            values += numbers[1]
    return values.reshape(count * PANEL, groups * coding.group)


def _half(numbers: NDArray[Any]) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        return numbers.astype(np.float16)


Blocks = NDArray[Any]
"""(N,) blocks of a GGUF file, of the structured type that is their layout."""


def _single(blocks: Blocks, values: NDArray[Any]) -> Codes:
    """Blocks of one scale and perhaps a minimum."""
    offsets = blocks["minimum"][:, None] if "minimum" in (blocks.dtype.names or ()) else None
    return Codes(values, blocks["scale"][:, None], offsets)


def _super(blocks: Blocks, values: NDArray[Any]) -> Codes:
    """Blocks of eight groups, whose scales and minima are themselves codes."""
    scales, minima = _six_bit_scales(blocks["scales"])
    return Codes(
        values, _half(_column(blocks["scale"]) * scales), _half(_column(blocks["minimum"]) * -minima.astype("f4"))
    )


def _five_bits_of_k(blocks: Blocks) -> Bytes:
    high = _bits(blocks["high"])
    high <<= 4
    high |= _nibbles(blocks["low"], 4)
    return high


def _six_bits(blocks: Blocks) -> Codes:
    high = _pairs(blocks["high"], 2)
    high <<= 4
    high |= _nibbles(blocks["low"], 2)
    return Codes(high, _half(_column(blocks["scale"]) * blocks["scales"]))


_GGUF: Final[Mapping[str, tuple[Coding, Callable[[Blocks], Codes]]]] = {
    "Q4_0": (Coding(4, zero=8), lambda blocks: _single(blocks, _nibbles(blocks["low"]))),
    "Q4_1": (Coding(4, offsets=True), lambda blocks: _single(blocks, _nibbles(blocks["low"]))),
    "Q5_0": (Coding(6, zero=16), lambda blocks: _single(blocks, _five_bits(blocks))),
    "Q5_1": (Coding(6, offsets=True), lambda blocks: _single(blocks, _five_bits(blocks))),
    "Q8_0": (Coding(8), lambda blocks: _single(blocks, blocks["values"])),
    "Q4_K": (Coding(4, offsets=True), lambda blocks: _super(blocks, _nibbles(blocks["low"], 4))),
    "Q5_K": (Coding(6, offsets=True), lambda blocks: _super(blocks, _five_bits_of_k(blocks))),
    "Q6_K": (Coding(6, group=16, zero=32), _six_bits),
}

GGUF_CODINGS: Final[Mapping[str, Coding]] = {name: coding for name, (coding, _) in _GGUF.items()}
"""The coding of each type of a GGUF file that has one."""


def codes_of_gguf(name: str, blocks: Blocks, rows: int) -> Codes:
    """The codes of the blocks of whole rows: the file's own, with scales to the rounding of float16."""
    coding, read = _GGUF[name]
    codes = read(blocks)
    values = np.ascontiguousarray(codes.values).reshape(rows, -1)
    groups = values.shape[1] // coding.group
    offsets = None if codes.offsets is None else codes.offsets.reshape(rows, groups)
    return Codes(values, codes.scales.reshape(rows, groups), offsets)


def codes_of_floats(coding: Coding, weights: Floats) -> Codes:
    """The codes of (R, K) numbers that come near them by least squares.

    Raises:
        InputError: there are numbers that float16 can't scale.
    """
    if not np.abs(weights).max(initial=0) < 65504:
        raise InputError("the weights hold NaN, infinity or numbers beyond ±65504, which can't be quantized")
    groups = weights.reshape(-1, coding.group)
    shape = (len(weights), -1)
    if coding.bits == 8:
        scales = _half(np.abs(groups).max(axis=1) / 127)
        values = np.rint(groups / _nonzero(scales.astype(np.float32))[:, None])
        return Codes(values.clip(-127, 127).astype(np.int8).reshape(weights.shape), scales.reshape(shape))
    values, scales, offsets = _fit(groups)
    return Codes(values.reshape(weights.shape), scales.reshape(shape), offsets.reshape(shape))


def _nonzero(scales: Floats) -> Floats:
    return np.where(scales == 0, np.float32(1), scales)


_SHRUNK: Final = (1.0, 0.9)
"""How much of a group's range the codes 0 to 15 span at first: what is cut off may cost less than the rest gains."""


def _fit(groups: Floats) -> tuple[Bytes, NDArray[np.float16], NDArray[np.float16]]:
    """Codes of four bits (N, G), scales and offsets (N,) of least squared error, of a few that are tried."""
    columns = np.ascontiguousarray(groups.T)  # (G, N): numpy's inner loops are long
    low, high = columns.min(axis=0), columns.max(axis=0)
    least = np.full(len(groups), np.inf, np.float32)
    scales, offsets = np.zeros((2, len(groups)), np.float16)
    for shrunk in _SHRUNK:
        scale, offset = (high - low) * np.float32(shrunk / 15), low + (high - low) * np.float32((1 - shrunk) / 2)
        for _ in range(4):  # further rounds gain less than 1 % of the error
            scale, offset = _line(_codes(columns, scale, offset), columns, scale, offset)
        halves = _half(scale), _half(offset)
        scale, offset = (number.astype(np.float32) for number in halves)
        rest = _codes(columns, scale, offset)
        rest *= scale
        rest += offset
        rest -= columns
        error = np.einsum("gn,gn->n", rest, rest)
        better = error < least
        for kept, new in ((least, error), (scales, halves[0]), (offsets, halves[1])):
            np.copyto(kept, new, where=better)
    codes = _codes(columns, scales.astype(np.float32), offsets.astype(np.float32))
    return np.ascontiguousarray(codes.T).astype(np.uint8), scales, offsets


def _codes(columns: Floats, scale: Floats, offset: Floats) -> Floats:
    codes = columns - offset
    codes *= 1 / _nonzero(scale)
    np.rint(codes, out=codes)
    return np.clip(codes, 0, 15, out=codes)


def _line(codes: Floats, columns: Floats, scale: Floats, offset: Floats) -> tuple[Floats, Floats]:
    """The line through (code, number) of each group; what was before where all codes are the same."""
    count = np.float32(len(columns))
    centre, mean = codes.sum(axis=0) / count, columns.sum(axis=0) / count
    spread = np.einsum("gn,gn->n", codes, codes) - count * centre * centre  # whole numbers below 2^24: exact
    flat = spread == 0
    slope: Floats = np.einsum("gn,gn->n", codes, columns - mean) / np.where(flat, np.float32(1), spread)
    return np.where(flat, scale, slope), np.where(flat, offset, mean - slope * centre)
