"""What all metrics share: merging, states in files, and refusing what doesn't belong."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from enfold.errors import InputError
from enfold.training.metrics import (
    Answers,
    Classification,
    EmbeddingPairs,
    Entities,
    Generation,
    InBatch,
    Metric,
    MultiLabel,
    Perplexity,
    Regression,
    TokenAccuracy,
)

CASES: dict[str, tuple[Callable[[], Any], list[tuple[Any, ...]]]] = {
    "classification": (
        lambda: Classification(["a", "b"]),
        [([[0.7, 0.3], [0.4, 0.6]], [0, 0]), ([[0.2, 0.8]], [1]), ([[0.9, 0.1]], [1])],
    ),
    "multi label": (lambda: MultiLabel(["a", "b"]), [([[0.7, 0.3]], [[1, 1]]), ([[0.2, 0.8]], [[0, 1]])]),
    "regression": (Regression, [([0.5, 2.0, 3.1], [1.0, 2.0, 2.0]), ([4.0], [5.0]), ([0.0], [0.5])]),
    "embedding pairs": (EmbeddingPairs, [([0.5, 0.1], [1.0, 2.0]), ([0.4], [5.0])]),
    "entities": (
        Entities,
        [([["B-PER", "O"]], [["B-PER", "I-PER"]]), ([["B-LOC"]], [["B-LOC"]]), ([["O"]], [["B-X"]])],
    ),
    "answers": (Answers, [(["the cat"], [["cat", "dog"]]), (["长城"], ["万里长城"]), ([""], [[]])]),
    "perplexity": (Perplexity, [(12.5, 4), (3.25, 1)]),
    "token accuracy": (TokenAccuracy, [(3, 5), (1, 1)]),
    "in batch": (InBatch, [([[0.9, 0.1], [0.8, 0.7]],), ([[1.0]],)]),
    "generation": (Generation, [(["a cat sat down"], ["a cat sat up"]), (["你好世界"], [["世界你好", "你好"]])]),
}


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> tuple[Callable[[], Metric], list[tuple[Any, ...]]]:
    return CASES[request.param]


def fed(make: Callable[[], Any], batches: list[tuple[Any, ...]]) -> Any:
    metric = make()
    for batch in batches:
        metric.update(*batch)
    return metric


def test_merged_streams_are_the_stream_of_all(case: Any) -> None:
    make, batches = case
    whole = fed(make, batches)
    left, right = fed(make, batches[:1]), fed(make, batches[1:])
    alone = right.result()
    left.merge(right)
    assert left.result() == pytest.approx(whole.result())
    assert left.examples == whole.examples
    # the other one is still itself, whatever becomes of the first
    left.update(*batches[0])
    assert right.result() == alone


def test_merging_into_an_empty_stream_and_merging_an_empty_one_in(case: Any) -> None:
    make, batches = case
    whole = fed(make, batches)
    empty = make()
    empty.merge(whole)
    assert empty.result() == whole.result()
    whole.merge(make())
    assert empty.result() == whole.result()


def test_a_state_goes_through_json_and_gives_the_same_figures(case: Any) -> None:
    make, batches = case
    metric, again = fed(make, batches), fed(make, batches[:1])
    again.load(json.loads(json.dumps(metric.state(), allow_nan=False)))
    assert again.result() == metric.result()
    assert again.state() == metric.state()
    for each in (metric, again):
        each.update(*batches[0])
    assert again.result() == metric.result()


def test_figures_are_plain_floats(case: Any) -> None:
    figures = fed(*case).result()
    assert figures and all(type(value) is float for value in figures.values())
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_asking_changes_nothing(case: Any) -> None:
    metric = fed(*case)
    before = metric.state()
    assert metric.result() == metric.result()
    assert metric.state() == before


def test_an_empty_stream_has_no_figures(case: Any) -> None:
    with pytest.raises(InputError, match=r"has seen no .*call update with a batch first"):
        case[0]().result()


def test_a_damaged_state_is_refused_and_changes_nothing(case: Any) -> None:
    make, batches = case
    metric = fed(make, batches)
    before = metric.state()
    for damage in damaged(before):
        with pytest.raises(InputError):
            metric.load(damage)
        assert metric.state() == before


def damaged(state: dict[str, Any]) -> list[Any]:
    """What a state may become in a file."""
    part = max(state["parts"])  # the last one to be read
    inside = state["parts"][part]
    name = max(inside)
    with_part = [
        {},
        [],
        None,
        {**inside, name: "text"},
        {**inside, name: None},
        {**inside, name: [[1, 2], [3]]},
        {**inside, name: [[[[0]]]]},
    ]
    if part == "types":  # has names of its own
        del with_part[0]
    return [
        {},
        None,
        {**state, "metric": "Other"},
        {**state, "settings": {"labels": ["x"]}},
        {**state, "examples": "3"},
        {**state, "examples": -1},
        {**state, "parts": None},
        {**state, "parts": {}},
        *({**state, "parts": {**state["parts"], part: each}} for each in with_part),
    ]


def test_nan_and_fractions_of_examples_in_a_state_are_refused() -> None:
    metric = TokenAccuracy()
    metric.update(1, 2)
    for value, message in ((1.5, "holds float64, expected int64"), ("x", "holds <U1")):
        state = metric.state()
        state["parts"]["sums"]["correct"] = value
        with pytest.raises(InputError, match=message):
            metric.load(state)
    other = Perplexity()
    other.update(1.0, 2)
    state = other.state()
    state["parts"]["sums"]["nats"] = float("nan")
    with pytest.raises(InputError, match="finite"):
        other.load(state)


def test_only_equal_metrics_merge() -> None:
    metric = Classification(["a", "b"])
    with pytest.raises(InputError, match="got the figures of a Perplexity, expected those of a Classification"):
        metric.merge(Perplexity())
    with pytest.raises(InputError, match=r"made differently.*'b', 'a'"):
        metric.merge(Classification(["b", "a"]))
    with pytest.raises(InputError, match="got dict to merge"):
        metric.merge(metric.state())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="merged with itself"):
        metric.merge(metric)
    with pytest.raises(InputError, match="expected those of a EmbeddingPairs"):
        EmbeddingPairs().merge(Regression())
