"""Errors and correlations are scipy's and scikit-learn's, near a billion and over a million pairs, too."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk

from enfold.errors import InputError, NumericalError
from enfold.training.metrics import EmbeddingPairs, Regression
from enfold.training.metrics.ranks import EXACT, Ranks

Floats = NDArray[np.float64]
MILLION = 1_000_000


def fed(metric: Any, first: Floats, second: Floats, batch: int) -> Any:
    for begin in range(0, len(first), batch):
        metric.update(first[begin : begin + batch], second[begin : begin + batch])
    return metric


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    examples=st.integers(10, 90),
    batch=st.integers(1, 40),
    around=st.sampled_from([0.0, -3.0, 1e9]),
    tied=st.booleans(),
)
def test_figures_are_those_of_scipy_and_scikit_learn(
    seed: int, examples: int, batch: int, around: float, tied: bool
) -> None:
    rng = np.random.default_rng(seed)
    truth = around + np.arange(examples) % 5 + rng.integers(0, 9, examples) * 0.25
    guesses = truth + rng.normal(size=examples)
    if tied:
        guesses = np.round(guesses * 2) / 2
        guesses[0] += 0.5  # never constant
    expected = {
        "mse": sk.mean_squared_error(truth, guesses),
        "rmse": sk.root_mean_squared_error(truth, guesses),
        "mae": sk.mean_absolute_error(truth, guesses),
        "r2": sk.r2_score(truth, guesses),
        "pearson": stats.pearsonr(guesses - around, truth - around)[0],
        "spearman": stats.spearmanr(guesses, truth)[0],
    }
    assert fed(Regression(), guesses, truth, batch).result() == pytest.approx(expected, rel=1e-7, abs=1e-7)
    pairs = fed(EmbeddingPairs(), guesses, truth, batch).result()
    assert pairs == pytest.approx({name: expected[name] for name in ("pearson", "spearman")}, rel=1e-7, abs=1e-7)


def test_pearson_near_a_billion_keeps_its_digits_over_many_batches() -> None:
    rng = np.random.default_rng(0)
    small = rng.normal(size=(2, 50_000))
    small[1] += small[0]
    # what float64 holds near 1e9 is the data, for both sides
    large = small + 1e9
    expected = stats.pearsonr(*(large - 1e9))[0]
    assert fed(Regression(), *large, 8).result()["pearson"] == pytest.approx(expected, abs=1e-10)


def test_what_a_constant_leaves_undefined_is_0() -> None:
    metric = fed(Regression(), np.full(50, 0.1), np.arange(50) / 3, 7)
    assert metric.result()["pearson"] == metric.result()["spearman"] == 0
    same = fed(Regression(), np.full(50, 0.1), np.full(50, 0.1), 7)
    assert same.result()["r2"] == 1
    other = fed(Regression(), np.full(50, 0.2), np.full(50, 0.1), 7)
    assert other.result()["r2"] == other.result()["pearson"] == 0
    one = fed(EmbeddingPairs(), np.ones(1), np.ones(1), 1)
    assert one.result() == {"pearson": 0, "spearman": 0}


def test_spearman_is_exact_until_the_memory_is_full() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(size=EXACT)
    second = np.round(first + rng.normal(size=EXACT), 1)
    metric = fed(EmbeddingPairs(), first, second, 1000)
    assert metric.result()["spearman"] == pytest.approx(stats.spearmanr(first, second)[0], abs=1e-12)
    metric.update([0.0], [0.0])
    first, second = np.append(first, 0.0), np.append(second, 0.0)
    assert metric.result()["spearman"] == pytest.approx(stats.spearmanr(first, second)[0], abs=1e-4)


def inwards(by: Floats, values: Floats) -> Floats:
    """Values in the order of the size of others, the largest first."""
    ordered: Floats = values[np.argsort(-np.abs(by))]
    return ordered


STREAMS: dict[str, Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]] = {
    "stationary": lambda x, e, t: (x, x + 0.75 * e),
    "truths in steps, as people give them": lambda x, e, t: (x, np.clip(np.round((x + e) * 2 + 5) / 2, 0, 5)),
    "a thousand steps": lambda x, e, t: (np.round(x * 150), np.round((x + e) * 150)),
    "one side drifting": lambda x, e, t: (x + 20 * t, x + e),
    "drifting apart": lambda x, e, t: (x + 20 * t, x + e - 20 * t),
    "sorted": lambda x, e, t: (np.sort(x), np.sort(x) + 0.1 * e),
    "shrinking in scale": lambda x, e, t: (x * np.exp(-10 * t), (x + e) * np.exp(-10 * t)),
    "from both ends to the middle": lambda x, e, t: (inwards(x, x), inwards(x, x + 0.3 * e)),
    "a beginning in a narrow place": lambda x, e, t: (np.where(t < 0.1, x / 1e6, x), np.where(t < 0.1, e / 1e6, x + e)),
    "heavy tails near a billion": lambda x, e, t: (1e9 + x / np.abs(e), 1e9 + x + e),
}


@pytest.mark.parametrize("name", STREAMS)
def test_spearman_of_a_million_pairs_is_within_two_thousandths(name: str) -> None:
    rng = np.random.default_rng(2)
    pairs = np.stack(STREAMS[name](*rng.normal(size=(2, MILLION)), np.arange(MILLION) / MILLION))
    ranks = Ranks()
    for begin in range(0, MILLION, 10_000):
        ranks.add(pairs[:, begin : begin + 10_000])
    assert ranks.correlation == pytest.approx(stats.spearmanr(*pairs)[0], abs=0.002)


def test_streams_of_several_processes_give_the_figures_of_one() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=200_000)
    guesses = truth + rng.normal(size=len(truth))
    parts = [fed(Regression(), guesses[i::3], truth[i::3], 5000) for i in range(3)]
    whole = Regression()
    for part in parts:
        whole.merge(part)
    expected = stats.spearmanr(guesses, truth)[0]
    figures = whole.result()
    assert whole.examples == len(truth)
    assert figures.pop("spearman") == pytest.approx(expected, abs=0.002)
    once = fed(Regression(), guesses, truth, len(truth)).result()
    once.pop("spearman")
    assert figures == pytest.approx(once)


def test_small_streams_merge_without_any_loss() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=(2, 1000))
    left, right = (fed(Regression(), first[i::2], second[i::2], 10) for i in (0, 1))
    left.merge(right)
    assert left.result() == pytest.approx(fed(Regression(), first, second, 1000).result(), rel=1e-9)


def test_a_state_of_many_pairs_survives_a_file() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(2, 70_000))
    metric, again = fed(Regression(), first, second, 10_000), Regression()
    again.load(json.loads(json.dumps(metric.state())))
    for each in (metric, again):
        each.update(first[:100], second[:100])
    assert again.result() == metric.result()


def test_a_million_examples_take_bounded_memory() -> None:
    rng = np.random.default_rng(6)
    metric = Regression()
    tracemalloc.start()
    for _ in range(100):
        metric.update(*rng.normal(size=(2, 10_000)))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert metric.examples == MILLION
    assert kept < 5_000_000  # the pairs alone would be 16 MB
    assert len(metric.state()["parts"]["ranks"]["kept"][0]) <= (2 * 256 + 64 + 1) ** 2


def test_many_tiny_batches_and_one_huge_one_are_the_same_stream() -> None:
    rng = np.random.default_rng(7)
    first, second = rng.normal(size=(2, 150_000))
    few, many = Ranks(), Ranks()
    few.add(np.stack([first, second]))
    for begin in range(0, 150_000, 50):
        many.add(np.stack([first[begin : begin + 50], second[begin : begin + 50]]))
    assert few.correlation == many.correlation


@pytest.mark.parametrize(
    ("guesses", "truth", "error", "message"),
    [
        ([[1.0]], [1.0], InputError, r"predictions have shape \(1, 1\), expected \(B,\)"),
        ([1.0, 2.0], [1.0], InputError, "got 2 predictions and 1 true values"),
        ([np.nan], [1.0], NumericalError, "1 of 1 predictions are not finite"),
        ([1.0], [np.inf], InputError, "true values are not finite numbers.*mend or drop"),
        ([1e200], [1.0], NumericalError, "reach 1e.200"),
        (["1"], [1.0], InputError, "expected numbers"),
    ],
)
def test_what_cannot_be_counted_is_refused_and_changes_nothing(
    guesses: Any, truth: Any, error: type[Exception], message: str
) -> None:
    metric = Regression()
    before = metric.state()
    with pytest.raises(error, match=message):
        metric.update(guesses, truth)
    assert metric.state() == before


@pytest.mark.parametrize("metric", [Regression(), EmbeddingPairs()])
def test_nothing_seen_is_an_error(metric: Any) -> None:
    metric.update([], [])
    with pytest.raises(InputError, match="has seen no examples"):
        metric.result()
