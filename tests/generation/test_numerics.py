"""Rows of scores: what the kernels and numpy say is what sorting says."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from enfold.generation import numerics
from enfold.generation.numerics import highest, highest_values, log_softmax
from tests.generation.support import random_scores


def test_log_probabilities() -> None:
    scores = random_scores(0, rows=20, vocabulary=700)
    expected = torch.from_numpy(scores).log_softmax(-1).numpy()
    np.testing.assert_allclose(log_softmax(scores), expected, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_log_probabilities_of_no_numbers(bad: float) -> None:
    scores = random_scores(0, rows=2)
    scores[1, 3] = bad
    log_softmax(scores)
    assert np.isnan(scores).all(axis=1).tolist() == [False, True]


def by_numpy(scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numerics, "native", None)
        return highest(scores, count)


@pytest.mark.parametrize("way", [highest, by_numpy])
@given(
    scores=arrays.arrays(
        np.float32,
        st.tuples(st.integers(0, 3), st.integers(1, 90)),
        elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 0.5, 2.0, np.inf, np.nan]),
    ),
    count=st.integers(0, 100),
)
def test_the_highest_are_what_sorting_finds(way: Callable[..., Any], scores: np.ndarray, count: int) -> None:
    values, places = way(scores, count)

    def rank(score: float) -> tuple[int, float]:
        return (0, 0.0) if np.isnan(score) else (1, -score)

    ranks = [sorted(range(row.size), key=lambda at, row=row: (rank(row[at]), at)) for row in scores]
    expected = np.array(ranks, np.int64).reshape(scores.shape)[:, :count]
    np.testing.assert_array_equal(places, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(scores, expected, axis=1))


@pytest.mark.parametrize("count", [1, 8, 50, 512, 3000])
def test_the_highest_of_long_rows(count: int) -> None:
    scores = random_scores(1, rows=3, vocabulary=50_257)
    values, places = highest(scores, count)
    np.testing.assert_array_equal(places, np.argsort(-scores, axis=1, kind="stable")[:, :count])
    np.testing.assert_array_equal(highest_values(scores[0], count), values[0])
