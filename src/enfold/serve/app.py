"""The application: every interface, the errors of each in its own shape, workers that live as long as it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import Response

import enfold
from enfold.serve.api import embeddings_inference, hugging_face, openai, operations, pages, rerank
from enfold.serve.api.shapes import error_answer
from enfold.serve.dispatch import Dispatcher
from enfold.serve.faults import Fault
from enfold.serve.gate import Gate
from enfold.serve.keys import Keys

__all__ = ["make_app"]

_SHOWN = 5


def make_app(dispatcher: Dispatcher) -> FastAPI:
    """The application of a server.

    Args:
        dispatcher: has the models; begun and ended with the application.

    Raises:
        InputError: the file of keys can't be read.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await dispatcher.start()
        try:
            yield
        finally:
            await dispatcher.stop()

    app = FastAPIOffline(  # whose pages ask no other host for anything
        title="enfold",
        version=enfold.__version__,
        description="Language models on this machine. The interfaces are those of OpenAI, text-embeddings-inference, "
        "the Hugging Face hub, Cohere and Jina, so that their clients work unchanged.",
        lifespan=life,
        redoc_url=None,
    )
    app.state.dispatcher = dispatcher
    for each in (operations, pages, rerank, openai, embeddings_inference, hugging_face):
        app.include_router(each.router)
    settings = dispatcher.settings
    keys = Keys(settings.keys) if settings.keys else None  # here, where an error still ends the start
    app.add_middleware(Gate, settings=settings, metrics=dispatcher.metrics, keys=keys)
    if settings.cors:  # outermost: a browser asks without a key whether it may ask
        app.add_middleware(CORSMiddleware, allow_origins=settings.cors, allow_methods=["*"], allow_headers=["*"])

    @app.exception_handler(Fault)
    async def fault(request: Request, error: Fault) -> Response:
        request.scope["enfold.notes"]["error"] = error.kind
        return error_answer(request.url.path, error)

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        return await fault(request, _of_http(request, error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return await fault(request, _of_validation(request, error))

    return app


def _of_http(request: Request, error: HTTPException) -> Fault:
    path = request.url.path
    told = {
        404: ("not_found", f"there is nothing at {path}; /docs lists what there is"),
        405: ("wrong_method", f"{path} does not take {request.method}; /docs says what it takes"),
        400: ("invalid_json", "the body is no JSON that could be read: send UTF-8, and values not nested too deep"),
    }
    kind, message = told.get(error.status_code, ("error", str(error.detail)))
    return Fault(error.status_code, kind, message, headers=error.headers)


def _of_validation(request: Request, error: RequestValidationError) -> Fault:
    """What is wrong with a body, every problem with its place."""
    kind = request.headers.get("content-type", "")
    if request.method == "POST" and "json" not in kind:
        told = (
            f"the body is sent as {kind or 'nothing'}, expected JSON: send the header 'Content-Type: application/json'"
        )
        return Fault(415, "wrong_content_type", told)
    problems = error.errors()
    if any(each["type"] == "json_invalid" for each in problems):
        return Fault(400, "invalid_json", f"the body is no JSON: {problems[0].get('ctx', {}).get('error', '')}")
    lines = []
    for each in problems:
        place = ".".join(str(part) for part in each["loc"] if part not in ("body", "query", "path"))
        line = (
            f"{place}: {each['msg'].removeprefix('Value error, ')}"
            if place
            else each["msg"].removeprefix("Value error, ")
        )
        if line not in lines:
            lines.append(line)
    more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    first = [str(part) for part in problems[0]["loc"] if part not in ("body", "query", "path")]
    return Fault(422, "invalid_request", "; ".join(lines[:_SHOWN]) + more, param=first[0] if first else None)
