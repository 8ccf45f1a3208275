"""Which model a task gets, with which head, on which engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from enfold.auto import Engine, load_config, load_model
from enfold.errors import InputError, TaskError
from enfold.families import family_of
from enfold.hardware import has_gpu
from enfold.heads import HeadKind
from enfold.model import PreTrainedModel
from enfold.tasks.base import Task
from enfold.tasks.registry import TASKS, Entry, languages_of

__all__ = ["Source", "default_model", "fitting_head", "load", "tokenizer_home"]

Source = str | os.PathLike[str]

_WRITING = ("text-generation", "text2text-generation")


def tokenizer_home(model: PreTrainedModel) -> Path | None:
    """The folder of a model's tokenizer; None where it was made in memory."""
    if getattr(model, "adapter_folder", None) is None:
        return model.source
    from enfold.adapters import source

    return source.tokenizer_home(model)


def load(
    folder: Path, kind: HeadKind, engine: Literal["auto", "cpu", "torch"], dtype: str, where: dict[str, Any]
) -> PreTrainedModel:
    """A model on the engine that is asked for, or that this machine has."""
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


def default_model(task: str, entry: Entry) -> str:
    """The model that stands in where none is named."""
    if entry.default:
        return entry.default
    examples = entry.examples
    if languages := languages_of(task):  # OPUS-MT has a model for each pair of languages
        examples = (f"Helsinki-NLP/opus-mt-{'-'.join(languages.values())}", *examples[1:])
    raise TaskError(
        f"{task} has no default model yet. Name one that was trained for it, a folder or a hub id, which is fetched "
        f"when it is first used: pipeline({task!r}, model={examples[0]!r}). Models that fit: {', '.join(examples)}"
    )


def fitting_head(source: Source, name: str, task_class: type[Task], where: dict[str, Any]) -> HeadKind:
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
