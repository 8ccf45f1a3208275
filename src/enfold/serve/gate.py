"""What every request passes: its id, who sends it, how large it may be; and what is noted when it has been answered."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from enfold.serve.api.shapes import error_answer
from enfold.serve.faults import Fault
from enfold.serve.front import GoneError
from enfold.serve.keys import Caller, Keys
from enfold.serve.metrics import Metrics
from enfold.serve.settings import Settings

__all__ = ["Gate"]

logger = logging.getLogger("enfold.serve")

_OPEN = ("/", "/health", "/ready", "/docs", "/openapi.json", "/favicon.ico")
"""Paths for which nobody needs a key."""
_ASSETS = ("/playground/", "/static-offline-docs/")
_ID = re.compile(r"[\w.-]{1,100}", re.ASCII)


class Gate:
    """Middleware around everything.

    Args:
        app: what is behind it.
        settings: the server's.
        metrics: told of every answer.
        keys: of those who may ask; None lets everybody in.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, keys: Keys | None) -> None:
        self._app, self._settings, self._metrics, self._keys = app, settings, metrics, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        number = given if _ID.fullmatch(given) else uuid.uuid4().hex
        notes: dict[str, Any] = {}
        scope.update({"enfold.id": number, "enfold.notes": notes})

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", number.encode())]
            await send(message)

        try:
            scope["enfold.caller"] = self._caller(scope["path"], headers)
            limited = self._limited(headers, receive)
            await self._app(scope, limited, noted)
        except Fault as fault:
            notes["error"] = fault.kind
            await error_answer(scope["path"], fault)(scope, receive, noted)
        except GoneError:
            status = 499  # as proxies write down that the client has gone
        except Exception:
            logger.exception("a request failed", extra={"id": number})
            if status:
                raise
            mistake = Fault(500, "internal_error", "the server made a mistake with this request; its log says which")
            await error_answer(scope["path"], mistake)(scope, receive, noted)
        finally:
            self._note(scope, status, time.perf_counter() - began)

    def _caller(self, path: str, headers: dict[bytes, bytes]) -> Caller | None:
        if self._keys is None or path in _OPEN or path.startswith(_ASSETS):
            return None
        given = headers.get(b"authorization", b"").decode("latin-1")
        kind, _, key = given.partition(" ")
        if kind.lower() != "bearer":
            key = headers.get(b"x-api-key", b"").decode("latin-1")
        return self._keys.who(key.strip())

    def _limited(self, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        """The same body, as long as it is no larger than it may be, and doesn't keep the server waiting.

        Raises:
            Fault: 413, at once where the head says so, or when it turns out; 408.
        """
        most, patience = self._settings.max_bytes, self._settings.patience_s
        told, close = f"the rest of the request did not come within {patience:g} s", {"Connection": "close"}
        late = Fault(408, "too_slow", told, headers=close)
        length = headers.get(b"content-length", b"0")
        told = f"the request is larger than the {most:,} bytes that it may have (max_bytes)"
        large = Fault(413, "too_many_bytes", told, headers=close)
        if length.isdigit() and int(length) > most:
            raise large
        count, more = 0, True

        async def limited() -> Message:
            nonlocal count, more
            if not more:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), patience)
            except asyncio.TimeoutError:
                raise late from None
            more = bool(message.get("more_body"))
            count += len(message.get("body", b""))
            if count > most:
                raise large
            return message

        return limited

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "other"
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if scope["path"] in ("/health", "/ready", "/metrics") and status in (200, 503):  # of probes
            return
        caller = scope.get("enfold.caller")
        client = scope.get("client")
        logger.log(
            logging.ERROR if status >= 500 else logging.INFO,
            "request",
            extra={
                "id": scope["enfold.id"],
                "client": client[0] if client else "",
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "ms": round(seconds * 1000, 1),
                **({"key": caller.name} if caller else {}),
                **scope["enfold.notes"],
            },
        )
