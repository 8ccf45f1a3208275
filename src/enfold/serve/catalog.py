"""The models of a server: found by name, loaded anew, unloaded where memory is short until somebody asks for them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from enfold.errors import InputError
from enfold.serve.crew import Member
from enfold.serve.faults import Fault
from enfold.serve.models import Served, parse
from enfold.serve.queue import FairQueue
from enfold.serve.settings import Settings

__all__ = ["Catalog"]

logger = logging.getLogger("enfold.serve")

_MOST_DEATHS = 2
"""Processes that may end while they load a model, before it counts as failed."""
_TURN_S = 5.0
"""That a model at work may have before it gives way to one that waits for its memory."""


class Catalog:
    """Which models there are, and which of them the workers hold.

    Args:
        given: sources, or ``NAME=SOURCE``.
        dtype: as :func:`enfold.pipeline` takes it, for all.
        settings: the server's.
        changed: called when a model can answer, or can't any more.

    Attributes:
        models: by name, in the order in which they were named.
        members: the workers.

    Raises:
        InputError: two models with one name.
    """

    def __init__(self, given: Iterable[str], dtype: str, settings: Settings, changed: Callable[[], None]) -> None:
        self._settings, self._changed = settings, changed
        self.models: dict[str, Served] = {}
        self.members: list[Member] = []
        self._waiting: list[Served] = []  # for room
        self._leaving: set[Served] = set()
        for each in given:
            name, source = parse(each)
            if name in self.models:
                raise InputError(
                    f"{source} and {self.models[name].source} would both be called {name!r}: give one another name, "
                    f"OTHER={source}"
                )
            self.models[name] = Served(name, source, dtype, FairQueue(settings.queue_requests, settings.queue_tokens))

    @property
    def hopeless(self) -> str | None:
        """Why no model could be loaded, where none ever was."""
        if any(model.state != "failed" or model.info for model in self.models.values()):
            return None
        return "; ".join(f"{model.name}: {model.error}" for model in self.models.values())

    @property
    def ready(self) -> bool:
        """Whether every model can answer, now or after it was loaded again."""
        return all(
            model.state in ("asleep", "waking") or (model.state == "ready" and self.is_held(model))
            for model in self.models.values()
        )

    def is_held(self, model: Served) -> bool:
        """Whether a worker has it in memory."""
        return any(model.name in member.models for member in self.members)

    # ── asked for ────────────────────────────────────────────────────────────

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
            model = next((each for each in fits if each.state != "failed"), fits[0])
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

    def take(self, model: Served) -> None:
        """A job waits for a model: it is loaded where it isn't, as soon as there is room."""
        model.used = time.monotonic()
        if model.state == "asleep":
            self._wake(model)
            self.make_room()

    def _wake(self, model: Served) -> None:
        """A model is to be loaded again, when there is room."""
        model.state = "waking"
        self._waiting.append(model)

    def is_leaving(self, model: Served) -> bool:
        """Whether a model gets no more jobs for now: it gives way to one that waits for its memory."""
        return model in self._leaving

    # ── loaded and unloaded ──────────────────────────────────────────────────

    async def reload(self, name: str) -> Served:
        """Loads a model anew in every worker, which answers with the old one until then.

        Raises:
            Fault: it can't be loaded; the old one stays.
        """
        model = self.models.get(name) or self.find(name)
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        model.reloads.append(outcome)
        model.used, model.deaths = time.monotonic(), 0
        if model.state in ("asleep", "failed"):
            model.state = "loading"
        self._load_anew(model)
        await outcome
        return model

    def began(self, member: Member, culprit: str | None = None) -> None:
        """A worker is there, with no models yet.

        Args:
            member: the worker.
            culprit: the model that the process before was loading when it ended.
        """
        if culprit is not None:
            model = self.models[culprit]
            model.deaths += 1
            if model.deaths >= _MOST_DEATHS:
                told = "the process that loads it ends each time: is there enough memory for it?"
                self.failed({"failed": culprit, "version": model.version, "message": told})
        for model in sorted(self.models.values(), key=lambda each: each.name == culprit):
            if model.state != "asleep" and model.deaths < _MOST_DEATHS and model not in self._waiting:
                self._load(member, model)

    def loaded(self, member: Member, message: dict[str, Any]) -> None:
        """A worker has a model."""
        model = self.models[message["loaded"]]
        if message["version"] != model.version:
            return
        member.models[model.name] = model.version
        model.weights[member.number] = message["bytes"]
        model.info, model.error, model.deaths = message["info"], None, 0
        if model.state != "ready":
            model.state, model.since = "ready", time.monotonic()
        if all(each.models.get(model.name) == model.version for each in self.members):
            logger.info("model loaded", extra={"model": model.name, "version": model.version, "tasks": model.tasks})
            self._end_reloads(model, None)
        self.make_room()
        self._changed()

    def failed(self, message: dict[str, Any]) -> None:
        """A worker could not load a model."""
        model = self.models[message["failed"]]
        if message["version"] != model.version:
            return
        logger.error("model not loaded", extra={"model": model.name, "error": message["message"]})
        told = f"{model.name!r} could not be loaded, and stays as it was: {message['message']}"
        if any(each.models.get(model.name) == model.version for each in self.members):
            told = f"some workers have loaded {model.name!r} and one could not: {message['message']}. Load it once more"
        self._end_reloads(model, Fault(422, "model_failed", told))
        if not self.is_held(model):
            again = model.state == "waking" and model.deaths < _MOST_DEATHS  # it was there before, and may be again
            model.state, model.error = "asleep" if again else "failed", message["message"]
            self._changed()

    def weigh(self, member: Member, weights: dict[str, int]) -> None:
        """What the models of a worker take by now, with the heads that were asked for since they were loaded."""
        for name in weights.keys() & member.models.keys():
            self.models[name].weights[member.number] = weights[name]
        self.make_room()

    def make_room(self) -> None:
        """Unloads what was not asked for longest, until the models fit into the memory that they may have.

        Of models that nobody asked for yet the last named is the first to go. The last one that is there stays, unless
        another waits for its room; and one that is at work stays until its turn is over and its jobs have ended.
        """
        limit = self._settings.memory_bytes
        while True:
            for model in [model for model in self._waiting if not model.queue]:  # who asked has gone
                self._waiting.remove(model)
                model.state = "asleep"
            wanted = self._waiting[0] if self._waiting else None
            if limit is not None:
                self._unload_some(limit, wanted)
            if wanted is None or not (limit is None or self._fits(wanted, limit)):
                return
            self._waiting.remove(wanted)
            self._load_anew(wanted)

    def _unload_some(self, limit: int, wanted: Served | None) -> None:
        awake = [model for model in reversed(self.models.values()) if model.state == "ready"]
        awake.sort(key=lambda each: each.used)
        total = self._nbytes + (wanted.nbytes if wanted else 0)
        self._leaving = set()
        for model in awake if wanted else awake[:-1]:
            if total > limit and not (model.queue or model.reloads or self._runs(model)):
                total -= model.nbytes
                self._unload(model)
        for model in awake:
            over = wanted and total > limit and model.state == "ready" and not model.reloads
            if not over or time.monotonic() - model.since < _TURN_S:
                continue
            total -= model.nbytes
            if self._runs(model):
                self._leaving.add(model)
            else:
                self._unload(model)
                self._wake(model)  # for the jobs that wait

    @property
    def _nbytes(self) -> int:
        """Bytes of all models that are there, or are on their way."""
        there = (model for model in self.models.values() if model.state in ("ready", "waking", "loading"))
        return sum(model.nbytes for model in there if model not in self._waiting)

    def _fits(self, model: Served, limit: int) -> bool:
        there = self._nbytes
        return there == 0 or there + model.nbytes <= limit

    def _runs(self, model: Served) -> bool:
        return any(each.job.model == model.name for member in self.members for each in member.running.values())

    def _unload(self, model: Served) -> None:
        model.state = "asleep"
        model.version += 1  # what is being loaded now is not wanted any more
        for member in self.members:
            member.models.pop(model.name, None)
            member.send({"drop": model.name})
        logger.info("model unloaded", extra={"model": model.name})

    def _load_anew(self, model: Served) -> None:
        model.version += 1
        for member in self.members:
            self._load(member, model)

    def _load(self, member: Member, model: Served) -> None:
        member.send({"load": model.name, "version": model.version, "source": model.source, "dtype": model.dtype})

    def _end_reloads(self, model: Served, fault: Fault | None) -> None:
        """Tells whoever waits for this load, or for one that it took the place of."""
        waiting, model.reloads = model.reloads, []
        for outcome in waiting:
            if not outcome.done():
                outcome.set_exception(fault) if fault else outcome.set_result(None)
