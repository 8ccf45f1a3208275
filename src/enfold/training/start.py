"""What a run starts from: a model with the head that its goal needs, a tokenizer, and tables to learn from."""

from __future__ import annotations

import logging
import os
from typing import Any

from enfold.auto import load_config, load_model, make_model
from enfold.config import Config
from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.families import family_of
from enfold.model import PreTrainedModel
from enfold.tokenization import Tokenizer
from enfold.training.columns import with_roles
from enfold.training.data import Table, read_table, split
from enfold.training.data.files import Columns
from enfold.training.data.problems import counted
from enfold.training.goals import Goal, Reading
from enfold.training.settings import Settings

__all__ = ["Base", "Source", "config_of", "load_base", "load_tokenizer", "reading_of", "tables_of"]

logger = logging.getLogger("enfold")

Source = str | os.PathLike[str]
Base = Source | PreTrainedModel | Config

_LONGEST = 512
"""Tokens of a text where nobody says, for models that could read more."""
_LEAST_TO_SPLIT = 20


def config_of(base: Base) -> Config:
    """The configuration of what a run starts from."""
    if isinstance(base, Config):
        return base
    return base.config if isinstance(base, PreTrainedModel) else load_config(base)


def tables_of(
    table: Table, evaluation: Any, columns: Columns | None, goal: type[Goal], seed: int
) -> tuple[Table, Table | None]:
    """Rows to learn from, and rows to judge by.

    Args:
        table: all rows, its columns called as the goal's roles.
        evaluation: as :func:`enfold.fit` takes it.
        columns: names for an evaluation file's columns.
        goal: says which rows belong on one side, and what must have equal shares.
        seed: of a split.

    Raises:
        InputError: a share that is none, a side of the split without rows, or an evaluation file that can't be read.
    """
    if evaluation is None or (isinstance(evaluation, int | float) and not evaluation):
        return table, None
    if not isinstance(evaluation, int | float):
        return table, with_roles(read_table(evaluation, columns=columns), goal)
    if not 0 < evaluation < 1:
        raise InputError(f"evaluation is {evaluation!r}, expected a share between 0 and 1, rows, a file, or None")
    if len(table) < _LEAST_TO_SPLIT:
        rows = counted(len(table), "row")
        logger.warning("%s has %s: too few to hold some out; nothing is evaluated", table.name, rows)
        return table, None
    together = [role for role in goal.together if role in table.columns]
    try:
        return split(table, evaluation, by=goal.strata, together=together, seed=seed)
    except InputError as error:
        raise InputError(
            f"{evaluation:g} of {table.name} can't be held out: it has {len(table)} rows, of which equal texts stay "
            "together and every label must be on both sides. Name rows to judge by, evaluation=FILE, or none, "
            "evaluation=0"
        ) from error


def load_base(base: Base, goal: Goal, config: Config) -> TorchModel:
    """The model that learns, with the head and the labels that the goal needs.

    A checkpoint's own head is kept where it has the same labels, and made anew where it has others.

    Raises:
        InputError: a loaded model whose head or labels are others, or that is on the CPU engine.
        ConfigError: the family has no such head.
    """
    changes = goal.configure()
    family = family_of(config.model_type)
    if goal.head != "encoder":
        family.head(goal.head)
    if isinstance(base, PreTrainedModel):
        return _fitting(base, goal)
    if isinstance(base, Config):
        made = make_model(config.updated(**changes), goal.head)
    else:
        labels, count = changes.get("id2label"), changes.get("num_labels")
        others = (labels is not None and labels != config.id2label) or (
            count is not None and count != config.num_labels
        )
        replaced = True if others and family.saved_kind(config) == goal.head else None
        made = load_model(base, goal.head, config=config, overrides=changes, new_head=replaced)
    assert isinstance(made, TorchModel)
    return made


def _fitting(model: PreTrainedModel, goal: Goal) -> TorchModel:
    """A loaded model, where its head and labels are those of the data."""
    if not isinstance(model, TorchModel):
        raise InputError("a model on the CPU engine can't learn: load it with engine='torch'")
    if goal.head not in ("encoder", model.kind):
        raise InputError(
            f"{goal.name} trains a {goal.head} head, and a {model.blueprint.class_name} was given: "
            "pass the checkpoint's name, and its head is made"
        )
    wanted = goal.configure()
    width = len(wanted["id2label"]) if "id2label" in wanted else wanted.get("num_labels", model.num_labels)
    if width != model.num_labels:
        raise InputError(
            f"the data have {counted(width, 'label')} and the model's head {model.num_labels}: "
            f"load it with num_labels={width}"
        )
    for name, value in wanted.items():
        setattr(model.config, name, value)
    return model


def load_tokenizer(base: Base, given: Source | Tokenizer | None) -> Tokenizer:
    """The tokenizer that is given, or the one that the model brings.

    Raises:
        InputError: it brings none.
    """
    if isinstance(given, Tokenizer):
        return given
    source = given or (base.source if isinstance(base, PreTrainedModel) else base)
    if source is None or isinstance(source, Config):
        raise InputError("a model made from a configuration brings no tokenizer: pass tokenizer=")
    return Tokenizer.from_pretrained(source)


def reading_of(model: TorchModel, tokenizer: Tokenizer, goal: Goal, settings: Settings, asked: int | None) -> Reading:
    """How texts are read.

    Raises:
        InputError: a length that the model can't read, or a tokenizer of another model.
    """
    arch = model.arch.encoder or model.arch
    limit = min(arch.max_length, model.arch.max_length, tokenizer.model_max_length)
    if asked is not None and not (isinstance(asked, int) and 4 <= asked <= limit):
        raise InputError(f"max_length is {asked!r}, expected 4 to {limit} tokens, which is the model's limit")
    if len(tokenizer) > model.arch.vocab_size:
        raise InputError(
            f"the tokenizer has {len(tokenizer)} tokens and the model's embeddings {model.arch.vocab_size}: "
            "they don't belong together"
        )
    return Reading(tokenizer, model.arch, min(limit, asked or _LONGEST), settings.long or goal.default_long)
