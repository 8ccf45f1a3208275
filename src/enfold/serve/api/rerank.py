"""Cohere's and Jina's interface for ordering documents: ``POST /v1/rerank``, Cohere's now ``/v2/rerank``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from enfold.serve.api.embeddings_inference import rank
from enfold.serve.api.shapes import json_answer
from enfold.serve.front import Front, front_of

__all__ = ["router"]

router = APIRouter(tags=["Cohere and Jina"])


class Document(BaseModel):
    """A document as a record."""

    model_config = ConfigDict(extra="allow")

    text: str


class RerankBody(BaseModel):
    """Documents, and the query that they are to be ordered by."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str | None = Field(None, max_length=500)
    query: str
    documents: list[str | Document]
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = False
    max_tokens_per_doc: int | None = Field(None, ge=1, description="Without effect: documents are read whole")
    max_chunks_per_doc: int | None = Field(None, ge=1, description="Without effect: documents are read whole")
    priority: int | None = Field(None, description="Without effect: keys have priorities")


@router.post("/v1/rerank")
@router.post("/v2/rerank")
async def rerank(body: RerankBody, front: Annotated[Front, Depends(front_of)]) -> Response:
    """Documents by how well they answer a query, best first."""
    texts = [each if isinstance(each, str) else each.text for each in body.documents]
    scores = await rank(front, body.model, body.query, texts)
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[: body.top_n]
    results: list[dict[str, Any]] = [{"index": index, "relevance_score": scores[index]} for index in order]
    if body.return_documents:
        results = [{**each, "document": {"text": texts[each["index"]]}} for each in results]
    read = front.notes.get("read_tokens", 0)
    return json_answer(
        {
            "id": front.request.scope.get("enfold.id", ""), "model": front.notes["model"], "results": results,
            "usage": {"total_tokens": read, "prompt_tokens": read},
            "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
        }
    )  # fmt: skip
