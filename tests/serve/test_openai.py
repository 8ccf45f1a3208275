"""OpenAI's own client, unchanged, against a server: what it gets is what Python gives."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests.serve.asks import plain
from tests.serve.models import KINDS
from tests.serve.running import Running

CHAT: list[Any] = [{"role": "user", "content": "a b c"}]


@pytest.fixture
def ai(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


def answer(chat: list[Any], **options: Any) -> str:
    """The same chat from Python."""
    record = plain("writer", "text-generation")(chat, **options)[0]
    return str(record["generated_text"][-1]["content"])


def test_models_are_listed_and_told_of(ai: openai.OpenAI) -> None:
    assert [model.id for model in ai.models.list()] == list(KINDS)
    found = ai.models.retrieve("judge")
    assert found.id == "judge" and found.object == "model"
    assert found.model_extra is not None and found.model_extra["tasks"][0] == "text-classification"
    with pytest.raises(openai.NotFoundError, match=r"no model 'nobody'; the models are reader, judge"):
        ai.models.retrieve("nobody")


def decoded(embedding: Any) -> Any:
    return np.frombuffer(base64.b64decode(embedding), "<f4") if isinstance(embedding, str) else embedding


@pytest.mark.parametrize("encoding", ["base64", "float", openai.omit])
def test_embeddings(ai: openai.OpenAI, encoding: Any) -> None:
    texts = ["a b c", "d", " ".join("efghij" * 20)]
    found = ai.embeddings.create(model="reader", input=texts, encoding_format=encoding)
    expected = plain("reader", "embed")(texts)
    np.testing.assert_allclose([decoded(each.embedding) for each in found.data], expected, atol=1e-5)
    assert isinstance(found.data[0].embedding, str if encoding == "base64" else list)
    assert [each.index for each in found.data] == [0, 1, 2]
    assert found.usage.prompt_tokens == found.usage.total_tokens > 120


def test_embeddings_are_cut_to_length_one(ai: openai.OpenAI) -> None:
    (found,) = ai.embeddings.create(model="reader", input="a b", dimensions=4).data
    np.testing.assert_allclose(
        found.embedding, plain("reader", "embed")("a b", truncate_dim=4, normalize=True), atol=1e-5
    )
    assert np.linalg.norm(found.embedding) == pytest.approx(1, abs=1e-5)
    with pytest.raises(openai.BadRequestError, match="truncate_dim is 4000, expected 1 to"):
        ai.embeddings.create(model="reader", input="a b", dimensions=4000)


def test_token_ids_of_another_vocabulary_are_refused(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        ai.embeddings.create(model="reader", input=[[1, 2, 3]])


def test_a_chat_is_answered_as_from_python(ai: openai.OpenAI) -> None:
    found = ai.chat.completions.create(model="writer", messages=CHAT, temperature=0, max_tokens=12)
    (choice,) = found.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == answer(CHAT, do_sample=False, max_new_tokens=12)
    assert choice.finish_reason in ("length", "stop")
    assert found.usage is not None and found.usage.prompt_tokens == 8 and found.usage.completion_tokens <= 12
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens


def test_a_seed_draws_what_it_draws_in_python(ai: openai.OpenAI) -> None:
    options: dict[str, Any] = {"temperature": 1.5, "top_p": 0.9, "seed": 7}
    found = ai.chat.completions.create(model="writer", messages=CHAT, max_tokens=12, **options)
    assert found.choices[0].message.content == answer(CHAT, do_sample=True, max_new_tokens=12, **options)


def test_a_stream_has_the_same_text(ai: openai.OpenAI) -> None:
    whole = ai.chat.completions.create(model="writer", messages=CHAT, temperature=0, max_tokens=12, logprobs=True)
    chunks = list(
        ai.chat.completions.create(
            model="writer", messages=CHAT, temperature=0, max_tokens=12, logprobs=True, top_logprobs=2,
            stream=True, stream_options={"include_usage": True},
        )
    )  # fmt: skip
    *pieces, last = chunks
    assert pieces[0].choices[0].delta.role == "assistant"
    assert "".join(each.choices[0].delta.content or "" for each in pieces) == whole.choices[0].message.content
    assert [each.choices[0].finish_reason for each in pieces][-1] == whole.choices[0].finish_reason
    assert not last.choices and last.usage == whole.usage
    assert len({each.id for each in chunks}) == 1
    assert whole.choices[0].logprobs is not None and whole.choices[0].logprobs.content is not None
    told = [one for each in pieces if each.choices[0].logprobs for one in each.choices[0].logprobs.content or ()]
    assert [one.logprob for one in told] == pytest.approx([one.logprob for one in whole.choices[0].logprobs.content])
    assert all(len(one.top_logprobs) == 2 and one.logprob == pytest.approx(one.top_logprobs[0].logprob) for one in told)


def test_chances_are_those_of_the_model(ai: openai.OpenAI) -> None:
    found = ai.chat.completions.create(
        model="writer", messages=CHAT, temperature=0, max_tokens=1, logprobs=True, top_logprobs=20
    )
    assert found.choices[0].logprobs is not None and found.choices[0].logprobs.content is not None
    (told,) = found.choices[0].logprobs.content
    task = plain("writer", "text-generation")
    ids = task.tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)
    logits = task.model.forward([ids]).logits[0, -1].astype(np.float64)
    expected = np.sort(logits - np.log(np.exp(logits).sum()))[::-1][:20]
    np.testing.assert_allclose([one.logprob for one in told.top_logprobs], expected, atol=1e-4)
    assert bytes(told.bytes or ()).decode() == told.token


def test_several_texts_are_drawn_each_by_itself(ai: openai.OpenAI) -> None:
    options: dict[str, Any] = {"temperature": 1.5, "seed": 3, "max_tokens": 15}
    found = ai.chat.completions.create(model="writer", messages=CHAT, n=3, **options)
    texts = [each.message.content for each in found.choices]
    assert [each.index for each in found.choices] == [0, 1, 2] and len(set(texts)) == 3
    again = ai.chat.completions.create(model="writer", messages=CHAT, n=3, stream=True, **options)
    streamed = ["", "", ""]
    for chunk in again:
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == texts


def test_a_text_ends_before_a_stop_text(ai: openai.OpenAI) -> None:
    whole = ai.chat.completions.create(model="writer", messages=CHAT, temperature=0, max_tokens=12)
    text = whole.choices[0].message.content or ""
    stop = text[len(text) // 2 : len(text) // 2 + 3]
    for stops in (stop, ["nothing", stop]):
        found = ai.chat.completions.create(model="writer", messages=CHAT, temperature=0, max_tokens=12, stop=stops)
        assert found.choices[0].message.content == text[: text.find(stop)]
        assert found.choices[0].finish_reason == "stop"
        stream = ai.chat.completions.create(
            model="writer", messages=CHAT, temperature=0, max_tokens=12, stop=stops, stream=True
        )
        assert "".join(each.choices[0].delta.content or "" for each in stream) == text[: text.find(stop)]


def test_texts_go_on(ai: openai.OpenAI) -> None:
    prompts = ["a b", "c d e"]
    found = ai.completions.create(model="writer", prompt=prompts, temperature=0, max_tokens=6, logprobs=2)
    write = plain("writer", "text-generation")
    expected = [write(each, do_sample=False, max_new_tokens=6, return_full_text=False)[0] for each in prompts]
    assert [each.text for each in found.choices] == [each["generated_text"] for each in expected]
    told = found.choices[0].logprobs
    assert told is not None and len(told.tokens or ()) == len(told.token_logprobs or ()) == len(told.top_logprobs or ())
    ids = write.tokenizer("a b")["input_ids"]
    same = ai.completions.create(model="writer", prompt=list(map(int, ids)), temperature=0, max_tokens=6)
    assert same.choices[0].text == found.choices[0].text


def test_penalties_change_what_is_written(ai: openai.OpenAI) -> None:
    def written(**options: Any) -> str:
        return (
            ai.completions.create(model="writer", prompt="a b", temperature=0, max_tokens=20, **options).choices[0].text
        )

    assert written(frequency_penalty=2) != written()
    assert written(presence_penalty=0, frequency_penalty=0) == written()
    words = written(presence_penalty=2, frequency_penalty=2, logit_bias={"5": -100}).split()
    assert "a" not in words
    assert set(written(logit_bias={"6": 100}).split()) == {"b"}


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "'tools' is not something this server does"),
        ({"extra_body": {"temprature": 1}}, r"'temprature' .* \(did you mean temperature\?\)"),
        ({"temperature": 3}, "temperature: Input should be less than or equal to 2"),
        ({"max_tokens": 61}, r"61 new tokens are asked for, and a text may have 60 \(max_new_tokens\)"),
        ({"messages": []}, "messages: List should have at least 1 item"),
        ({"messages": [{"role": "user", "content": "a " * 300}]}, "the model's context has"),
        ({"model": "reader"}, "reader can't do text-generation; writer would; it does fill-mask"),
        ({"top_logprobs": 3}, "top_logprobs needs logprobs"),
        ({"response_format": {"type": "json_schema"}}, "response_format needs"),
    ],
)
def test_what_is_wrong_is_said(ai: openai.OpenAI, asked: dict[str, Any], problem: str) -> None:
    with pytest.raises((openai.BadRequestError, openai.UnprocessableEntityError), match=problem) as caught:
        ai.chat.completions.create(**{"model": "writer", "messages": CHAT, **asked})
    assert caught.value.type == "invalid_request_error" and caught.value.code


def test_what_has_no_effect_is_accepted(ai: openai.OpenAI) -> None:
    found = ai.chat.completions.create(
        model="writer", messages=CHAT, user="me", store=False, metadata={"a": "b"}, max_completion_tokens=3,
        service_tier="auto", temperature=0,
    )  # fmt: skip
    assert found.usage is not None and found.usage.completion_tokens == 3


def test_an_error_after_the_stream_began_is_an_event(client: httpx.Client) -> None:
    asked = {
        "model": "writer",
        "prompt": "a",
        "max_tokens": 5,
        "logit_bias": {str(token): -1000 for token in range(36)},
    }
    with client.stream("POST", "/v1/completions", json={**asked, "stream": True}) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert answer.status_code in (200, 400)
    assert lines
