"""What a command prints: JSON lines, or a table that is drawn on a terminal and tab-separated in a pipe."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import click
import numpy as np

__all__ = ["Row", "plain", "print_json", "print_table", "rows_of"]

Row = Mapping[str, Any]

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHOWN: Final = 6
_GAP: Final = 2
_LEAST: Final = 16


def print_json(record: Any) -> None:
    """One line of JSON; arrays become lists, characters stay as they are."""
    click.echo(json.dumps(record, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON")


def print_table(rows: Iterable[Row], *, one_line: Sequence[str] = ()) -> None:
    """Prints rows under the keys of the first, or of all where they have to be collected first.

    On a terminal a table as wide as the terminal, its ``one_line`` columns cut to fit; elsewhere tab-separated values
    under a heading, each row as it is ready, nothing cut.
    """
    if sys.stdout.isatty():
        _draw(list(rows), one_line)
        return
    for columns, row in _under_columns(rows, one_line):
        click.echo("\t".join(plain(row.get(column)) for column in columns))


def _under_columns(rows: Iterable[Row], given: Sequence[str]) -> Iterator[tuple[list[str], Row]]:
    """The heading and each row, with the columns; rows of ``given`` columns alone wait for one that has results."""
    waiting: list[Row] = []
    columns: list[str] = []
    for row in rows:
        if not columns and set(row) <= set(given):
            waiting.append(row)
            continue
        if not columns:
            columns = list(row)
            for earlier in ({column: column for column in columns}, *waiting):
                yield columns, earlier
        yield columns, row
    if not columns and waiting:
        columns = list(waiting[0])
        for earlier in ({column: column for column in columns}, *waiting):
            yield columns, earlier


def _draw(rows: list[Row], one_line: Sequence[str]) -> None:
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = list(dict.fromkeys(column for row in rows for column in row))
    widths = {column: max(cell_len(plain(row.get(column))) for row in (*rows, {column: column})) for column in columns}
    console = Console(file=sys.stdout, highlight=False)
    room = console.width - sum(width + _GAP for column, width in widths.items() if column not in one_line)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, _GAP - 1, 0, 0))
    for column in columns:
        numeric = all(isinstance(row.get(column), int | float | None) for row in rows)
        if column in one_line:
            table.add_column(column, no_wrap=True, overflow="ellipsis", max_width=max(room, _LEAST))
        elif numeric:
            table.add_column(column, no_wrap=True, justify="right", min_width=widths[column])
        else:
            table.add_column(column, overflow="fold", min_width=min(widths[column], _LEAST))
    for row in rows:
        table.add_row(*(Text(plain(row.get(column))) for column in columns))
    console.print(table)


def plain(value: Any) -> str:
    """A value in one line, without what would move a terminal's cursor."""
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:.4f}"
    return _CONTROL.sub("\ufffd", " ".join(str(value).split()))


def rows_of(record: Any, text: str) -> Iterator[dict[str, Any]]:
    """A task's record as rows of a table; a ``sequence`` that only repeats the ``text`` is left out.

    A dictionary is a row, or one per element where it holds parallel lists (labels and scores); a list is the rows
    of its elements, numbered where these are lists themselves (the masks of a text); an array is described.
    """
    match record:
        case np.ndarray():
            yield _described(record)
        case Mapping():
            kept = {key: value for key, value in record.items() if key != "sequence" or value != text}
            lists = {key: value for key, value in kept.items() if isinstance(value, list)}
            for index in range(max(map(len, lists.values()), default=1)):
                yield {key: value[index] if key in lists else value for key, value in kept.items()}
        case list() if _is_nested(record):
            yield _described(np.asarray(record))
        case list():
            for number, part in enumerate(record, 1):
                for row in rows_of(part, text):
                    yield {"#": number, **row} if isinstance(part, list) else row
        case _:
            yield {"score": record}


def _is_nested(record: list[Any]) -> bool:
    """Whether these are lists of (lists of) numbers."""
    inner = record[0] if record else None
    while isinstance(inner, list) and inner:
        inner = inner[0]
    return isinstance(inner, float) and isinstance(record[0], list)


def _described(array: Any) -> dict[str, Any]:
    flat = np.asarray(array).ravel()
    begin = " ".join(f"{value:.4f}" for value in flat[:_SHOWN])
    return {"shape": " × ".join(map(str, np.shape(array))), "values": begin + (" …" if flat.size > _SHOWN else "")}
