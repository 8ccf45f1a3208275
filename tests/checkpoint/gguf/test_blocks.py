"""Blocks become the values that the format's own reader makes of them, bit for bit, in little memory."""

import tracemalloc

import gguf
import numpy as np
import pytest

from enfold.checkpoint.gguf import BLOCK_TYPES, BlockType

TYPES = [pytest.param(number, blocks, id=blocks.name) for number, blocks in BLOCK_TYPES.items()]


@pytest.mark.parametrize(("number", "blocks"), TYPES)
def test_the_geometry_is_the_formats(number: int, blocks: BlockType) -> None:
    kind = gguf.GGMLQuantizationType(number)
    assert (kind.name, gguf.GGML_QUANT_SIZES[kind]) == (blocks.name, (blocks.size, blocks.block_bytes))


@pytest.mark.parametrize(("number", "blocks"), TYPES)
def test_any_bytes_become_equal_bits(number: int, blocks: BlockType) -> None:
    # Random bytes are every scale there is, infinity and NaN among them.
    shape = (70_000 // blocks.size, 3, blocks.block_bytes)
    raw = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
    values = blocks.dequantize(raw)
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(raw.reshape(shape[0], -1), gguf.GGMLQuantizationType(number))
    assert values.shape == (shape[0], 3 * blocks.size)
    np.testing.assert_array_equal(values.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize(("number", "blocks"), TYPES)
def test_beside_the_result_little_memory_is_needed(number: int, blocks: BlockType) -> None:
    raw = np.zeros((4_000_000 // blocks.size, 1, blocks.block_bytes), np.uint8)
    tracemalloc.start()
    values = blocks.dequantize(raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - values.nbytes < 2_000_000


def test_no_rows_are_no_values() -> None:
    assert BLOCK_TYPES[8].dequantize(np.zeros((0, 2, 34), np.uint8)).shape == (0, 64)
