"""Entities are read and counted as seqeval does by default."""

import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, classification_report
from seqeval.metrics.sequence_labeling import get_entities

from enfold.errors import InputError
from enfold.training.metrics import Entities
from enfold.training.metrics.entities import find_spans
from tests.support import shared

TAGS = ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("PER", "LOC", "MISC-X"))]
BARE = [*TAGS, "B", "I", "E", "S", "B-"]
Sentences = list[list[str]]


@st.composite
def batches(draw: st.DrawFn) -> tuple[Sentences, Sentences]:
    lengths = draw(st.lists(st.integers(0, 9), min_size=1, max_size=6))
    guess, truth = ([draw(st.lists(st.sampled_from(TAGS), min_size=n, max_size=n)) for n in lengths] for _ in "12")
    return guess, truth


@settings(max_examples=300, deadline=None)
@given(tags=st.lists(st.sampled_from(BARE), max_size=12))
def test_spans_are_those_of_seqeval_for_any_order_of_tags(tags: list[str]) -> None:
    assert [(kind, first, last - 1) for kind, first, last in find_spans(tags)] == get_entities(tags)


@settings(max_examples=100, deadline=None)
@given(batch=batches())
def test_figures_are_those_of_seqeval(batch: tuple[Sentences, Sentences]) -> None:
    guesses, truth = batch
    metric = Entities()
    for one, other in zip(guesses, truth, strict=True):
        metric.update([one], [other])
    if not metric.examples:
        return
    figures = metric.result()
    if not any(map(get_entities, [*guesses, *truth])):  # of which seqeval has no report
        assert figures["f1"] == figures["f1_macro"] == 0
        return
    report = classification_report(truth, guesses, output_dict=True, zero_division=0)
    assert figures == pytest.approx(
        {
            "precision": report["micro avg"]["precision"],
            "recall": report["micro avg"]["recall"],
            "f1": report["micro avg"]["f1-score"],
            "f1_macro": report["macro avg"]["f1-score"],
            "accuracy": accuracy_score(truth, guesses),
        }
    )
    for row in metric.by_label():
        theirs = report[row["label"]]
        assert [row[name] for name in ("precision", "recall", "f1", "support")] == pytest.approx(
            [theirs[name] for name in ("precision", "recall", "f1-score", "support")]
        )


@given(kinds=st.lists(st.sampled_from(["O", "PER", "ORG", "person name", "I", "Ort-Name"]), max_size=12))
def test_tags_without_prefix_are_joined_while_equal(kinds: list[str]) -> None:
    # "I" alone is a prefix, and everything else a type of its own
    prefixed = [kind if kind in ("O", "I") else f"I-{kind}" for kind in kinds]
    assert list(find_spans(kinds)) == list(find_spans(prefixed))


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        (["O", "I-PER", "I-PER"], [("PER", 1, 3)]),
        (["B-PER", "I-LOC"], [("PER", 0, 1), ("LOC", 1, 2)]),
        (["S-PER", "S-PER", "E-PER"], [("PER", 0, 1), ("PER", 1, 2), ("PER", 2, 3)]),
        (["U-PER", "B-LOC", "I-LOC", "L-LOC", "L-LOC"], [("PER", 0, 1), ("LOC", 1, 4), ("LOC", 4, 5)]),
        (["B-地名", "M-地名", "E-地名", "S-人名"], [("地名", 0, 3), ("人名", 3, 4)]),
        (["B", "M", "E", "S", "B", "E"], [("_", 0, 3), ("_", 3, 4), ("_", 4, 6)]),
        (["ORG", "ORG", "O", "ORG"], [("ORG", 0, 2), ("ORG", 3, 4)]),
        ([], []),
    ],
)
def test_every_scheme_is_understood(tags: list[str], spans: list[Any]) -> None:
    assert list(find_spans(tags)) == spans


def test_a_span_is_right_only_whole_and_of_its_type() -> None:
    metric = Entities()
    metric.update(
        [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "O"]], [["B-PER", "I-PER", "I-PER", "B-LOC"], ["B-PER", "O"]]
    )
    assert metric.result()["precision"] == pytest.approx(1 / 3)
    assert metric.result()["accuracy"] == pytest.approx(4 / 6)
    assert [(row["label"], row["support"], row["predicted"]) for row in metric.by_label()] == [
        ("LOC", 1, 2),
        ("PER", 2, 1),
    ]


def test_real_chinese_tags_spoilt_here_and_there_score_as_in_seqeval() -> None:
    lines = shared("data", "msra-ner.dev.tsv").read_text(encoding="utf-8-sig").splitlines()[1:400]
    truth = [line.split("\t")[1].replace("\x02", " ").split() for line in lines]
    guesses = [["O" if place % 7 == 3 else tag for place, tag in enumerate(tags)] for tags in truth]
    metric = Entities()
    metric.update(guesses, truth)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = classification_report(truth, guesses, output_dict=True, zero_division=0)
    assert metric.result()["f1"] == pytest.approx(report["micro avg"]["f1-score"])
    assert 0 < metric.result()["f1"] < 1


@pytest.mark.parametrize(
    ("guesses", "truth", "message"),
    [
        ([["O"]], [["O"], ["O"]], "got 1 sentences of predictions and 2 true ones"),
        ([["O"], ["O", "O"]], [["O"], ["O"]], r"1 of 2 sentences have other numbers.*sentence 1 \(2 and 1\)"),
        (["O"], [["O"]], "sentence 0 is O, expected a list of tags"),
        ([[3]], [["O"]], "expected a list of tags"),
        ([[""]], [["O"]], "expected a list of tags"),
    ],
)
def test_what_cannot_be_counted_is_refused_and_changes_nothing(guesses: Any, truth: Any, message: str) -> None:
    metric = Entities()
    with pytest.raises(InputError, match=message):
        metric.update(guesses, truth)
    assert metric.state() == Entities().state()
