"""Which tasks a model can do, by what its files hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from enfold.auto import load_config
from enfold.blueprint import Blueprint
from enfold.checkpoint.contents import Contents
from enfold.checkpoint.files import is_adapter, open_weights
from enfold.checkpoint.sources import card_task
from enfold.families import family_of
from enfold.heads import HeadKind
from enfold.tasks.registry import TASKS

__all__ = ["tasks_of"]

_OF_AN_INDEX = ("search",)


def tasks_of(folder: Path, **where: Any) -> list[str]:
    """The tasks that a model's files have all tensors for, the one that its card names first, then those of its head.

    Tasks that read hidden states alone are counted for models that read in both directions, and for those that were
    trained to embed. Tasks that need more than a model, as an index, are not counted.

    Args:
        folder: the model's, or an adapter's.
        where: as :func:`enfold.auto.load_config` takes it.

    Raises:
        ConfigError, CheckpointError, SourceError: files that can't be read.
    """
    config = load_config(folder, **where)
    family = family_of(config.model_type)
    saved = family.saved_kind(config)
    arch = Blueprint.of(config, "encoder").arch
    heads: list[HeadKind]
    if is_adapter(folder):
        heads = [saved] if saved else []
    else:
        heads = Contents(Blueprint.of(config, "encoder"), open_weights(folder)).heads
    heads.sort(key=lambda kind: kind != saved)
    embeds = (folder / "modules.json").is_file()
    reads = embeds or not (arch.causal and arch.encoder is None)
    found: list[str] = []
    for name, entry in TASKS.items():
        if name in _OF_AN_INDEX:
            continue
        task = entry.load()
        if task.head == "encoder":
            fits = reads
        elif name == "zero-shot-classification":
            fits = task.head in heads and any(label.lower().startswith("entail") for label in config.id2label.values())
        else:
            fits = bool({task.head, *task.other_heads} & set(heads))
        if fits:
            found.append(name)
    first = "encoder" if embeds or not heads else heads[0]
    tag = card_task(folder)

    def place(name: str) -> tuple[bool, bool]:
        task = TASKS[name].load()
        return name != tag or task.head == "encoder", first not in (task.head, *task.other_heads)

    return sorted(found, key=place)
