"""The playground: a page at ``/`` to look at what the models do, and its files. No other host is asked for anything."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header
from starlette.responses import Response

from enfold.serve.faults import Fault

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_HOME = Path(__file__).parent.parent / "playground"
_KINDS: Mapping[str, str] = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
"""What the page may do: its own files and this server, and no text ever becomes markup or code."""
_STRICT = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # kept, and asked for each time: files of two versions never meet in one page
}


@router.api_route("/", methods=["GET", "HEAD"])
def page(if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """The page."""
    return _file("index.html", if_none_match)


@router.api_route("/playground/{path:path}", methods=["GET", "HEAD"])
def asset(path: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """A file of the page."""
    return _file(path, if_none_match)


def _file(path: str, known: str | None) -> Response:
    """A file of the playground, or 304 where the client has it.

    Raises:
        Fault: 404, there is no such file, or it is outside the playground's folder.
    """
    found = Path(os.path.normpath(_HOME / path))
    kind = _KINDS.get(found.suffix)
    if kind is None or "\0" in path or not found.is_relative_to(_HOME) or not found.is_file():
        raise Fault(404, "not_found", f"there is nothing at /playground/{path}; the playground is at /")
    content = found.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**_STRICT, "ETag": tag}
    if known is not None and tag in (each.strip().removeprefix("W/") for each in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=kind)
