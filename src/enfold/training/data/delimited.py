"""CSV, and lines of fields between tabs.

A CSV file is read by its rules, strictly. Of a TSV file nobody knows whether quotes enclose a field or belong to it:
a writer of spreadsheets encloses a field that needs it, and a corpus of tweets has a lone quote at the beginning of
one. :func:`_encloses` decides for the whole file.
"""

from __future__ import annotations

import csv
import re
import threading
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice

import numpy as np

from enfold.errors import InputError
from enfold.training.data.problems import Problems, beginning
from enfold.training.data.source import Source
from enfold.training.data.table import Places, Table

__all__ = ["read_csv", "read_tsv"]

_LIMIT = threading.Lock()
_LONGEST_FIELD = 2**31 - 1
_LOOKED_AT = 20  # rows
_ENCLOSED = re.compile(rb'(?:^|(?<=[\t\n]))"([^"]*(?:""[^"]*)*)"(?=\t|\r?\n|\r?\Z)')
_NUMBERS = re.compile(rb"[\s\d.eE+-]*")

Rows = Iterator[tuple[int, list[str]]]


def read_csv(source: Source, names: Sequence[str] | None) -> Table:
    """The rows of a CSV file, whose fields a comma separates, or what its first row says: a semicolon or a tab.

    Args:
        source: the file.
        names: of the columns, where it has no header; where its first row equals them that is the header.

    Raises:
        InputError: rows with too many or too few fields, broken quotes, no rows.
    """
    with _long_fields():
        return _enclosing(source, names, _delimiter(source, names))


def read_tsv(source: Source, names: Sequence[str] | None) -> Table:
    """The rows of a file whose fields tabs separate.

    A quote is text like any other, unless the whole file was written with enclosing quotes: no quote stands
    anywhere but around a whole field or doubled within, and every enclosed field has a reason to be (it holds a tab,
    a line end or a quote, or all fields but numbers are enclosed), and lines taken as they are would not make rows
    of equal length. The format ``"csv"`` takes quotes as enclosing whatever the file looks like.

    Args:
        source: the file.
        names: as for CSV.

    Raises:
        InputError: rows with too many or too few fields, no rows.
    """
    if _encloses(source.data):
        with _long_fields():
            return _enclosing(source, names, "\t")
    rows = ((number, line.split("\t")) for number, line in source.numbered() if line)
    advice = "Tabs separate fields, and quotes are text in this file: format='csv' takes quotes as enclosing fields"
    return _table(source, names, rows, Problems(), advice)


def _encloses(data: bytes) -> bool:
    """Whether quotes enclose fields in a file with tabs; see :func:`read_tsv`."""
    if b'"' not in data:
        return False
    fields: list[bytes] = []

    def take(match: re.Match[bytes]) -> bytes:
        fields.append(match[1])
        return b""

    rest = _ENCLOSED.sub(take, data)
    if b'"' in rest:
        return False
    spans = [b"\t" in field or b"\n" in field for field in fields]
    needed = all(span or b'""' in field for span, field in zip(spans, fields, strict=True))
    if not needed and not _NUMBERS.fullmatch(rest):
        return False
    return not any(spans) or len({line.count(b"\t") for line in data.split(b"\n") if line.strip()}) > 1


def _delimiter(source: Source, names: Sequence[str] | None) -> str:
    """What separates a CSV file's fields: by its header; where there is none, so that most rows have all fields."""
    widths = {}
    for delimiter in (",", ";", "\t"):
        rows = islice(_rows(source, delimiter, Problems()), 1 if names is None else _LOOKED_AT)
        widths[delimiter] = [len(row) for _, row in rows]
    if names is not None:
        return max(widths, key=lambda delimiter: widths[delimiter].count(len(names)))
    first = {delimiter: found[0] if found else 0 for delimiter, found in widths.items()}
    return "," if first[","] > 1 else max(first, key=lambda delimiter: first[delimiter])


def _enclosing(source: Source, names: Sequence[str] | None, delimiter: str) -> Table:
    problems = Problems()
    advice = f"A field that holds {delimiter!r}, a quote or a line end stands in quotes, a quote within it is doubled"
    return _table(source, names, _rows(source, delimiter, problems), problems, advice)


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lets fields be longer than the 131,072 characters that the csv module, for all of the process, takes."""
    with _LIMIT:
        before = csv.field_size_limit(_LONGEST_FIELD)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _rows(source: Source, delimiter: str, problems: Problems) -> Rows:
    """The rows that can be read; what is wrong with the others goes into ``problems``."""
    reader = csv.reader(source.lines(), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add(partial(source.problem, line, _explained(error, line, reader.line_num)))
            continue
        if row:
            yield line, row


def _explained(error: csv.Error, begin: int, end: int) -> str:
    message = str(error)
    if "unexpected end" in message:
        return "a quote that is never closed"
    if "expected after" in message:
        where = "" if begin == end else f" on line {end}, where the quote is closed that was opened before"
        return f"text after a closing quote{where}"
    if "new-line character" in message:
        return "a carriage return outside quotes"
    return message


def _table(source: Source, names: Sequence[str] | None, rows: Rows, problems: Problems, advice: str) -> Table:
    """The table of rows of fields, the first of which may be the header."""
    line, first = next(rows, (1, []))
    problems.check(f"the beginning of {source.name} can't be read", advice)
    columns, is_header = _columns(source.name, first, names)
    width = len(columns)
    records: list[tuple[str, ...]] = []
    lines = array("q")

    def add(line: int, row: list[str]) -> None:
        if len(row) == width:
            records.append(tuple(row))
            lines.append(line)
        elif len(row) > 1 or row[0].strip():  # a line of spaces is blank
            count = f"{len(row)} field{'s' * (len(row) != 1)}"
            problems.add(partial(source.problem, line, f"{count}, expected {width}"))

    if not is_header:
        add(line, first)
    for line, row in rows:
        add(line, row)
    expected = (
        f"{'the header has' if names is None else 'columns= names'} {', '.join(beginning(n, 40) for n in columns)}"
    )
    total = len(records) + problems.count
    problems.check(f"{problems.count} of {total} rows of {source.name} are broken ({expected})", advice)
    if not records:
        raise InputError(f"{source.name} has a header ({', '.join(columns)}) and no rows; expected rows below it")
    return Table(columns, records, source.name, Places((f"{source.name}, line",), np.array(lines, np.int64)))


def _columns(name: str, first: list[str], names: Sequence[str] | None) -> tuple[tuple[str, ...], bool]:
    """The names of the columns, and whether the first row is the header.

    Raises:
        InputError: a header that names a column twice, or one other than the names that were given.
    """
    header = tuple(field.strip() for field in first)
    if names is None:
        header = tuple(field or f"column {number}" for number, field in enumerate(header, 1))
        twice = sorted({beginning(field, 40) for field in header if header.count(field) > 1})
        if twice:
            raise InputError(
                f"the header of {name} has {', '.join(twice)} more than once; give each column a name of its own, "
                "or pass columns=(…) if that is a row and there is no header"
            )
        return header, True
    if header == tuple(names):
        return header, True
    known = {given.casefold() for given in names}
    if any(field.casefold() in known for field in header):
        raise InputError(
            f"the first row of {name} looks like a header ({', '.join(beginning(field, 40) for field in header)}), and "
            f"columns= names {', '.join(names)}: leave columns= out, or rename by a mapping, "
            f"columns={{{names[0]!r}: {header[0]!r}, …}}. If it is a row, write a header above it"
        )
    return tuple(names), False
