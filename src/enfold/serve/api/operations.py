"""For operators: is it alive, can it answer, what does it do, load a model anew."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

import enfold
from enfold.serve.api.shapes import json_answer
from enfold.serve.faults import Fault
from enfold.serve.front import Front, front_of

__all__ = ["router"]

router = APIRouter(tags=["Operations"])
Asked = Annotated[Front, Depends(front_of)]


@router.get("/health")
async def health() -> Response:
    """200 as long as the server lives."""
    return json_answer({"status": "ok", "version": enfold.__version__})


@router.get("/ready")
async def ready(front: Asked) -> Response:
    """200 once every model can answer; 503 before, when one could not be loaded, and while the server ends."""
    dispatcher, models = front.dispatcher, front.catalog.models.values()
    states = {model.name: model.state for model in models}
    told = {"ready": dispatcher.ready, "ending": dispatcher.draining, "models": states}
    errors = {model.name: model.error for model in models if model.error}
    return json_answer({**told, **({"errors": errors} if errors else {})}, 200 if dispatcher.ready else 503)


@router.get("/metrics")
async def metrics(front: Asked) -> Response:
    """Figures as Prometheus reads them."""
    page = front.dispatcher.metrics.page(front.dispatcher)
    return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.post("/reload/{model:path}")
async def reload(model: str, front: Asked) -> Response:
    """Loads a model's files anew; the model answers as before until that is done, and stays where it can't be done.

    With keys an operator's is needed; without, this machine's own clients alone may.
    """
    host = front.request.client.host if front.request.client else ""
    local = host in ("127.0.0.1", "::1") and "origin" not in front.request.headers  # no page of another site asks
    if not (front.caller.operator if front.settings.keys else local):
        told = "loading models anew takes an operator's key ('enfold key FILE NAME --operator')"
        raise Fault(403, "not_an_operator", told)
    served = await front.catalog.reload(model)
    return json_answer({"model": served.name, "version": served.version, "state": served.state})
