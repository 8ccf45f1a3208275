"""Labels of a column: classes, numbers, lists of classes; and what is wrong with them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError
from enfold.training.data.problems import Problems, beginning, counted, listed
from enfold.training.data.table import Table

__all__ = [
    "check_known",
    "class_labels",
    "label_kind",
    "label_lists",
    "label_names",
    "label_order",
    "numbers",
]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SHOWN_PLACES = 3
_KINDS = {
    "word": ("word", "words"),
    "number": ("number", "numbers"),
    "bool": ("truth value", "truth values"),
    "list": ("list", "lists"),
    "object": ("object", "objects"),
    "empty": ("empty label", "empty labels"),
}

Kind = Literal["word", "number", "bool", "list", "object", "empty"]


def label_kind(table: Table, column: str) -> Literal["classes", "numbers", "lists"]:
    """What a column's labels look like: lists; numbers, some of them not whole; or else classes.

    Raises:
        InputError: no such column.
    """
    read = [_read(value) for value in table.column(column)]
    kinds = {kind for kind, _ in read}
    if kinds == {"list"}:
        return "lists"
    if kinds == {"number"} and any(not float(text).is_integer() for _, text in read):
        return "numbers"
    return "classes"


def label_names(table: Table, column: str) -> list[str]:
    """Each row's class as text, white space around it removed: 1 and "1" are the same, and so are true and "True".

    Raises:
        InputError: empty labels, or labels of several kinds (numbers beside words, lists beside texts); the places of
            the first odd ones are named.
    """
    known: dict[tuple[type, Any], tuple[Kind, str]] = {}
    read: list[tuple[Kind, str]] = []
    for value in table.column(column):
        if isinstance(value, str | int | float):
            key = (type(value), value)
            found = known.get(key)
            if found is None:
                found = known[key] = _read(value)
            read.append(found)
        else:
            read.append(_read(value))
    _check_kinds(table, column, [kind for kind, _ in read])
    return [text for _, text in read]


def class_labels(table: Table, column: str) -> list[str]:
    """The distinct classes of a column, in an order that doesn't depend on the rows': see :func:`label_order`.

    Raises:
        InputError: as :func:`label_names`.
    """
    return label_order(label_names(table, column))


def label_order(labels: Iterable[str]) -> list[str]:
    """Distinct labels, numbers by their value and before words, which are sorted."""
    return sorted(
        set(labels), key=lambda label: (0, float(label), label) if _NUMBER.fullmatch(label) else (1, 0.0, label)
    )


def numbers(table: Table, column: str) -> NDArray[np.float64]:
    """A column's numbers, (rows,).

    Raises:
        InputError: values that are no finite number, all listed with their places.
    """
    problems = Problems()
    found = []
    for index, value in enumerate(table.column(column)):
        kind, text = _read(value)
        number = float(text) if kind == "number" else math.nan
        if not math.isfinite(number):
            problems.add(f"{table.place(index)}: {beginning(value)}")
        found.append(number)
    problems.check(
        f"{problems.count} of {len(table)} values of {column!r} are no finite numbers",
        "Write numbers with a decimal point, and mend the rows or leave them out",
    )
    return np.array(found, np.float64)


def label_lists(table: Table, column: str, *, separator: str | None = None) -> list[list[str]]:
    """Each row's labels: of lists, or of texts that a separator cuts; any number of them, each named once.

    Args:
        table: the rows.
        column: of lists (JSON, Parquet) or of texts (CSV), where "" is a row without labels.
        separator: between the labels of a text; where absent, ``"|"`` if a text of the column has one, else ``","``.

    Raises:
        InputError: missing values, values that are neither, lists beside texts, labels in a list that are empty or
            no texts or numbers; the places are named.
    """
    if separator is not None and not separator.strip():
        raise InputError(f"separator={separator!r}: expected a character such as '|' or ','")
    values = [value.tolist() if isinstance(value, np.ndarray) else value for value in table.column(column)]
    texts = [value for value in values if isinstance(value, str)]
    lists = [value for value in values if isinstance(value, list | tuple | set | frozenset)]
    if texts and lists:
        rarer = str if len(texts) < len(lists) else list | tuple | set | frozenset
        odd = [index for index, value in enumerate(values) if isinstance(value, rarer)]
        shown = listed([f"{table.place(index)}: {beginning(values[index])}" for index in odd[:10]], len(odd))
        both = f"{counted(len(lists), 'list')} and {counted(len(texts), 'text')}"
        raise InputError(
            f"{table.name} has {both} in {column!r}; the odd ones:\n  {shown}\n"
            "Write all of them as lists, or all as texts"
        )
    separator = separator or ("|" if any("|" in text for text in texts) else ",")
    problems = Problems()
    found: list[list[str]] = []
    for index, value in enumerate(values):
        labels: list[str] = []
        if isinstance(value, list | tuple | set | frozenset):
            read = [_read(each) for each in value]
            labels = [text for _, text in read]
            if any(kind in ("empty", "list", "object") for kind, _ in read):
                problems.add(f"{table.place(index)}: {beginning(value)}")
        elif isinstance(value, str):
            labels = [label for each in value.split(separator) if (label := each.strip())]
        elif _read(value)[0] in ("number", "bool"):
            labels = [_read(value)[1]]
        else:
            problems.add(f"{table.place(index)}: {beginning(value)}")
        found.append(sorted(set(labels)) if isinstance(value, set | frozenset) else list(dict.fromkeys(labels)))
    problems.check(
        f"{problems.count} of {len(table)} values of {column!r} are no lists of labels",
        f"Expected lists of texts, or texts such as 'one{separator}two'; a row without labels has [] or ''",
    )
    return found


def check_known(labels: Sequence[str], known: Iterable[str], table: Table, rows: Sequence[int] | None = None) -> None:
    """Checks that a model has been taught every label.

    Args:
        labels: those of the table.
        known: the model's.
        table: where they stand.
        rows: the row of each label, where there isn't one label for each row.

    Raises:
        InputError: labels that are not known, with their counts and first places.
    """
    allowed = set(known)
    unknown: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        if label not in allowed:
            unknown.setdefault(label, []).append(index if rows is None else rows[index])
    if not unknown:
        return
    order = sorted(unknown, key=lambda label: (-len(unknown[label]), label))
    shown = []
    for label in order[:10]:
        places = list(dict.fromkeys(unknown[label]))
        first = "; ".join(table.place(row) for row in places[:_SHOWN_PLACES])
        more = "; …" * (len(places) > _SHOWN_PLACES)
        shown.append(f"{beginning(label)}, {counted(len(unknown[label]), 'time')}: {first}{more}")
    taught, verb = label_order(allowed), "is" if len(unknown) == 1 else "are"
    names = ", ".join(beginning(label, 40) for label in taught[:20]) + (" …" if len(taught) > 20 else "")
    raise InputError(
        f"{counted(len(unknown), 'label')} of {table.name} {verb} not among the {len(taught)} that are trained:\n  "
        f"{listed(shown, len(order))}\nTrained are {names}. Mend the spelling, leave those rows out, or train with them"
    )


def _read(value: Any) -> tuple[Kind, str]:
    """A label's kind and its text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        text = value.strip()
        return ("empty" if not text else "number" if _NUMBER.fullmatch(text) else "word"), text
    if isinstance(value, bool):
        return "bool", str(value)
    if isinstance(value, int):
        return "number", str(value)
    if isinstance(value, float):
        if math.isnan(value):
            return "empty", ""
        return "number", str(int(value)) if value.is_integer() else repr(value)
    if value is None:
        return "empty", ""
    return ("list" if isinstance(value, list | tuple | set | frozenset | np.ndarray) else "object"), ""


def _check_kinds(table: Table, column: str, kinds: Sequence[Kind]) -> None:
    """Refuses labels that are empty, of several kinds, or no classes.

    Raises:
        InputError: the places of the first odd ones, and how many of each kind there are.
    """
    counts = Counter(kinds)
    usual: Kind = max((kind for kind in counts if kind != "empty"), key=lambda kind: counts[kind], default="empty")
    if set(counts) == {usual} and usual in ("word", "number", "bool"):
        return
    if set(counts) == {"word", "bool"}:
        values = table.column(column)
        if all(
            kind == "bool" or str(value).strip() in ("True", "False") for kind, value in zip(kinds, values, strict=True)
        ):
            return
    odd = [index for index, kind in enumerate(kinds) if kind != usual or usual in ("list", "object", "empty")]
    values = table.column(column)
    shown = listed([f"{table.place(index)}: {beginning(values[index])}" for index in odd[:10]], len(odd))
    tally = ", ".join(f"{count} {_KINDS[kind][count != 1]}" for kind, count in counts.most_common())
    advice = "Write every label as a word, or every one as a number"
    if usual == "list":
        advice = "Lists are for training with several labels to a row; for one label write a text"
    elif usual == "object":
        advice = "Write a text or a number"
    elif set(counts) == {usual, "empty"}:
        advice = "Fill the labels in, or leave those rows out"
    raise InputError(f"{table.name} has {tally} in {column!r}; the odd ones:\n  {shown}\n{advice}")
