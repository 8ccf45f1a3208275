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
        for each in given:
            name, source = parse(each)
            if name in self.models:
                raise InputError(
                    f"{source} and {self.models[name].source} would both be called {name!r}: give one another name, "
                    f"OTHER={source}"
                )
            self.models[name] = Served(name, source, dtype, FairQueue(settings.queue_requests, settings.queue_tokens))

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

    def _is_busy(self, model: Served) -> bool:
        runs = (running.job.model for member in self.members for running in member.running.values())
        return bool(model.queue or model.reloads or model.name in runs)

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

    def take(self, model: Served) -> None:
        """Somebody asks for a model: it is loaded where it isn't."""
        model.used = time.monotonic()
        if model.state == "asleep":
            model.state = "waking"
            self.make_room(sum(model.weights.values()))
            self._load_anew(model)

    # ── loaded and unloaded ──────────────────────────────────────────────────

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

    def began(self, member: Member) -> None:
        """A worker is there, with no models yet."""
        for model in self.models.values():
            if model.state != "asleep":
                self._load(member, model)

    def loaded(self, member: Member, message: dict[str, Any]) -> None:
        """A worker has a model."""
        model = self.models[message["loaded"]]
        if message["version"] != model.version:
            return
        member.models[model.name] = model.version
        model.weights[member.number] = message["bytes"]
        model.info, model.error = message["info"], None
        model.state = "ready"
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
        self._end_reloads(model, Fault(422, "model_failed", told))
        if not self.is_held(model):
            model.state, model.error = "failed", message["message"]
            self._changed()

    def weigh(self, member: Member, weights: dict[str, int]) -> None:
        """What the models of a worker take by now, with the heads that were asked for since they were loaded."""
        for name in weights.keys() & member.models.keys():
            self.models[name].weights[member.number] = weights[name]
        self.make_room()

    def make_room(self, needed: int = 0) -> None:
        """Unloads what was not asked for longest, until the models fit into the memory that they may have.

        Of models that nobody asked for yet the last named is the first to go. One that is at work stays, and so does
        the last one that is there.

        Args:
            needed: bytes that are to be loaded.
        """
        limit = self._settings.memory_bytes
        if limit is None:
            return
        names = list(self.models)
        awake = [model for model in self.models.values() if model.state == "ready"]
        awake.sort(key=lambda each: (each.used, -names.index(each.name)))
        total = needed + sum(sum(model.weights.values()) for model in awake)
        for model in awake if needed else awake[:-1]:
            if total <= limit:
                return
            if not self._is_busy(model):
                total -= sum(model.weights.values())
                self._unload(model)

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
