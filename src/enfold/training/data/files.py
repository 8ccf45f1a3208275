"""Data of any kind to a table: what is handed over, what format it has, what its columns are called."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from enfold.errors import InputError
from enfold.training.data.conll import read_conll
from enfold.training.data.delimited import read_csv, read_tsv
from enfold.training.data.json_rows import read_json, read_json_lines
from enfold.training.data.memory import read_memory
from enfold.training.data.parquet import read_parquet
from enfold.training.data.plain import read_lines, read_paragraphs
from enfold.training.data.source import Source, open_source
from enfold.training.data.squad import read_squad
from enfold.training.data.table import Table, joined, missing_columns

__all__ = ["Columns", "Format", "read_table"]

Format = Literal["csv", "tsv", "jsonl", "json", "parquet", "conll", "squad", "text", "paragraphs"]
Columns = Sequence[str] | Mapping[str, str]

_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".txt": "text",
}
# rows of these name their columns themselves, so that a row, and a file, may lack some
_OPEN: tuple[Format, ...] = ("jsonl", "json")


def read_table(data: Any, *, columns: Columns | None = None, format: Format | None = None) -> Table:
    """Reads rows from files or from memory.

    Args:
        data: a path or a list of paths, also of files packed by gzip; or rows in memory: dicts, tuples with
            ``columns``, a dict of columns, a pandas.DataFrame, a datasets.Dataset.
        columns: a sequence names the columns of what has no header (where the first row equals it, that is the
            header), and chooses columns where they have names. A mapping renames, ``{"text": "review"}``: our name,
            then the file's; other columns stay, except one that has the new name already.
        format: where the extension doesn't tell: ``"csv"``, ``"tsv"``, ``"jsonl"``, ``"json"`` (a list of objects, or
            SQuAD), ``"parquet"``, ``"conll"``, ``"squad"``, ``"text"`` (a row for each line), ``"paragraphs"`` (a row
            for each run of lines between blank ones).

    Raises:
        InputError: data that can't be read, with the places of what is wrong; columns that are missing.
        MissingDependencyError: a Parquet file, and pyarrow isn't installed.

    >>> table = read_table([{"text": "Lovely.", "stars": 5}], columns={"label": "stars"})
    >>> table.columns, table.rows[0]["label"], table.place(0)
    (('text', 'label'), 5, 'row 1')
    """
    _check_columns(columns)
    if format is not None and format not in get_args(Format):
        near = difflib.get_close_matches(str(format), get_args(Format), n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise InputError(f"unknown format {format!r}{meant}; expected one of {', '.join(get_args(Format))}")
    names = None if columns is None or isinstance(columns, Mapping) else tuple(columns)
    paths = _paths(data)
    if paths is not None:
        table = _read_files(paths, names, format)
    elif format is not None:
        raise InputError(f"format={format!r} is for files, and the data are {type(data).__name__}; leave it out")
    else:
        table = data if isinstance(data, Table) else read_memory(data, names)
    if isinstance(columns, Mapping):
        return _renamed(table, columns)
    return table if names is None or names == table.columns else table.select({name: name for name in names})


def _check_columns(columns: Any) -> None:
    """Refuses names that are none, or stand twice."""
    if columns is None:
        return
    names = list(columns.values()) + list(columns) if isinstance(columns, Mapping) else columns
    if isinstance(columns, str) or not isinstance(columns, Mapping | Sequence) or not names:
        raise InputError(f"columns={columns!r}: expected names, ('text', 'label'), or a mapping, {{'text': 'review'}}")
    wrong = [name for name in names if not isinstance(name, str) or not name.strip()]
    if wrong:
        raise InputError(f"columns= has {wrong[0]!r} where a name was expected")
    if not isinstance(columns, Mapping) and len(set(names)) < len(names):
        raise InputError(f"columns= names a column twice: {', '.join(names)}")


def _paths(data: Any) -> list[Path] | None:
    """The files that are meant; None for rows in memory."""
    if isinstance(data, str | os.PathLike):
        return [Path(data)]
    if isinstance(data, list | tuple) and data and all(isinstance(each, str | os.PathLike) for each in data):
        return [Path(each) for each in data]
    return None


def _read_files(paths: Sequence[Path], names: Sequence[str] | None, format: Format | None) -> Table:
    """The rows of all files, in order; what is wrong with any of them is in one error."""
    tables, errors = [], []
    is_open = True
    for path in paths:
        try:
            chosen = format or _format(path)
            tables.append(_read(open_source(path), names, chosen))
            is_open &= chosen in _OPEN
        except InputError as error:
            errors.append(str(error))
    if errors:
        raise InputError("\n".join(errors))
    every = tuple(dict.fromkeys(name for table in tables for name in table.columns))
    if is_open:
        return joined([_widened(table, every) for table in tables])
    lacking = [
        str(missing_columns([name for name in every if name not in table.columns], table.columns, table.name))
        for table in tables
        if set(table.columns) != set(every)
    ]
    if lacking:
        raise InputError("the files have different columns:\n" + "\n".join(lacking))
    return joined(tables)


def _read(source: Source, names: Sequence[str] | None, format: Format) -> Table:
    if format == "csv":
        return read_csv(source, names)
    if format == "tsv":
        return read_tsv(source, names)
    if format == "jsonl":
        return read_json_lines(source)
    if format == "json":
        return read_json(source)
    if format == "parquet":
        return read_parquet(source)
    if format == "conll":
        return read_conll(source, names)
    if format == "text":
        return read_lines(source, names)
    if format == "paragraphs":
        return read_paragraphs(source, names)
    try:
        value = json.loads(source.text())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source.name} can't be read as JSON: {error}") from error
    return read_squad(source, value)


def _format(path: Path) -> Format:
    """What a file's name says of its format."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = next((each for each in reversed(suffixes) if each != ".gz"), "")
    if suffix in _FORMATS:
        return _FORMATS[suffix]
    open_source(path)  # if it can't be read, that is what is wrong
    if suffix in (".xls", ".xlsx", ".ods"):
        raise InputError(f"{path} is a spreadsheet; save it as CSV (UTF-8)")
    raise InputError(
        f"{path}: nothing is known of the extension {suffix!r}; known are {', '.join(_FORMATS)}, each also with .gz. "
        f"Say what it is: format={' or '.join(map(repr, get_args(Format)))}"
    )


def _widened(table: Table, columns: tuple[str, ...]) -> Table:
    """The table with None in the columns that it lacks."""
    lacking = len(columns) - len(table.columns)
    if not lacking:
        return table
    missing = tuple(name for name in columns if name not in table.columns)
    records = [record + (None,) * lacking for record in table.records]
    return Table(table.columns + missing, records, table.name, table.places)


def _renamed(table: Table, names: Mapping[str, str]) -> Table:
    """The table with our names for its columns, ``{ours: theirs}``, where the others keep theirs."""
    table.require(dict.fromkeys(names.values()))
    chosen: dict[str, str] = {}
    for column in table.columns:
        ours = [our for our, theirs in names.items() if theirs == column]
        if ours:
            chosen |= dict.fromkeys(ours, column)
        elif column not in names:
            chosen[column] = column
    return table.select(chosen)
