"""A worker: one process that holds models and answers what the server hands it over a socket.

One thread does it all, so that nothing waits for an interpreter's lock: it takes messages, lets the hub take a turn,
and sends what became of it. Only loading a model happens beside it.

::

    server ──▶ {"load": name, …}  {"drop": name}  {"ask": number, "model", "job", "given"}  {"cancel": number}
    worker ──▶ {"loading": name | None}  {"loaded": name, …}  {"failed": name, …}  {"log": event, "level", "more"}
               {"ask": number, "part" | "done" | "error": …}  {"cancelled": number}  {"counts": …}
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from enfold.errors import EnfoldError
from enfold.serve.hub import Asker, Counts, Hub
from enfold.serve.jobs import JOBS, Order, check_answer, check_tokens
from enfold.serve.logs import fields_of, send_log
from enfold.serve.shelf import Held, Shelf
from enfold.serve.wire import Inbox, pack

__all__ = ["Worker", "main"]

logger = logging.getLogger("enfold.serve")

_COUNTS_EVERY_S = 0.5
_ALIVE_EVERY_S = 10.0
"""Between signs of life of a worker that has been asked something and waits, for a head that is loaded, say."""
_CHUNK = 1 << 18


class Worker:
    """Answers messages until the other side closes the socket.

    Args:
        link: to the server.
        hub: runs models.
    """

    def __init__(self, link: socket.socket, hub: Hub) -> None:
        self._link, self._hub = link, hub
        self._inbox, self._outbox = Inbox(), bytearray()
        self._asks: dict[int, Asker] = {}
        self._wanted: dict[str, int] = {}
        self._news: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._open = True
        waker, self._waker = socket.socketpair()
        self._shelf = Shelf(hub, self._wake)
        self._selector = selectors.DefaultSelector()
        self._waker.setblocking(False)
        for end, name in ((link, "link"), (waker, "waker")):
            end.setblocking(False)
            self._selector.register(end, selectors.EVENT_READ, name)
        self._told = time.monotonic()

    def run(self) -> None:
        """Works until the server is gone."""
        while self._open:
            self._exchange(wait=not self._hub.busy)
            while not self._news.empty():
                self._hear(self._news.get())
            self._hub.turn()
            self._tell_counts()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._waker.close()
        self._selector.close()

    # ── messages ─────────────────────────────────────────────────────────────

    def _exchange(self, *, wait: bool) -> None:
        """Sends what there is to send and takes what has come; waits for something where there is no other work."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outbox else 0)
        self._selector.modify(self._link, events, "link")
        pause = _COUNTS_EVERY_S if self._untold else _ALIVE_EVERY_S if self._asks else None
        for key, ready in self._selector.select(pause if wait else 0):
            if key.data == "waker":
                key.fileobj.recv(_CHUNK)  # type: ignore[union-attr]
                continue
            if ready & selectors.EVENT_WRITE:
                self._write()
            if ready & selectors.EVENT_READ:
                self._read()

    def _write(self) -> None:
        try:
            del self._outbox[: self._link.send(self._outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self._open = False

    def _read(self) -> None:
        try:
            data = self._link.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._open = bool(data)
        for message in self._inbox.feed(data):
            self._take(message)

    def _send(self, message: Mapping[str, Any]) -> None:
        self._outbox += pack(message)
        if len(self._outbox) > _CHUNK:
            self._write()

    def _take(self, message: Mapping[str, Any]) -> None:
        if "job" in message:
            self._begin(message)
        elif "cancel" in message:
            asker = self._asks.pop(message["cancel"], None)
            if asker is not None:
                self._hub.cancel(asker)
            self._send({"cancelled": message["cancel"]})
        elif "load" in message:
            name, version = message["load"], message["version"]
            self._wanted[name] = version
            self._shelf.begin_load(
                name,
                message["source"],
                message["dtype"],
                lambda: self._is_loading(name, version),
                lambda held: self._news.put(
                    {"failed": name, "version": version, **_told(held)}
                    if isinstance(held, Exception)
                    else {"loaded": name, "version": version, "held": held}
                ),
            )
        elif "drop" in message:
            self._wanted.pop(message["drop"], None)
            self._shelf.drop(message["drop"])

    def _is_loading(self, name: str, version: int) -> bool:
        """Whether a model is still wanted that is about to be loaded, of which the server hears; in another thread."""
        if self._wanted.get(name) != version:
            return False
        self._news.put({"loading": name})
        self._wake()
        return True

    def _hear(self, news: dict[str, Any]) -> None:
        """What a thread that loads has to tell, or what goes into the log."""
        if "log" in news or "loading" in news:
            self._send(news)
            return
        name = news.get("loaded") or news["failed"]
        if self._wanted.get(name) != news["version"]:
            self._send({"loading": None})  # a newer one is on its way, or it was dropped
            return
        held: Held | None = news.pop("held", None)
        if held is not None:
            self._shelf.take(held)
            news |= {"info": held.info, "bytes": self._shelf.weights[name]}
        self._send(news)

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it is full of calls that were not heard yet
            self._waker.send(b"1")

    def log(self, record: logging.LogRecord) -> None:
        """Sends a line of the log; from any thread."""
        more = {name: _sendable(str(value)) for name, value in fields_of(record).items()}
        self._news.put({"log": _sendable(record.getMessage()), "level": record.levelno, "more": more})
        self._wake()

    # ── requests ─────────────────────────────────────────────────────────────

    def _begin(self, message: Mapping[str, Any]) -> None:
        number = message["ask"]
        try:
            held = self._shelf[message["model"]]
        except EnfoldError as error:
            self._send({"ask": number, "error": _told(error)})
            return
        order = Order(
            self._hub, self._shelf, held, message["given"], lambda part: self._send({"ask": number, "part": part})
        )

        def work() -> None:
            try:
                check_tokens(order)
                done = JOBS[message["job"]](order)
                check_answer(order, done)
                self._send({"ask": number, "done": done, "read_tokens": self._asks[number].read_tokens})
            except Exception as error:
                if not isinstance(error, EnfoldError):
                    logger.exception("a request failed")
                self._send({"ask": number, "error": _told(error)})
            finally:
                self._asks.pop(number, None)

        self._asks[number] = self._hub.begin(work)

    @property
    def _untold(self) -> bool:
        """Whether something was done that the server has not heard of."""
        return bool(self._hub.counts.batches or self._hub.counts.steps)

    def _tell_counts(self) -> None:
        """Now and then, what was done since the last time."""
        now = time.monotonic()
        counts = self._hub.counts
        if now - self._told < (_COUNTS_EVERY_S if self._untold else _ALIVE_EVERY_S) or not (self._untold or self._asks):
            return
        self._told = now
        kept = self._hub.prefixes.values()
        self._send(
            {
                "counts": {
                    **vars(counts),
                    "prefix_bytes": sum(each.nbytes for each in kept),
                    "prefix_found": sum(each.found for each in kept),
                    "prefix_asked": sum(each.asked for each in kept),
                },
                "weights": self._shelf.weights,
            }
        )
        self._hub.counts = Counts()


def _told(error: Exception) -> dict[str, Any]:
    """An error as the server hears of it: the names of its classes, the nearest first, and what it says."""
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind not in (object, BaseException)]
    return {"kinds": kinds, "message": _sendable(str(error))}


def _sendable(text: str) -> str:
    """A text that may name files whose names are no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def main() -> None:
    """The process's beginning: ``python -m enfold.serve.worker SOCKET TOKEN_BUDGET LATENCY_S SLOTS PREFIX_BYTES``."""
    for each in (signal.SIGINT, signal.SIGTERM):  # a group's; the server decides when its workers end
        signal.signal(each, signal.SIG_IGN)
    link, token_budget, latency_s, slots, prefix_bytes = sys.argv[1:]
    hub = Hub(
        token_budget=int(token_budget), latency_s=float(latency_s), slots=int(slots), prefix_bytes=int(prefix_bytes)
    )
    worker = Worker(socket.socket(fileno=int(link)), hub)
    send_log(worker.log)
    worker.run()
    sys.stderr.flush()
    os._exit(0)  # threads that load models need not end first


if __name__ == "__main__":
    main()
