"""What runs are made of: rows on two sides of a split, a base and its tokenizer, read once for any number of runs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from enfold.config import Config
from enfold.families import family_of
from enfold.tokenization import Tokenizer
from enfold.training.columns import guess_task, with_roles
from enfold.training.data import Table, read_table
from enfold.training.data.files import Columns
from enfold.training.evaluation import EvaluationSet
from enfold.training.examples import Examples
from enfold.training.goals import Cut, Goal, Reading, find_goal
from enfold.training.settings import Settings
from enfold.training.start import Base, Source, config_of, load_tokenizer, tables_of

__all__ = ["Material", "gather"]

logger = logging.getLogger("enfold")

_MANY = 0.1
"""Share of unknown tokens from which on a tokenizer is the wrong one."""


@dataclass(frozen=True)
class Material:
    """What any number of runs have in common.

    Attributes:
        base: the model to start from; one that is loaded already learns itself.
        config: its configuration.
        tokenizer: its tokenizer.
        settings: that the split was drawn with.
        goal: under those settings.
        given: the goal was made by the caller, and stands for itself under all settings.
        every: all rows that were given to learn from.
        learnt: those that are learnt from.
        held_out: rows to judge by, or None.
    """

    base: Base
    config: Config
    tokenizer: Tokenizer
    settings: Settings
    goal: Goal
    given: bool
    every: Table
    learnt: Table
    held_out: Table | None
    _encoded: dict[Any, tuple[Examples, EvaluationSet | None, list[Cut]]] = field(default_factory=dict, repr=False)

    @property
    def base_name(self) -> str | None:
        """What card and report call the base; None where it has no name."""
        return self.base if isinstance(self.base, str) else None

    def goal_under(self, settings: Settings) -> Goal:
        """The goal under other settings.

        Raises:
            InputError: weights of labels that the data don't have.
        """
        if self.given or settings == self.settings:
            return self.goal
        return type(self.goal).of(self.every, settings, self.config)

    def encoded(self, goal: Goal, reading: Reading) -> tuple[Examples, EvaluationSet | None]:
        """Examples to learn from, and to be judged by; runs that read alike share them.

        Raises:
            InputError: rows that are no examples; their places are named.
        """
        key = (reading.max_length, reading.long)
        if key not in self._encoded:
            examples, rows = goal.encode(self.learnt, reading), self.held_out
            _tell_unknown(examples, reading)
            judged = None if rows is None else EvaluationSet(rows, goal.encode(rows, reading))
            self._encoded[key] = examples, judged, reading.cuts
        return self._encoded[key][:2]

    def cuts(self, reading: Reading) -> list[Cut]:
        """What was cut when the rows were encoded."""
        return self._encoded[reading.max_length, reading.long][2]


def _tell_unknown(examples: Examples, reading: Reading) -> None:
    """Warns of a tokenizer that doesn't know the data's language."""
    unknown, ids = reading.tokenizer.unk_token_id, examples.ids.flat
    share = 0.0 if unknown is None or not len(ids) else float(np.mean(ids == unknown))
    if share > _MANY:
        logger.warning(
            "%.0f %% of the tokens are %s: the tokenizer doesn't know what the texts are written in, and all of it "
            "looks alike to the model. Name a base that knows the language, or begin a new model with a tokenizer "
            "trained on the texts",
            *(100 * share, reading.tokenizer.unk_token),
        )


def gather(
    base: Base,
    data: Any,
    settings: Settings,
    *,
    task: str | Goal | None,
    evaluation: Any,
    columns: Columns | None,
    tokenizer: Source | Tokenizer | None,
) -> Material:
    """Reads and splits rows, finds out what is to be learnt from them, and loads the tokenizer.

    Args:
        base: the model, as :func:`enfold.fit` takes it.
        data: likewise.
        settings: the goal's, and the seed of the split.
        task: as :func:`enfold.fit` takes it.
        evaluation: likewise.
        columns: likewise.
        tokenizer: likewise.

    Raises:
        InputError: data or labels that can't be used, with places in the data.
        TaskError: an unknown task, or one that the model's family has no head for.
    """
    table = read_table(data, columns=columns)
    config = config_of(base)
    heads = tuple(family_of(config.model_type).heads)
    given = isinstance(task, Goal)
    kind = type(task) if isinstance(task, Goal) else find_goal(task or guess_task(table, heads))
    every = with_roles(table, kind)
    goal = task if isinstance(task, Goal) else kind.of(every, settings, config)
    learnt, held_out = tables_of(every, evaluation, columns, kind, settings.seed)
    text = load_tokenizer(base, tokenizer)
    return Material(base, config, text, settings, goal, given, every, learnt, held_out)
