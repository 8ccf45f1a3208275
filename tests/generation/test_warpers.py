"""Truncations keep the reference's tokens, on distributions from flat to sharp, with ties and with holes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers.generation as reference

from enfold.generation import warpers
from enfold.generation.rows import Processor, Rows, Scores
from tests.generation.support import random_scores

VOCABULARY = 3000
CASES: dict[str, tuple[Processor, Callable[[], Any]]] = {
    "temperature": (warpers.Temperature(0.7), lambda: reference.TemperatureLogitsWarper(0.7)),
    "top_k": (warpers.TopK(50), lambda: reference.TopKLogitsWarper(50)),
    "top_k over the vocabulary": (warpers.TopK(9999), lambda: reference.TopKLogitsWarper(9999)),
    "top_k, least": (warpers.TopK(1, 3), lambda: reference.TopKLogitsWarper(1, min_tokens_to_keep=3)),
    "top_p": (warpers.TopP(0.9), lambda: reference.TopPLogitsWarper(0.9)),
    "top_p, wide": (warpers.TopP(0.999), lambda: reference.TopPLogitsWarper(0.999)),
    "top_p, none": (warpers.TopP(0.0, 2), lambda: reference.TopPLogitsWarper(0.0, min_tokens_to_keep=2)),
    "min_p": (warpers.MinP(0.05), lambda: reference.MinPLogitsWarper(0.05)),
    "min_p, off": (warpers.MinP(0.0), lambda: reference.MinPLogitsWarper(0.0)),
    "min_p, least": (warpers.MinP(0.9, 4), lambda: reference.MinPLogitsWarper(0.9, min_tokens_to_keep=4)),
    "typical": (warpers.Typical(0.9), lambda: reference.TypicalLogitsWarper(0.9)),
    "typical, narrow": (warpers.Typical(0.2, 3), lambda: reference.TypicalLogitsWarper(0.2, min_tokens_to_keep=3)),
    "epsilon": (warpers.Epsilon(3e-3), lambda: reference.EpsilonLogitsWarper(3e-3)),
    "epsilon, least": (warpers.Epsilon(0.9, 2), lambda: reference.EpsilonLogitsWarper(0.9, min_tokens_to_keep=2)),
    "eta": (warpers.Eta(2e-3), lambda: reference.EtaLogitsWarper(2e-3)),
    "eta, least": (warpers.Eta(0.5, 5), lambda: reference.EtaLogitsWarper(0.5, min_tokens_to_keep=5)),
    "top_h": (warpers.TopH(0.503), lambda: reference.TopHLogitsWarper(0.503)),
    "log_softmax": (warpers.Normalize(), lambda: reference.LogitNormalization()),
}


def empty_rows(count: int) -> Rows:
    return Rows([[0]] * count, [1] * count, [[0]] * count)


def check(name: str, scores: Scores, *, ties: bool = False) -> None:
    """Equal tokens and values; with ``ties``, which the reference orders by chance, equal values in any order."""
    ours, make = CASES[name]
    expected = make()(torch.zeros(len(scores), 1), torch.from_numpy(scores.copy())).numpy()
    got = ours(scores.copy(), empty_rows(len(scores)))
    assert got.dtype == np.float32
    if ties:
        got, expected = np.sort(got), np.sort(expected)
    np.testing.assert_array_equal(np.isneginf(got), np.isneginf(expected))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("scale", [1.0, 4.0, 20.0])
def test_random_scores(name: str, scale: float) -> None:
    check(name, random_scores(7, 6, VOCABULARY, scale))


@pytest.mark.parametrize("name", CASES)
def test_equal_scores(name: str) -> None:
    check(name, np.full((2, VOCABULARY), 1.5, np.float32), ties=True)


@pytest.mark.parametrize("name", CASES)
def test_scores_with_holes(name: str) -> None:
    scores = random_scores(8, 6, VOCABULARY)
    for row, left in zip(scores, (1, 2, 10, 99, 500, 2999), strict=True):
        row[np.random.default_rng(left).permutation(VOCABULARY)[left:]] = -np.inf
    check(name, scores)


@pytest.mark.parametrize("name", CASES)
def test_ties(name: str) -> None:
    """Scores in half precision tie often."""
    check(name, np.round(random_scores(9, 6, VOCABULARY) * 2) / 2, ties=True)


def test_of_ties_the_lower_ids_are_kept() -> None:
    kept = warpers.TopP(0.5)(np.zeros((1, 10), np.float32), empty_rows(1))
    assert np.isfinite(kept[0]).tolist() == [True] * 5 + [False] * 5


@pytest.mark.parametrize("name", CASES)
def test_a_row_without_choice_stays(name: str) -> None:
    scores = random_scores(2, 3, 40)
    scores[1] = -np.inf
    result = CASES[name][0](scores.copy(), empty_rows(3))
    assert np.isneginf(result[1]).all()
    assert np.isfinite(result[[0, 2]].max(axis=1)).all()


def test_rows_do_not_depend_on_each_other() -> None:
    scores = random_scores(3, 5, VOCABULARY)
    for name, (ours, _) in CASES.items():
        together = ours(scores.copy(), empty_rows(5))
        for row in range(5):
            alone = ours(scores[row : row + 1].copy(), empty_rows(1))
            np.testing.assert_array_equal(together[row : row + 1], alone, err_msg=name)
