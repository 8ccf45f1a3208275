"""Classification and multi-label figures are scikit-learn's, whatever the batches were."""

import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from enfold.errors import InputError, NumericalError
from enfold.training.metrics import Classification, MultiLabel

SEEDS = st.integers(0, 2**32 - 1)


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def made(seed: int, size: int, examples: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Probabilities and truths, of which some labels may never occur."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, rng.integers(1, size + 1), examples)
    logits = rng.normal(size=(examples, size)) * rng.uniform(0.1, 8)
    logits[np.arange(examples), truth] += rng.uniform(0, 3)
    return softmax(logits), truth


def fed(metric: Any, first: Any, second: Any, batch: int) -> Any:
    for begin in range(0, len(first), batch):
        metric.update(first[begin : begin + batch], second[begin : begin + batch])
    return metric


def names(size: int) -> list[str]:
    return [f"label {number}" for number in range(size)]


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, size=st.integers(2, 6), examples=st.integers(1, 80), batch=st.integers(1, 33))
def test_figures_are_those_of_scikit_learn(seed: int, size: int, examples: int, batch: int) -> None:
    probabilities, truth = made(seed, size, examples)
    guesses = probabilities.argmax(axis=1)
    average = {"average": "macro", "zero_division": 0}
    first = {"average": "binary", "zero_division": 0} if size == 2 else average
    expected = {
        "accuracy": sk.accuracy_score(truth, guesses),
        "precision": sk.precision_score(truth, guesses, **first),
        "recall": sk.recall_score(truth, guesses, **first),
        "f1": sk.f1_score(truth, guesses, **first),
        "precision_macro": sk.precision_score(truth, guesses, **average),
        "recall_macro": sk.recall_score(truth, guesses, **average),
        "f1_macro": sk.f1_score(truth, guesses, **average),
        "f1_weighted": sk.f1_score(truth, guesses, average="weighted", zero_division=0),
        "matthews_correlation": matthews(truth, guesses),
        "log_loss": sk.log_loss(truth, probabilities, labels=range(size)),
        "calibration_error": calibration_error(probabilities, truth),
    }
    metric = fed(Classification(names(size)), probabilities, truth, batch)
    assert metric.result() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert (metric.confusion == sk.confusion_matrix(truth, guesses, labels=range(size))).all()
    assert metric.confusion.dtype == np.int64


def matthews(truth: NDArray[Any], guesses: NDArray[Any]) -> float:
    """scikit-learn's; 0 for one label on both sides, of which it warns."""
    return 0.0 if len({*truth, *guesses}) == 1 else float(sk.matthews_corrcoef(truth, guesses))


def calibration_error(probabilities: NDArray[Any], truth: NDArray[Any]) -> float:
    """The paper's formula, bin by bin: (m - 1) / 15 < confidence <= m / 15."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    error = 0.0
    edges = np.linspace(0, 1, 16)
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


def test_perfect_calibration_has_no_error_and_certain_mistakes_have_it_all() -> None:
    calm, sure = Classification(["a", "b"]), Classification(["a", "b"])
    calm.update([[0.75, 0.25]] * 4, [0, 0, 0, 1])
    sure.update([[1.0, 0.0]] * 3, [1, 1, 1])
    assert calm.result()["calibration_error"] == pytest.approx(0)
    assert sure.result()["calibration_error"] == 1
    assert sure.result()["log_loss"] == pytest.approx(-np.log(np.finfo(np.float64).eps))


def test_rows_by_label_are_those_of_the_classification_report() -> None:
    probabilities, truth = made(3, 4, 200)
    metric = fed(Classification(names(4)), probabilities, truth, 64)
    guesses = probabilities.argmax(axis=1)
    columns = sk.precision_recall_fscore_support(truth, guesses, labels=range(4), zero_division=0)
    for place, row in enumerate(metric.by_label()):
        assert row["label"] == names(4)[place]
        assert [row[name] for name in ("precision", "recall", "f1", "support")] == pytest.approx(
            [column[place] for column in columns]
        )
        assert row["predicted"] == (guesses == place).sum()


def test_streams_of_several_processes_give_the_figures_of_one() -> None:
    probabilities, truth = made(5, 3, 100)
    whole = fed(Classification(names(3)), probabilities, truth, 100)
    left, right = (fed(Classification(names(3)), probabilities[i::2], truth[i::2], 7) for i in (0, 1))
    left.merge(right)
    assert left.result() == pytest.approx(whole.result())
    assert right.examples == 50


def test_a_million_examples_take_no_more_memory_than_a_thousand() -> None:
    probabilities, truth = made(0, 5, 1000)
    metric = Classification(names(5))
    metric.update(probabilities, truth)
    size = len(str(metric.state()))
    tracemalloc.start()
    for _ in range(999):
        metric.update(probabilities, truth)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert metric.examples == 1_000_000
    assert kept < 20_000
    assert len(str(metric.state())) < size + 200
    once = fed(Classification(names(5)), probabilities, truth, 1000).result()
    assert metric.result() == pytest.approx(once)


@pytest.mark.parametrize(
    ("probabilities", "truth", "message"),
    [
        ([[0.5, 0.5, 0.0]], [0], r"shape \(1, 3\), expected \(B, 2\)"),
        ([0.5, 0.5], [0, 1], r"shape \(2,\), expected \(B, C\)"),
        ([[2.0, -3.0]], [0], "between -3 and 2, expected 0 to 1: these look like logits"),
        (
            [[0.5, 0.5], [0.9, 0.9]],
            [0, 1],
            "1 of 2 rows of probabilities don't add up to 1, the first is row 1 with 1.8",
        ),
        ([[0.5, 0.5], [0.5]], [0, 1], "no array of shape"),
        ([["a", "b"]], [0], "expected numbers of shape"),
        ([[0.5, 0.5]], [0, 1], "got 1 predictions and 2 true labels"),
        (
            [[0.5, 0.5]] * 2,
            [0, -100],
            "1 of 2 true labels are no label numbers, the first is -100 in row 1: expected 0 to 1",
        ),
        ([[0.5, 0.5]], [0.0], "true labels are float64"),
        ([[0.5, 0.5]], ["b"], "true labels are <U1"),
    ],
)
def test_what_cannot_be_counted_is_refused_and_changes_nothing(probabilities: Any, truth: Any, message: str) -> None:
    metric = Classification(["a", "b"])
    metric.update([[0.9, 0.1]], [0])
    before = metric.state()
    with pytest.raises(InputError, match=message):
        metric.update(probabilities, truth)
    assert metric.state() == before


def test_probabilities_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(
        NumericalError, match=r"2 of 4 probabilities are not finite numbers, the first is nan at \(1, 0\)"
    ):
        Classification(["a", "b"]).update([[0.5, 0.5], [np.nan, np.nan]], [0, 1])
    with pytest.raises(NumericalError, match="not finite"):
        MultiLabel(["a"]).update([[np.nan]], [[1]])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("ab", "expected a list of names"),
        (["a"], "got 1 label,"),
        (["a", "b", "a"], "'a' occur more"),
        ({0: "a"}, "names"),
    ],
)
def test_labels_are_checked(labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Classification(labels)


@pytest.mark.parametrize("metric", [Classification(["a", "b"]), MultiLabel(["a", "b"])])
def test_nothing_seen_is_an_error_and_empty_batches_count_nothing(metric: Any) -> None:
    metric.update([], [])
    metric.update(np.zeros((0, 2), np.float32), np.zeros(0, np.int64) if isinstance(metric, Classification) else [])
    for figures in (metric.result, metric.by_label):
        with pytest.raises(InputError, match="has seen no examples"):
            figures()


def test_16_bit_probabilities_and_booleans_will_do() -> None:
    metric = Classification(["a", "b"])
    metric.update(np.array([[0.3, 0.7]], np.float16), np.array([True]))
    assert metric.result()["accuracy"] == 1


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, size=st.integers(2, 6), examples=st.integers(2, 60), batch=st.integers(1, 33))
def test_multi_label_figures_are_those_of_scikit_learn(seed: int, size: int, examples: int, batch: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (examples, size))
    probabilities = np.clip(truth * 0.3 + rng.random((examples, size)) * 0.7, 0, 1)
    guesses = (probabilities > 0.5).astype(int)
    expected = {
        "accuracy": sk.accuracy_score(truth, guesses),
        "precision_micro": sk.precision_score(truth, guesses, average="micro", zero_division=0),
        "recall_micro": sk.recall_score(truth, guesses, average="micro", zero_division=0),
        "f1_micro": sk.f1_score(truth, guesses, average="micro", zero_division=0),
        "f1_macro": sk.f1_score(truth, guesses, average="macro", zero_division=0),
        "hamming_loss": sk.hamming_loss(truth, guesses),
    }
    metric = fed(MultiLabel(names(size)), probabilities, truth, batch)
    assert metric.result() == pytest.approx(expected)
    columns = sk.precision_recall_fscore_support(truth, guesses, zero_division=0)
    assert [row["f1"] for row in metric.by_label()] == pytest.approx(list(columns[2]))


@pytest.mark.parametrize(
    ("probabilities", "truth", "message"),
    [
        ([[0.5, 0.5]], [[2, 0]], "other than 0 and 1"),
        ([[0.5]], [[1]], r"expected \(B, 2\) of both"),
        ([[0.5, 0.5]], [[1]], r"expected \(B, 2\) of both"),
        ([[0.5, 0.5]], [1], r"true labels have shape \(1,\), expected \(B, C\)"),
        ([[0.5, 7.0]], [[1, 1]], "look like logits"),
        ([[0.5, 0.5]], [[1, np.nan]], "not finite"),
    ],
)
def test_multi_label_batches_are_checked(probabilities: Any, truth: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MultiLabel(["a", "b"]).update(probabilities, truth)
