"""Zero-shot labels by inference: the reference's records, and premises read whole."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from enfold.errors import InputError, TaskError
from tests.tasks.oracle import ENGINES, assert_equal, golden, tiny_pipeline
from tests.tasks.tiny import LIMIT, Tiny

NLI = Tiny(
    family="bert",
    head="sequence-classification",
    vocabulary="uncased",
    labels=("neutral", "entailment", "contradiction"),
)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("tiny", "call", "records"), golden("zero-shot-classification"))
def test_records_are_those_of_the_reference(tiny: Tiny, call: Any, records: Any, engine: str) -> None:
    assert_equal(tiny_pipeline("zero-shot-classification", tiny, engine)(*call["args"], **call["kwargs"]), records)


def told(monkeypatch: pytest.MonkeyPatch, logits: dict[str, tuple[float, ...]], premises: set[str]) -> Any:
    """A task whose model entails hypotheses by a token of theirs, and only beside one of the premises' tokens."""
    task = tiny_pipeline("zero-shot-classification", NLI)
    ids = {task.tokenizer.convert_tokens_to_ids(token): values for token, values in logits.items()}
    needed = {task.tokenizer.convert_tokens_to_ids(token) for token in premises}

    def run(batch: Any, *, fields: Any = (), tokens: Any = None) -> dict[str, Any]:
        rows = []
        for begin, end in batch.spans:
            assert end - begin <= LIMIT
            (label,) = ids.keys() & set(batch.ids[begin:end].tolist())
            rows.append(ids[label] if needed & set(batch.ids[begin:end].tolist()) else (0.0, 0.0, 0.0))
        return {"logits": np.array(rows, np.float32)}

    monkeypatch.setattr(task.model, "run", run)
    return task


def test_each_hypothesis_is_read_whole_beside_every_window_of_a_long_text(monkeypatch: pytest.MonkeyPatch) -> None:
    classify = told(monkeypatch, {"cat": (0, 40, 0), "dog": (0, 0, 40)}, {"cats"})
    for place in (0, 1200, 2999):
        words = ["river"] * 3000
        words[place] = "cats"
        record = classify(" ".join(words), candidate_labels=["dog", "cat"])
        assert record["labels"] == ["cat", "dog"] and record["scores"][0] > 0.6


def test_contradiction_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    classify = told(monkeypatch, {"cat": (9, 1, 1)}, {"river"})
    assert classify("river", "cat", multi_label=True)["scores"] == [0.5], "neutral does not count"


def test_a_label_may_come_twice() -> None:
    record = tiny_pipeline("zero-shot-classification", NLI)("a river", ["cat", "dog", "cat"])
    assert sorted(record["labels"]) == ["cat", "cat", "dog"]
    assert sum(record["scores"]) == pytest.approx(1)


def test_a_list_gives_a_list_and_a_generator_a_generator() -> None:
    classify = tiny_pipeline("zero-shot-classification", NLI)
    record = classify("a river", "cat,dog")
    assert_equal(classify(["a river"], "cat,dog"), [record], 1e-6)
    stream = classify((text for text in ["a river"] * 2), "cat,dog")
    assert isinstance(stream, Iterator)
    assert_equal(list(stream), [record] * 2, 1e-6)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, {"candidate_labels": ["a"]}, "NoneType"),
        ([5], {"candidate_labels": ["a"]}, "int"),
        ("  ", {"candidate_labels": ["a"]}, "empty"),
        ("x", {}, "candidate_labels"),
        ("x", {"candidate_labels": []}, "candidate_labels"),
        ("x", {"candidate_labels": " , "}, "candidate_labels"),
        ("x", {"candidate_labels": ["a", ""]}, "candidate_labels"),
        ("x", {"candidate_labels": ["a", 3]}, "candidate_labels"),
        ("x", {"candidate_labels": ["a"], "hypothesis_template": "This is it."}, "hypothesis_template"),
        ("x", {"candidate_labels": ["a"], "hypothesis_template": "This is {label}."}, "hypothesis_template"),
        ("x", {"candidate_labels": ["a"], "hypothesis_template": "This is {."}, "hypothesis_template"),
        ("x", {"candidate_labels": ["a"], "hypothesis_template": None}, "hypothesis_template"),
    ],
)
def test_what_can_not_be_classified_is_refused(text: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_pipeline("zero-shot-classification", NLI)(text, **options)


@pytest.mark.parametrize("labels", [("positive", "negative"), ("entailment",)])
def test_a_model_of_something_else_is_refused(labels: tuple[str, ...]) -> None:
    tiny = Tiny(family="bert", head="sequence-classification", vocabulary="uncased", labels=labels)
    with pytest.raises(TaskError, match=f"a label 'entailment' beside others; this one has the labels {labels[0]}"):
        tiny_pipeline("zero-shot-classification", tiny)
