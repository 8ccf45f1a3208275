"""A task with options that hold for every call: ``pipeline("ner", model, aggregation_strategy="simple")``."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from enfold.errors import InputError
from enfold.tasks.base import Task

__all__ = ["KNOWN_ELSEWHERE", "Preset", "check_call_options"]

KNOWN_ELSEWHERE = {
    "batch_size": "batches are cut by token_budget=",
    "device": "engine='torch' takes a GPU where there is one, engine='cpu' needs no torch",
    "device_map": "engine='torch' takes a GPU where there is one",
    "framework": "engine= chooses between 'torch' and 'cpu'",
    "grouped_entities": "aggregation_strategy='simple' groups entities",
    "max_length": "the model's limit holds; long= says what becomes of longer texts",
    "return_all_scores": "top_k=None returns all",
    "torch_dtype": "it is called dtype=",
    "truncation": "long='truncate' cuts long texts and counts what was cut",
    "trust_remote_code": "no code of a repository is ever run",
    "use_fast": "there is one implementation of tokenizers",
}
"""Options of the reference's pipelines, and what stands for them here."""


def check_call_options(task: type[Task], options: Mapping[str, Any]) -> None:
    """Checks that the task's call takes these options by name. One that takes options of generation judges its own.

    Raises:
        InputError: it does not; lists near names and those that it takes.
    """
    signature = inspect.signature(task.__call__)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        return
    taken = [name for name, parameter in signature.parameters.items() if parameter.kind is parameter.KEYWORD_ONLY]
    unknown = [name for name in options if name not in taken]
    if unknown:
        near = difflib.get_close_matches(unknown[0], taken, n=1)
        meant = KNOWN_ELSEWHERE.get(unknown[0]) or (f"did you mean {near[0]}?" if near else "")
        hint = f" ({meant})" if meant else ""
        listed = ", ".join(map(repr, unknown))
        raise InputError(f"{task.name} takes no option {listed}{hint}; its call takes {', '.join(taken) or 'none'}")


class Preset:
    """A task whose call has other defaults; everything else is the task's own."""

    def __init__(self, task: Task, options: Mapping[str, Any]) -> None:
        self.task = task
        self.call_options = dict(options)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Calls the task; what is given here comes before what was preset."""
        return self.task(*inputs, **{**self.call_options, **options})  # type: ignore[operator]

    def __getattr__(self, name: str) -> Any:
        if name in ("task", "call_options") or name.startswith("__"):  # asked before they are set, by copying
            raise AttributeError(name)
        return getattr(self.task, name)

    def __repr__(self) -> str:
        return f"{self.task!r} with {', '.join(f'{name}={value!r}' for name, value in self.call_options.items())}"
