"""What a training run was and what came of it, as plain data: all that its report and its model card are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal, get_args

from enfold.errors import InputError
from enfold.training.data.problems import counted
from enfold.training.templates.formats import Language

__all__ = ["Role", "RunSummary", "Stopped", "is_number", "labelled", "timeline"]

Stopped = Literal["finished", "early", "interrupted", "failed"]
Role = Literal["train", "evaluation"]

_SHOWN_PROBLEMS = 20


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A training run and its results.

    Attributes:
        task: name of the task, as ``"text-classification"``.
        model: name of the model's class.
        base: the folder or hub id that training began from; None: it began from random weights.
        labels: names of the labels, in the order of their numbers.
        settings: every choice by name.
        defaults: what the choices are where nobody says; those that differ are marked.
        command: the command line that repeats the run.
        environment: versions, processor, threads, operating system.
        data: for each table its ``name``, ``rows`` and ``role`` (``"train"`` or ``"evaluation"``); where known also
            ``sha256``, ``columns`` (names, or the field's name for each) and ``labels`` (label to count).
        licence: of the model, as ``"apache-2.0"``; None: nobody said.
        languages: codes of the texts' languages, as ``("en", "zh")``; empty: nobody said.
        example_language: of the texts that the card shows; None: the first of ``languages``, or the card's own.
        max_tokens: tokens of the longest text that the model was trained on.
        notes: what a reader has to know, as that some texts were cut.
        seconds: how long training took.
        samples_per_second: examples, over the whole training.
        tokens_per_second: tokens, over the whole training.
        parameters: how many were trained, and how many there are.
        best_step: the step whose weights were kept.
        best_by: the metric that chose it.
        stopped: why training ended.
        history: rows of metrics.jsonl: ``{"step": 10, "loss": 0.7, "learning_rate": 2e-5, …}``, and of evaluations
            ``{"step": 10, "evaluation": {"loss": 0.6, "accuracy": 0.8}}``.
        evaluation: metrics of the weights that were kept; empty: there was no evaluation.
        positive: the label that ``precision``, ``recall`` and ``f1`` are of; None: they are of all.
        by_label: a row for each label, with its name under ``label`` and metrics.
        confusion: (C, C) counts: rows are the true labels, columns the predicted ones.
        worst: evaluated examples with the largest loss: ``text``, ``label``, ``predicted``, ``loss`` or ``score``,
            and ``place`` in the data.

    Raises:
        InputError: values that no report can be made of; all of them are listed.
    """

    task: str
    model: str
    base: str | None = None
    labels: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    command: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    data: Sequence[Mapping[str, Any]] = ()
    licence: str | None = None
    languages: tuple[str, ...] = ()
    example_language: Language | None = None
    max_tokens: int | None = None
    notes: tuple[str, ...] = ()
    seconds: float | None = None
    samples_per_second: float | None = None
    tokens_per_second: float | None = None
    parameters: tuple[int, int] | None = None
    best_step: int | None = None
    best_by: str | None = None
    stopped: Stopped = "finished"
    history: Sequence[Mapping[str, Any]] = ()
    evaluation: Mapping[str, float] = field(default_factory=dict)
    positive: str | None = None
    by_label: Sequence[Mapping[str, Any]] = ()
    confusion: Any = None
    worst: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        problems = [*self._wrong_names(), *self._wrong_data(), *self._wrong_rows(), *self._wrong_confusion()]
        if problems:
            more = len(problems) - _SHOWN_PROBLEMS
            shown = problems[:_SHOWN_PROBLEMS] + [f"and {more} more"] * (more > 0)
            raise InputError("no report can be made of this run:\n  " + "\n  ".join(shown))

    def tables(self, role: Role) -> list[Mapping[str, Any]]:
        """The tables that were used in this role."""
        return [table for table in self.data if table["role"] == role]

    def rows(self, role: Role) -> int:
        """Rows of all tables in this role."""
        return sum(int(table["rows"]) for table in self.tables(role))

    def differs(self, name: str) -> bool:
        """Whether a setting is another than where nobody says."""
        return name in self.defaults and bool(self.settings[name] != self.defaults[name])

    @property
    def seen_in_training(self) -> list[str]:
        """Names of evaluation tables whose bytes are those of a training table."""
        trained = {table["sha256"] for table in self.tables("train") if table.get("sha256")}
        return [str(table["name"]) for table in self.tables("evaluation") if table.get("sha256") in trained]

    def _wrong_names(self) -> Iterator[str]:
        for name in ("task", "model"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                yield f"{name} is {value!r}, expected a name"
        for name in ("labels", "languages", "notes"):
            value = getattr(self, name)
            if isinstance(value, str) or not all(isinstance(each, str) for each in value):
                yield f"{name} is {value!r:.80}, expected a tuple of texts"
        if self.stopped not in get_args(Stopped):
            yield f"stopped is {self.stopped!r}, expected one of {', '.join(get_args(Stopped))}"

    def _wrong_data(self) -> Iterator[str]:
        for number, table in enumerate(self.data):
            lacking = [key for key in ("name", "rows", "role") if key not in table]
            if lacking:
                yield f"data[{number}] has no {' and no '.join(lacking)}"
                continue
            if table["role"] not in get_args(Role):
                yield f"data[{number}] has the role {table['role']!r}, expected {' or '.join(get_args(Role))}"
            if not isinstance(table["rows"], Integral) or int(table["rows"]) < 0:
                yield f"data[{number}] has {table['rows']!r} rows, expected a count"

    def _wrong_rows(self) -> Iterator[str]:
        for number, row in enumerate(self.history):
            if not isinstance(row, Mapping):
                yield f"history[{number}] is {row!r:.80}, expected values by name"  # type: ignore[unreachable]
                continue
            if not isinstance(row.get("step"), Integral):
                yield f"history[{number}] has the step {row.get('step')!r}, expected a whole number"
            if not isinstance(row.get("evaluation", {}), Mapping):
                yield f"history[{number}] has the evaluation {row['evaluation']!r:.80}, expected metrics by name"
        for name, value in self.evaluation.items():
            if not is_number(value):
                yield f"evaluation has {name} = {value!r:.80}, expected a number"

    def _wrong_confusion(self) -> Iterator[str]:
        if self.confusion is None:
            return
        count = len(self.labels)
        rows = [len(row) for row in self.confusion]
        if len(rows) != count or any(length != count for length in rows):
            widths = ", ".join(map(str, sorted(set(rows)))) or "no"
            yield (
                f"confusion has {counted(len(rows), 'row')} of {widths} counts, "
                f"expected {count} × {count} for {counted(count, 'label')}"
            )


def is_number(value: object) -> bool:
    """Whether this is a number, one of numpy's too, and neither True nor False."""
    return isinstance(value, Real) and not isinstance(value, bool)


def labelled(tables: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many rows of the tables have each label."""
    counts: dict[str, int] = {}
    for table in tables:
        for label, count in (table.get("labels") or {}).items():
            counts[str(label)] = counts.get(str(label), 0) + int(count)
    return counts


def timeline(history: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that count, in order of their steps.

    A run that was interrupted and goes on from a checkpoint computes some steps a second time. The rows of the first
    time are left out: where steps go back, all rows from that step on.
    """
    kept: list[Mapping[str, Any]] = []
    for row in history:
        while kept and kept[-1]["step"] > row["step"]:
            kept.pop()
        twice = kept and kept[-1]["step"] == row["step"] and ("evaluation" in kept[-1]) == ("evaluation" in row)
        if twice:
            kept.pop()
        kept.append(row)
    return kept
