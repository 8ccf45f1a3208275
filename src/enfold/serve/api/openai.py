"""OpenAI's interface: models, embeddings, completions, chats; for its clients and all that speak like them."""

from __future__ import annotations

import base64
import difflib
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

from enfold.serve.api.shapes import json_answer
from enfold.serve.faults import Fault
from enfold.serve.front import Front, front_of
from enfold.serve.models import Served
from enfold.serve.settings import Settings

__all__ = ["ChatBody", "ResponseFormat", "answer_chat", "router"]

router = APIRouter(prefix="/v1", tags=["OpenAI"])
Asked = Annotated[Front, Depends(front_of)]

_NO_EFFECT = {
    "metadata", "moderation", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "reasoning_effort",
    "safety_identifier", "service_tier", "store", "user", "verbosity",
}  # fmt: skip
"""What clients send that changes nothing here."""


class _Body(BaseModel):
    """A request's body: what is unknown is refused, since it would be without effect."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _without_effect(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        known = {field.alias or name for name, field in cls.model_fields.items()}
        unknown = [
            name
            for name, value in values.items()
            if name not in known and name not in _NO_EFFECT and value not in (None, [], {}, False)
        ]
        if unknown:
            near = difflib.get_close_matches(str(unknown[0]), known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"{', '.join(map(repr, unknown))} is not something this server does{hint}")
        return {name: value for name, value in values.items() if name in known}


class EmbeddingsBody(_Body):
    """What is embedded."""

    model: str = Field(description="A model's id", max_length=500)
    input: str | list[str] | list[int] | list[list[int]] = Field(description="A text, or several")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, description="Keep the first numbers, at length 1")


class StreamOptions(_Body):
    """How a stream ends."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class JsonSchema(_Body):
    """A JSON schema by name."""

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] | bool = Field(True, alias="schema")
    strict: bool | None = None


class ResponseFormat(_Body):
    """What a text has to be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class _Writing(_Body):
    model: str = Field(description="A model's id", max_length=500)
    max_tokens: int | None = Field(None, ge=1, description="New tokens of each text")
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=1_000_000)
    min_p: float | None = Field(None, ge=0, le=1)
    n: int | None = Field(None, ge=1, le=128)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = Field(None, max_length=10_000)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, ge=0.01, le=10)
    logit_bias: dict[str, float] | None = Field(None, max_length=1000)
    response_format: ResponseFormat | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class Part(_Body):
    """A part of a message; texts alone are read."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of a chat."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None

    def plain(self) -> dict[str, str]:
        """As chat templates take it."""
        content = self.content
        text = "".join(part.text for part in content) if isinstance(content, list) else content or ""
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatBody(_Writing):
    """A chat that is to be answered."""

    messages: list[Message] = Field(min_length=1, max_length=10_000)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)


class CompletionsBody(_Writing):
    """Texts that are to go on."""

    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: int | None = Field(None, ge=0, le=5)
    echo: bool | None = None


# ── models ───────────────────────────────────────────────────────────────────


def _card(model: Served, settings: Settings) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "enfold",
        "state": model.state,
        "source": model.public_source,
        "limits": {"max_new_tokens": settings.max_new_tokens},
        **model.info,
    }


@router.get("/models")
async def models(front: Asked) -> Response:
    """The models, with what each can do."""
    return json_answer(
        {"object": "list", "data": [_card(model, front.settings) for model in front.catalog.models.values()]}
    )


@router.get("/models/{model:path}")
async def model(model: str, front: Asked) -> Response:
    """One model."""
    return json_answer(_card(front.catalog.find(model), front.settings))


# ── embeddings ───────────────────────────────────────────────────────────────


@router.post("/embeddings")
async def embeddings(body: EmbeddingsBody, front: Asked) -> Response:
    """Texts to vectors; with ``dimensions`` their first numbers, at length 1."""
    texts = [body.input] if isinstance(body.input, str) else body.input
    if any(not isinstance(text, str) for text in texts):
        raise Fault(
            422, "token_ids", "input holds token ids, which mean other words to this model's tokenizer: send texts "
            "(LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False))", param="input",
        )  # fmt: skip
    front.check_texts(texts, "input")
    served = front.model(body.model, "embed")
    options: dict[str, Any] = {}
    if body.dimensions is not None:
        options = {"truncate_dim": body.dimensions, "normalize": True}
    job = front.job(served, "task", {"task": "embed", "inputs": texts, "options": options}, texts)
    vectors, read = await front.ask(job)
    rows = [_base64(row) for row in vectors] if body.encoding_format == "base64" else vectors
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    usage = {"prompt_tokens": read, "total_tokens": read}
    return json_answer({"object": "list", "data": data, "model": served.name, "usage": usage})


def _base64(row: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(row, "<f4").tobytes()).decode()


# ── texts ────────────────────────────────────────────────────────────────────


@router.post("/chat/completions")
async def chat(body: ChatBody, front: Asked) -> Response:
    """Answers a chat."""
    return await answer_chat(body, front)


async def answer_chat(body: ChatBody, front: Front) -> Response:
    """A chat's answer, whole or as a stream; for every interface that has chats of this kind."""
    chances = (body.top_logprobs or 0) if body.logprobs else None
    if body.top_logprobs and not body.logprobs:
        raise Fault(422, "invalid_request", "top_logprobs needs logprobs: true", param="top_logprobs")
    messages = [message.plain() for message in body.messages]
    wanted = {"chat": messages, "chances": chances}
    texts = [message["content"] for message in messages]
    new = body.max_completion_tokens or body.max_tokens
    return await _write(front, body, wanted, texts, 1, new, _Chat("chatcmpl"))


@router.post("/completions")
async def completions(body: CompletionsBody, front: Asked) -> Response:
    """Goes on from texts."""
    given = body.prompt
    single = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
    prompts: list[Any] = [given] if single else list(given)
    if any(isinstance(prompt, int) for prompt in prompts):
        raise Fault(
            422, "invalid_request", "prompt mixes token ids with lists: send one or several lists", param="prompt"
        )
    if body.echo:
        raise Fault(
            422, "invalid_request", "echo is not done here: the prompt is known to whoever sends it", param="echo"
        )
    front.check_texts(prompts, "prompt")
    wanted = {"prompts": prompts, "chances": body.logprobs}
    return await _write(front, body, wanted, prompts, len(prompts), body.max_tokens or 16, _Text("cmpl"))


async def _write(
    front: Front,
    body: _Writing,
    wanted: dict[str, Any],
    texts: Sequence[Any],
    prompts: int,
    new: int | None,
    shape: _Shape,
) -> Response:
    """Asks for texts, and answers in the shape of one of the two interfaces."""
    served = front.model(body.model, "text-generation")
    copies, new = body.n or 1, front.new_tokens(new, "max_tokens")
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    given = {
        **wanted, "n": copies, "stop": stops, "stream": bool(body.stream), "options": _options(body, new),
        "presence": body.presence_penalty or 0.0, "frequency": body.frequency_penalty or 0.0,
    }  # fmt: skip
    job = front.job(served, "write", given, texts, prompts * copies, new)
    shape.model = served.name
    if body.stream:
        include = bool(body.stream_options and body.stream_options.include_usage)
        return await front.events(job, shape.events(include), last="[DONE]")
    (value, _) = await front.ask(job)
    return json_answer(shape.whole(value["texts"], value["usage"]))


def _options(body: _Writing, new: int) -> dict[str, Any]:
    """Options of generation; what is not said is as the model's own files have it."""
    options: dict[str, Any] = {"max_new_tokens": new}
    if body.temperature is not None:
        options |= (
            {"do_sample": True, "temperature": body.temperature} if body.temperature > 0 else {"do_sample": False}
        )
    elif any(each is not None for each in (body.top_p, body.top_k, body.min_p, body.seed)) or (body.n or 1) > 1:
        options["do_sample"] = True
    if options.get("do_sample", True):
        chosen = {"top_p": body.top_p, "top_k": body.top_k, "min_p": body.min_p}
        options |= {name: value for name, value in chosen.items() if value is not None}
    if body.seed is not None:
        options["seed"] = body.seed % 2**63
    if body.repetition_penalty is not None:
        options["repetition_penalty"] = body.repetition_penalty
    if body.logit_bias:
        try:
            options["sequence_bias"] = [[[int(token)], bias] for token, bias in body.logit_bias.items()]
        except ValueError:
            raise Fault(
                422, "invalid_request", "logit_bias has keys that are no token ids", param="logit_bias"
            ) from None
    if (asked := body.response_format) is not None:
        if asked.type == "json_object":
            options["json_schema"] = {"type": "object"}
        elif asked.type == "json_schema":
            if asked.json_schema is None:
                raise Fault(
                    422, "invalid_request", 'response_format needs "json_schema": {"name": …, "schema": {…}}',
                    param="response_format",
                )  # fmt: skip
            schema = asked.json_schema.schema_
            options["json_schema"] = json.dumps(schema) if isinstance(schema, dict) else "{}"
    return options


class _Shape:
    """What the two interfaces for texts have in common."""

    object = ""
    chunk = ""

    def __init__(self, prefix: str) -> None:
        self.id, self.created, self.model = f"{prefix}-{uuid.uuid4().hex}", int(time.time()), ""

    def choice(self, index: int, piece: Mapping[str, Any], place: int, *, whole: bool) -> dict[str, Any]:
        """A text or a piece of one, which begins at the character ``place``."""
        raise NotImplementedError  # pragma: no cover

    def head(self, kind: str) -> dict[str, Any]:
        """What every answer begins with."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def whole(self, texts: Sequence[Mapping[str, Any]], usage: Mapping[str, int]) -> dict[str, Any]:
        """All texts at once."""
        choices = [self.choice(index, text, 0, whole=True) for index, text in enumerate(texts)]
        return {**self.head(self.object), "choices": choices, "usage": _usage(usage)}

    def events(self, include_usage: bool) -> Any:
        """What becomes of the pieces of a stream."""
        places: dict[int, int] = {}

        def event(kind: str, value: Any) -> list[Any]:
            if kind == "part":
                index = value["index"]
                place = places.get(index, 0)
                places[index] = place + len(value["text"])
                found = {**self.head(self.chunk), "choices": [self.choice(index, value, place, whole=False)]}
                return [{**found, "usage": None} if include_usage else found]
            if include_usage:
                return [{**self.head(self.chunk), "choices": [], "usage": _usage(value.value["usage"])}]
            return []

        return event


class _Chat(_Shape):
    object = "chat.completion"
    chunk = "chat.completion.chunk"

    def choice(self, index: int, piece: Mapping[str, Any], place: int, *, whole: bool) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant"} if whole or not place else {}
        message["content"] = piece["text"]
        if whole:
            message["refusal"] = None
        chances = {"content": piece["chances"], "refusal": None} if piece["chances"] else None
        return {
            "index": index, "message" if whole else "delta": message, "logprobs": chances,
            "finish_reason": piece["finish"],
        }  # fmt: skip


class _Text(_Shape):
    object = "text_completion"
    chunk = "text_completion"

    def choice(self, index: int, piece: Mapping[str, Any], place: int, *, whole: bool) -> dict[str, Any]:
        chances = None
        if piece["chances"]:
            offsets, at = [], place
            for each in piece["chances"]:
                offsets.append(at)
                at += len(each["token"])
            chances = {
                "tokens": [each["token"] for each in piece["chances"]],
                "token_logprobs": [each["logprob"] for each in piece["chances"]],
                "top_logprobs": [
                    {one["token"]: one["logprob"] for one in each["top_logprobs"]} for each in piece["chances"]
                ],
                "text_offset": offsets,
            }
        return {"index": index, "text": piece["text"], "logprobs": chances, "finish_reason": piece["finish"]}


def _usage(usage: Mapping[str, int]) -> dict[str, int]:
    prompt, written = usage["prompt"], usage["written"]
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
