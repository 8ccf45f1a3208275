"""Matrices in blocks: the kernels against their twin, against float64, and against GGUF files' own values."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from enfold.checkpoint.gguf.blocks import BLOCK_TYPES, BlockType
from enfold.engines.cpu import blocks as module
from enfold.engines.cpu.block_codes import GGUF_CODINGS
from enfold.engines.cpu.blocks import BlockMatrix
from enfold.engines.cpu.kernels import ACTIVATIONS
from enfold.errors import CorruptFileError, InputError

TYPES = {block.name: block for block in BLOCK_TYPES.values()}
SHAPES = [(1, 1, 32), (2, 16, 64), (5, 33, 96), (6, 100, 32), (7, 15, 256), (13, 47, 160), (40, 18, 288)]
native = pytest.mark.skipif(module.native is None, reason="without compiled kernels")


def gaussian(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def twin(matrix: BlockMatrix, monkeypatch: pytest.MonkeyPatch) -> BlockMatrix:
    """The same matrix without kernels."""
    with monkeypatch.context() as patch:
        patch.setattr(module, "native", None)
        return BlockMatrix(matrix.panels, matrix.count, matrix.coding)


def random_file(block: BlockType, rows: int, columns: int) -> Any:
    """Blocks of any codes, with scales of a usual size."""
    generator = np.random.default_rng(rows)
    raw = generator.integers(0, 256, (rows, columns // block.size, block.block_bytes), np.uint8)
    fields = raw.view(block.layout)
    for name in ("scale", "minimum"):
        if name in (block.layout.names or ()):
            fields[name] = generator.uniform(-2e-3, 2e-3, fields.shape)
    return raw


def matrices(rows: int, columns: int) -> list[BlockMatrix]:
    """One of each storage."""
    weights = gaussian(rows, columns) * np.float32(0.05)
    wide = -(-columns // 256) * 256
    files = [random_file(TYPES[name], rows, wide) for name in ("Q4_0", "Q5_K", "Q6_K")]
    made = [BlockMatrix.from_gguf(raw, TYPES[name]) for raw, name in zip(files, ("Q4_0", "Q5_K", "Q6_K"), strict=True)]
    return [BlockMatrix.quantize(weights), BlockMatrix.quantize(weights, bits=8), *made]


@native
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_kernels_equal_their_twin(m: int, n: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for matrix in matrices(n, k):
        x = gaussian(m, matrix.shape[1], seed=m) * np.exp(gaussian(m, 1))
        expected = twin(matrix, monkeypatch).product(x)
        np.testing.assert_allclose(matrix.product(x), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
        ids = np.random.default_rng(0).integers(0, n, 50)
        np.testing.assert_allclose(matrix.rows(ids), twin(matrix, monkeypatch).rows(ids), rtol=3e-7, atol=1e-8)


@native
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
def test_the_epilogue_equals_its_twin(activation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for matrix in matrices(37, 64):
        x, bias, gate = gaussian(9, matrix.shape[1]), gaussian(37), gaussian(9, 37)
        expected = twin(matrix, monkeypatch).product(x, bias, activation, gate)
        np.testing.assert_allclose(matrix.product(x, bias, activation, gate), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("m", range(1, 41))
def test_products_err_by_the_rounding_of_x_alone(m: int) -> None:
    for matrix in matrices(18, 64):
        width, group = matrix.shape[1], matrix.coding.group
        x, weights = gaussian(m, width, seed=m), matrix.rows(np.arange(18)).astype(np.float64)
        steps = np.abs(x.reshape(m, -1, group)).max(axis=2).astype(np.float64) / 127
        bound = steps / 2 @ np.abs(weights).reshape(18, -1, group).sum(axis=2).T
        assert (np.abs(matrix.product(x) - x @ weights.T) <= bound * 1.001 + 1e-6).all()


@pytest.mark.parametrize("name", GGUF_CODINGS)
def test_gguf_blocks_keep_their_values(name: str) -> None:
    raw = random_file(TYPES[name], 37, 512)
    expected = TYPES[name].dequantize(raw)
    values = BlockMatrix.from_gguf(raw, TYPES[name]).rows(np.arange(37))
    if name.endswith("K"):  # scale · code is rounded to float16, and so is minimum · code
        rounding = 2.0**-11 * (np.abs(expected).max() + 63 * 2e-3) + 64 * 2.0**-25
        np.testing.assert_allclose(values, expected, rtol=0, atol=rounding)
    else:
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("bits", "error"), [(4, 0.075), (8, 0.006)])
def test_quantized_weights_are_near(bits: int, error: float) -> None:
    weights = gaussian(200, 256) * np.float32(0.02)
    weights[3], weights[4] = 0, 0.5
    values = BlockMatrix.quantize(weights, bits=bits).rows(np.arange(200))
    assert np.sqrt(np.mean((values - weights) ** 2) / np.mean(weights**2)) < error
    assert (values[3] == 0).all()
    np.testing.assert_allclose(values[4], 0.5, rtol=1e-3)


def test_least_squares_beat_the_plain_range() -> None:
    weights = gaussian(64, 512)
    groups = weights.reshape(-1, 32)
    low, high = groups.min(axis=1, keepdims=True), groups.max(axis=1, keepdims=True)
    plain = np.rint((groups - low) / (high - low) * 15) / 15 * (high - low) + low
    ours = BlockMatrix.quantize(weights).rows(np.arange(64))
    assert np.mean((ours - weights) ** 2) < 0.9 * np.mean((plain - groups) ** 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_stays_none(bad: float) -> None:
    for matrix in matrices(20, 64):
        x = gaussian(8, matrix.shape[1])
        clean = matrix.product(x)
        x[6, 35] = bad
        found = matrix.product(x)
        assert np.isnan(found[6]).all()
        np.testing.assert_array_equal(np.delete(found, 6, axis=0), np.delete(clean, 6, axis=0))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", GGUF_CODINGS)
def test_a_damaged_scale_is_seen_in_its_row_alone(name: str, bad: float) -> None:
    raw = random_file(TYPES[name], 20, 256)
    x, clean = gaussian(8, 256), BlockMatrix.from_gguf(raw, TYPES[name])
    raw.view(TYPES[name].layout)["scale"][17, 0] = bad
    damaged = BlockMatrix.from_gguf(raw, TYPES[name])
    found = damaged.product(x)
    assert not np.isfinite(found[:, 17]).any()
    np.testing.assert_array_equal(np.delete(found, 17, axis=1), np.delete(clean.product(x), 17, axis=1))
    assert not np.isfinite(damaged.rows(np.array([17]))).all()


@pytest.mark.parametrize("x", [0.0, 1e-38, 1e-31, 1e34])
def test_numbers_of_any_size_are_rounded(x: float) -> None:
    matrix = BlockMatrix.quantize(np.eye(32, dtype=np.float32), bits=8)
    row = np.zeros((1, 32), np.float32)
    row[0, 3] = x
    np.testing.assert_allclose(matrix.product(row)[0], row[0], rtol=2e-3, atol=1e-30)


def test_no_rows_give_no_rows() -> None:
    matrix = BlockMatrix.quantize(gaussian(5, 32))
    assert matrix.product(gaussian(0, 32)).shape == (0, 5)
    assert matrix.rows(np.zeros(0, np.int64)).shape == (0, 32)
    assert BlockMatrix.quantize(gaussian(0, 32)).product(gaussian(3, 32)).shape == (3, 0)
    np.testing.assert_array_equal(BlockMatrix.quantize(gaussian(5, 0)).product(gaussian(3, 0)), np.zeros((3, 5)))


def test_arrays_in_other_layouts_are_read_alike() -> None:
    matrix = BlockMatrix.quantize(gaussian(21, 64))
    x, bias, gate = gaussian(7, 64), gaussian(21), gaussian(7, 21)
    expected = matrix.product(x, bias, "silu", gate)

    def misaligned(array: Any) -> Any:
        memory = np.zeros(array.nbytes + 1, np.uint8)
        moved = memory[1:].view(array.dtype).reshape(array.shape)
        moved[...] = array
        moved.setflags(write=False)
        return moved

    for change in (misaligned, np.asfortranarray, lambda array: np.repeat(array, 2, axis=0)[::2]):
        np.testing.assert_array_equal(matrix.product(change(x), change(bias), "silu", change(gate)), expected)
    moved = BlockMatrix(misaligned(matrix.panels), 21, matrix.coding)
    np.testing.assert_array_equal(moved.product(x, bias, "silu", gate), expected)
    ids = np.array([20, 0, 3])
    np.testing.assert_array_equal(moved.rows(misaligned(ids)), matrix.rows(ids))


@pytest.mark.parametrize(
    ("x", "bias", "gate"),
    [
        (gaussian(3, 32), None, None),
        (gaussian(64), None, None),
        (gaussian(1, 3, 64), None, None),
        (gaussian(3, 64).astype(np.float64), None, None),
        (gaussian(3, 64), gaussian(20), None),
        (gaussian(3, 64), gaussian(21).astype(np.float16), None),
        (gaussian(3, 64), None, gaussian(3, 20)),
        (gaussian(3, 64), None, gaussian(2, 21)),
    ],
)
def test_products_of_other_shapes_are_refused(x: Any, bias: Any, gate: Any) -> None:
    with pytest.raises(InputError, match="expected float32"):
        BlockMatrix.quantize(gaussian(21, 64)).product(x, bias, None, gate)


@pytest.mark.parametrize("ids", [[-1], [21], [0, 2**40], [[1]], [1.0]])
def test_rows_that_do_not_exist_are_refused(ids: Any) -> None:
    with pytest.raises(InputError, match="ids are"):
        BlockMatrix.quantize(gaussian(21, 64)).rows(np.array(ids))


@pytest.mark.parametrize(
    ("weights", "bits"),
    [
        (gaussian(4, 33), 4),
        (gaussian(64), 4),
        (gaussian(4, 64).astype(np.float64), 4),
        (gaussian(4, 64), 5),
        (np.full((4, 64), np.nan, np.float32), 4),
        (np.full((4, 64), 1e6, np.float32), 8),
    ],
)
def test_weights_that_cannot_be_quantized_are_refused(weights: Any, bits: int) -> None:
    with pytest.raises(InputError, match=r"multiple of 32|can't be quantized"):
        BlockMatrix.quantize(weights, bits=bits)


def test_blocks_that_are_not_computed_with_are_refused() -> None:
    with pytest.raises(InputError, match="dequantize"):
        BlockMatrix.from_gguf(random_file(TYPES["Q2_K"], 2, 256), TYPES["Q2_K"])
    with pytest.raises(InputError, match=r"expected Q4_0 as uint8 \(N, blocks, 18\)"):
        BlockMatrix.from_gguf(np.zeros((2, 4, 20), np.uint8), TYPES["Q4_0"])


def test_a_matrix_is_saved_and_copied_as_it_is() -> None:
    for matrix in matrices(21, 64):
        x, ours = gaussian(3, matrix.shape[1]), matrix.tensors()
        for other in (BlockMatrix.from_tensors(ours), copy.deepcopy(matrix), pickle.loads(pickle.dumps(matrix))):
            assert (other.shape, other.nbytes) == (matrix.shape, matrix.nbytes)
            np.testing.assert_array_equal(other.product(x), matrix.product(x))
        assert BlockMatrix.from_tensors(ours).panels is matrix.panels


@pytest.mark.parametrize(
    "coding", [[33, 4, 32, 1, 0], [-1, 4, 32, 1, 0], [21, 5, 32, 1, 0], [21, 4, 32, 0, 0], [21], 3]
)
def test_arrays_of_something_else_are_refused(coding: Any) -> None:
    tensors = {**BlockMatrix.quantize(gaussian(32, 64)).tensors(), "coding": np.array(coding)}
    with pytest.raises(CorruptFileError, match="Quantize the model again"):
        BlockMatrix.from_tensors(tensors)


@native
@pytest.mark.parametrize(
    "arguments",
    [(33, 4, 32, True, 0), (-1, 4, 32, True, 0), (32, 4, 16, True, 0), (32, 4, 32, False, 0), (32, 5, 32, True, 0)],
)
def test_the_boundary_refuses_what_does_not_fit(arguments: Any) -> None:
    with pytest.raises(ValueError, match=r"panels must be|blocks are of"):
        module.native.Blocks(BlockMatrix.quantize(gaussian(32, 64)).panels, *arguments)
