"""The processes that compute: begun, watched, begun anew where one dies, ended with the server."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from enfold.serve.faults import Fault, fault_of
from enfold.serve.queue import Job
from enfold.serve.settings import Settings
from enfold.serve.wire import Inbox, pack

__all__ = ["Answer", "Member", "Running"]

logger = logging.getLogger("enfold.serve")

_CHUNK = 1 << 18
_SOON_S = 2.0
_LONGEST_PAUSE_S = 10.0
_LOST = (
    "the process that computed this ended unexpectedly, and another one takes its place: send the request again; if it "
    "happens each time, the server's log says more"
)


class Answer(NamedTuple):
    """What came of a job, and the tokens that were read for it."""

    value: Any
    read_tokens: int


class Running:
    """A job that a worker has, and the news of it.

    Attributes:
        job: what was asked.
        news: ``("part", …)``, then ``("done", …)`` or a :class:`Fault`.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.news: asyncio.Queue[tuple[str, Any] | Fault] = asyncio.Queue()


class Member:
    """One worker process, as the server sees it.

    Args:
        number: which of the workers it is.
        settings: the server's.
        heard: called with each message that is not about a job, and after each job's end with None.
        lost: called when the process has gone and a new one is there, with the model that it was loading.

    Attributes:
        running: the jobs that it has.
        models: name → version of those that it holds.
    """

    def __init__(
        self, number: int, settings: Settings, heard: Callable[[Member, dict[str, Any] | None], None],
        lost: Callable[[Member, str | None], None],
    ) -> None:  # fmt: skip
        self.number, self._settings, self._heard, self._lost = number, settings, heard, lost
        self.running: dict[int, Running] = {}
        self.models: dict[str, int] = {}
        self.restarts = 0
        self._loading: str | None = None
        self._quick_deaths = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._watch: asyncio.Task[None] | None = None
        self._ending = False
        self._heard_at = self._asked_at = time.monotonic()

    # ── life ─────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Begins the process."""
        self._heard_at = self._asked_at = time.monotonic()
        ours, theirs = socket.socketpair()
        settings = self._settings
        threads = str(settings.worker_threads)
        hub = (settings.token_budget, settings.latency_s, settings.slots, settings.prefix_bytes)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "enfold.serve.worker", str(theirs.fileno()), *map(str, hub)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "ENFOLD_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
            )
        finally:
            theirs.close()
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=_CHUNK)
        self._watch = asyncio.create_task(self._read(reader, time.monotonic()))

    @property
    def pid(self) -> int | None:
        """The process's number."""
        return self._process.pid if self._process else None

    @property
    def silent_s(self) -> float:
        """Seconds that it has been asked something and has said nothing."""
        return time.monotonic() - self._asked_at if self._asked_at > self._heard_at else 0.0

    def kill(self) -> None:
        """Ends the process at once; a new one is begun."""
        if self._process is not None:
            self._process.kill()

    async def stop(self) -> None:
        """Ends the process, which may take as long as what it computes."""
        self._ending = True
        if self._writer is not None:
            self._writer.close()
        if self._process is not None:
            try:
                await asyncio.to_thread(self._process.wait, 5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)
        if self._watch is not None:
            await asyncio.gather(self._watch, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader, began: float) -> None:
        inbox = Inbox()
        try:
            while data := await _some(reader):
                self._heard_at = time.monotonic()
                for message in inbox.feed(data):
                    self._take(message)
        except Exception:
            logger.exception("a worker's message could not be taken", extra={"worker": self.number})
            self.kill()
        status = await asyncio.to_thread(self._process.wait) if self._process else None
        gone = list(self.running.values())
        self.running, self.models = {}, {}
        culprit, self._loading = self._loading, None
        for each in gone:
            each.news.put_nowait(Fault(503, "worker_lost", _LOST, headers={"Retry-After": "1"}))
        if self._ending:
            return
        self.restarts += 1
        told = {"worker": self.number, "status": status, "requests": len(gone), "loading": culprit}
        logger.error("worker ended", extra=told)
        self._quick_deaths = self._quick_deaths + 1 if time.monotonic() - began < _SOON_S else 0
        if self._quick_deaths:
            await asyncio.sleep(min(_LONGEST_PAUSE_S, 0.25 * 2 ** min(self._quick_deaths, 6)))
        while not self._ending:
            try:
                await self.start()
            except OSError as error:  # too many processes, say
                logger.error("worker not begun", extra={"worker": self.number, "error": str(error)})
                await asyncio.sleep(_LONGEST_PAUSE_S)
            else:
                self._lost(self, culprit)
                return

    # ── messages ─────────────────────────────────────────────────────────────

    def send(self, message: Mapping[str, Any]) -> None:
        """A message to the process; lost where it is gone.

        Raises:
            InputError: it can't be sent.
        """
        data = pack(message)
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(data)

    def begin(self, running: Running) -> None:
        """Hands over a job."""
        job = running.job
        self._note_asked()
        self.running[job.number] = running
        self.send({"ask": job.number, "model": job.model, "job": job.do, "given": job.given})

    def _note_asked(self) -> None:
        if self._asked_at <= self._heard_at:  # of several the first counts
            self._asked_at = time.monotonic()

    def cancel(self, number: int) -> None:
        """Ends a job that nobody waits for any more."""
        if self.running.pop(number, None) is not None:
            self._note_asked()
            self.send({"cancel": number})

    def _take(self, message: dict[str, Any]) -> None:
        if message.keys() & {"loading", "loaded", "failed"}:
            self._loading = message.get("loading")
        if "ask" not in message:
            self._heard(self, message)
            return
        running = self.running.get(message["ask"])
        if running is None:
            return  # it was cancelled while this was on its way
        if "part" in message:
            running.news.put_nowait(("part", message["part"]))
            return
        del self.running[message["ask"]]
        if "error" in message:
            running.news.put_nowait(fault_of(message["error"]["kinds"], message["error"]["message"]))
        else:
            running.news.put_nowait(("done", Answer(message["done"], message["read_tokens"])))
        self._heard(self, None)


async def _some(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(_CHUNK)
    except OSError:
        return b""
