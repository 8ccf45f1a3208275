"""The hub's own client, unchanged, against a server: every task gives what Python gives."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.serve.asks import plain, same
from tests.serve.running import Running


@pytest.fixture
def hub(server: Running) -> Any:
    return lambda name: InferenceClient(model=f"{server.address}/models/{name}", token="none")


def records(found: Any) -> list[dict[str, Any]]:
    return [{name: value for name, value in vars(each).items() if value is not None} for each in found]


def test_text_classification(hub: Any) -> None:
    found = hub("judge").text_classification("a b c", top_k=2)
    same(
        [(each.label, each.score) for each in found],
        [tuple(r.values()) for r in plain("judge", "text-classification")("a b c", top_k=2)],
    )


def test_token_classification(hub: Any) -> None:
    found = hub("tagger").token_classification("a b c d", aggregation_strategy="simple")
    same(records(found), plain("tagger", "token-classification")("a b c d", aggregation_strategy="simple"))


def test_question_answering(hub: Any) -> None:
    found = hub("answerer").question_answering(question="a b", context="c d e f g", max_answer_len=2)
    expected = plain("answerer", "question-answering")(question="a b", context="c d e f g", max_answer_len=2)
    same({name: getattr(found, name) for name in expected}, expected)


def test_fill_mask(hub: Any) -> None:
    found = hub("reader").fill_mask("a [MASK] c", top_k=3)
    expected = plain("reader", "fill-mask")("a [MASK] c", top_k=3)
    same([{name: getattr(each, name) for name in expected[0]} for each in found], expected)


def test_sentence_similarity(hub: Any) -> None:
    found = hub("reader").sentence_similarity("a b", other_sentences=["c", "a b"])
    same(found, plain("reader", "sentence-similarity")({"source_sentence": "a b", "sentences": ["c", "a b"]}))


def test_features_and_labels_of_any_kind(hub: Any, client: httpx.Client) -> None:
    answer = client.post("/models/reader/pipeline/feature-extraction", json={"inputs": "a b"})
    same(answer.json(), plain("reader", "feature-extraction")("a b"))
    found = hub("reader").zero_shot_classification("a b", candidate_labels=["c", "d e"])
    expected = plain("reader", "zero-shot-by-embedding")("a b", candidate_labels=["c", "d e"])
    same([each.label for each in found], expected["labels"])
    np.testing.assert_allclose([each.score for each in found], expected["scores"], atol=1e-5)


def test_texts_that_are_rewritten(hub: Any) -> None:
    options = {"max_new_tokens": 6, "num_beams": 2}
    expected = plain("translator", "translation")("a b c", **options)[0]["translation_text"]
    found = hub("translator/pipeline/translation").translation("a b c", generate_parameters=options)
    assert found.translation_text == expected
    expected = plain("translator", "summarization")("a b c", **options)[0]["summary_text"]
    shorter = hub("translator/pipeline/summarization").summarization("a b c", generate_parameters=options)
    assert shorter.summary_text == expected


def test_texts_that_go_on(hub: Any) -> None:
    client = hub("writer")
    expected = plain("writer", "text-generation")("a b", do_sample=False, max_new_tokens=8, return_full_text=False)
    text = expected[0]["generated_text"]
    assert client.text_generation("a b", do_sample=False, max_new_tokens=8) == text
    assert client.text_generation("a b", do_sample=False, max_new_tokens=8, return_full_text=True) == "a b" + text
    details = client.text_generation("a b", do_sample=False, max_new_tokens=8, details=True)
    assert details.generated_text == text and details.details.generated_tokens == len(details.details.tokens)
    pieces = list(client.text_generation("a b", do_sample=False, max_new_tokens=8, stream=True, details=True))
    assert "".join(each.token.text for each in pieces) == text == pieces[-1].generated_text
    assert pieces[-1].details.finish_reason == details.details.finish_reason


def test_chats(hub: Any) -> None:
    client = hub("writer")
    chat = [{"role": "user", "content": "a b"}]
    expected = plain("writer", "text-generation")(chat, do_sample=False, max_new_tokens=8)[0]["generated_text"][-1]
    found = client.chat_completion(chat, temperature=0, max_tokens=8)
    assert found.choices[0].message.content == expected["content"]
    stream = client.chat_completion(chat, temperature=0, max_tokens=8, stream=True)
    assert "".join(each.choices[0].delta.content or "" for each in stream) == expected["content"]


@pytest.mark.parametrize(
    ("path", "body", "status", "problem"),
    [
        ("nobody", {"inputs": "a"}, 404, "there is no model 'nobody'"),
        ("judge", {"inputs": ""}, 422, "the text is empty"),
        ("judge", {"inputs": []}, 422, "inputs is empty"),
        ("judge", {"inputs": "a", "parameters": {"topk": 1}}, 422, "did you mean top_k"),
        ("judge", {"inputs": "a", "paramters": {}}, 422, "paramters: Extra inputs are not permitted"),
        ("judge/pipeline/translation", {"inputs": "a"}, 422, "can't do translation; it does text-classification"),
        ("judge/pipeline/nothing", {"inputs": "a"}, 422, "can't do nothing"),
        ("writer", {"inputs": "a", "parameters": {"max_new_tokens": 61}}, 422, "max_new_tokens"),
        ("writer", {"inputs": "a", "parameters": {"max_new_tokens": True}}, 422, "max_new_tokens is True"),
        ("writer", {"inputs": ["a"]}, 422, "one text"),
        ("judge", {"inputs": "a", "stream": True}, 422, "does not stream"),
    ],
)
def test_what_is_wrong_is_said(client: httpx.Client, path: str, body: Any, status: int, problem: str) -> None:
    answer = client.post(f"/models/{path}", json=body)
    assert answer.status_code == status and problem in answer.json()["error"]


def test_the_client_tells_it_too(hub: Any) -> None:
    with pytest.raises(HfHubHTTPError, match="422"):
        hub("judge").text_classification("")
