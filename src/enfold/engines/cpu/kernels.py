"""Elementwise arithmetic of the CPU engine in numpy, float32, in blocks that stay in the processor's cache.

numpy has no error function. ``gelu`` uses ``erf(x / √2) = tanh(x · P(x²))`` with a polynomial fitted by weighted least
squares: numpy's tanh is vectorised, so this is also fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from enfold.arch import Activation
from enfold.threads import in_parallel

__all__ = ["ACTIVATIONS", "ACTIVATION_NUMBERS", "gelu", "gelu_tanh", "layer_norm", "rms_norm", "softmax"]

Floats = NDArray[np.float32]

_GELU = tuple(
    np.float32(c)
    for c in (
        1.8056723907422068e-09,
        -1.3344908900473467e-07,
        3.969156568349675e-06,
        -5.524053880483004e-05,
        -3.3128556124203165e-05,
        3.633428123099687e-02,
        7.978842171820906e-01,
    )
)
"""tanh(x · P(x²)) = erf(x / √2) for |x| ≤ 6, where both are ±1 in float32; largest error of gelu 6e-7."""

_BLOCK = (
    1 << 17
)  # floats: 512 kB. Smaller blocks are in a nearer cache, but hand over the interpreter's lock more often


def _blockwise(function: Callable[[Floats, Floats], None]) -> Callable[[Floats], Floats]:
    """Runs an in-place function(values, scratch) over a contiguous array in blocks that stay in cache."""

    def run(values: Floats) -> Floats:
        flat = values.reshape(-1)

        def part(begin: int, end: int) -> None:
            scratch = np.empty(min(_BLOCK, end - begin), np.float32)
            with np.errstate(over="ignore", invalid="ignore"):  # infinities and NaN pass through as in any engine
                for at in range(begin, end, _BLOCK):
                    block = flat[at : min(at + _BLOCK, end)]
                    function(block, scratch[: block.size])

        in_parallel(part, flat.size, grain=_BLOCK)
        return values

    run.__doc__ = function.__doc__
    return run


@_blockwise
def gelu(values: Floats, scratch: Floats) -> None:
    """x · Φ(x), in place (https://arxiv.org/abs/1606.08415)."""
    square = np.minimum(np.multiply(values, values, out=scratch), np.float32(36.0), out=scratch)
    phi = square * _GELU[0]
    for coefficient in _GELU[1:-1]:
        phi += coefficient
        phi *= square
    phi += _GELU[-1]
    phi *= values
    _halve_gate(values, phi)


@_blockwise
def gelu_tanh(values: Floats, scratch: Floats) -> None:
    """0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))), in place."""
    np.multiply(values, values, out=scratch)
    scratch *= np.float32(0.044715 * np.sqrt(2 / np.pi))
    scratch += np.float32(np.sqrt(2 / np.pi))
    scratch *= values
    _halve_gate(values, scratch)


def _halve_gate(values: Floats, argument: Floats) -> None:
    np.tanh(argument, out=argument)
    argument += np.float32(1.0)
    argument *= np.float32(0.5)
    values *= argument


@_blockwise
def silu(values: Floats, scratch: Floats) -> None:
    """x · sigmoid(x), in place, by tanh so that no exponential overflows."""
    np.multiply(values, np.float32(0.5), out=scratch)
    _halve_gate(values, scratch)


@_blockwise
def relu(values: Floats, scratch: Floats) -> None:
    """max(x, 0), in place."""
    np.maximum(values, np.float32(0.0), out=values)


@_blockwise
def tanh(values: Floats, scratch: Floats) -> None:
    """tanh(x), in place."""
    np.tanh(values, out=values)


ACTIVATIONS: Mapping[Activation, Callable[[Floats], Floats]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": relu,
    "silu": silu,
    "tanh": tanh,
}
ACTIVATION_NUMBERS: Mapping[Activation | None, int] = {name: n for n, name in enumerate((None, *ACTIVATIONS))}
"""What compiled kernels call them (``native/kernels.h``)."""


def layer_norm(values: Floats, weight: Floats, bias: Floats, eps: float) -> Floats:
    """Norm of each row of (T, D), in place (https://arxiv.org/abs/1607.06450)."""
    width = values.shape[1]

    def part(begin: int, end: int) -> None:
        step = max(1, _BLOCK // width)
        for at in range(begin, end, step):
            rows = values[at : min(at + step, end)]
            rows -= rows.mean(axis=1, keepdims=True)
            variance = np.einsum("td,td->t", rows, rows)[:, None] / np.float32(width)
            rows *= np.float32(1.0) / np.sqrt(variance + np.float32(eps))
            rows *= weight
            rows += bias

    in_parallel(part, values.shape[0], grain=max(1, _BLOCK // width))
    return values


def rms_norm(values: Floats, weight: Floats, eps: float) -> Floats:
    """Root-mean-square norm of each row of (T, D), in place (https://arxiv.org/abs/1910.07467)."""
    width = values.shape[1]

    def part(begin: int, end: int) -> None:
        step = max(1, _BLOCK // width)
        for at in range(begin, end, step):
            rows = values[at : min(at + step, end)]
            square = np.einsum("td,td->t", rows, rows)[:, None] / np.float32(width)
            rows *= np.float32(1.0) / np.sqrt(square + np.float32(eps))
            rows *= weight

    in_parallel(part, values.shape[0], grain=max(1, _BLOCK // width))
    return values


def softmax(scores: Floats) -> Floats:
    """Over the last axis, in place."""
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores
