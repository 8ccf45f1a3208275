"""From requests to workers: a queue for each model, no more in a worker than it can pack, room given back at once.

::

    request ─▶ FairQueue of its model ─▶ the worker with least to do ─▶ its answer
                   │ full: 429                 holds a few passes ahead, so that
                   ▼                           what waits longer can still be dropped
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from enfold.serve.catalog import Catalog
from enfold.serve.crew import Member, Running
from enfold.serve.faults import Fault
from enfold.serve.metrics import Metrics
from enfold.serve.models import Served
from enfold.serve.queue import Job
from enfold.serve.settings import Settings

__all__ = ["Dispatcher"]

logger = logging.getLogger("enfold.serve")

_SPAN_S = 2.0
"""Over which the speed is measured."""
_HUNG_S = 60.0
"""A worker that was asked something, and that nothing was heard of for so long since, is begun anew."""
_AHEAD = 3
"""Passes that a worker has jobs for; fewer would let it wait, more could not be dropped any more."""


class Dispatcher:
    """The models, the workers, and what goes from one to the other.

    Args:
        models: sources, or ``NAME=SOURCE``.
        dtype: as :func:`enfold.pipeline` takes it, for all.
        settings: the server's.
        metrics: told what happens.

    Attributes:
        catalog: the models.
        members: the workers.
        given_up: called where no model could be loaded.
        draining: whether the end has begun.

    Raises:
        InputError: two models with one name.
    """

    def __init__(self, models: Iterable[str], dtype: str, settings: Settings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.catalog = Catalog(models, dtype, settings, self._pump)
        self.members = [Member(number, settings, self._heard, self.catalog.began) for number in range(settings.workers)]
        self.catalog.members = self.members
        self._waiting: dict[Job, Running] = {}
        self._turns = list(self.catalog.models.values())
        self._speed = 0.0
        self._since, self._done_cost = time.monotonic(), 0
        self.draining = False
        self.given_up: Callable[[], None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None

    # ── life ─────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Begins the workers, which load the models one after another."""
        self._loop = asyncio.get_running_loop()
        for member in self.members:
            await member.start()
            self.catalog.began(member)

    async def stop(self) -> None:
        """Ends the workers."""
        await asyncio.gather(*(member.stop() for member in self.members))

    def drain(self) -> None:
        """The end has begun: what runs gets its grace, what is new is refused. For signal handlers, too."""
        began, self.draining = self.draining, True
        if self._loop is not None and not began:
            self._loop.call_soon_threadsafe(self._loop.call_later, self.settings.grace_s, self._end_all)

    def _end_all(self) -> None:
        told = f"the server ended, and this was not done within the {self.settings.grace_s:g} s that it had left"
        for running in self._waiting.values():
            running.news.put_nowait(Fault(503, "ending", told, headers={"Connection": "close"}))

    @property
    def ready(self) -> bool:
        """Whether every model can answer."""
        return not self.draining and self.catalog.ready

    def _heard(self, member: Member, message: dict[str, Any] | None) -> None:
        if message is None:
            self._pump()
        elif "counts" in message:
            self.metrics.count(member.number, message["counts"])
            self.catalog.weigh(member, message["weights"])
        elif "log" in message:
            logger.log(message["level"], message["log"], extra={"worker": member.number, **message["more"]})
        elif "loaded" in message:
            self.catalog.loaded(member, message)
        elif "failed" in message:
            self.catalog.failed(message)
            if self.catalog.hopeless:
                self.given_up()

    # ── requests ─────────────────────────────────────────────────────────────

    async def stream(self, job: Job) -> AsyncGenerator[tuple[str, Any], None]:
        """A job's parts as they come, ``("part", …)``, and its end, ``("done", answer)``. Closing it ends the job.

        Raises:
            Fault: 429 without room, 503 while loading or ending, 504 after too long, what the job itself ends with.
        """
        model, seconds = self.catalog.models[job.model], self.settings.timeout_s
        running = self._admit(model, job)
        began = time.perf_counter()
        timer = asyncio.get_running_loop().call_later(seconds, self._late, running)
        try:
            while True:
                news = await running.news.get()
                if isinstance(news, Fault):
                    raise news
                if news[0] == "done":
                    self.metrics.answered(job, time.perf_counter() - began)
                    self._learn(job)
                yield news
                if news[0] == "done":
                    return
        finally:
            timer.cancel()
            self._drop(model, job)

    def _late(self, running: Running) -> None:
        told = f"the request took longer than the {self.settings.timeout_s:g} s that this server gives one"
        running.news.put_nowait(Fault(504, "timeout", told))
        for member in self.members:
            if running.job.number in member.running and member.silent_s > _HUNG_S:
                member.kill()

    def _admit(self, model: Served, job: Job) -> Running:
        if self.draining:
            raise Fault(
                503, "ending", "the server is about to end", headers={"Retry-After": "5", "Connection": "close"}
            )
        if not model.queue.has_room(job):
            self.metrics.refused.labels(model.name).inc()
            wait = str(self._wait_s(model))
            told = f"{len(model.queue)} requests wait for {model.name}, and no more may: try again in {wait} s"
            raise Fault(429, "overloaded", told, headers={"Retry-After": wait})
        running = Running(job)
        self._waiting[job] = running
        model.queue.put(job)
        self.catalog.take(model)
        self._pump()
        return running

    def _wait_s(self, model: Served) -> int:
        """Seconds after which there will be room, by what was done in the last seconds."""
        return max(1, min(60, math.ceil(model.queue.cost / self._speed))) if self._speed else 1

    def _learn(self, job: Job) -> None:
        """How much is done a second."""
        now = time.monotonic()
        if not self._done_cost:
            self._since = now
        self._done_cost += job.cost
        if now - self._since > _SPAN_S:
            self._speed, self._since, self._done_cost = self._done_cost / (now - self._since), now, 0

    def _drop(self, model: Served, job: Job) -> None:
        """A job that has ended, or that nobody waits for."""
        self._waiting.pop(job, None)
        model.queue.discard(job)
        for member in self.members:
            member.cancel(job.number)
        self.catalog.make_room()
        self._pump()

    def _pump(self) -> None:
        """Hands out jobs while workers have room for them; models take turns.

        Where a worker has no room for the job of the model whose turn it is, the models behind it wait, too: or a large
        job would never find the room that small ones take as soon as it is there. What reads and what writes have rooms
        of their own.
        """
        for model in self._turns:
            if model.state in ("failed", "asleep"):
                self._refuse(model)
        kept: set[tuple[bool, Member]] = set()
        handed = True
        while handed:
            handed = False
            for model in list(self._turns):
                job = None if self.catalog.is_leaving(model) else model.queue.next
                if job is None:
                    continue
                writes = bool(job.texts)
                able = [each for each in self.members if model.name in each.models and (writes, each) not in kept]
                fits = [member for member in able if self._has_room(member, job)]
                if fits:
                    handed = True
                    self._turns.remove(model)
                    self._turns.append(model)
                    self._hand_out(model, min(fits, key=self._load))
                elif able:
                    kept.add((writes, min(able, key=self._load)))

    def _hand_out(self, model: Served, member: Member) -> None:
        job = model.queue.pop()
        assert job is not None
        running = self._waiting[job]
        try:
            member.begin(running)
        except Exception as error:
            member.running.pop(job.number, None)
            running.news.put_nowait(Fault(422, "invalid_request", str(error)))

    def _refuse(self, model: Served) -> None:
        """Tells all who wait for a model that it can't be loaded."""
        while job := model.queue.pop():
            told = f"the model {model.name!r} could not be loaded: {model.error}"
            self._waiting[job].news.put_nowait(Fault(503, "model_failed", told))

    def _work(self, member: Member) -> tuple[int, int]:
        """What a worker has: tokens to read, texts to write.

        A large job is read and written in parts, between which others have their turns, and counts as one part.
        """
        jobs = [running.job for running in member.running.values()]
        reads = sum(min(job.cost, self.settings.token_budget) for job in jobs if not job.texts)
        return reads, sum(min(job.texts, self.settings.slots) for job in jobs)

    def _load(self, member: Member) -> int:
        reads, writes = self._work(member)
        return reads + 64 * writes

    def _has_room(self, member: Member, job: Job) -> bool:
        budget, slots = self.settings.token_budget, self.settings.slots
        reads, writes = self._work(member)
        if job.texts:
            return writes + min(job.texts, slots) <= slots
        return reads + min(job.cost, budget) <= _AHEAD * budget
