"""Rows in memory: dicts, tuples, columns, data frames, datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from enfold.errors import InputError
from enfold.training.data.json_rows import Gathered
from enfold.training.data.problems import Problems, beginning, counted
from enfold.training.data.table import Places, Table

__all__ = ["read_memory"]

_NAME = "the data"
_ADVICE = (
    "Expected a path, a list of paths, rows ([{'text': …, 'label': …}, …]), columns ({'text': [...], 'label': [...]}), "
    "a pandas.DataFrame or a datasets.Dataset"
)


def read_memory(data: Any, names: Sequence[str] | None) -> Table:
    """A table of rows in memory.

    Args:
        data: dicts, tuples, a dict of columns, a pandas.DataFrame, a datasets.Dataset (whose class labels become their
            names), or what iterates dicts.
        names: of the columns, where rows are tuples.

    Raises:
        InputError: none of these, columns of different lengths, or no rows.
    """
    if hasattr(data, "to_dict") and hasattr(data, "notna"):  # pandas; NaN and NaT are its way to say None
        return _columns(data.astype(object).where(data.notna(), None).to_dict("list"))
    for listed in ("to_pylist", "to_dicts"):  # pyarrow, polars
        if hasattr(data, listed):
            data = getattr(data, listed)()
    if isinstance(data, Mapping):
        if any(hasattr(value, "column_names") for value in data.values()):
            raise InputError(
                f"the data are several datasets ({', '.join(map(str, data))}); pass one, data['train'], say"
            )
        return _columns(data)
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        raise InputError(f"can't read rows from {type(data).__name__}. {_ADVICE}")
    if hasattr(data, "features") and hasattr(data, "with_format"):
        data = data.with_format(None)  # as Python's own values, whatever arrays it was set to give
    return _rows(data, names, _decoders(getattr(data, "features", None)))


def _columns(columns: Mapping[Any, Any]) -> Table:
    """The table of a dict of columns."""
    lists: dict[str, list[Any]] = {}
    problems = Problems()
    for name, values in columns.items():
        values = values.tolist() if hasattr(values, "tolist") else values
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            problems.add(f"{name!r} is {type(values).__name__}, expected a list of values")
        elif str(name) in lists:
            problems.add(f"{str(name)!r} is there twice")
        else:
            lists[str(name)] = list(values)
    problems.check("the data have columns that can't be used", _ADVICE)
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise InputError(f"the columns of the data have different lengths ({counts}); expected a value for each row")
    records = list(zip(*lists.values(), strict=True))
    if not records:
        raise InputError(f"{_NAME} has no rows")
    return Table(tuple(lists), records, _NAME, _places(len(records)))


def _rows(data: Iterable[Any], names: Sequence[str] | None, decoders: Mapping[str, Callable[[Any], Any]]) -> Table:
    """The table of dicts or tuples."""
    problems, gathered = Problems(), Gathered()
    total = 0
    for total, row in enumerate(data, 1):
        if isinstance(row, Mapping):
            wrong = [key for key in row if not isinstance(key, str)]
            if wrong:
                problems.add(f"row {total}: the key {wrong[0]!r} is no text")
            elif decoders:
                gathered.add({key: decoders[key](value) if key in decoders else value for key, value in row.items()})
            else:
                gathered.add(row)
        elif not isinstance(row, tuple | list):
            problems.add(f"row {total}: {type(row).__name__}, expected a dict or a tuple: {beginning(row)}")
        elif names is None:
            problems.add(f"row {total}: {type(row).__name__} without names; pass columns=('text', 'label'), say")
        elif len(row) != len(names):
            wanted = f"expected {len(names)} ({', '.join(names)})"
            problems.add(f"row {total}: {counted(len(row), 'value')}, {wanted}: {beginning(row)}")
        else:
            gathered.add(dict(zip(names, row, strict=True)))
    problems.check(f"{problems.count} of {total} rows can't be used", _ADVICE)
    if not total:
        raise InputError(f"{_NAME} has no rows")
    return gathered.table(_NAME, "row", range(1, total + 1))


def _decoders(features: Any) -> dict[str, Callable[[Any], Any]]:
    """What turns a dataset's numbers into the names that its features give them; -1 is an unknown label."""
    found: dict[str, Callable[[Any], Any]] = {}
    for column, feature in features.items() if isinstance(features, Mapping) else ():
        inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) and feature else None)
        if names := getattr(feature, "names", None):
            found[column] = _namer(names)
        elif names := getattr(inner, "names", None):
            found[column] = _list_namer(names)
    return found


def _list_namer(names: Sequence[str]) -> Callable[[Any], Any]:
    name = _namer(names)
    return lambda values: None if values is None else [name(value) for value in values]


def _namer(names: Sequence[str]) -> Callable[[Any], Any]:
    def name(value: Any) -> Any:
        if isinstance(value, int) and 0 <= value < len(names):
            return names[value]
        return None if value == -1 else value

    return name


def _places(count: int) -> Places:
    return Places(("row",), np.arange(1, count + 1))
