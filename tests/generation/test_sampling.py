"""Draws follow the softmax of the scores, and depend on nothing but a row and its generator."""

import itertools

import numpy as np
import pytest
from scipy.stats import chisquare

from enfold.errors import InputError
from enfold.generation.sampling import choose, choose_distinct, generator
from tests.generation.support import random_scores

DRAWS = 20_000


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores.astype(np.float64) - scores.max())
    return weights / weights.sum()


def test_draws_follow_the_distribution() -> None:
    row = random_scores(0, 1, 12, 1.5)[0]
    row[[2, 7]] = -np.inf
    drawn = choose(np.tile(row, (DRAWS, 1)), [np.random.default_rng(5)] * DRAWS)
    counts = np.bincount(drawn, minlength=12)
    assert counts[[2, 7]].sum() == 0
    kept = np.isfinite(row)
    assert chisquare(counts[kept], softmax(row)[kept] * DRAWS).pvalue > 0.01


def generators(seed: int | None) -> list[np.random.Generator]:
    return [generator(seed, place) for place in range(6)]


def test_a_row_does_not_depend_on_its_mates() -> None:
    scores = random_scores(1, 6, 500)
    together = choose(scores, generators(3))
    for row in range(6):
        assert choose(scores[row : row + 1], [generator(3, row)]) == together[row]


def test_seeds() -> None:
    scores = random_scores(1, 6, 500, 0.1)
    assert choose(scores, generators(3)).tolist() == choose(scores, generators(3)).tolist()
    assert choose(scores, generators(3)).tolist() != choose(scores, generators(4)).tolist()
    assert generator(None, 0).random() != generator(None, 0).random()


def test_one_number_is_taken_for_a_token() -> None:
    used, fresh = np.random.default_rng(0), np.random.default_rng(0)
    choose(random_scores(0, 1, 50), [used])
    fresh.random()
    assert used.random() == fresh.random()


def test_draws_without_replacement_follow_the_distribution() -> None:
    row = np.array([1.0, 0.0, -np.inf, 2.0, -1.0], dtype=np.float32)
    probabilities = softmax(row)
    generator = np.random.default_rng(11)
    drawn = [tuple(choose_distinct(row, 2, generator).tolist()) for _ in range(DRAWS)]
    pairs = list(itertools.permutations([0, 1, 3, 4], 2))
    expected = [probabilities[a] * probabilities[b] / (1 - probabilities[a]) * DRAWS for a, b in pairs]
    assert chisquare([drawn.count(pair) for pair in pairs], expected).pvalue > 0.01


def test_distinct_draws_of_sharp_scores() -> None:
    """Where one token has all but 1e-30 of the probability, the others are still drawn, and each once."""
    drawn = choose_distinct(np.array([0.0, -70.0, -71.0, -np.inf], dtype=np.float32), 3, np.random.default_rng(0))
    assert drawn[0] == 0
    assert sorted(drawn.tolist()) == [0, 1, 2]


def test_no_more_than_are_possible() -> None:
    row = np.array([0.0, -np.inf, 1.0], dtype=np.float32)
    assert sorted(choose_distinct(row, 5, np.random.default_rng(0)).tolist()) == [0, 2]


def test_refused_scores() -> None:
    scores = np.zeros((2, 3), dtype=np.float32)
    scores[1] = -np.inf
    with pytest.raises(InputError, match="row 1: the options forbid every token"):
        choose(scores, generators(0)[:2])
    scores[1] = np.nan
    with pytest.raises(InputError, match=r"row 1: the scores hold nan.*remove_invalid_values"):
        choose(scores, generators(0)[:2])
