"""The best continuations, found without sorting, are those that sorting finds."""

import numpy as np
import pytest

from enfold.generation.beam_scores import best, drawn
from tests.generation.support import random_scores


@pytest.mark.parametrize(("vocabulary", "count"), [(3, 8), (97, 8), (256, 6), (1000, 24), (5021, 8)])
def test_best(vocabulary: int, count: int) -> None:
    scores = random_scores(vocabulary, rows=12, vocabulary=vocabulary)
    before = random_scores(1, rows=3, vocabulary=4)
    before[0, 1:] = -np.inf
    found = best(scores.copy(), before, count)
    totals = (scores.reshape(3, 4, -1) + before[:, :, None]).reshape(3, -1)
    order = np.argsort(-totals, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(found.scores, np.take_along_axis(totals, order, 1))
    possible = found.scores > -np.inf
    np.testing.assert_array_equal((found.beams * vocabulary + found.tokens)[possible], order[possible])


def test_the_best_shows_what_is_no_number() -> None:
    scores = random_scores(0, rows=4, vocabulary=700)
    scores[2, 650] = np.nan
    assert np.isnan(best(scores, np.zeros((2, 2), np.float32), 4).scores).any(axis=1).tolist() == [False, True]


def test_draws_are_distinct_and_likely_ones_come_first() -> None:
    scores = np.log(np.array([[0.6, 0.3, 0.1, 0.0]], np.float32) + 1e-30)
    scores[0, 3] = -np.inf
    firsts = [drawn(scores, np.zeros((1, 1), np.float32), 4, [np.random.default_rng(n)]) for n in range(2000)]
    assert all(sorted(each.tokens[0, :3].tolist()) == [0, 1, 2] for each in firsts)
    assert all(each.scores[0, 3] == -np.inf for each in firsts)  # no fourth one is possible
    shares = np.bincount([each.tokens[0, 0] for each in firsts], minlength=3) / len(firsts)
    np.testing.assert_allclose(shares, [0.6, 0.3, 0.1], atol=0.04)
