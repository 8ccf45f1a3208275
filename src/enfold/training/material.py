"""What runs are made of: rows on two sides of a split, a base and its tokenizer, read once for any number of runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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
            judged = None if rows is None else EvaluationSet(rows, goal.encode(rows, reading))
            self._encoded[key] = examples, judged, reading.cuts
        return self._encoded[key][:2]

    def cuts(self, reading: Reading) -> list[Cut]:
        """What was cut when the rows were encoded."""
        return self._encoded[reading.max_length, reading.long][2]


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
