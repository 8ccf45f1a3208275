"""Pooling by hand on small matrices; tests/tasks/test_embed.py holds whole chains to sentence-transformers."""

import numpy as np
import pytest

from enfold.checkpoint.modules import Dense, Normalize, PoolingMode
from enfold.tasks.pooling import apply_modules, normalized, pool

HIDDEN = np.array([[1, 2], [3, -4], [5, 0]], np.float32)


@pytest.mark.parametrize(
    ("mode", "skip", "expected"),
    [
        ("cls", 0, [1, 2]),
        ("cls", 1, [3, -4]),
        ("max", 0, [5, 2]),
        ("mean", 0, [3, -2 / 3]),
        ("mean", 1, [4, -2]),
        ("mean_sqrt_len_tokens", 0, [9 / 3**0.5, -2 / 3**0.5]),
        ("weightedmean", 0, [(1 + 6 + 15) / 6, (2 - 8) / 6]),
        ("weightedmean", 1, [(6 + 15) / 5, -8 / 5]),
    ],
)
def test_pool(mode: PoolingMode, skip: int, expected: list[float]) -> None:
    result = pool(HIDDEN, [mode], skip)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_several_modes_are_joined_in_their_order() -> None:
    np.testing.assert_allclose(pool(HIDDEN, ["max", "cls"]), [5, 2, 1, 2])


def test_modules_run_in_their_order() -> None:
    dense = Dense(np.array([[1, 1]], np.float32), np.array([-0.5], np.float32), "tanh")
    vector = np.array([3, 4], np.float32)
    np.testing.assert_allclose(apply_modules(vector, [Normalize(), dense]), np.tanh([0.9]), rtol=1e-6)
    np.testing.assert_allclose(apply_modules(vector, [dense, Normalize()]), [1])
    linear = Dense(np.eye(2, dtype=np.float32) * 2, None, "identity")
    np.testing.assert_allclose(apply_modules(vector, [linear]), [6, 8])


def test_a_vector_of_zeros_stays_as_it_is() -> None:
    np.testing.assert_array_equal(normalized(np.zeros((2, 3), np.float32)), np.zeros((2, 3)))
