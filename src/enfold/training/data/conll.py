"""CoNLL's columns: a token a line, a blank line after each sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from enfold.errors import InputError
from enfold.training.data.problems import Problems, beginning, counted
from enfold.training.data.source import Source
from enfold.training.data.table import Places, Table

__all__ = ["read_conll"]

_SPACES = re.compile(" +")
_BIO = re.compile("O|[BIESLUM]-.+")

Line = tuple[int, list[str], str]


def read_conll(source: Source, names: Sequence[str] | None) -> Table:
    """A row for each sentence, whose columns are lists of texts of equal length.

    Tabs separate the columns of a line that has one, else spaces do; other white space (U+3000, U+00A0) belongs to
    tokens. A line whose columns are all blank ends a sentence, and so does "-DOCSTART-". A line that begins with "# "
    is a comment, unless it has as many columns as the others, and the last of them is a tag: "O", "B-…" and its like,
    or one that other lines have, too.

    Args:
        source: the file.
        names: of all columns; where absent, the first is ``tokens``, the last ``tags``, and others are left out.

    Raises:
        InputError: lines with another number of columns, or blank ones among them, all listed; no sentences.
    """
    lines = [(number, _fields(text), text) for number, text in source.numbered()]
    plain = [fields for _, fields, text in lines if fields and not _like_a_comment(text) and not _is_mark(fields)]
    width = len(names) if names is not None else len(plain[0]) if plain else 2
    if plain and width < 2:
        raise InputError(
            f"{source.name} has one column, such as {beginning(plain[0][0])}; expected a token and its tag on each "
            "line, separated by a tab or spaces"
        )
    tags = {fields[-1] for fields in plain if len(fields) == width}
    columns = tuple(names) if names is not None else ("tokens", "tags")
    chosen = range(width) if names is not None else (0, width - 1)
    problems = Problems()
    records: list[tuple[list[str], ...]] = []
    starts: list[int] = []
    for sentence in _sentences(lines, width, tags):
        right = []
        for number, fields, text in sentence:
            if len(fields) != width:
                problems.add(f"line {number}: {counted(len(fields), 'column')}, expected {width}: {beginning(text)}")
            elif blank := [position + 1 for position in chosen if not fields[position]]:
                problems.add(f"line {number}: nothing in column {blank[0]}: {beginning(text)}")
            else:
                right.append(fields)
        if right:
            records.append(tuple([fields[position] for fields in right] for position in chosen))
            starts.append(sentence[0][0])
    problems.check(
        f"{counted(problems.count, 'line')} of {source.name} {'is' if problems.count == 1 else 'are'} broken",
        "Expected a token and its tag, separated by a tab or spaces, with a blank line after each sentence",
    )
    if not records:
        raise InputError(f"{source.name} has no sentences: expected a token and its tag on each line")
    return Table(columns, records, source.name, Places((f"{source.name}, line",), np.array(starts, np.int64)))


def _fields(line: str) -> list[str]:
    """The columns of a line; none where it is blank."""
    if not line.strip(" \t"):
        return []
    return line.split("\t") if "\t" in line else _SPACES.split(line.strip(" "))


def _like_a_comment(line: str) -> bool:
    return line == "#" or line.startswith("# ")


def _is_mark(fields: list[str]) -> bool:
    return fields[0] == "-DOCSTART-"


def _sentences(lines: Sequence[Line], width: int, tags: set[str]) -> Iterator[list[Line]]:
    """The lines of each sentence."""
    sentence: list[Line] = []
    for line in lines:
        _, fields, text = line
        if not fields or _is_mark(fields):
            if sentence:
                yield sentence
            sentence = []
        elif not _like_a_comment(text) or (len(fields) == width and (fields[-1] in tags or _BIO.fullmatch(fields[-1]))):
            sentence.append(line)
    if sentence:
        yield sentence
