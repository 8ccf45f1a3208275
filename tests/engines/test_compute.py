"""How the CPU engine holds its matrices is the caller's choice, and what that gives up is little."""

import copy

import numpy as np
import pytest

import enfold
from enfold.errors import InputError
from tests.support import minilm, shared, smollm2

TEXTS = ["A dog chased the ball.", "Parliament passed the budget.", "Rent is due on the first.", "我明天再来。", "Why?"]


def vectors(dtype: str) -> np.ndarray:
    return np.asarray(enfold.pipeline("embed", minilm(), engine="cpu", dtype=dtype)(TEXTS))


def test_bytes_are_near_float32() -> None:
    cosines = (vectors("int8") * vectors("float32")).sum(axis=1)
    assert cosines.mean() > 0.999 and cosines.min() > 0.997


def test_a_classifier_says_the_same_in_bytes() -> None:
    lines = shared("data", "sms-spam.tsv").read_text(encoding="utf-8").splitlines()[1:1501]
    labels, texts = zip(*(line.split("\t", 1) for line in lines), strict=True)
    exact, rounded = (np.asarray(enfold.pipeline("embed", minilm(), dtype=d)(list(texts))) for d in ("float32", "int8"))
    exact, rounded = (np.c_[each, np.ones(len(each))] for each in (exact, rounded))
    known, wanted = exact[:500], np.array([1.0 if label == "spam" else -1.0 for label in labels])
    weights = np.linalg.solve(known.T @ known + 0.5 * np.eye(known.shape[1]), known.T @ wanted[:500])
    says, says_rounded = exact[500:] @ weights > 0, rounded[500:] @ weights > 0
    assert (says == (wanted[500:] > 0)).mean() > 0.95
    assert (says == says_rounded).mean() >= 0.99


def test_four_bits_still_tell_texts_apart() -> None:
    cosines = vectors("int4") @ vectors("float32").T
    assert (cosines.argmax(axis=1) == np.arange(len(TEXTS))).all()


def test_a_copy_computes_as_the_model_does() -> None:
    model = enfold.AutoModel.from_pretrained(minilm(), engine="cpu", dtype="int8")
    ids = np.array([[101, 2023, 2003, 102]])
    again = copy.deepcopy(model)
    assert again.compute == "int8"
    np.testing.assert_array_equal(again(input_ids=ids).last_hidden_state, model(input_ids=ids).last_hidden_state)


@pytest.mark.parametrize(
    ("dtype", "engine", "message"),
    [
        ("blocks", "cpu", "no quantized blocks"),
        ("int3", "cpu", "'int8', 'int4' and 'blocks'"),
        ("int8", "torch", "add engine='cpu'"),
    ],
)
def test_what_there_is_not_is_refused(dtype: str, engine: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        enfold.AutoModel.from_pretrained(minilm(), engine=engine, dtype=dtype)


def test_blocks_of_a_file_are_computed_with_as_they_are() -> None:
    exact = enfold.AutoModelForCausalLM.from_pretrained(smollm2(), engine="cpu")
    model = enfold.AutoModelForCausalLM.from_pretrained(smollm2(), engine="cpu", dtype="blocks")
    ids = np.random.default_rng(0).integers(100, 5000, (1, 60))
    found, expected = model(input_ids=ids).logits[0], exact(input_ids=ids).logits[0]
    assert np.linalg.norm(found - expected) < 0.06 * np.linalg.norm(expected)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.85


def test_a_pipeline_has_no_half_precision_on_processors() -> None:
    with pytest.raises(InputError, match="the CPU engine computes in"):
        enfold.pipeline("embed", minilm(), engine="cpu", dtype="float16")
