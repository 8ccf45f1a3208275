"""Processors and criteria written for transformers run as they are."""

import numpy as np
import pytest
import torch
import transformers.generation as reference

from enfold.errors import InputError
from enfold.generation.foreign import (
    adapt_criterion,
    adapt_processor,
    criterion_from_transformers,
    processor_from_transformers,
)
from tests.generation.support import assert_same, random_rows, random_scores


class Mine(reference.LogitsProcessor):
    """Raises the score of the last token by the length of the text."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        scores[torch.arange(len(scores)), input_ids[:, -1]] += input_ids.shape[1]
        return scores


def test_processors() -> None:
    scores, rows = random_scores(0), random_rows(0, longest=4)
    assert_same(adapt_processor(Mine()), lambda rows, row: Mine(), scores, rows)
    assert_same(adapt_processor(reference.LogitsProcessorList([Mine(), Mine()])), both, scores, rows)
    assert_same(
        processor_from_transformers(lambda input_ids, scores: scores * 2),
        lambda rows, row: lambda input_ids, scores: scores * 2,
        scores,
        rows,
    )


def both(rows: object, row: int) -> reference.LogitsProcessorList:
    return reference.LogitsProcessorList([Mine(), Mine()])


def test_criteria() -> None:
    rows = random_rows(0, longest=5)
    lengths = [len(tokens) >= 3 for tokens in rows.tokens]
    assert adapt_criterion(reference.MaxLengthCriteria(3))(rows).tolist() == lengths
    assert adapt_criterion(reference.StoppingCriteriaList([reference.MaxLengthCriteria(3)]))(rows).tolist() == lengths
    assert criterion_from_transformers(lambda input_ids, scores: True)(rows).tolist() == [True] * 8


def test_enfolds_own_are_taken_as_they_are() -> None:
    def own(scores: np.ndarray, rows: object) -> np.ndarray:
        return scores

    assert adapt_processor(own) is own
    with pytest.raises(InputError, match=r"3 is no logits processor; expected a function \(scores, rows\)"):
        adapt_processor(3)
    with pytest.raises(InputError, match="'x' is no stopping criterion"):
        adapt_criterion("x")
