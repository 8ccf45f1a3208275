"""What several interfaces share: how an answer and an error look in each, and what some options mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.responses import Response

from enfold.serve.faults import Fault

__all__ = ["error_answer", "error_body", "json_answer", "long_of"]


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON; arrays of numbers are lists."""
    body = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    return Response(body, status, headers, media_type="application/json")


def _openai(fault: Fault) -> dict[str, Any]:
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    status = fault.status_code
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": fault.message, "type": kind, "param": fault.param, "code": fault.kind}}


def _embeddings_inference(fault: Fault) -> dict[str, Any]:
    kinds = {413: "Validation", 422: "Validation", 429: "Overloaded", 503: "Unhealthy"}
    return {"error": fault.message, "error_type": kinds.get(fault.status_code, "Backend"), "code": fault.kind}


def _hugging_face(fault: Fault) -> dict[str, Any]:
    return {"error": fault.message, "error_type": fault.kind}


def _cohere(fault: Fault) -> dict[str, Any]:
    return {"message": fault.message, "detail": fault.message, "code": fault.kind}


_SHAPES: Mapping[str, Callable[[Fault], dict[str, Any]]] = {
    "/v1/rerank": _cohere,
    "/v2/rerank": _cohere,
    "/v1": _openai,
    "/models": _hugging_face,
}
"""By the beginning of a path, the first that fits; all others are text-embeddings-inference's."""


def long_of(truncate: Any, direction: Any, param: str) -> dict[str, str]:
    """What becomes of long texts by text-embeddings-inference's two options: nothing said, or ``{"long": "truncate"}``.

    Raises:
        Fault: they are to be cut at their beginning.
    """
    if truncate and str(direction).lower() == "left":
        told = "texts are cut at their end: leave truncation_direction out"
        raise Fault(422, "invalid_request", told, param=param)
    return {"long": "truncate"} if truncate else {}


def error_body(path: str, fault: Fault) -> dict[str, Any]:
    """What a fault is in the interface that a path belongs to."""
    for begin, shape in _SHAPES.items():
        if path == begin or path.startswith(f"{begin}/"):
            return shape(fault)
    return _embeddings_inference(fault)


def error_answer(path: str, fault: Fault) -> Response:
    """The same as an answer."""
    # OpenAI's clients take 400 for what others call 422
    invalid = fault.status_code == 422 and path.startswith("/v1/") and not path.startswith("/v1/rerank")
    named_limit = fault.kind.startswith("too_many")
    status = 400 if invalid and not named_limit else fault.status_code
    return json_answer(error_body(path, fault), status, fault.headers)
