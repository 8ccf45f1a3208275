"""Penalties, n-grams and biases are those of the reference, for rows of any lengths."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers.generation as reference

from enfold.generation import penalties
from enfold.generation.rows import Rows
from tests.generation.support import VOCABULARY, assert_same, random_rows, random_scores

SEEDS = range(4)
GOLDEN = Path(__file__).parent / "golden" / "diversity.json"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("penalty", [0.7, 1.3])
def test_repetition(seed: int, penalty: float) -> None:
    scores, rows = random_scores(seed), random_rows(seed)
    assert_same(
        penalties.Repetition(penalty),
        lambda rows, row: reference.RepetitionPenaltyLogitsProcessor(penalty),
        scores,
        rows,
    )
    assert_same(
        penalties.Repetition(penalty, of="sources"),
        lambda rows, row: reference.EncoderRepetitionPenaltyLogitsProcessor(penalty, torch.tensor([rows.sources[row]])),
        scores,
        rows,
    )


def test_tokens_without_a_score_are_passed_over() -> None:
    scores, rows = random_scores(0, rows=1), Rows([[5, VOCABULARY + 3, 5]], [1], [[5, VOCABULARY]])
    assert_same(
        penalties.Repetition(2.0), lambda rows, row: reference.RepetitionPenaltyLogitsProcessor(2.0), scores, rows
    )
    assert_same(penalties.NoRepeat(1), lambda rows, row: reference.NoRepeatNGramLogitsProcessor(1), scores, rows)
    assert np.isneginf(penalties.NoRepeat(1, of="sources")(scores, rows)[0]).sum() == 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_n_grams(seed: int, size: int) -> None:
    scores, rows = random_scores(seed), random_rows(seed)
    assert_same(penalties.NoRepeat(size), lambda rows, row: reference.NoRepeatNGramLogitsProcessor(size), scores, rows)
    assert_same(
        penalties.NoRepeat(size, of="sources"),
        lambda rows, row: reference.EncoderNoRepeatNGramLogitsProcessor(size, torch.tensor([rows.sources[row]])),
        scores,
        rows,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_biased_sequences(seed: int) -> None:
    scores, rows = random_scores(seed), random_rows(seed)
    generator = np.random.default_rng(seed)
    biases = {(4,): 2.5, (9,): -1.0, (*rows.tokens[0][-1:], 4): 3.0, (*rows.tokens[1][-2:], 8): -2.0}
    biases |= {tuple(generator.integers(0, VOCABULARY, 3).tolist()): 1.0}
    assert_same(
        penalties.SequenceBias(biases), lambda rows, row: reference.SequenceBiasLogitsProcessor(biases), scores, rows
    )
    words = [[4], [9], [3], [*rows.tokens[0][-1:], 5], [*rows.tokens[1][-2:], 8]]
    assert_same(
        penalties.SequenceBias({tuple(word): -np.inf for word in words if word != [3]}),
        lambda rows, row: reference.NoBadWordsLogitsProcessor(words, eos_token_id=3),
        scores,
        rows,
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_end_decay(seed: int, factor: float) -> None:
    scores, rows = random_scores(seed), random_rows(seed)
    scores[:, 11] = -np.inf
    assert_same(
        penalties.EndDecay(3, factor, (7, 11)),
        lambda rows, row: reference.ExponentialDecayLengthPenalty((3, factor), [7, 11], rows.prompt_lengths[row]),
        scores,
        rows,
    )


def test_end_decay_never_overflows() -> None:
    rows = Rows([[0] * 5000], [1], [[0]])
    result = penalties.EndDecay(0, 10.0, (1,))(np.ones((1, 3), np.float32), rows)
    assert np.isfinite(result).all()
    assert result.argmax() == 1


def test_diversity() -> None:
    for case in json.loads(GOLDEN.read_text()):
        scores = np.array(case["scores"], dtype=np.float32)
        rows = Rows([[0]] * len(scores), [1] * len(scores), [[0]] * len(scores), chosen=case["chosen"])
        result = penalties.Diversity(case["penalty"])(scores, rows)
        np.testing.assert_allclose(result, case["processed"], rtol=1e-6)


def test_the_first_group_is_free() -> None:
    scores = random_scores(0)
    np.testing.assert_array_equal(penalties.Diversity(1.0)(scores.copy(), random_rows(0)), scores)
