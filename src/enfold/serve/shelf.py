"""The models that a worker holds: loaded beside the work, changed without a request lost, taken down when told to."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

import enfold
from enfold.auto import load_model
from enfold.checkpoint.sources import describe, resolve
from enfold.errors import CheckpointError, InputError, TaskError
from enfold.generation.context import context_of
from enfold.heads import HeadKind
from enfold.model import PreTrainedModel
from enfold.serve.hub import Hub
from enfold.serve.scheduled import scheduled
from enfold.tasks import TASKS, Task
from enfold.tasks.base import Long
from enfold.tasks.loading import fitting_head, tokenizer_home
from enfold.tasks.offers import tasks_of
from enfold.tokenization import Tokenizer

__all__ = ["Held", "Shelf"]

T = TypeVar("T")

_NO_LIMIT = 10**9
"""Tokens from which on a stated limit means none."""
_WRITING: tuple[HeadKind, ...] = ("causal-lm", "seq2seq-lm")


@dataclass
class Held:
    """One version of a model: its files, its tokenizer, its heads as they are asked for.

    Attributes:
        name: what requests call it.
        source: what it was asked for by.
        folder: where its files are.
        dtype: as :func:`enfold.pipeline` takes it.
        heads: what it can do → the head for it, its own head's tasks first.
        tokenizer: read once for all tasks.
        info: what clients may know.
        models: those that are loaded, by head.
        made: tasks on them, by name and what becomes of long texts.
    """

    name: str
    source: str
    folder: Path
    dtype: str
    heads: dict[str, HeadKind]
    tokenizer: Tokenizer
    info: dict[str, Any] = field(default_factory=dict)
    models: dict[HeadKind, Any] = field(default_factory=dict)
    made: dict[tuple[str, str | None], Task] = field(default_factory=dict)

    @classmethod
    def load(cls, name: str, source: str, dtype: str, hub: Hub) -> Held:
        """Reads a model's files and loads the head of its first task.

        Raises:
            EnfoldError: files that aren't there or aren't right; a model that no task fits.
        """
        folder = resolve(source)
        heads = {task: fitting_head(folder, task, TASKS[task].load(), {}) for task in tasks_of(folder)}
        if not heads:
            raise TaskError(f"{source} has no head that a task could use: name a checkpoint that was trained for one")
        first = load_model(folder, next(iter(heads.values())), engine="cpu", dtype=dtype)
        first.require_trained()
        held = cls(name, source, folder, dtype, heads, Tokenizer.from_pretrained(tokenizer_home(first) or folder))
        held.models[first.kind] = scheduled(first, hub)
        # what reads files is done here, beside the work, and of one version of the files
        for task in (task for task, head in heads.items() if head == first.kind):
            for long in (None, *get_args(Long)):
                held.make(task, long, hub.token_budget)
        held.info = held.told()
        return held

    def make(self, task: str, long: Long | None, token_budget: int) -> Task:
        """A task on the head for it, which is loaded."""
        model = self.models[self.heads[task]]
        made: Task = enfold.pipeline(
            task, model=model, tokenizer=self.tokenizer, long=long, progress=False, token_budget=token_budget
        )
        self.made[task, long] = made
        return made

    @property
    def tasks(self) -> list[str]:
        """What it can do."""
        return list(self.heads)

    @property
    def main(self) -> PreTrainedModel:
        """The model with the head of its first task."""
        model: PreTrainedModel = next(iter(self.models.values()))
        return model

    def told(self) -> dict[str, Any]:
        """What clients may know."""
        model, origin = self.main, describe(self.folder)
        reads = min(self.context, self.made[self.tasks[0], None].max_length)
        return {
            "tasks": self.tasks,
            "family": model.config.model_type,
            "class": model.blueprint.class_name,
            "parameters": model.num_parameters(),
            "hidden_size": model.arch.hidden_size,
            "dtype": self.dtype,
            "max_length": reads if reads < _NO_LIMIT else None,
            "labels": list(model.config.id2label.values()) if model.kind not in (*_WRITING, "encoder") else [],
            "cross_encoder": "text-classification" in self.tasks and model.num_labels == 1,
            "version": origin.version,
            "license": origin.license,
            "writes": model.kind in _WRITING,
            "chats": self.tokenizer.chat_template is not None,
            "mask_token": self.tokenizer.mask_token,
            "unk_token": self.tokenizer.unk_token,
        }

    @property
    def nbytes(self) -> int:
        """Bytes of the weights of all its heads."""
        return sum(model.get_memory_footprint() for model in self.models.values())

    @property
    def context(self) -> int:
        """Tokens that the model reads at once."""
        stated = self.tokenizer.model_max_length
        limit = context_of(self.main.arch)
        return min(stated, limit) if limit is not None else stated


class Shelf:
    """Models by name.

    Args:
        hub: runs them.
        wake: called, from another thread, when a model has been loaded or has failed to.

    Attributes:
        weights: name → bytes of the weights of a model that is here.
    """

    def __init__(self, hub: Hub, wake: Callable[[], None]) -> None:
        self._hub, self._wake = hub, wake
        self._held: dict[str, Held] = {}
        # one after another: each needs more memory while it is loaded
        self._loads, self._heads = ThreadPoolExecutor(1, "loading"), ThreadPoolExecutor(1, "heads")
        self.weights: dict[str, int] = {}

    def __getitem__(self, name: str) -> Held:
        if name not in self._held:
            raise InputError(f"the model {name!r} is not loaded here")
        return self._held[name]

    def take(self, held: Held) -> None:
        """A model that is answered with from now on; requests that run go on with the one before."""
        self.drop(held.name)
        self._held[held.name] = held
        self._weigh(held)

    def drop(self, name: str) -> None:
        """Frees a model; requests that run end with it."""
        self.weights.pop(name, None)
        if before := self._held.pop(name, None):
            for model in before.models.values():
                self._hub.forget(model)

    def _weigh(self, held: Held) -> None:
        if self._held.get(held.name) is held:
            self.weights[held.name] = held.nbytes

    def begin_load(
        self, name: str, source: str, dtype: str, wanted: Callable[[], bool], told: Callable[[Held | Exception], None]
    ) -> None:
        """Loads a model in another thread, which asks before it begins and tells what came of it."""
        self._beside(self._loads, lambda: Held.load(name, source, dtype, self._hub), told, wanted)

    def _beside(
        self,
        pool: ThreadPoolExecutor,
        load: Callable[[], T],
        told: Callable[[T | Exception], None],
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Loads something in another thread, which tells what came of it."""

        def work() -> None:
            if not wanted():
                return
            try:
                loaded: T | Exception = load()
            except Exception as error:
                loaded = error
            except BaseException as error:  # what panics in compiled code
                loaded = RuntimeError(f"{type(error).__name__}: {error}")
            told(loaded)
            self._wake()

        pool.submit(work)

    def task(self, held: Held, name: str, long: Any = None) -> Task:
        """A task on a model, within a request; a head that isn't loaded yet is waited for.

        Args:
            held: the model.
            name: the task.
            long: as :func:`enfold.pipeline` takes it.

        Raises:
            TaskError: the model can't do it; says what it can.
        """
        if name not in held.heads:
            raise TaskError(f"{held.name} can't do {name}; it does {', '.join(held.tasks)}")
        if (name, long) not in held.made:
            kind = held.heads[name]
            if kind not in held.models:
                loaded = self._wait_for(held, kind)
                held.models.setdefault(kind, loaded)  # another request may have waited for the same
                self._weigh(held)
            held.make(name, long, self._hub.token_budget)
        return held.made[name, long]

    def _wait_for(self, held: Held, kind: HeadKind) -> Any:
        """Another head of a model, loaded in another thread."""
        found: list[PreTrainedModel | Exception] = []
        self._beside(self._heads, lambda: load_model(held.folder, kind, engine="cpu", dtype=held.dtype), found.append)
        self._hub.wait_until(lambda: bool(found))
        if isinstance(found[0], Exception):
            told = f"{held.name} has its {kind} in files that can't be read any more: {found[0]}"
            raise CheckpointError(told) from found[0]
        return scheduled(found[0], self._hub)
