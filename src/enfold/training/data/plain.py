"""Plain text: a row for each line, or for each paragraph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from enfold.errors import InputError
from enfold.training.data.source import Source
from enfold.training.data.table import Places, Table

__all__ = ["read_lines", "read_paragraphs"]


def read_lines(source: Source, names: Sequence[str] | None) -> Table:
    """A row for each line that isn't blank.

    Args:
        source: the file.
        names: of the one column, where it isn't to be ``text``.

    Raises:
        InputError: several names.
    """
    return _table(source, ((number, line) for number, line in source.numbered() if line.strip()), names)


def read_paragraphs(source: Source, names: Sequence[str] | None) -> Table:
    """A row for each run of lines between blank ones, line ends kept.

    Args:
        source: the file.
        names: of the one column, where it isn't to be ``text``.

    Raises:
        InputError: several names.
    """
    return _table(source, _paragraphs(source), names)


def _paragraphs(source: Source) -> Iterator[tuple[int, str]]:
    begin, lines = 0, list[str]()
    for number, line in source.numbered():
        if line.strip():
            begin = begin if lines else number
            lines.append(line)
        elif lines:
            yield begin, "\n".join(lines)
            lines = []
    if lines:
        yield begin, "\n".join(lines)


def _table(source: Source, texts: Iterator[tuple[int, str]], names: Sequence[str] | None) -> Table:
    if names is not None and len(names) != 1:
        raise InputError(
            f"{source.name} is read as plain text, one column, and columns= names {', '.join(names)}; "
            "if it has several, say how they are separated: format='tsv' or format='csv'"
        )
    lines, records = [], []
    for line, text in texts:
        lines.append(line)
        records.append((text,))
    places = Places((f"{source.name}, line",), np.array(lines, np.int64))
    return Table(tuple(names or ("text",)), records, source.name, places)
