"""How a table's texts are read: checked, encoded, and cut where they are over the limit."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from enfold.arch import Architecture
from enfold.errors import InputError, TextTooLongError
from enfold.tokenization import Encoded, Tokenizer
from enfold.training.data import Table
from enfold.training.data.problems import Problems, beginning, counted
from enfold.training.data.table import Row
from enfold.training.examples import Examples, Ragged
from enfold.training.settings import Long

__all__ = [
    "CJK",
    "Cut",
    "Reading",
    "check_rows",
    "checked_text",
    "encoded_ids",
    "examples_of",
    "one_window",
    "ragged_types",
]

logger = logging.getLogger("enfold")

CJK = re.compile(
    r"[\u3000-\u303f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40"
    r"\uff5b-\uff65\U00020000-\U0003ffff]"
)
"""Characters between which no spaces are written; full-width letters and digits make words, and are not among them."""


@dataclass(frozen=True)
class Cut:
    """Texts over the limit: of ``total`` in a table ``count`` were cut, and ``tokens`` of them are not learnt from."""

    table: str
    count: int
    total: int
    limit: int
    tokens: int


@dataclass(frozen=True)
class Reading:
    """How texts are read: the tokenizer, the model's architecture, and what becomes of long texts.

    What was cut is remembered in ``cuts``, for a report.
    """

    tokenizer: Tokenizer
    arch: Architecture
    max_length: int
    long: Long
    cuts: list[Cut] = field(default_factory=list, compare=False)

    @property
    def source_arch(self) -> Architecture:
        """The stack that reads: the encoder, where there is one."""
        return self.arch.encoder or self.arch


def encoded_ids(
    reading: Reading,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    table: Table,
    *,
    strategy: Literal["only_first", "longest_first", "only_second"] | None = None,
) -> list[list[Encoded]]:
    """The windows of each text or pair, one where it fits, as the reading's ``long`` says.

    Args:
        reading: how texts are read.
        texts: as many for each row of the table, one after another.
        pairs: their second texts, or None.
        table: where they stand.
        strategy: which text of a pair is cut; None: the longer one. ``"only_second"`` cuts contexts of questions, into
            windows that share a quarter, as the task reads them; windows of others share nothing.

    Raises:
        InputError: questions that leave no room for a context.
        TextTooLongError: a text over the limit, where that is to be an error.
    """
    encoded = reading.tokenizer.encode_many(texts, pairs)
    limit = reading.max_length
    over = [index for index, each in enumerate(encoded) if len(each) > limit]
    windows = [[each] for each in encoded]
    if not over:
        return windows
    if reading.long == "error":
        first = over[0]
        raise TextTooLongError(
            f"{len(over)} of {len(encoded)} texts are over the limit of {limit} tokens, the first at "
            f"{table.place(first * len(table) // len(texts))} ({len(encoded[first])} tokens): long='window' reads them "
            "whole where the task can, long='truncate' cuts them"
        )
    if strategy is None:
        strategy = "only_first" if pairs is None else "longest_first"
    around = {index: sum(side != 1 for side in encoded[index].sequence_ids) for index in over}
    asks = strategy == "only_second"
    if asks:
        _check_room(around, limit, table)
    for index in over:
        shared = min(limit // 4, (limit - around[index]) // 2) if asks and reading.long == "window" else 0
        found = reading.tokenizer.windows(encoded[index], max_length=limit, stride=shared, strategy=strategy)
        windows[index] = found[:1] if reading.long == "truncate" else found
    if reading.long == "truncate":
        lost = sum(len(encoded[index]) - limit for index in over)
        message = "%s: %d of %d texts were cut at %d tokens; %d tokens are not read"
        logger.warning(message, table.name, len(over), len(encoded), limit, lost)
        reading.cuts.append(Cut(table.name, len(over), len(encoded), limit, lost))
    return windows


def _check_room(around: Mapping[int, int], limit: int, table: Table) -> None:
    problems = Problems()
    for index, count in around.items():
        if count + 2 > limit:
            problems.add(f"{table.place(index)}: {count} tokens")
    problems.check(
        f"{counted(problems.count, 'question')} of {table.name} without room for a context in {limit} tokens",
        "Shorten them, or raise max_length",
    )


def one_window(reading: Reading, texts: Sequence[str], pairs: Sequence[str] | None, table: Table) -> list[Encoded]:
    """Each text or pair, cut or refused where it is over the limit: for goals that can't learn from a part.

    Raises:
        InputError: windows are asked for.
        TextTooLongError: as :func:`encoded_ids`.
    """
    if reading.long == "window":
        raise InputError(
            "long='window', and this task learns from each text as a whole: long='truncate' cuts those over the "
            f"limit of {reading.max_length} tokens, long='error' refuses them"
        )
    return [windows[0] for windows in encoded_ids(reading, texts, pairs, table)]


def examples_of(windows: Sequence[Sequence[Encoded]], targets: Sequence[Any], dtype: Any) -> Examples:
    """An example for each window, with its row's target."""
    flat = [each for row in windows for each in row]
    counts = [len(row) for row in windows]
    rows = np.repeat(np.arange(len(windows)), counts)
    return Examples(
        ids=Ragged.of([each.ids for each in flat]),
        types=ragged_types(flat),
        targets=np.repeat(np.asarray(targets, dtype), counts, axis=0),
        rows=rows,
    )


def ragged_types(encoded: Sequence[Encoded]) -> Ragged | None:
    """Token types, or None where all are 0."""
    types = Ragged.of([each.type_ids for each in encoded])
    return types if types.flat.any() else None


def check_rows(table: Table, problem: Callable[[int, Row], str | None]) -> None:
    """Looks at every row.

    Args:
        table: the rows.
        problem: says of a row's number and values what is wrong with it, or None.

    Raises:
        InputError: rows that can't be learnt from, with their places.
    """
    problems = Problems()
    for index, row in enumerate(table.rows):
        found = problem(index, row)
        if found is not None:
            problems.add(f"{table.place(index)}: {found}")
    what = f"{problems.count} of {len(table)} rows of {table.name} can't be learnt from"
    problems.check(what, "Mend them or leave them out")


def checked_text(table: Table, column: str) -> list[str]:
    """A column's texts.

    Raises:
        InputError: values that are no text, or blank; their places are named.
    """

    def problem(index: int, row: Row) -> str | None:
        value = row[column]
        return (
            None if isinstance(value, str) and value.strip() else f"{column!r} is {beginning(value)}, expected a text"
        )

    check_rows(table, problem)
    return table.column(column)
