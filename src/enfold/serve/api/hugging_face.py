"""The inference interface of the Hugging Face hub: ``POST /models/{id}`` with ``inputs`` and ``parameters``.

``huggingface_hub.InferenceClient(model="http://…/models/NAME")`` speaks it unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from enfold.serve.api.openai import ChatBody, JsonSchema, ResponseFormat, answer_chat
from enfold.serve.api.shapes import json_answer, long_of
from enfold.serve.faults import Fault
from enfold.serve.front import Front, front_of
from enfold.serve.models import Served
from enfold.tasks.registry import ALIASES

__all__ = ["router"]

router = APIRouter(prefix="/models", tags=["Hugging Face"])
Asked = Annotated[Front, Depends(front_of)]
Options = dict[str, Any]


class TaskBody(BaseModel):
    """What a model is asked."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    inputs: str | list[Any] | dict[str, Any]
    parameters: dict[str, Any] | None = None
    options: dict[str, Any] | None = Field(None, description="Without effect: the hub's own")
    stream: bool = False
    # what the hub's client sends here, not among the parameters, where it asks for vectors
    normalize: bool | None = None
    prompt_name: str | None = None
    truncate: bool | None = None
    truncation_direction: str | None = None
    dimensions: int | None = None
    encoding_format: str | None = None

    @property
    def given(self) -> dict[str, Any]:
        """All parameters that were given."""
        own = self.model_dump(exclude={"inputs", "parameters", "options", "stream"})
        return {key: value for key, value in {**own, **(self.parameters or {})}.items() if value is not None}


class Format(BaseModel):
    """A response format as this interface has it: the schema is its ``value``."""

    type: Literal["text", "json_object", "json_schema", "json"]
    value: dict[str, Any] | bool | None = None
    json_schema: dict[str, Any] | None = None

    def usual(self) -> ResponseFormat:
        """The same in OpenAI's words."""
        named = self.json_schema or {}
        schema = self.value if self.value is not None else named.get("schema", self.json_schema)
        if not isinstance(schema, dict | bool):
            return ResponseFormat(type="text" if self.type == "text" else "json_object")
        return ResponseFormat(type="json_schema", json_schema=JsonSchema(schema=schema))


class HubChatBody(ChatBody):
    """A chat; the model stands in the path."""

    model: str = ""
    response_format: Format | ResponseFormat | None = None  # type: ignore[assignment]


@router.post("/{model:path}/v1/chat/completions")
async def chat(model: str, body: HubChatBody, front: Asked) -> Response:
    """Answers a chat, as ``/v1/chat/completions`` does."""
    asked = body.response_format
    if isinstance(asked, Format):
        body.response_format = asked.usual()
    body.model = model
    return await answer_chat(body, front)


@router.post("/{model:path}/pipeline/{task}")
async def run_named(model: str, task: str, body: TaskBody, front: Asked) -> Response:
    """Runs a task on a model."""
    return await _run(front, model, task, body)


@router.post("/{model:path}")
async def run(
    model: str, body: TaskBody, front: Asked, task: Annotated[str | None, Query(max_length=100)] = None
) -> Response:
    """Runs a task on a model: the one that is named, or the one that the inputs are for."""
    return await _run(front, model, task, body)


async def _run(front: Front, name: str, task: str | None, body: TaskBody) -> Response:
    served = front.model(name)
    parameters = body.given
    task = ALIASES.get(task, task) if task else _task_for(served, body.inputs, parameters)
    most = front.settings.max_texts + 1
    texts = _texts(body.inputs, most)
    front.check_texts(texts, "inputs")
    labels = _texts(parameters.get("candidate_labels", []), most)
    front.check_texts([*texts, *labels], "inputs and candidate_labels")
    if task == "text-generation":
        return await _generate(front, served, body, parameters)
    if body.stream:
        raise Fault(422, "invalid_request", f"{task} does not stream: leave stream out", param="stream")
    adapted = _ADAPTERS.get(task, _unchanged)(parameters, served)
    given = {"task": adapted.pop("task", task), "inputs": body.inputs, "options": adapted}
    writes = task in ("summarization", "translation", "text2text-generation")
    new = _new_tokens(front, adapted) if writes else 0
    rows = len(texts) * _rows(adapted) if writes else 0
    if (long := adapted.pop("long", None)) is not None:
        if long not in ("window", "truncate", "error"):
            raise Fault(422, "invalid_request", f"long is {long!r:.40}, expected 'window', 'truncate' or 'error'")
        given["long"] = long
    answer = await front.ask(front.job(served, "task", given, [*texts, *labels], rows, new))
    return json_answer(_SHAPES.get(task, lambda value, inputs: value)(answer.value, body.inputs))


# ── which task ───────────────────────────────────────────────────────────────


def _task_for(served: Served, inputs: Any, parameters: Mapping[str, Any]) -> str:
    """The task that the shape of a request asks for, else the model's first."""
    tasks = served.tasks
    wanted: tuple[str, ...] = ()
    if isinstance(inputs, Mapping):
        if {"source_sentence", "sentences"} <= inputs.keys():
            wanted = ("sentence-similarity",)
        elif {"question", "context"} <= inputs.keys():
            wanted = ("question-answering",)
    elif "candidate_labels" in parameters:
        wanted = ("zero-shot-classification", "zero-shot-by-embedding")
    return next((task for task in wanted if task in tasks), tasks[0] if tasks else "embed")


def _texts(inputs: Any, most: int) -> list[Any]:
    """All texts of a request in any order, to count them, and no more than ``most``; no text is for tasks to refuse."""
    found: list[Any] = []
    waiting: list[Any] = [inputs]
    while waiting and len(found) < most:
        item = waiting.pop()
        if isinstance(item, Mapping | list):
            waiting += item.values() if isinstance(item, Mapping) else item
        else:
            found.append(item)
    return found


# ── parameters ───────────────────────────────────────────────────────────────


def _unchanged(parameters: Options, served: Served) -> Options:
    return parameters


def _embedding(parameters: Options, served: Served) -> Options:
    """A model that embeds gives a vector for a text, as the hub does with sentence-transformers; others one a token."""
    options = dict(parameters)
    if "embed" not in served.tasks[:1]:
        return options
    if options.pop("encoding_format", "float") != "float":
        raise Fault(422, "invalid_request", "encoding_format has to be 'float'", param="parameters")
    options |= long_of(options.pop("truncate", False), options.pop("truncation_direction", None), "parameters")
    if "dimensions" in options:
        options["truncate_dim"] = options.pop("dimensions")
    return {**options, "task": "embed"}


def _features(parameters: Options, served: Served) -> Options:
    options = _embedding(parameters, served)
    return options if options.get("task") == "embed" else {**options, "return_tensors": True}


def _classifying(parameters: Options, served: Served) -> Options:
    return {"top_k": None, **parameters}


def _tagging(parameters: Options, served: Served) -> Options:
    return {"aggregation_strategy": "simple", **parameters}


def _zero_shot(parameters: Options, served: Served) -> Options:
    task = "zero-shot-classification"
    return {**parameters, "task": task if task in served.tasks else "zero-shot-by-embedding"}


def _rewriting(parameters: Options, served: Served) -> Options:
    options = dict(parameters)
    generation = options.pop("generate_parameters", None) or {}
    if not isinstance(generation, Mapping):
        told = f"generate_parameters is {generation!r:.40}, expected an object"
        raise Fault(422, "invalid_request", told, param="parameters")
    options |= generation
    if options.pop("truncation", "do_not_truncate") != "do_not_truncate":
        options["long"] = "truncate"
    return options


_ADAPTERS: Mapping[str, Callable[[Options, Served], Options]] = {
    "embed": _embedding,
    "feature-extraction": _features,
    "text-classification": _classifying,
    "token-classification": _tagging,
    "zero-shot-classification": _zero_shot,
    "zero-shot-by-embedding": _zero_shot,
    "summarization": _rewriting,
    "translation": _rewriting,
    "text2text-generation": _rewriting,
}


# ── answers ──────────────────────────────────────────────────────────────────


def _nested(value: Any, inputs: Any) -> Any:
    return [value] if isinstance(inputs, str | Mapping) else value


def _labels(value: Any, inputs: Any) -> Any:
    def pairs(record: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = zip(record["labels"], record["scores"], strict=True)
        return [{"label": label, "score": score} for label, score in found]

    return pairs(value) if isinstance(value, Mapping) else [pairs(each) for each in value]


_SHAPES: Mapping[str, Callable[[Any, Any], Any]] = {
    "text-classification": _nested,
    "zero-shot-classification": _labels,
    "zero-shot-by-embedding": _labels,
}


# ── texts ────────────────────────────────────────────────────────────────────

_MOST_ROWS = 32
_NOT_FOR_ALL = ("output_scores", "output_logits", "output_attentions", "output_hidden_states")
_IGNORED = ("decoder_input_details", "watermark", "adapter_id", "top_n_tokens")


def _new_tokens(front: Front, parameters: Mapping[str, Any]) -> int:
    """How many tokens a text may get.

    Raises:
        Fault: more than the server allows, or no number.
    """
    new = parameters.get("max_new_tokens", parameters.get("max_length"))
    if new is not None and (isinstance(new, bool) or not isinstance(new, int) or new < 1):
        raise Fault(422, "invalid_request", f"max_new_tokens is {new!r}, expected 1 or more", param="parameters")
    return front.new_tokens(new, "parameters")


def _rows(parameters: Mapping[str, Any]) -> int:
    """How many texts a model writes at once for one input, its beams counted.

    Raises:
        Fault: too many, no numbers, or options that keep scores of the whole vocabulary.
    """
    kept = [name for name in _NOT_FOR_ALL if parameters.get(name)]
    if kept:
        raise Fault(
            422, "invalid_request", f"{', '.join(kept)} would fill the memory: ask from Python", param="parameters"
        )
    rows = 1
    for name in ("num_beams", "num_return_sequences"):
        value = parameters.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_ROWS:
            told = f"{name} is {value!r:.40}, expected 1 to {_MOST_ROWS}"
            raise Fault(422, "invalid_request", told, param="parameters")
        rows = max(rows, value)
    return rows


async def _generate(front: Front, served: Served, body: TaskBody, parameters: Options) -> Response:
    """Texts that go on, in the shape of text-generation-inference."""
    if not isinstance(body.inputs, str):
        raise Fault(
            422, "invalid_request", "inputs has to be one text; chats go to …/v1/chat/completions", param="inputs"
        )
    options = {name: value for name, value in parameters.items() if name not in _IGNORED}
    details, full = options.pop("details", False), options.pop("return_full_text", False)
    if options.pop("best_of", 1) != 1:
        raise Fault(422, "invalid_request", "best_of is not done here: ask several times", param="parameters")
    stop = options.pop("stop", None) or options.pop("stop_sequences", None) or []
    stop = [stop] if isinstance(stop, str) else stop
    if not (isinstance(stop, list) and all(isinstance(each, str) and each for each in stop)):
        raise Fault(422, "invalid_request", f"stop is {stop!r:.60}, expected texts", param="parameters")
    frequency = options.pop("frequency_penalty", 0.0)
    if isinstance(frequency, bool) or not isinstance(frequency, int | float) or not -2 <= frequency <= 2:
        told = f"frequency_penalty is {frequency!r:.60}, expected -2 to 2"
        raise Fault(422, "invalid_request", told, param="parameters")
    if grammar := options.pop("grammar", None):
        options |= _grammar(grammar)
    if options.pop("truncate", None) is not None:
        raise Fault(422, "invalid_request", "prompts are not cut: leave truncate out", param="parameters")
    if any(name in options for name in ("temperature", "top_p", "top_k", "typical_p", "seed")):
        options.setdefault("do_sample", True)
    options["max_new_tokens"] = new = _new_tokens(front, options)
    rows = _rows(options)
    beams = options.get("num_beams", 1) > 1
    if details and beams:
        told = "details tell how likely each token was, which beams don't keep: leave one of the two out"
        raise Fault(422, "invalid_request", told, param="parameters")
    given = {
        "prompts": [body.inputs], "options": options, "stop": stop, "frequency": frequency,
        "stream": body.stream, "chances": 0 if (details or body.stream) and not beams else None,
    }  # fmt: skip
    job = front.job(served, "write", given, [body.inputs], rows, new)
    if body.stream:
        return await front.events(job, _told(bool(details)))
    (value, _) = await front.ask(job)
    (text,) = value["texts"]
    whole = (body.inputs if full else "") + text["text"]
    found = {"generated_text": whole}
    if details:
        found["details"] = {**_finish(text["finish"], text["tokens"]), "prefill": [], "tokens": _tokens(text)}
    return json_answer([found])


def _grammar(grammar: Any) -> Options:
    kinds = {"json": "json_schema", "json_schema": "json_schema", "regex": "regex"}
    if not isinstance(grammar, Mapping) or grammar.get("type") not in kinds or "value" not in grammar:
        raise Fault(422, "invalid_request", 'grammar is {"type": "json" or "regex", "value": …}', param="parameters")
    return {kinds[grammar["type"]]: grammar["value"]}


def _tokens(piece: Mapping[str, Any]) -> list[dict[str, Any]]:
    pairs = zip(piece["ids"], piece["chances"], strict=True)
    return [{"id": token, "text": each["token"], "logprob": each["logprob"], "special": False} for token, each in pairs]


def _finish(reason: str, tokens: int) -> dict[str, Any]:
    return {"finish_reason": "length" if reason == "length" else "eos_token", "generated_tokens": tokens, "seed": None}


def _told(details: bool) -> Callable[[str, Any], Sequence[Any]]:
    """A stream's events: one for each piece of text; the last has all of it."""
    whole: list[str] = []
    count = 0

    def event(kind: str, value: Any) -> Sequence[Any]:
        nonlocal count
        if kind != "part":
            return []
        whole.append(value["text"])
        count += value["tokens"]
        last = value["finish"]
        token = {
            "id": value["ids"][-1] if value["ids"] else 0,
            "text": value["text"],
            "logprob": value["chances"][-1]["logprob"] if value["chances"] else 0.0,
            "special": not value["text"],
        }
        return [
            {
                "index": count, "token": token, "generated_text": "".join(whole) if last else None,
                "details": _finish(last, count) if last else None,
            }
        ]  # fmt: skip

    return event
