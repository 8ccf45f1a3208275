"""Labels of texts: the reference's records and shapes, pairs, and long texts read whole."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from enfold.errors import InputError
from tests.tasks.oracle import ENGINES, assert_equal, golden, tiny_pipeline
from tests.tasks.tiny import Tiny

TINY = Tiny(family="bert", head="sequence-classification", vocabulary="uncased", labels=("bad", "fine", "good"))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("tiny", "call", "records"), golden("text-classification"))
def test_records_are_those_of_the_reference(tiny: Tiny, call: Any, records: Any, engine: str) -> None:
    assert_equal(tiny_pipeline("sentiment-analysis", tiny, engine)(*call["args"], **call["kwargs"]), records)


def test_a_long_text_is_the_mean_of_its_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    classify = tiny_pipeline("text-classification", TINY)
    good = classify.tokenizer.convert_tokens_to_ids("good")

    def run(batch: Any, *, fields: Any = (), tokens: Any = None) -> dict[str, Any]:
        share = [np.mean(batch.ids[begin:end] == good) for begin, end in batch.spans]
        return {"logits": np.array([[1 - each, 0, each] for each in share], np.float32)}

    monkeypatch.setattr(classify.model, "run", run)
    for count, label in ((400, "bad"), (600, "good")):
        text = "good " * count + "plain " * (1000 - count)
        assert classify(text)[0]["label"] == label
        for pair in (("plain", text), (text, "plain"), (text, text)):
            assert classify(dict(zip(("text", "text_pair"), pair, strict=True)))["label"] == label
    half = classify("good " * 504 + "plain " * 496, function_to_apply="none", top_k=None)
    assert {record["label"]: record["score"] for record in half}["good"] == pytest.approx(0.5, abs=0.02)


def test_texts_and_pairs_may_be_mixed() -> None:
    classify = tiny_pipeline("text-classification", TINY)
    pair = {"text": "a river", "text_pair": "a bridge"}
    mixed = classify(["a river", pair, {"text": "a river"}, "a bridge"])
    alone = [classify([each])[0] for each in ("a river", pair, "a river", "a bridge")]
    assert_equal(mixed, alone, 1e-6)


def test_a_generator_gives_a_generator() -> None:
    classify = tiny_pipeline("text-classification", TINY)
    stream = classify(text for text in ["a river"] * 3)
    assert isinstance(stream, Iterator)
    assert_equal(list(stream), classify(["a river"] * 3), 1e-6)


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (None, {}, "NoneType"),
        (12, {}, "int"),
        ([None], {}, "NoneType"),
        ("", {}, "empty"),
        (["a", "\n"], {}, "empty"),
        ({"txt": "a"}, {}, "keys .*txt.*expected 'text'"),
        ({"text": "a", "pair": "b"}, {}, "'text_pair'"),
        ({"text": "a", "text_pair": ""}, {}, "empty"),
        ([("a", "b")], {}, "'text_pair'"),
        ("a", {"top_k": 0}, "top_k is 0"),
        ("a", {"top_k": -1}, "top_k is -1"),
        ("a", {"top_k": "all"}, "top_k is 'all'"),
        ("a", {"function_to_apply": "exp"}, "expected one of softmax, sigmoid, none"),
    ],
)
def test_what_can_not_be_classified_is_refused(inputs: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_pipeline("text-classification", TINY)(inputs, **options)
