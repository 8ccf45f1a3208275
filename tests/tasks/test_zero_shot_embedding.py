"""Zero-shot labels by embeddings: the records of zero-shot-classification, the softmax that is documented."""

from functools import cache
from typing import Any

import numpy as np
import pytest

from enfold.errors import InputError
from enfold.tasks import pipeline
from enfold.tasks.zero_shot_embedding import ZeroShotByEmbedding
from tests.support import minilm

TEXTS = ["The goalkeeper saved the penalty.", "Whisk the eggs with the sugar.", "The senate passed the bill."]
LABELS = ["politics", "cooking", "football"]


@cache
def classify() -> ZeroShotByEmbedding:
    made: ZeroShotByEmbedding = pipeline("zero-shot-by-embedding", minilm())
    return made


def test_records() -> None:
    records = classify()(TEXTS, LABELS)
    assert [record["sequence"] for record in records] == TEXTS
    assert [record["labels"][0] for record in records] == ["football", "cooking", "politics"]
    for record in records:
        assert list(record) == ["sequence", "labels", "scores"]
        assert record["scores"] == sorted(record["scores"], reverse=True)
        assert sum(record["scores"]) == pytest.approx(1, abs=1e-6)
        assert sorted(record["labels"]) == sorted(LABELS)


def test_scores_are_the_documented_softmax() -> None:
    template = "It is about {}."
    record = classify()(TEXTS[0], LABELS, hypothesis_template=template, temperature=0.1)
    anchors = classify().embed([template.format(label) for label in record["labels"]])
    powers = np.exp(anchors @ classify().embed(TEXTS[0]) / 0.1)
    np.testing.assert_allclose(record["scores"], powers / powers.sum(), atol=1e-5)


def test_labels_in_one_text_and_texts_from_a_generator() -> None:
    expected = classify()(TEXTS[0], LABELS)
    assert classify()(TEXTS[0], "politics, cooking ,football") == expected
    record = next(classify()(iter(TEXTS), LABELS))
    assert record["labels"] == expected["labels"]


@pytest.mark.parametrize(
    ("text", "labels", "options", "message"),
    [
        ("", LABELS, {}, "the text is empty"),
        (["a", None], LABELS, {}, r"\[1\] got NoneType"),
        ("a", [], {}, "there is none; expected different texts"),
        ("a", ["b", " "], {}, "are no labels"),
        ("a", ["b", "b", "c"], {}, r"\['b'\] are there twice"),
        ("a", ["b"], {"hypothesis_template": "It is."}, "expected a text with {} for the label"),
        ("a", ["b"], {"temperature": 0}, "temperature is 0, expected a number above 0"),
    ],
)
def test_what_is_refused(text: Any, labels: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        classify()(text, labels, **options)
