"""Forbidden and forced tokens are those of the reference, for rows of any lengths."""

import numpy as np
import pytest
import torch
import transformers.generation as reference

from enfold.errors import InputError
from enfold.generation import masks
from enfold.generation.rows import Rows
from tests.generation.support import VOCABULARY, assert_same, random_rows, random_scores

ENDS = (3, 11)
SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_least_lengths(seed: int) -> None:
    scores, rows = random_scores(seed), random_rows(seed)
    assert_same(
        masks.MinLength(12, ENDS), lambda rows, row: reference.MinLengthLogitsProcessor(12, list(ENDS)), scores, rows
    )
    assert_same(
        masks.MinNewTokens(5, ENDS),
        lambda rows, row: reference.MinNewTokensLengthLogitsProcessor(rows.prompt_lengths[row], 5, list(ENDS)),
        scores,
        rows,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_forced_tokens(seed: int) -> None:
    scores, rows = random_scores(seed), random_rows(seed, longest=4)
    assert_same(masks.ForcedStart(7), lambda rows, row: reference.ForcedBOSTokenLogitsProcessor(7), scores, rows)
    assert_same(
        masks.ForcedEnd(ENDS, lambda given: given + 2),
        lambda rows, row: reference.ForcedEOSTokenLogitsProcessor(rows.prompt_lengths[row] + 2, list(ENDS)),
        scores,
        rows,
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("forced", [False, True])
def test_suppressed_tokens(seed: int, forced: bool) -> None:
    scores, rows = random_scores(seed), random_rows(seed, longest=4)
    assert_same(masks.Suppress((1, 5)), lambda rows, row: reference.SuppressTokensLogitsProcessor([1, 5]), scores, rows)

    def make(rows: Rows, row: int) -> reference.LogitsProcessor:
        given = rows.prompt_lengths[row]  # how the reference counts, in its _get_logits_processor
        begin = given if given > 1 or not forced else given + 1
        return reference.SuppressTokensAtBeginLogitsProcessor([2, 4], begin)

    assert_same(masks.BeginSuppress((2, 4), forced), make, scores, rows)


def test_invalid_values_are_replaced() -> None:
    scores = random_scores(0)
    scores[0, :3] = np.nan, np.inf, -np.inf
    rows = random_rows(0)
    expected = reference.InfNanRemoveLogitsProcessor()(torch.zeros(8, 1), torch.from_numpy(scores.copy())).numpy()
    np.testing.assert_array_equal(masks.RemoveInvalid()(scores, rows), expected)


def test_allowed_tokens() -> None:
    scores, rows = random_scores(1, rows=4), random_rows(1, count=4)
    rows.tokens = [tokens[:1] * 3 for tokens in rows.tokens]  # the reference takes rows of one length
    rows.inputs = [0, 0, 1, 1]
    scores[:2, :50] = -np.inf  # all that is allowed for input 0: forced with a score of 0
    scores[2, :50] = -np.inf  # input 1 still has its other beam
    allowed = {0: [4, 9], 1: [4, 60]}
    expected = reference.PrefixConstrainedLogitsProcessor(lambda index, tokens: allowed[index], num_beams=2)(
        torch.tensor(rows.tokens), torch.from_numpy(scores.copy())
    )
    seen = []

    def function(index: int, tokens: list[int]) -> list[int]:
        seen.append((index, tokens))
        return allowed[index]

    np.testing.assert_array_equal(masks.AllowedTokens(function)(scores, rows), expected.numpy())
    assert seen == list(zip(rows.inputs, rows.tokens, strict=True))


def test_rows_are_inputs_where_nothing_else_is_said() -> None:
    rows = Rows([[1], [2]], [1, 1], [[1], [2]])
    result = masks.AllowedTokens(lambda index, tokens: [index])(np.zeros((2, 5), np.float32), rows)
    assert np.isfinite(result).argmax(axis=1).tolist() == [0, 1]


def test_nothing_allowed_is_an_error() -> None:
    with pytest.raises(InputError, match="allows no token for input 0 after 3 tokens"):
        masks.AllowedTokens(lambda index, tokens: [])(np.zeros((1, 5), np.float32), Rows([[1, 2, 3]], [1], [[1]]))


def test_all_rows_long_enough_is_no_change() -> None:
    scores = random_scores(3)
    np.testing.assert_array_equal(masks.MinLength(0, ENDS)(scores.copy(), random_rows(3)), scores)
    assert scores.shape[1] == VOCABULARY
