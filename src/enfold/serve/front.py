"""What every interface needs: a job from a request, its answer unless the client has gone, and a stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import Request
from starlette.responses import Response, StreamingResponse

from enfold.serve.api.shapes import error_body
from enfold.serve.catalog import Catalog
from enfold.serve.crew import Answer
from enfold.serve.dispatch import Dispatcher
from enfold.serve.faults import Fault
from enfold.serve.keys import Caller
from enfold.serve.models import Served
from enfold.serve.queue import Job
from enfold.serve.settings import Settings

__all__ = ["Front", "GoneError", "front_of"]

_BYTES_PER_TOKEN = 4


class GoneError(Exception):
    """The client has gone; nobody reads an answer."""


class Front:
    """One request's way to the workers.

    Args:
        request: the client's.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.dispatcher: Dispatcher = request.app.state.dispatcher
        self.catalog: Catalog = self.dispatcher.catalog
        self.settings: Settings = self.dispatcher.settings
        self.caller: Caller = request.scope.get("enfold.caller") or Caller()
        self.notes: dict[str, Any] = request.scope.setdefault("enfold.notes", {})

    def model(self, name: str | None, task: str | None = None) -> Served:
        """The model that is asked for."""
        model = self.catalog.find(name, task)
        self.notes["model"] = model.name
        return model

    def check_texts(self, texts: Sequence[Any], field: str) -> None:
        """Holds a request to its limits.

        Raises:
            Fault: 422, naming the limit.
        """
        settings = self.settings
        if not texts:
            raise Fault(422, "empty", f"{field} is empty: give at least one text", param=field)
        if len(texts) > settings.max_texts:
            most = f"one request may have {settings.max_texts:,} (max_texts): send them in several"
            raise Fault(422, "too_many_texts", f"{field} has {len(texts):,} texts, and {most}", param=field)

    def new_tokens(self, asked: int | None, param: str) -> int:
        """How many tokens a text may get.

        Raises:
            Fault: 422, more are asked for than the server allows.
        """
        most = self.settings.max_new_tokens
        if asked is not None and asked > most:
            told = f"{asked:,} new tokens are asked for, and a text may have {most:,} (max_new_tokens)"
            raise Fault(422, "too_many_new_tokens", told, param=param)
        return asked or min(self.settings.new_tokens, most)

    def job(
        self, model: Served, do: str, given: dict[str, Any], texts: Sequence[Any], writes: int = 0, new: int = 0
    ) -> Job:
        """A job for the one who asks.

        Args:
            model: which one is asked.
            do: the job's name.
            given: what it needs.
            texts: all that are read.
            writes: how many texts are written.
            new: tokens of each of these.
        """
        size = sum(map(_size, texts))
        cost = size // _BYTES_PER_TOKEN + 2 * len(texts) + writes * new
        most = self.settings.max_tokens
        limits: dict[str, Any] = {"max_tokens": most, "max_answer_bytes": self.settings.max_answer_bytes}
        ids = sum(len(text) for text in texts if isinstance(text, list))
        if ids > most:
            told = f"the request has {ids:,} token ids, and one may have {most:,} (max_tokens)"
            raise Fault(422, "too_many_tokens", told)
        self.caller.spend(cost)
        if size + 2 * len(texts) > most:  # a token has a byte or more
            limits["counted"] = [text for text in texts if isinstance(text, str)]
        return Job(model.name, do, {**given, **limits}, cost, writes, self.caller.name, self.caller.priority)

    async def ask(self, job: Job) -> Answer:
        """The answer to a job; where the client goes away, the job ends.

        Raises:
            Fault: what the job ends with.
            GoneError: there is no client any more.
        """
        asked = asyncio.ensure_future(self._answer(job))
        gone = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait({asked, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                raise GoneError
            return asked.result()
        finally:
            for task in (asked, gone):
                task.cancel()

    async def _answer(self, job: Job) -> Answer:
        async with aclosing(self._parts(job)) as parts:
            async for kind, value in parts:
                if kind == "done":
                    answer: Answer = value
                    return answer
        raise AssertionError("a job ends with an answer or a fault")  # pragma: no cover

    async def _parts(self, job: Job) -> AsyncGenerator[tuple[str, Any], None]:
        """A job's parts and its end as the dispatcher gives them; what it took is written down."""
        try:
            async with aclosing(self.dispatcher.stream(job)) as parts:
                async for kind, value in parts:
                    if kind == "done":
                        self._note(job, value)
                    yield kind, value
        except Fault:
            self.caller.settle(job.cost, 0)
            raise

    def _note(self, job: Job, answer: Answer) -> None:
        """Tokens, for the log and for what the key may spend."""
        usage = answer.value.get("usage") if isinstance(answer.value, dict) else None
        self.notes["read_tokens"] = usage["prompt"] if usage else answer.read_tokens
        if usage:
            self.notes["written_tokens"] = usage["written"]
        self.caller.settle(job.cost, self.notes["read_tokens"] + self.notes.get("written_tokens", 0))

    async def _gone(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass

    async def events(self, job: Job, event: Callable[[str, Any], Sequence[Any]], last: str | None = None) -> Response:
        """A job's parts as server-sent events, once the first one is there: until then an error is a plain answer.

        Args:
            job: what is asked.
            event: what becomes of a part or the end; values of JSON.
            last: a line of data behind all others.
        """
        path = self.request.url.path
        stream = self._parts(job)
        gone = asyncio.ensure_future(self._gone())
        first = asyncio.ensure_future(anext(stream))
        try:
            await asyncio.wait({first, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                raise GoneError
            begin = first.result()
        except BaseException:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await stream.aclose()
            raise
        finally:
            gone.cancel()

        async def lines() -> AsyncIterator[bytes]:
            self.notes["error"] = "client_gone"  # unless it stays to the end
            try:
                async with aclosing(stream):
                    for value in event(*begin):
                        yield _line(value)
                    if begin[0] != "done":
                        async for kind, value in stream:
                            for each in event(kind, value):
                                yield _line(each)
            except Fault as fault:
                self.notes["error"] = fault.kind
                yield _line(error_body(path, fault))
                return
            if last is not None:
                yield f"data: {last}\n\n".encode()
            del self.notes["error"]

        return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _size(text: Any) -> int:
    """Bytes of a text, or of as much text as token ids stand for."""
    if isinstance(text, str):
        return len(text.encode("utf-8", "replace"))
    return _BYTES_PER_TOKEN * (len(text) if isinstance(text, list) else 1)


def _line(value: Any) -> bytes:
    return b"data: " + orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS) + b"\n\n"


async def front_of(request: Request) -> Front:
    """What routes depend on. It waits for nothing; were it no coroutine, a thread would run it."""
    return Front(request)
