"""Quantized blocks: their geometry as data, and their values as float32.

A row of a quantized tensor is a sequence of blocks, each of which holds `size` values in ``layout.itemsize``
bytes: small integers and the numbers that scale them. The layouts are those of ``ggml-common.h`` of the ggml
library; each function below is one formula over all blocks of a chunk, in the order of operations of the format's own
reader, so that the results are equal bit for bit.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["BLOCK_TYPES", "BlockType"]

Blocks = npt.NDArray[Any]
"""(N,) blocks, of the structured type that is their layout."""
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_CHUNK: Final = 1 << 15
"""Values that are worked on at a time: what a formula needs in between stays in the processor's cache."""


@dataclass(frozen=True)
class BlockType:
    """One way to quantize.

    Attributes:
        name: such as ``"Q4_K"``.
        size: values in a block.
        layout: the fields of a block in the file, little-endian; ``layout.itemsize`` is its bytes.
    """

    name: str
    size: int
    layout: np.dtype[Any]
    formula: Callable[[Blocks, Floats], None] = field(repr=False, compare=False)

    @property
    def block_bytes(self) -> int:
        """Bytes of a block."""
        return self.layout.itemsize

    def dequantize(self, raw: Bytes) -> Floats:
        """The values of whole blocks: uint8 of shape ``(*rows, blocks, block_bytes)`` → ``(*rows, blocks * size)``."""
        blocks = np.ascontiguousarray(raw).reshape(-1).view(self.layout)
        out = np.empty((blocks.size, self.size), np.float32)
        step = _CHUNK // self.size
        # A block's scale may be any bits of a float16: NaN and infinity come out as they are, without warnings.
        with np.errstate(invalid="ignore", over="ignore"):
            for start in range(0, blocks.size, step):
                self.formula(blocks[start : start + step], out[start : start + step])
        return out.reshape(*raw.shape[:-2], raw.shape[-2] * self.size)


def _column(numbers: npt.NDArray[Any]) -> Floats:
    """(N,) numbers of blocks as a float32 column, (N, 1)."""
    return numbers.astype(np.float32)[:, None]


def _nibbles(packed: Bytes, groups: int = 1) -> Bytes:
    """(N, bytes) → (N, 2 * bytes): of each of `groups` runs of bytes first the low four bits, then the high four."""
    runs = packed.reshape(len(packed), groups, -1)
    out = np.empty((len(packed), groups, 2, runs.shape[2]), np.uint8)
    np.bitwise_and(runs, 0x0F, out=out[:, :, 0])
    np.right_shift(runs, 4, out=out[:, :, 1])
    return out.reshape(len(packed), -1)


def _pairs(packed: Bytes, groups: int) -> Bytes:
    """(N, bytes) → (N, 4 * bytes): of each of `groups` runs of bytes the lowest two bits, the next two, and so on."""
    runs = packed.reshape(len(packed), groups, -1)
    out = np.empty((len(packed), groups, 4, runs.shape[2]), np.uint8)
    for place in range(4):
        np.right_shift(runs, 2 * place, out=out[:, :, place])
    out &= 0x03
    return out.reshape(len(packed), -1)


def _bits(packed: Bytes) -> Bytes:
    """(N, bytes) → (N, 8 * bytes): the lowest bit of every byte, then the next bit of every byte, and so on."""
    out = np.empty((len(packed), 8, packed.shape[1]), np.uint8)
    for place in range(8):
        np.right_shift(packed, place, out=out[:, place])
    out &= 0x01
    return out.reshape(len(packed), -1)


def _q8_0(blocks: Blocks, out: Floats) -> None:
    out[:] = blocks["values"]
    out *= _column(blocks["scale"])


def _q4_0(blocks: Blocks, out: Floats) -> None:
    out[:] = _nibbles(blocks["low"])
    out -= 8
    out *= _column(blocks["scale"])


def _q4_1(blocks: Blocks, out: Floats) -> None:
    out[:] = _nibbles(blocks["low"])
    out *= _column(blocks["scale"])
    out += _column(blocks["minimum"])


def _five_bits(blocks: Blocks) -> Bytes:
    high = np.unpackbits(blocks["high"], axis=1, bitorder="little")
    high <<= 4
    high |= _nibbles(blocks["low"])
    return high


def _q5_0(blocks: Blocks, out: Floats) -> None:
    out[:] = _five_bits(blocks)
    out -= 16
    out *= _column(blocks["scale"])


def _q5_1(blocks: Blocks, out: Floats) -> None:
    out[:] = _five_bits(blocks)
    out *= _column(blocks["scale"])
    out += _column(blocks["minimum"])


def _scaled(out: Floats, scales: Floats, minima: Floats | None = None) -> None:
    """Multiplies every run of (N, G) equal parts of a block by its scale, and takes its minimum away."""
    parts = out.reshape(*scales.shape, -1)
    parts *= scales[:, :, None]
    if minima is not None:
        parts -= minima[:, :, None]


def _q2_k(blocks: Blocks, out: Floats) -> None:
    out[:] = _pairs(blocks["low"], 2)
    both = blocks["scales"]
    _scaled(out, _column(blocks["scale"]) * (both & 0x0F), _column(blocks["minimum"]) * (both >> 4))


def _q3_k(blocks: Blocks, out: Floats) -> None:
    # The bit says that nothing is taken away: its absence counts four down.
    high = _bits(blocks["high"])
    high <<= 2
    high += _pairs(blocks["low"], 2)
    out[:] = high
    out -= 4
    packed = blocks["scales"]
    scales = _nibbles(packed[:, :8]) | (_pairs(packed[:, 8:], 1) << 4)
    _scaled(out, _column(blocks["scale"]) * (scales.astype(np.float32) - 32))


def _six_bit_scales(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Eight scales and eight minima of six bits from the twelve bytes of a Q4_K or Q5_K block, (N, 8) each.

    Four of either are the low bits of bytes 0-3 and 4-7; the others have four bits in bytes 8-11 and the two high
    ones on top of those.
    """
    first, second, rest = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 0x3F, (rest & 0x0F) | ((first >> 6) << 4)], axis=1)
    minima = np.concatenate([second & 0x3F, (rest >> 4) | ((second >> 6) << 4)], axis=1)
    return scales, minima


def _q4_k(blocks: Blocks, out: Floats) -> None:
    out[:] = _nibbles(blocks["low"], 4)
    scales, minima = _six_bit_scales(blocks["scales"])
    _scaled(out, _column(blocks["scale"]) * scales, _column(blocks["minimum"]) * minima)


def _q5_k(blocks: Blocks, out: Floats) -> None:
    high = _bits(blocks["high"])
    high <<= 4
    high |= _nibbles(blocks["low"], 4)
    out[:] = high
    scales, minima = _six_bit_scales(blocks["scales"])
    _scaled(out, _column(blocks["scale"]) * scales, _column(blocks["minimum"]) * minima)


def _q6_k(blocks: Blocks, out: Floats) -> None:
    high = _pairs(blocks["high"], 2)
    high <<= 4
    high |= _nibbles(blocks["low"], 2)
    out[:] = high
    out -= 32
    _scaled(out, _column(blocks["scale"]) * blocks["scales"])


_CURVE: Final = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
"""The sixteen values of the non-linear types, denser around zero (``kvalues_iq4nl`` of ggml)."""


def _iq4_nl(blocks: Blocks, out: Floats) -> None:
    np.take(_CURVE, _nibbles(blocks["low"]), out=out)
    out *= _column(blocks["scale"])


def _iq4_xs(blocks: Blocks, out: Floats) -> None:
    np.take(_CURVE, _nibbles(blocks["low"], 8), out=out)
    low, high = blocks["scales_low"], blocks["scales_high"]
    places = np.arange(0, 16, 2, dtype=np.uint16)
    low_bits = np.stack([low & 0x0F, low >> 4], axis=2).reshape(len(blocks), 8)
    scales = low_bits | (((high[:, None] >> places) & 3) << 4)
    _scaled(out, _column(blocks["scale"]) * (scales.astype(np.float32) - 32))


def _type(
    name: str, size: int, formula: Callable[[Blocks, Floats], None], *fields: tuple[str, str] | tuple[str, str, int]
) -> BlockType:
    return BlockType(name, size, np.dtype(list(fields)), formula)


_SCALE: Final = ("scale", "<f2")
_MINIMUM: Final = ("minimum", "<f2")

BLOCK_TYPES: Final[dict[int, BlockType]] = {
    2: _type("Q4_0", 32, _q4_0, _SCALE, ("low", "u1", 16)),
    3: _type("Q4_1", 32, _q4_1, _SCALE, _MINIMUM, ("low", "u1", 16)),
    6: _type("Q5_0", 32, _q5_0, _SCALE, ("high", "u1", 4), ("low", "u1", 16)),
    7: _type("Q5_1", 32, _q5_1, _SCALE, _MINIMUM, ("high", "u1", 4), ("low", "u1", 16)),
    8: _type("Q8_0", 32, _q8_0, _SCALE, ("values", "i1", 32)),
    10: _type("Q2_K", 256, _q2_k, ("scales", "u1", 16), ("low", "u1", 64), _SCALE, _MINIMUM),
    11: _type("Q3_K", 256, _q3_k, ("high", "u1", 32), ("low", "u1", 64), ("scales", "u1", 12), _SCALE),
    12: _type("Q4_K", 256, _q4_k, _SCALE, _MINIMUM, ("scales", "u1", 12), ("low", "u1", 128)),
    13: _type("Q5_K", 256, _q5_k, _SCALE, _MINIMUM, ("scales", "u1", 12), ("high", "u1", 32), ("low", "u1", 128)),
    14: _type("Q6_K", 256, _q6_k, ("low", "u1", 128), ("high", "u1", 64), ("scales", "i1", 16), _SCALE),
    20: _type("IQ4_NL", 32, _iq4_nl, _SCALE, ("low", "u1", 16)),
    23: _type("IQ4_XS", 256, _iq4_xs, _SCALE, ("scales_high", "<u2"), ("scales_low", "u1", 4), ("low", "u1", 128)),
}
"""The quantized types that are read, by the number that a file gives them."""
