"""Matrices of floats and of bytes: their products are what numpy says, and rounding costs what it must."""

import math
import pickle
from typing import Any

import numpy as np
import pytest

from enfold.arch import Activation
from enfold.engines.cpu import kernels
from enfold.engines.cpu.matrices import ByteMatrix, FloatMatrix
from enfold.engines.cpu.native_module import native
from enfold.errors import NumericalError

compiled = pytest.mark.skipif(native is None, reason="the package was built without kernels")
SHAPES = [(1, 1, 1), (1, 5, 7), (3, 16, 32), (7, 33, 100), (20, 50, 129), (61, 70, 770), (13, 3, 1536)]


def drawn(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Numbers of very different sizes along the last axis, as activations are."""
    generator = np.random.default_rng(seed)
    sizes = np.exp(generator.standard_normal(shape[-1]))
    return (generator.standard_normal(shape) * sizes).astype(np.float32)


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
@pytest.mark.parametrize("activation", [None, "gelu", "silu"])
def test_float_products(m: int, n: int, k: int, activation: Activation | None) -> None:
    x, w, bias, gate = drawn(m, k), drawn(n, k, seed=1), drawn(n, seed=2), drawn(m, n, seed=3)
    expected = x.astype(np.float64) @ w.T.astype(np.float64) + bias
    if activation:
        expected = kernels.ACTIVATIONS[activation](expected.astype(np.float32))
    found = FloatMatrix(w).product(x, bias, activation, gate)
    np.testing.assert_allclose(found, expected * gate, atol=1e-5 * np.abs(expected * gate).max())


def test_gelu_is_exact_to_the_rounding_of_float32() -> None:
    far = np.array([-1e30, -1e4, -100, -6, 6, 100, 1e4, 1e30], np.float32)
    values = np.concatenate([np.linspace(-10, 10, 400_000).astype(np.float32), far])
    exact = values * 0.5 * (1 + np.array([math.erf(x / math.sqrt(2)) for x in values.astype(float)]))
    found = FloatMatrix(np.ones((1, 1), np.float32)).product(values[:, None], None, "gelu")[:, 0]
    # seven roundings near a half, times five: what float32 leaves near x = -5
    np.testing.assert_allclose(found, exact, atol=1.25e-6, rtol=2e-7)
    assert np.isnan(
        FloatMatrix(np.ones((1, 1), np.float32)).product(np.full((5, 1), np.nan, np.float32), None, "gelu")
    ).all()


def test_transposed_weights_multiply_as_they_look() -> None:
    w = drawn(48, 20).T
    np.testing.assert_allclose(FloatMatrix(w).product(drawn(5, 48)), drawn(5, 48) @ w.T, atol=1e-4)
    np.testing.assert_array_equal(FloatMatrix(w).rows(np.array([3, 3, 19])), w[[3, 3, 19]])


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
@pytest.mark.parametrize("outliers", [0, 2])
def test_products_of_bytes_are_near(m: int, n: int, k: int, outliers: int) -> None:
    x, w, bias = drawn(m, k), np.random.default_rng(1).standard_normal((n, k), np.float32), drawn(n, seed=2)
    matrix = ByteMatrix.quantize(w, range(min(outliers, k - 1)))
    expected = x @ w.T + bias
    error = np.linalg.norm(matrix.product(x, bias) - expected) / np.linalg.norm(expected)
    assert error < 0.03
    np.testing.assert_allclose(matrix.rows(np.arange(n)), w, atol=np.abs(w).max() / 127)


@compiled
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
@pytest.mark.parametrize("outliers", [0, 5])
def test_kernels_of_bytes_round_as_numpy_does(m: int, n: int, k: int, outliers: int) -> None:
    x, w = drawn(m, k), np.random.default_rng(1).standard_normal((n, k), np.float32)
    matrix = ByteMatrix.quantize(w, range(min(outliers, k - 1)))
    twin = matrix._twin(x)
    # where numpy's sum before rounding is a tie, the kernel's may be a hair above or below: one step of one number
    step = np.abs(x).max(axis=1, keepdims=True) * 2 / 127 * np.abs(w).max()
    assert (np.abs(matrix.product(x) - twin) <= 1e-4 * np.abs(twin).max() + step).all()
    assert np.median(np.abs(matrix.product(x) - twin)) < 1e-5 * np.abs(twin).max()


@pytest.mark.parametrize("signs", ["1", "-1", "1 -1", "1 1 -1 -1"])
def test_products_of_large_bytes_fit_sixteen_bits(signs: str) -> None:
    pattern = np.resize(np.array(signs.split(), np.float32), 64)
    w, x = np.stack([pattern, pattern * np.linspace(0.2, 1, 64)]), np.stack([pattern, -pattern, np.ones(64)])
    w, x = w.astype(np.float32), x.astype(np.float32)
    matrix = ByteMatrix.quantize(w)
    eights = matrix.panels.astype(int).transpose(0, 3, 1, 2, 4).reshape(16, -1, 4, 2, 2)
    largest = np.maximum(eights, 0).sum(axis=(2, 4)).max(), np.maximum(-eights, 0).sum(axis=(2, 4)).max()
    assert 250 <= max(largest) <= 258  # 258 · 127 < 2^15
    np.testing.assert_allclose(matrix.product(x), x @ w.T, atol=0.01 * 64)
    np.testing.assert_allclose(matrix.product(x), matrix._twin(x), atol=1e-4)


def test_rows_that_are_no_numbers_stay_so_and_spoil_no_other() -> None:
    x, w = drawn(6, 200), drawn(40, 200, seed=1)
    sound = ByteMatrix.quantize(w, [3]).product(x)
    x[2, 7], x[4, 3], x[5, 150] = np.nan, np.inf, -np.inf
    found = ByteMatrix.quantize(w, [3]).product(x)
    assert np.isfinite(found).all(axis=1).tolist() == [True, True, False, True, False, False]
    np.testing.assert_array_equal(found[[0, 1, 3]], sound[[0, 1, 3]])


def test_weights_that_are_no_numbers_are_refused() -> None:
    w = drawn(40, 20)
    w[30, 3] = np.nan
    for places in ([], [3]):
        with pytest.raises(NumericalError, match="NaN or infinity"):
            ByteMatrix.quantize(w, places)


def test_a_matrix_of_zeros_and_an_empty_batch() -> None:
    matrix = ByteMatrix.quantize(np.zeros((20, 12), np.float32))
    assert not matrix.product(drawn(3, 12)).any()
    assert matrix.product(drawn(0, 12)).shape == (0, 20)
    assert not ByteMatrix.quantize(drawn(20, 12)).product(np.zeros((2, 12), np.float32)).any()


def test_a_matrix_is_copied_whole() -> None:
    matrix = ByteMatrix.quantize(drawn(40, 60), [1, 5])
    before = matrix.product(drawn(3, 60))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(matrix)).product(drawn(3, 60)), before)


@pytest.mark.parametrize("size", [1e-30, 1e-37, 1e-42])
def test_rows_of_tiny_numbers_stay_finite(size: float) -> None:
    x, w = drawn(3, 400) * np.float32(size), drawn(20, 400, seed=1)
    found = ByteMatrix.quantize(w).product(x)
    np.testing.assert_allclose(found, x @ w.T, atol=0.05 * np.abs(x @ w.T).max() + 1e-32)
