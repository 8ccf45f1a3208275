"""Rows of a run as tables of a page: columns with names, cells that are texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from enfold.training.summary import RunSummary, is_number
from enfold.training.templates import Words
from enfold.training.templates.formats import figure, one_line, rate, share

__all__ = ["Column", "View", "confusion_view", "grid", "pairs_view", "spaced"]

_MOST_PAIRS = 20
_MOST_COLUMNS = 30
_UPRIGHT_FROM = 8

T = TypeVar("T")


@dataclass(frozen=True)
class Column:
    """A column's name, and how its cells are set: as text, ``"number"``, ``"hash"`` or ``"value"``."""

    name: str
    kind: str = ""

    @property
    def numeric(self) -> bool:
        """Whether its cells are set to the right."""
        return self.kind == "number"


@dataclass(frozen=True)
class View:
    """A table; its first column names the rows."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    note: str = ""


def grid(
    rows: Sequence[Mapping[str, Any]],
    words: Words,
    *,
    title: str,
    names: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    note: str = "",
    most: int = 1000,
) -> View | None:
    """A table of rows under all their keys, in the order in which they first appear; None where there are no rows.

    Args:
        rows: what stands in it.
        words: of the page's language.
        title: says what it is.
        names: keys of the words that columns are called by; others are called as metrics are.
        kinds: of columns that are more than text or numbers.
        note: stands below it.
        most: rows that are shown; the note counts the others.
    """
    if not rows:
        return None
    keys = list(dict.fromkeys(str(key) for row in rows for key in row))[:_MOST_COLUMNS]
    columns = []
    for key in keys:
        numeric = all(row.get(key) is None or is_number(row[key]) for row in rows)
        name = words[names[key]] if names and key in names else words.name(key)
        columns.append(Column(name, (kinds or {}).get(key, "number" if numeric else "")))
    cells = [[_cell(key, row.get(key)) for key in keys] for row in rows[:most]]
    if len(rows) > most:
        note = words.say("count.more", count=figure(len(rows) - most))
    return View(title, tuple(columns), cells, note=note)


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "–"
    return rate(value) if key == "learning_rate" else figure(value)


def spaced(rows: Sequence[T], most: int) -> list[T]:
    """At most ``most`` rows, evenly spaced, the first and the last among them."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(at * (len(rows) - 1) / (most - 1))] for at in range(most)]


def confusion_view(summary: RunSummary) -> dict[str, Any]:
    """The matrix of true and predicted labels; a cell's shade is its share of the row."""
    labels = [one_line(label, 40) for label in summary.labels]
    rows = []
    for at, counts in enumerate(summary.confusion):
        total = sum(map(int, counts))
        cells = [
            {
                "count": figure(int(count)),
                "share": share(int(count), total) if count else "",
                "shade": f"{int(count) / total if total else 0:.3f}",
                "right": other == at,
            }
            for other, count in enumerate(counts)
        ]
        rows.append({"label": labels[at], "cells": cells, "all": figure(total)})
    return {"labels": labels, "rows": rows, "upright": len(labels) > _UPRIGHT_FROM}


def pairs_view(summary: RunSummary, words: Words) -> View:
    """The pairs of labels that are confused most, where a matrix would be too large to be read."""
    import numpy as np

    counts = np.asarray(summary.confusion, dtype=np.int64)
    totals = counts.sum(axis=1)
    mistakes = counts.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:_MOST_PAIRS]
    rows = []
    for true, predicted in zip(*np.unravel_index(order, counts.shape), strict=True):
        if count := int(mistakes[true, predicted]):
            names = [one_line(summary.labels[at], 80) for at in (true, predicted)]
            rows.append([*names, figure(count), share(count, int(totals[true]))])
    keys = ("confusion.true", "confusion.predicted", "count", "share")
    columns = tuple(Column(words[key], "number" if key in ("count", "share") else "") for key in keys)
    given = {"count": figure(len(rows)), "labels": figure(len(summary.labels))}
    note = words.say("confusion.pairs", **given) if rows else words["confusion.none"]
    return View(words["confusion"], columns, rows, note=note)
