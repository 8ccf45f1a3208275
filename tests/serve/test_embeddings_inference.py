"""text-embeddings-inference's interface, and that of Cohere and Jina for ordering documents."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from tests.serve.asks import plain, same


def posted(client: httpx.Client, path: str, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_embed(client: httpx.Client) -> None:
    texts = ["a b", "c"]
    np.testing.assert_allclose(
        posted(client, "/embed", inputs=texts), plain("reader", "embed")(texts, normalize=True), atol=1e-5
    )
    found = posted(client, "/embed", inputs="a b", normalize=False, model="judge")
    np.testing.assert_allclose(found, plain("judge", "embed")(["a b"]), atol=1e-5)
    long = " ".join("a" * 100 + "z" * 300)
    cut = posted(client, "/embed", inputs=long, truncate=True, normalize=False)
    whole = posted(client, "/embed", inputs=long, normalize=False)
    np.testing.assert_allclose(whole, plain("reader", "embed")([long]), atol=1e-5)
    assert not np.allclose(cut, whole, atol=1e-3)


def test_embed_all(client: httpx.Client) -> None:
    found = posted(client, "/embed_all", inputs=["a b", "c"])
    same(found, [each[0] for each in plain("reader", "feature-extraction")(["a b", "c"])])


def test_predict(client: httpx.Client) -> None:
    same(posted(client, "/predict", inputs="a b"), plain("judge", "text-classification")(["a b"], top_k=None)[0])
    given = [["a b"], ["c", "d"]]
    expected = plain("judge", "text-classification")(
        ["a b", {"text": "c", "text_pair": "d"}], top_k=None, function_to_apply="none"
    )
    same(posted(client, "/predict", inputs=given, raw_scores=True), expected)


def test_similarity_and_rerank(client: httpx.Client) -> None:
    given = {"source_sentence": "a b", "sentences": ["c d", "a b", "a"]}
    scores = plain("reader", "sentence-similarity")(given)
    same(posted(client, "/similarity", inputs=given), scores)
    found = posted(client, "/rerank", query="a b", texts=given["sentences"], return_text=True)
    assert [each["score"] for each in found] == sorted((each["score"] for each in found), reverse=True)
    assert all(each["text"] == given["sentences"][each["index"]] for each in found)
    same({each["index"]: each["score"] for each in found}, dict(enumerate(scores)))
    cohere = posted(client, "/v1/rerank", model="reader", query="a b", documents=["c d", {"text": "a b"}, "a"], top_n=2)
    assert [each["index"] for each in cohere["results"]] == [each["index"] for each in found][:2]
    same([each["relevance_score"] for each in cohere["results"]], [each["score"] for each in found][:2])
    newer = posted(client, "/v2/rerank", model="reader", query="a b", documents=["c d", "a b", "a"], priority=0)
    assert newer["results"][:2] == cohere["results"]
    assert "message" in client.post("/v2/rerank", json={"query": "a", "documents": []}).json()


def test_tokens(client: httpx.Client) -> None:
    (tokens,) = posted(client, "/tokenize", inputs="a b.")
    assert [each["text"] for each in tokens] == ["[CLS]", "a", "b", ".", "[SEP]"]
    assert [each["special"] for each in tokens] == [True, False, False, False, True]
    assert [(each["start"], each["stop"]) for each in tokens[1:-1]] == [(0, 1), (2, 3), (3, 4)]
    assert posted(client, "/decode", ids=[each["id"] for each in tokens]) == ["a b."]
    assert posted(client, "/decode", ids=[[5], [6, 7]]) == ["a", "b c"]


def test_info(client: httpx.Client) -> None:
    found = client.get("/info").json()
    assert found["model_id"] == "reader" and found["max_client_batch_size"] == 50
    assert list(client.get("/info", params={"model": "judge"}).json()["model_type"]) == ["classifier"]


@pytest.mark.parametrize(
    ("path", "body", "status", "problem"),
    [
        ("/embed", {"inputs": ""}, 422, "the text is empty"),
        ("/embed", {"inputs": ["a"] * 51}, 422, "one request may have 50 (max_texts)"),
        ("/embed", {"inputs": ["a", "", " "]}, 422, "2 of 3 can't be read"),
        ("/embed", {"inputs": 5}, 422, "inputs"),
        ("/embed", {"inputs": "a", "model": "writer"}, 422, "writer can't do embed; reader and judge"),
        ("/embed", {"inputs": "a", "truncate": True, "truncation_direction": "Left"}, 422, "cut at their end"),
        ("/embed", {"inputs": "a", "dimensions": 0}, 422, "dimensions"),
        ("/predict", {"inputs": [["a", "b", "c"]]}, 422, "an input has 3 texts"),
        ("/decode", {"ids": [10**10]}, 422, ""),
        ("/nothing", {}, 404, "there is nothing at /nothing"),
    ],
)
def test_what_is_wrong_is_said(client: httpx.Client, path: str, body: Any, status: int, problem: str) -> None:
    answer = client.post(path, json=body)
    found = answer.json()
    assert answer.status_code == status and problem in found["error"], answer.text
    assert found["error_type"] in ("Validation", "Backend")
