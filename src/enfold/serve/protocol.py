"""HTTP as uvicorn speaks it, with two limits that it lacks: how long a head may be, and how long it may take."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from enfold.serve.settings import Settings

__all__ = ["protocol_of"]


def _answer(status: str, told: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
    return f"{head}content-length: {len(told)}\r\n\r\n{told}".encode()


class _Protocol(HttpToolsProtocol):
    """One connection."""

    longest_head: int
    patience_s: float
    _head_bytes: int | None = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_bytes == 0 and self._timer is None:
            self._expect_head()
        if self._head_bytes is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes is not None and self._head_bytes > self.longest_head:
            self._refuse("431 Request Header Fields Too Large", f"a head may have {self.longest_head} bytes")

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head_bytes = 0

    def _expect_head(self) -> None:
        loop, told = asyncio.get_running_loop(), f"the head did not come within {self.patience_s:g} s"
        self._timer = loop.call_later(self.patience_s, self._refuse, "408 Request Timeout", told)

    def _refuse(self, status: str, told: str) -> None:
        self._stop_timer()
        if not self.transport.is_closing():
            self.transport.write(_answer(status, told))
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def protocol_of(settings: Settings) -> type[asyncio.Protocol]:
    """The protocol with a server's limits."""
    limits = {"longest_head": settings.max_head_bytes, "patience_s": settings.patience_s}
    return type("Protocol", (_Protocol,), limits)
