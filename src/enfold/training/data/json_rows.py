"""Rows of JSON: a line each, or a list of objects."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from enfold.errors import InputError
from enfold.training.data.problems import Problems, beginning
from enfold.training.data.source import Source
from enfold.training.data.squad import is_squad, read_squad
from enfold.training.data.table import Places, Table

__all__ = ["Gathered", "read_json", "read_json_lines"]

_ADVICE = 'Expected an object for each row, such as {"text": "…", "label": "…"}'


class Gathered:
    """Rows that name their columns themselves, gathered as tuples; a key that a row lacks is None."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._last: tuple[str, ...] = ()
        self._records: list[tuple[Any, ...]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Takes a row."""
        if (keys := tuple(row)) == self._last:
            self._records.append(tuple(row.values()))
            return
        for key in keys:
            self._index.setdefault(key, len(self._index))
        if keys == tuple(self._index):
            self._last = keys
        self._records.append(tuple([row.get(key) for key in self._index]))

    def table(self, name: str, prefix: str, numbers: Sequence[int]) -> Table:
        """The table of all rows.

        Raises:
            InputError: there are no rows, or rows without columns.
        """
        if not self._index:
            raise InputError(f"{name} has no rows" if not self._records else f"every row of {name} is empty")
        width = len(self._index)
        for index, record in enumerate(self._records):
            if len(record) < width:
                self._records[index] = record + (None,) * (width - len(record))
        return Table(tuple(self._index), self._records, name, Places((prefix,), np.array(numbers, np.int64)))


def read_json_lines(source: Source) -> Table:
    """The objects of a file, one a line; blank lines are skipped, a key that a row lacks is None.

    Raises:
        InputError: lines that are no JSON or no object, all listed; no rows.
    """
    problems, gathered, numbers = Problems(), Gathered(), array("q")
    total = 0
    for number, line in source.numbered():
        if not line.strip():
            continue
        total += 1
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise InputError(f"{_kind(row)}, expected an object")
            if "\\ud" in line.lower():
                json.dumps(row, ensure_ascii=False).encode()  # refuses lone surrogates
        except (ValueError, RecursionError) as error:
            problems.add(f"line {number}: {_explained(error)}: {beginning(line)}")
            continue
        gathered.add(row)
        numbers.append(number)
    problems.check(f"{problems.count} of {total} rows of {source.name} are broken", _ADVICE)
    return gathered.table(source.name, f"{source.name}, line", numbers)


def read_json(source: Source) -> Table:
    """The objects of a JSON list, or SQuAD's questions; a file of JSON lines by the wrong name is read as such.

    Raises:
        InputError: not JSON, or JSON of another shape.
    """
    text = source.text()
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()  # refuses lone surrogates
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and _starts_with_object(source):
            return read_json_lines(source)
        what = f"not JSON at column {error.colno}: {error.msg}"
        raise InputError(f"{source.name}, {source.problem(error.lineno, what)}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source.name} can't be read as JSON: {_explained(error)}") from error
    if is_squad(value):
        return read_squad(source, value)
    if not isinstance(value, list):
        raise InputError(
            f"{source.name} is {_kind(value)}; expected a list of objects, SQuAD's shape, or format='jsonl' for an "
            "object on each line"
        )
    problems, gathered = Problems(), Gathered()
    for number, row in enumerate(value, 1):
        if not isinstance(row, dict):
            problems.add(f"row {number}: {_kind(row)}, expected an object: {beginning(row)}")
        elif not problems.count:
            gathered.add(row)
    problems.check(f"{problems.count} of {len(value)} rows of {source.name} are broken", _ADVICE)
    return gathered.table(source.name, f"{source.name}, row", range(1, len(value) + 1))


def _starts_with_object(source: Source) -> bool:
    """Whether the first line that isn't blank is a JSON object."""
    lines: Iterator[str] = (line for line in source.lines() if line.strip())
    try:
        return isinstance(json.loads(next(lines)), dict)
    except ValueError:
        return False


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return f"JSON of {names.get(type(value), 'a number')}"


def _explained(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON at column {error.colno}: {error.msg}"
    if isinstance(error, UnicodeEncodeError):
        return "half of a surrogate pair (an emoji that was cut)"
    return str(error)
