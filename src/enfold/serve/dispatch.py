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
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any

from enfold.errors import InputError
from enfold.serve.crew import Member, Running
from enfold.serve.faults import Fault
from enfold.serve.metrics import Metrics
from enfold.serve.models import Served, parse
from enfold.serve.queue import FairQueue, Job
from enfold.serve.settings import Settings

__all__ = ["Dispatcher"]

logger = logging.getLogger("enfold.serve")

_SPAN_S = 2.0
"""Over which the speed is measured."""
_HUNG_S = 60.0
"""A worker that has jobs, and that nothing was heard of for so long while one of them timed out, is begun anew."""
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
        members: the workers.
        draining: whether the end has begun.

    Raises:
        InputError: two models with one name.
    """

    def __init__(self, models: Iterable[str], dtype: str, settings: Settings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.models: dict[str, Served] = {}
        for given in models:
            name, source = parse(given)
            if name in self.models:
                raise InputError(
                    f"{source} and {self.models[name].source} would both be called {name!r}: give one another name, "
                    f"OTHER={source}"
                )
            self.models[name] = Served(name, source, dtype, FairQueue(settings.queue_requests, settings.queue_tokens))
        self.members = [Member(number, settings, self._heard, self._began) for number in range(settings.workers)]
        self._waiting: dict[Job, Running] = {}
        self._turn = 0
        self._speed = 0.0
        self._since, self._done_cost = time.monotonic(), 0
        self.draining = False

    # ── life ─────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Begins the workers, which load the models one after another."""
        for member in self.members:
            await member.start()
            self._began(member)

    async def stop(self) -> None:
        """Ends the workers."""
        await asyncio.gather(*(member.stop() for member in self.members))

    @property
    def ready(self) -> bool:
        """Whether every model can answer, now or after it was loaded again."""
        return not self.draining and all(
            model.state in ("asleep", "waking") or (model.state == "ready" and self.is_held(model))
            for model in self.models.values()
        )

    def is_held(self, model: Served) -> bool:
        """Whether a worker has it in memory."""
        return any(model.name in member.models for member in self.members)

    # ── models ───────────────────────────────────────────────────────────────

    def find(self, name: str | None, task: str | None = None) -> Served:
        """A model by name; without one the first that does the task.

        Raises:
            Fault: 404 for a name that isn't there, or a task that none does; 422 for one that the model doesn't do; 503
                for a model that failed to load.
        """
        if name:
            model = self.models.get(name)
            if model is None:
                raise Fault(
                    404, "model_not_found", f"there is no model {name!r}; the models are {', '.join(self.models)}",
                    param="model",
                )  # fmt: skip
        else:
            fits = [model for model in self.models.values() if task is None or task in model.tasks]
            if not fits:
                loading = any(model.state == "loading" for model in self.models.values())
                if loading:
                    raise Fault(503, "loading", "models are being loaded: try again", headers={"Retry-After": "1"})
                raise Fault(
                    404, "model_not_found", f"no model here does {task}: {self._what_each_does()}", param="model"
                )
            model = fits[0]
        if task is not None and model.info and task not in model.tasks:
            others = [each.name for each in self.models.values() if task in each.tasks]
            hint = f"; {' and '.join(others)} would" if others else ""
            told = f"{model.name} can't do {task}{hint}; it does {', '.join(model.tasks)}"
            raise Fault(422, "wrong_task", told, param="model")
        if model.state == "failed":
            raise Fault(503, "model_failed", f"the model {model.name!r} could not be loaded: {model.error}")
        return model

    def _what_each_does(self) -> str:
        return "; ".join(
            f"{model.name} does {', '.join(model.tasks) or 'nothing yet'}" for model in self.models.values()
        )

    async def reload(self, name: str) -> Served:
        """Loads a model anew in every worker, which answers with the old one until then.

        Raises:
            Fault: it can't be loaded; the old one stays.
        """
        model = self.models.get(name) or self.find(name)
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        model.reloads.append(outcome)
        if model.state in ("asleep", "failed"):
            model.state = "loading"
        self._load_anew(model)
        await outcome
        return model

    def _load_anew(self, model: Served) -> None:
        model.version += 1
        for member in self.members:
            self._load(member, model)

    def _load(self, member: Member, model: Served) -> None:
        member.send({"load": model.name, "version": model.version, "source": model.source, "dtype": model.dtype})

    def _began(self, member: Member) -> None:
        """A worker is there, with no models yet."""
        for model in self.models.values():
            if model.state != "asleep":
                self._load(member, model)

    def _heard(self, member: Member, message: dict[str, Any] | None) -> None:
        if message is None:
            self._pump()
        elif "counts" in message:
            self.metrics.count(message["counts"])
        elif "loaded" in message:
            self._loaded(member, message)
        elif "failed" in message:
            self._failed(member, message)

    def _loaded(self, member: Member, message: dict[str, Any]) -> None:
        model = self.models[message["loaded"]]
        if message["version"] != model.version:
            return
        member.models[model.name] = model.version
        model.info, model.error = message["info"], None
        if model.state != "ready":
            model.state, model.used = "ready", time.monotonic()
        if all(each.models.get(model.name) == model.version for each in self.members):
            logger.info("model loaded", extra={"model": model.name, "version": model.version, "tasks": model.tasks})
            self._end_reloads(model, None)
        self._make_room(model)
        self._pump()

    def _failed(self, member: Member, message: dict[str, Any]) -> None:
        model = self.models[message["failed"]]
        if message["version"] != model.version:
            return
        logger.error("model not loaded", extra={"model": model.name, "error": message["message"]})
        told = f"{model.name!r} could not be loaded, and stays as it was: {message['message']}"
        self._end_reloads(model, Fault(422, "model_failed", told))
        if not any(model.name in each.models for each in self.members):
            model.state, model.error = "failed", message["message"]
            while job := model.queue.pop():
                self._waiting[job].news.put_nowait(
                    Fault(503, "model_failed", f"the model {model.name!r} could not be loaded: {model.error}")
                )

    def _end_reloads(self, model: Served, fault: Fault | None) -> None:
        """Tells whoever waits for this load, or for one that it took the place of."""
        waiting, model.reloads = model.reloads, []
        for outcome in waiting:
            if not outcome.done():
                outcome.set_exception(fault) if fault else outcome.set_result(None)

    def _make_room(self, kept: Served) -> None:
        """Unloads what was not asked for longest, until the models fit into the memory they may have."""
        limit = self.settings.memory_bytes
        if limit is None:
            return
        awake = sorted((each for each in self.models.values() if each.state == "ready"), key=lambda each: each.used)
        total = sum(each.info["bytes"] for each in awake)
        for model in awake:
            busy = model.queue or any(r.job.model == model.name for m in self.members for r in m.running.values())
            if total > limit and model is not kept and not busy:
                total -= model.info["bytes"]
                model.state = "asleep"
                for member in self.members:
                    member.models.pop(model.name, None)
                    member.send({"drop": model.name})
                logger.info("model unloaded", extra={"model": model.name})

    # ── requests ─────────────────────────────────────────────────────────────

    async def ask(self, job: Job) -> Any:
        """The answer to a job; where the caller is cancelled, so is the job.

        Raises:
            Fault: 429 without room, 503 while loading or ending, 504 after too long, what the job itself ends with.
        """
        async with aclosing(self.stream(job)) as parts:
            async for kind, value in parts:
                if kind == "done":
                    return value
        raise AssertionError("a job ends with an answer or a fault")  # pragma: no cover

    async def stream(self, job: Job) -> AsyncGenerator[tuple[str, Any], None]:
        """A job's parts as they come, ``("part", …)``, and its end, ``("done", answer)``; as :meth:`ask`."""
        model, seconds = self.models[job.model], self.settings.timeout_s
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
            if running.job.number in member.running and member.silent_s > max(_HUNG_S, self.settings.timeout_s):
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
        model.used = time.monotonic()
        if model.state == "asleep":
            model.state = "waking"
            self._load_anew(model)
        running = Running(job)
        self._waiting[job] = running
        model.queue.put(job)
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
        self._pump()

    def _pump(self) -> None:
        """Hands out jobs while a worker has room for one; models take turns."""
        names = list(self.models)
        idle = 0
        while idle < len(names):
            model = self.models[names[self._turn % len(names)]]
            self._turn += 1
            job = model.queue.next
            member = self._member_for(model, job) if job else None
            if job is None or member is None:
                idle += 1
                continue
            idle = 0
            model.queue.pop()
            running = self._waiting[job]
            try:
                member.begin(running)
            except Exception as error:
                member.running.pop(job.number, None)
                running.news.put_nowait(Fault(422, "invalid_request", str(error)))

    def _member_for(self, model: Served, job: Job) -> Member | None:
        """The worker that has least to do among those with the model and room for the job."""
        fits = []
        for member in self.members:
            if model.name not in member.models:
                continue
            # a large one is read and written in parts, between which others have their turns
            budget, slots = self.settings.token_budget, self.settings.slots
            reads = sum(min(each.job.cost, budget) for each in member.running.values() if not each.job.texts)
            writes = sum(min(each.job.texts, slots) for each in member.running.values())
            room = slots - writes if job.texts else _AHEAD * budget - reads
            if room >= min(job.texts, slots) if job.texts else room >= min(job.cost, budget):
                fits.append((reads + 64 * writes, member.number, member))
        return min(fits)[2] if fits else None
