"""Token vectors equal the reference's pipeline, and a long text gives as many as it has tokens."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest

from enfold.errors import InputError
from enfold.packing import pack
from enfold.tasks import pipeline
from enfold.tasks.base import Options
from enfold.tasks.feature_extraction import FeatureExtraction
from enfold.tokenization import Encoded
from tests.support import minilm

LONG = "The committee met again, and nothing was decided about the river. " * 45


@cache
def extractor() -> FeatureExtraction:
    made: FeatureExtraction = pipeline("feature-extraction", minilm())
    return made


@pytest.fixture(scope="module")
def reference() -> Any:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return transformers.pipeline("feature-extraction", model=str(minilm()), device="cpu")


def test_equal_to_the_reference(reference: Any) -> None:
    texts = ["A text about rivers.", "Snow."]
    one, many = extractor()(texts[0]), extractor()(texts)
    assert isinstance(one, list) and isinstance(one[0][0][0], float)
    np.testing.assert_allclose(one, reference(texts[0]), atol=1e-5)
    assert len(many) == 2
    for ours, theirs in zip(many, reference(texts), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_arrays(reference: Any) -> None:
    ours = extractor()("Snow.", return_tensors=True)
    assert ours.shape == (1, 4, 384) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, reference("Snow.", return_tensors=True).numpy(), atol=1e-5)


def test_a_generator_gives_a_generator() -> None:
    records = extractor()(iter(["Snow.", "A text about rivers."]), return_tensors=True)
    assert isinstance(records, Iterator)
    assert [record.shape for record in records] == [(1, 4, 384), (1, 7, 384)]


@pytest.mark.parametrize("stride", [None, 5])
def test_a_long_text_has_a_vector_for_every_token(stride: int | None) -> None:
    extract = FeatureExtraction(extractor().model, extractor().tokenizer, Options(stride=stride))
    (encoded,) = extract.tokenizer.encode_many([LONG])
    assert len(encoded) > 512
    states = extract(LONG, return_tensors=True)[0]
    assert states.shape == (len(encoded), 384)
    windows = extract.tokenizer.windows(encoded, max_length=512, stride=128 if stride is None else stride)
    np.testing.assert_allclose(states[:400], _states(extract, windows[0])[:400], atol=1e-5)
    np.testing.assert_allclose(states[-5:], _states(extract, windows[-1])[-5:], atol=1e-5)


def test_shared_tokens_are_halved_between_windows() -> None:
    """The last window's vectors begin in the middle of what it shares with the one before it."""
    extract = FeatureExtraction(extractor().model, extractor().tokenizer, Options(stride=101))
    (encoded,) = extract.tokenizer.encode_many([LONG[:2900]])
    windows = extract.tokenizer.windows(encoded, max_length=512, stride=101)
    assert len(windows) == 2
    first, second = (_states(extract, window) for window in windows)
    expected = np.concatenate([first[: 511 - 50], second[1 + 51 :]])
    np.testing.assert_allclose(extract(LONG[:2900], return_tensors=True)[0], expected, atol=1e-5)


def _states(extract: FeatureExtraction, window: Encoded) -> np.ndarray:
    batch = pack(extract.model.arch, [window.ids], [window.type_ids])
    return extract.model.run(batch, fields=("last_hidden_state",))["last_hidden_state"]


@pytest.mark.parametrize("given", ["", None, b"a", ["a", ""], [3]])
def test_what_is_no_text(given: Any) -> None:
    with pytest.raises(InputError):
        extractor()(given)
