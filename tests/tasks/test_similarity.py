"""Similarities equal sentence-transformers', in the records of the hub's inference API and as matrices."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest

from enfold.errors import InputError
from enfold.tasks import pipeline
from enfold.tasks.similarity import SentenceSimilarity, similarities
from tests.support import minilm

RECORD = {"source_sentence": "That is a happy dog.", "sentences": ["That is a happy puppy.", "Taxes rose again."]}


@cache
def similarity() -> SentenceSimilarity:
    made: SentenceSimilarity = pipeline("sentence-similarity", minilm())
    return made


def test_a_record() -> None:
    scores = similarity()(RECORD)
    assert [type(score) for score in scores] == [float, float]
    vectors = similarity().embed([RECORD["source_sentence"], *RECORD["sentences"]])
    np.testing.assert_allclose(scores, vectors[1:] @ vectors[0], atol=1e-6)
    assert scores[0] > 0.7 > 0.2 > scores[1]


def test_many_records() -> None:
    single = similarity()(RECORD)
    np.testing.assert_allclose(similarity()([RECORD, RECORD]), [single, single], atol=1e-6)
    records = similarity()(iter([RECORD]))
    assert isinstance(records, Iterator)
    np.testing.assert_allclose(next(records), single, atol=1e-6)
    assert similarity()({"source_sentence": "a", "sentences": []}) == []


def test_matrices() -> None:
    first, second = ["A dog.", "A cat."], ["A puppy.", "A kitten.", "A tax."]
    matrix = similarity()(first, second)
    assert matrix.shape == (2, 3) and matrix.dtype == np.float32
    assert matrix[0].argmax() == 0 and matrix[1].argmax() == 1
    own = similarity()(first)
    np.testing.assert_allclose(own, own.T, atol=1e-6)
    np.testing.assert_allclose(np.diag(own), 1, atol=1e-6)
    assert similarity()(first, []).shape == (2, 0)
    assert similarity()([]).shape == (0, 0)


@pytest.mark.parametrize("kind", ["cosine", "dot", "euclidean", "manhattan"])
def test_functions_equal_sentence_transformers(kind: Any) -> None:
    from sentence_transformers.util import similarity as reference

    names = {"cosine": "cos_sim", "dot": "dot_score", "euclidean": "euclidean_sim", "manhattan": "manhattan_sim"}
    generator = np.random.default_rng(0)
    first, second = (generator.standard_normal((rows, 12)).astype(np.float32) for rows in (4, 7))
    ours, theirs = similarities(kind, first, second), getattr(reference, names[kind])(first, second).numpy()
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("text",), r"got str \('text'\), expected {'source_sentence'"),
        ((None,), "got NoneType .None., expected {"),
        (({"source_sentence": "a"},), r"got the keys \['source_sentence'\], expected {'source_sentence'"),
        (({"source_sentence": "a", "sentences": "b"},), "sentences is str .*expected a list of texts"),
        (({"source_sentence": "", "sentences": ["b"]},), r"\[0\] the text is empty"),
        ((["a", 3],), r"\[1\] got int"),
        ((["a"], "b"), "second argument is str .*expected a list of texts"),
        ((RECORD, ["b"]), "the first has to be a list, got dict"),
    ],
)
def test_what_can_not_be_compared(arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        similarity()(*arguments)
