"""Tables of positions that formulas fill: sinusoids that are added to words, angles that turn queries and keys."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.arch import Rotary, RotaryScaling, SinusoidalPositions

__all__ = ["depends_on_length", "rotary_frequencies", "rotary_table", "sinusoidal_table"]

Floats = NDArray[np.float32]


def sinusoidal_table(positions: SinusoidalPositions, width: int) -> Floats:
    """(rows, width): sines in the first half, cosines in the second; the padding id's row is zero."""
    half = (width + 1) // 2
    places = np.arange(positions.rows, dtype=np.float64)[:, None]
    if positions.last_frequency == "included":
        half = width // 2
        angles = places * np.exp(np.arange(half) * -(math.log(10000) / (half - 1)))
        table = np.concatenate([np.sin(angles), np.cos(angles), np.zeros((positions.rows, width % 2))], axis=1)
    else:
        angles = places / 10000 ** (2 * np.arange(half) / width)
        table = np.concatenate([np.sin(angles), np.cos(angles[:, : width - half])], axis=1)
    if positions.counted_from is not None:
        table[positions.counted_from] = 0
    return table.astype(np.float32)


def depends_on_length(rotary: Rotary) -> bool:
    """Whether frequencies change with the length of the sequence."""
    return rotary.scaling is not None and rotary.scaling.kind in ("dynamic", "longrope")


@lru_cache(maxsize=64)
def rotary_frequencies(rotary: Rotary, length: int, max_length: int) -> Floats:
    """(size / 2,) radians per position, as float32, for a sequence of ``length`` tokens.

    Args:
        rotary: its base and scaling.
        length: tokens so far; only ``dynamic`` and ``longrope`` ask.
        max_length: tokens that the model is made for.
    """
    size, scaling, base = rotary.size, rotary.scaling, rotary.base
    if scaling and scaling.kind == "dynamic" and length > max_length:
        stretch = scaling.factor * length / max_length - (scaling.factor - 1)
        base *= stretch ** (size / (size - 2))
    exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    frequencies = np.asarray(np.float32(1.0) / np.power(np.float32(base), exponents), np.float32)
    return frequencies if scaling is None else np.asarray(_scaled(frequencies, rotary, scaling, length), np.float32)


def _scaled(frequencies: Floats, rotary: Rotary, scaling: RotaryScaling, length: int) -> Any:
    match scaling.kind:
        case "linear":
            return frequencies / np.float32(scaling.factor)
        case "yarn":
            return _yarn(frequencies, rotary, scaling)
        case "llama3":
            return _llama3(frequencies, scaling)
        case "longrope":
            factors = scaling.long if length > scaling.original_length else scaling.short
            return frequencies / np.asarray(factors, np.float32)
        case "dynamic":
            return frequencies


def _yarn(frequencies: Floats, rotary: Rotary, scaling: RotaryScaling) -> Any:
    """Section 3.2 of https://arxiv.org/abs/2309.00071: frequencies of few turns are divided, of many turns kept."""
    size = rotary.size

    def index_of(turns: float) -> float:
        return size * math.log(scaling.original_length / (turns * 2 * math.pi)) / (2 * math.log(rotary.base))

    low, high = index_of(scaling.beta_fast), index_of(scaling.beta_slow)
    if scaling.whole_turns:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    high += 0.001 if low == high else 0
    divided = np.clip((np.arange(size // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
    return frequencies / np.float32(scaling.factor) * divided + frequencies * (1 - divided)


def _llama3(frequencies: Floats, scaling: RotaryScaling) -> Any:
    """Llama 3.1: long waves are divided by the factor, short ones kept, those between blended."""
    waves = np.float32(2 * math.pi) / frequencies
    longest, shortest = scaling.original_length / scaling.low, scaling.original_length / scaling.high
    kept = (scaling.original_length / waves - scaling.low) / (scaling.high - scaling.low)
    blended = (1 - kept) * frequencies / np.float32(scaling.factor) + kept * frequencies
    scaled = np.where(waves > longest, frequencies / np.float32(scaling.factor), frequencies)
    return np.where((waves <= longest) & (waves >= shortest), blended, scaled)


def rotary_table(rotary: Rotary, positions: NDArray[np.int64], length: int, max_length: int) -> tuple[Floats, Floats]:
    """Cosines and sines (N, size) of positions (N,), each angle twice; the sines of the first half are negative.

    With them a turn is ``x * cosines + swapped(x) * sines``, where ``swapped`` exchanges the halves of ``x``.
    """
    angles = positions.astype(np.float32)[:, None] * rotary_frequencies(rotary, length, max_length)
    factor = np.float32(rotary.scaling.attention_factor if rotary.scaling else 1.0)
    cosines, sines = np.cos(angles) * factor, np.sin(angles) * factor
    return np.concatenate([cosines, cosines], axis=1), np.concatenate([-sines, sines], axis=1)
