"""Logits to scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["sigmoid", "softmax"]

Floats = NDArray[np.float32]


def softmax(logits: Floats) -> Floats:
    """Probabilities over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return result


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + e⁻ˣ), by tanh so that nothing overflows."""
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return result
