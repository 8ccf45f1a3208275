"""text-embeddings-inference's interface: /embed, /embed_all, /rerank, /predict, /similarity, /info, /tokenize, /decode.

That server has one model, this one may have several: ``model`` in a body names one, and the first that fits answers
where none is named.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

import enfold
from enfold.serve.api.shapes import json_answer, long_of
from enfold.serve.faults import Fault
from enfold.serve.front import Front, front_of

__all__ = ["router"]

router = APIRouter(tags=["text-embeddings-inference"])
Asked = Annotated[Front, Depends(front_of)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())

    model: str | None = Field(None, description="A model's id; by default the first that fits", max_length=500)


class _Cut(_Body):
    truncate: bool | None = Field(None, description="Cut long texts; otherwise they are read in windows, whole")
    truncation_direction: Literal["Left", "Right", "left", "right"] | None = None


class EmbedBody(_Cut):
    """What is embedded."""

    inputs: str | list[str]
    normalize: bool = True
    prompt_name: str | None = None
    dimensions: int | None = Field(None, ge=1)


class EmbedAllBody(_Cut):
    """Texts whose tokens are embedded."""

    inputs: str | list[str]


class PredictBody(_Cut):
    """Texts, pairs of texts, or several of either, to be labelled."""

    inputs: str | list[str] | list[list[str]]
    raw_scores: bool = False


class RerankBody(_Cut):
    """Texts, and what they are to be ordered by."""

    query: str
    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False


class SimilarityInput(BaseModel):
    """A sentence and those that it is compared with."""

    source_sentence: str
    sentences: list[str]


class SimilarityBody(_Body):
    """Sentences to compare."""

    inputs: SimilarityInput


class TokenizeBody(_Body):
    """Texts to cut into tokens."""

    inputs: str | list[str]
    add_special_tokens: bool = True


class DecodeBody(_Body):
    """Token ids to put together."""

    ids: list[int] | list[list[int]]
    skip_special_tokens: bool = True


def _long(body: _Cut) -> dict[str, Any]:
    return long_of(body.truncate, body.truncation_direction, "truncation_direction")


async def _task(front: Front, name: str | None, task: str, inputs: Any, texts: list[Any], **options: Any) -> Any:
    front.check_texts(texts, "inputs")
    served = front.model(name, task)
    long = options.pop("long", None)
    given = {"task": task, "inputs": inputs, "options": options, **({"long": long} if long else {})}
    return (await front.ask(front.job(served, "task", given, texts))).value


@router.post("/embed")
async def embed(body: EmbedBody, front: Asked) -> Response:
    """Texts to vectors."""
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    options: dict[str, Any] = {"normalize": body.normalize, **_long(body)}
    if body.prompt_name is not None:
        options["prompt_name"] = body.prompt_name
    if body.dimensions is not None:
        options["truncate_dim"] = body.dimensions
    return json_answer(await _task(front, body.model, "embed", texts, texts, **options))


@router.post("/embed_all")
async def embed_all(body: EmbedAllBody, front: Asked) -> Response:
    """A vector for each token of each text."""
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    states = await _task(front, body.model, "feature-extraction", texts, texts, return_tensors=True, **_long(body))
    return json_answer([each[0] for each in states])


@router.post("/predict")
async def predict(body: PredictBody, front: Asked) -> Response:
    """All labels of each text, best first."""
    given: list[Any] = [body.inputs] if isinstance(body.inputs, str) else list(body.inputs)
    asked = [_pair(each) for each in given]
    texts = [text for each in given for text in ([each] if isinstance(each, str) else each)]
    function = {"function_to_apply": "none"} if body.raw_scores else {}
    found = await _task(front, body.model, "text-classification", asked, texts, top_k=None, **function, **_long(body))
    return json_answer(found[0] if isinstance(body.inputs, str) else found)


def _pair(item: str | list[str]) -> Any:
    if isinstance(item, str):
        return item
    if len(item) not in (1, 2):
        raise Fault(
            422, "invalid_request", f"an input has {len(item)} texts, expected one, or two that are read together"
        )
    return item[0] if len(item) == 1 else {"text": item[0], "text_pair": item[1]}


@router.post("/rerank")
async def rerank(body: RerankBody, front: Asked) -> Response:
    """Texts by how well they answer a query, best first."""
    scores = await rank(front, body.model, body.query, body.texts, raw=body.raw_scores, field="texts", **_long(body))
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    shown = [{"text": body.texts[index]} if body.return_text else {} for index in order]
    return json_answer(
        [{"index": index, **more, "score": scores[index]} for index, more in zip(order, shown, strict=True)]
    )


async def rank(
    front: Front,
    name: str | None,
    query: str,
    texts: list[str],
    *,
    raw: bool = False,
    field: str = "documents",
    long: str | None = None,
) -> list[float]:
    """A score for each text; a cross-encoder's where there is one."""
    front.check_texts(texts, field)
    judges = [each.name for each in front.catalog.models.values() if each.info.get("cross_encoder")]
    served = front.model(name or next(iter(judges), None), "embed")
    given = {"query": query, "texts": texts, "raw": raw, **({"long": long} if long else {})}
    pairs = len(texts) if served.name in judges else 1  # which are read together, each with the query
    job = front.job(served, "rank", given, [*texts, *[query] * pairs])
    scores: list[float] = (await front.ask(job)).value
    return scores


@router.post("/similarity")
async def similarity(body: SimilarityBody, front: Asked) -> Response:
    """How alike sentences are to one."""
    given = body.inputs.model_dump()
    texts = [given["source_sentence"], *given["sentences"]]
    if not given["sentences"]:
        raise Fault(422, "empty", "sentences is empty: give at least one", param="sentences")
    return json_answer(await _task(front, body.model, "sentence-similarity", given, texts))


@router.post("/tokenize")
async def tokenize(body: TokenizeBody, front: Asked) -> Response:
    """The tokens of each text, with their places."""
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    front.check_texts(texts, "inputs")
    served = front.model(body.model or next(iter(front.catalog.models)))
    job = front.job(served, "tokenize", {"texts": texts, "special": body.add_special_tokens}, texts)
    return json_answer((await front.ask(job)).value)


@router.post("/decode")
async def decode(body: DecodeBody, front: Asked) -> Response:
    """The text of each list of token ids."""
    many = [list(each) if isinstance(each, list) else each for each in body.ids]
    ids = many if many and isinstance(many[0], list) else [many]
    front.check_texts(ids, "ids")
    served = front.model(body.model or next(iter(front.catalog.models)))
    job = front.job(served, "decode", {"ids": ids, "skip_special": body.skip_special_tokens}, ids)
    return json_answer((await front.ask(job)).value)


@router.get("/info")
async def info(front: Asked, model: Annotated[str | None, Query(max_length=500)] = None) -> Response:
    """What a model is, and the limits of this server."""
    served = front.model(model or next(iter(front.catalog.models)))
    settings = front.settings
    known = served.info
    return json_answer(
        {
            "model_id": served.name, "model_sha": known.get("version"), "model_dtype": known.get("dtype"),
            "model_type": _model_type(known), "max_concurrent_requests": settings.queue_requests,
            "max_input_length": known.get("max_length"), "max_batch_tokens": settings.token_budget,
            "max_client_batch_size": settings.max_texts, "auto_truncate": False,
            "tokenization_workers": settings.workers, "version": enfold.__version__, "tasks": served.tasks,
        }
    )  # fmt: skip


def _model_type(known: dict[str, Any]) -> dict[str, Any]:
    if "text-classification" in known.get("tasks", ()):
        names = known.get("labels", [])
        labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
        return {"reranker" if known["cross_encoder"] else "classifier": labels}
    return {"embedding": {"pooling": "mean"}} if "embed" in known.get("tasks", ()) else {"other": {}}
