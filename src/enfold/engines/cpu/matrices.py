"""Matrices of weights as the CPU engine holds them, each with its product.

=============  ================================================  ==============================================
matrix         holds                                             multiplies
=============  ================================================  ==============================================
`FloatMatrix`  the checkpoint's float32, mapped where possible   float32
`ByteMatrix`   signed bytes, a scale for each row                bytes, a scale and a zero for each row that
                                                                 comes in; float32 for its largest numbers
`BlockMatrix`  codes of 4 to 8 bits, a scale for 16 or 32        bytes, a scale for 32 numbers
=============  ================================================  ==============================================

``product(x, bias, activation, gate)`` is activation(x Wᵀ + bias) · gate, (M, K) → (M, N). Without compiled kernels
numpy does the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from enfold.arch import Activation
from enfold.engines.cpu import kernels
from enfold.engines.cpu.native_module import empty, native
from enfold.errors import CorruptFileError, NumericalError

__all__ = ["OUTLIERS", "ByteMatrix", "FloatMatrix", "Matrix", "PackedMatrix"]

Floats = NDArray[np.float32]

OUTLIERS = 8
"""Columns that stand apart."""
_APART_MOST = 32
_LEAST_RANGE = np.float32(1e-36)
"""What varies less is zero: its scale's inverse would be infinite."""
_QUANTIZED = 1 << 20
"""Numbers that are rounded at a time."""


class Matrix(Protocol):
    """(N, K) weights."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K)."""

    @property
    def handle(self) -> Any:
        """What compiled kernels take for it; None where they have none for it."""

    def product(
        self, x: Floats, bias: Floats | None = None, activation: Activation | None = None, gate: Floats | None = None
    ) -> Floats:
        """activation(x Wᵀ + bias) · gate, (M, K) → (M, N)."""

    def rows(self, ids: NDArray[np.int64]) -> Floats:
        """Rows of W, (T,) → (T, K)."""

    def only(self, ids: NDArray[np.int64]) -> Matrix:
        """The matrix of these rows (T,) of W."""


@runtime_checkable
class PackedMatrix(Matrix, Protocol):
    """Weights that are not float32."""

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The arrays to be saved, by name."""


def _finished(product: Floats, bias: Floats | None, activation: Activation | None, gate: Floats | None) -> Floats:
    if bias is not None:
        product += bias
    if activation:
        product = kernels.ACTIVATIONS[activation](product)
    if gate is not None:
        product *= gate
    return product


class FloatMatrix:
    """Weights (N, K) as they are."""

    def __init__(self, weights: Floats) -> None:
        self.weights = weights if native is None else np.require(weights, np.float32, ["C", "A"])

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K)."""
        return self.weights.shape[0], self.weights.shape[1]

    @property
    def handle(self) -> Any:
        """See :class:`Matrix`."""
        return self.weights

    def rows(self, ids: NDArray[np.int64]) -> Floats:
        """See :class:`Matrix`."""
        return self.weights[ids]

    def only(self, ids: NDArray[np.int64]) -> FloatMatrix:
        """See :class:`Matrix`."""
        return FloatMatrix(self.weights[ids])

    def product(
        self, x: Floats, bias: Floats | None = None, activation: Activation | None = None, gate: Floats | None = None
    ) -> Floats:
        """See :class:`Matrix`."""
        if native is None:
            return _finished(x @ self.weights.T, bias, activation, gate)
        out = empty(len(x), len(self.weights))
        number = kernels.ACTIVATION_NUMBERS[activation]
        native.gemm_float(np.require(x, np.float32, ["C", "A"]), self.weights, bias, number, gate, out)
        return out


@dataclass(frozen=True, eq=False)
class ByteMatrix:
    """Weights as bytes: w = scale · q, q from -127 to 127.

    Bytes are as large as two bounds allow: 127, and the sums of eight products that must fit 16 bits (gemm_bytes.h). Of
    rows whose weights are much alike, the second holds them to 32. A file's bytes are trusted to keep it.

    What comes in is written in 7 bits with a scale and a zero for each row, but for the row's largest numbers, about
    one in 192, and its largest columns: those are multiplied in float32, and so are the columns' weights.

    Attributes:
        panels: (ceil(N / 16), ceil(K / 16), 4, 16, 4) int8, zero where there is no weight.
        scale: (N,).
        places: (outliers,) the columns that are largest in every row, whose bytes are zero.
        apart: (outliers, N) their weights.
        sums: (N,) the sums of each row's bytes.
        columns: K.
    """

    panels: NDArray[np.int8]
    scale: Floats
    places: NDArray[np.int32]
    apart: Floats
    sums: NDArray[np.int32]
    columns: int

    @classmethod
    def quantize(cls, weights: Floats, places: Sequence[int] = ()) -> ByteMatrix:
        """Rounds (N, K) weights, but for the columns ``places``.

        Raises:
            NumericalError: some are NaN or infinite.
        """
        n, k = weights.shape
        apart_at = np.sort(np.asarray(places, np.int32))
        apart = np.ascontiguousarray(weights[:, apart_at].T, np.float32)
        blocks, groups = -(-n // 16), -(-k // 16)
        panels = np.zeros((blocks, groups, 4, 16, 4), np.int8)
        scale, sums = np.zeros(n, np.float32), np.zeros(n, np.int32)
        some = max(1, _QUANTIZED // (16 * max(1, k)))  # a few panels at a time: no second copy of the weights
        for first in range(0, blocks, some):
            count = min(16 * some, n - 16 * first)
            rows = np.zeros((-(-count // 16) * 16, groups * 16), np.float32)
            rows[:count, :k] = weights[16 * first : 16 * first + count]
            rows[:, apart_at] = 0
            steps = _steps(rows)
            with np.errstate(invalid="ignore"):
                exact = rows / np.where(steps > 0, steps, np.float32(1))[:, None]
                whole = np.rint(exact)
                squares = np.maximum(np.einsum("nk,nk->n", whole, whole), 1)
                steps *= np.where(steps > 0, np.einsum("nk,nk->n", exact, whole) / squares, 1)  # least squares
                scale[16 * first : 16 * first + count] = steps[:count]
                sums[16 * first : 16 * first + count] = whole[:count].sum(axis=1)  # exact: less than 2^24
                panels[first : first + some] = whole.reshape(-1, 16, groups, 4, 4).transpose(0, 2, 3, 1, 4)
        if not (np.isfinite(scale).all() and np.isfinite(apart).all()):
            raise NumericalError(f"weights ({n}, {k}) hold NaN or infinity, and can't be rounded to bytes")
        return cls(panels, scale, apart_at, apart, sums, k)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> ByteMatrix:
        """The matrix that :meth:`tensors` took apart; the arrays may lie in a mapped file.

        Raises:
            CorruptFileError: these are not its arrays.
        """
        try:
            parts = [tensors[name] for name in ("panels", "scale", "places", "apart", "sums")]
            panels, scale, places, apart, sums = parts
            n, (columns,), outliers = len(scale), tensors["columns"].tolist(), len(places)
            shapes = [(-(-n // 16), -(-columns // 16), 4, 16, 4), (n,), (outliers,), (outliers, n), (n,)]
            types = [np.int8, np.float32, np.int32, np.float32, np.int32]
            fit = [part.shape for part in parts] == shapes and [part.dtype for part in parts] == types
            inside = not outliers or (places.min() >= 0 and places.max() < columns)
            finite = np.isfinite(scale).all() and np.isfinite(apart).all()
            if fit and inside and columns >= 0 and finite:
                return cls(panels, scale, places, apart, sums, columns)
            found = f"{panels.dtype} panels {panels.shape} with {n} scales, {outliers} columns apart of {columns}"
            found += "" if finite else ", and NaN or infinity among them"
        except (KeyError, TypeError, ValueError, AttributeError):
            found = f"the arrays {sorted(tensors)}"
        raise CorruptFileError(f"not a matrix of bytes: {found}. Quantize the model again")

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The arrays to be saved."""
        names = ("panels", "scale", "places", "apart", "sums")
        return {**{name: getattr(self, name) for name in names}, "columns": np.array([self.columns])}

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K)."""
        return len(self.scale), self.columns

    @cached_property
    def handle(self) -> Any:
        """See :class:`Matrix`."""
        if native is None:
            return None
        return native.Bytes(self.panels, self.scale, self.sums, self.places, self.apart, self.columns)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "handle"}

    def rows(self, ids: NDArray[np.int64]) -> Floats:
        """See :class:`Matrix`."""
        ids = np.asarray(ids)
        chosen = self.panels[ids // 16, :, :, ids % 16].reshape(len(ids), -1)[:, : self.columns]
        found: Floats = chosen * self.scale[ids, None]
        found[:, self.places] = self.apart[:, ids].T
        return found

    def only(self, ids: NDArray[np.int64]) -> ByteMatrix:
        """See :class:`Matrix`."""
        panels = np.zeros((-(-len(ids) // 16) * 16, self.panels.shape[1], 4, 4), np.int8)
        panels[: len(ids)] = self.panels[ids // 16, :, :, ids % 16]
        panels = np.ascontiguousarray(panels.reshape(-1, 16, *panels.shape[1:]).transpose(0, 2, 3, 1, 4))
        apart = np.ascontiguousarray(self.apart[:, ids])
        return ByteMatrix(panels, self.scale[ids], self.places, apart, self.sums[ids], self.columns)

    def product(
        self, x: Floats, bias: Floats | None = None, activation: Activation | None = None, gate: Floats | None = None
    ) -> Floats:
        """See :class:`Matrix`."""
        if native is None:
            return _finished(self._twin(x), bias, activation, gate)
        out = empty(len(x), len(self.scale))
        number = kernels.ACTIVATION_NUMBERS[activation]
        native.gemm_bytes(np.require(x, np.float32, ["C", "A"]), self.handle, bias, number, gate, out)
        return out

    def _twin(self, x: Floats) -> Floats:
        """The product in numpy, with the same roundings."""
        large = x[:, self.places] @ self.apart
        x = x.copy()
        x[:, self.places] = 0
        apart = _apart(x)
        rest = np.where(apart, np.float32(0), x)
        low = np.minimum(rest.min(axis=1, initial=0), 0)
        span = np.maximum(rest.max(axis=1, initial=0), 0) - low
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            inverse = np.where(span > np.float32(_LEAST_RANGE), np.float32(127) / span, np.float32(0)).astype(
                np.float32
            )
            zero = np.rint(-low * inverse)
            q = np.clip(np.floor(rest * inverse[:, None] + (zero + np.float32(0.5))[:, None]), 0, 127) - zero[:, None]
        q = q * (span / np.float32(127))[:, None] + np.where(apart, x, np.float32(0))
        out = np.empty((len(x), len(self.scale)), np.float32)
        for first in range(0, len(self.panels), 64):
            columns = slice(16 * first, min(16 * (first + 64), len(self.scale)))
            chosen = self.panels[first : first + 64]
            weights = chosen.transpose(0, 3, 1, 2, 4).reshape(len(chosen) * 16, -1)[: columns.stop - columns.start]
            with np.errstate(invalid="ignore"):  # a row with infinity becomes NaN
                out[:, columns] = q @ weights[:, : self.columns].astype(np.float32).T
        out *= self.scale
        out += large
        return out


def _steps(rows: Floats) -> Floats:
    """The scale of each row (N, K), K a multiple of 16.

    No number may be more than 127 steps; nor may the positive numbers of eight that are added in 16 bits be more than
    258 together, or the negative ones, since 258 · 127 < 2^15; the larger of both is half of the sum of their sizes and
    of the size of their sum. Rounding adds half a step for each of the eight.
    """
    sixteens = rows.reshape(-1, 16)
    halves = np.resize(np.repeat(np.eye(2, dtype=np.float32), 2, axis=0), (16, 2))
    with np.errstate(invalid="ignore"):
        sums = (np.abs(sixteens) @ halves + np.abs(sixteens @ halves)).reshape(len(rows), -1).max(axis=1, initial=0) / 2
    steps: Floats = np.maximum(np.abs(rows).max(axis=1, initial=0) / np.float32(127), sums / np.float32(254))
    return steps


def _apart(x: Floats) -> NDArray[np.bool_]:
    """Which numbers of each row of (M, K) are no bytes: from the n-th largest of 32 interleaved parts' peaks on."""
    rows, width = x.shape
    padded = np.zeros((rows, -(-width // 32) * 32), np.float32)
    padded[:, :width] = np.abs(x)
    finite = np.logical_and.reduce(np.isfinite(x), axis=1)
    wanted = min(16, max(1, width // 192))
    limit: Floats = np.sort(padded.reshape(rows, padded.shape[1] // 32, 32).max(axis=1, initial=0), axis=1)[:, -wanted]
    large = padded[:, :width] >= np.where(finite & (limit > 0), limit, np.float32(np.inf))[:, None]
    return large & (np.cumsum(large, axis=1) <= _APART_MOST)
