"""Perplexity, accuracy of tokens, and finding one's own partner in a batch."""

import math
from typing import Any

import numpy as np
import pytest

from enfold.errors import InputError, NumericalError
from enfold.training.metrics import InBatch, Perplexity, TokenAccuracy


def test_loss_is_the_mean_over_tokens_not_over_batches() -> None:
    metric = Perplexity()
    metric.update(10.0, 2)
    metric.update(np.float32(2.0), np.int64(8))
    metric.update(0.0, 0)
    assert metric.result() == pytest.approx(
        {"loss": 1.2, "perplexity": math.exp(1.2), "bits_per_token": 1.2 / math.log(2)}
    )


def test_a_model_that_guesses_among_n_has_a_perplexity_of_n() -> None:
    metric = Perplexity()
    metric.update(-100 * math.log(1 / 32), 100)
    assert metric.result()["perplexity"] == pytest.approx(32)
    assert metric.result()["bits_per_token"] == pytest.approx(5)


def test_a_hopeless_model_is_infinitely_perplexed_and_no_error() -> None:
    metric = Perplexity()
    metric.update(701.0, 1)
    assert metric.result()["perplexity"] == math.inf
    assert metric.result()["loss"] == 701


def test_certainty_may_be_rounded_to_more_than_certain() -> None:
    metric = Perplexity()
    metric.update(-1e-5, 10)
    assert metric.result() == {"loss": 0, "perplexity": 1, "bits_per_token": 0}


@pytest.mark.parametrize(
    ("nats", "tokens", "error", "message"),
    [
        (math.nan, 3, NumericalError, "of 3 tokens is nan"),
        (math.inf, 3, NumericalError, "of 3 tokens is inf"),
        (-2.0, 3, InputError, "expected 0 or more"),
        (2.0, 0, InputError, "0 without tokens"),
        (2.0, -1, InputError, "tokens is -1"),
        (2.0, 1.5, InputError, "tokens is 1.5, expected a whole number"),
        ([1.0, 2.0], 1, InputError, "expected the sum"),
    ],
)
def test_perplexity_checks_its_batches(nats: Any, tokens: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Perplexity().update(nats, tokens)


def test_token_accuracy_counts_tokens() -> None:
    metric = TokenAccuracy()
    metric.update(1, 2)
    metric.update(np.int64(0), 6)
    assert metric.result() == {"accuracy": 0.125}
    with pytest.raises(InputError, match="3 correct tokens of 2"):
        metric.update(3, 2)


def test_in_batch_figures_are_those_of_sorted_candidates() -> None:
    rng = np.random.default_rng(0)
    metric, ranks = InBatch(), []
    for size in (1, 2, 9, 32):
        similarities = rng.normal(size=(size, size)) + np.eye(size)
        metric.update(similarities.astype(np.float32))
        ranks += [list(np.argsort(-row)).index(place) + 1 for place, row in enumerate(similarities)]
    assert metric.result() == pytest.approx(
        {"accuracy@1": np.mean(np.array(ranks) == 1), "mrr": np.mean(1 / np.array(ranks))}
    )


def test_a_model_that_finds_all_alike_is_not_praised() -> None:
    metric = InBatch()
    metric.update(np.ones((4, 4)))
    assert metric.result() == {"accuracy@1": 0, "mrr": 0.25}


def test_further_candidates_belong_to_nobody() -> None:
    metric = InBatch()
    metric.update([[0.9, 0.1, 0.95], [0.1, 0.9, 0.2]])
    assert metric.result() == {"accuracy@1": 0.5, "mrr": 0.75}


def test_in_batch_checks_its_batches() -> None:
    with pytest.raises(InputError, match=r"shape \(2, 1\), expected a column for every row"):
        InBatch().update([[1.0], [0.0]])
    with pytest.raises(InputError, match=r"shape \(2,\), expected \(B, B\)"):
        InBatch().update([1.0, 0.0])
    with pytest.raises(NumericalError, match="1 of 1 similarities are NaN"):
        InBatch().update([[np.nan]])
    empty = InBatch()
    empty.update(np.zeros((0, 0)))
    with pytest.raises(InputError, match="has seen no queries"):
        empty.result()
