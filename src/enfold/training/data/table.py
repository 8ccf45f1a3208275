"""Rows with named columns that know where they come from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError
from enfold.training.data.problems import beginning

__all__ = ["Places", "Row", "Table", "joined", "missing_columns"]

_SHOWN = 20


class Row(Mapping[str, Any]):
    """One row: a view of a tuple through the names that all rows of its table share."""

    __slots__ = ("_index", "_values")

    def __init__(self, index: Mapping[str, int], values: tuple[Any, ...]) -> None:
        self._index, self._values = index, values

    def __getitem__(self, name: str) -> Any:
        return self._values[self._index[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return repr(dict(self))


class _Rows(Sequence[Row]):
    def __init__(self, columns: tuple[str, ...], records: Sequence[tuple[Any, ...]]) -> None:
        self._index = {name: position for position, name in enumerate(columns)}
        self._records = records

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return [Row(self._index, record) for record in self._records[index]]
        return Row(self._index, self._records[index])

    def __iter__(self) -> Iterator[Row]:
        return (Row(self._index, record) for record in self._records)

    def __len__(self) -> int:
        return len(self._records)


@dataclass(frozen=True, eq=False)
class Places:
    """Where rows come from, eight bytes for each.

    Attributes:
        prefixes: what stands before the number, such as ``"reviews.csv, line"``; one for each file.
        numbers: of each row, from 1; or what else names it.
        sources: of each row, which prefix is its own; None where there is only one.
    """

    prefixes: tuple[str, ...]
    numbers: NDArray[np.int64] | Sequence[str]
    sources: NDArray[np.int32] | None = None

    def __getitem__(self, index: int) -> str:
        source = 0 if self.sources is None else int(self.sources[index])
        return f"{self.prefixes[source]} {self.numbers[index]}"

    def take(self, indices: NDArray[np.int64]) -> Places:
        """Those of some rows."""
        numbers = self.numbers
        taken = numbers[indices] if isinstance(numbers, np.ndarray) else [numbers[index] for index in indices.tolist()]
        return replace(self, numbers=taken, sources=None if self.sources is None else self.sources[indices])


@dataclass(frozen=True, eq=False)
class Table:
    """Rows with named columns.

    A row is kept as a tuple, so that a million of them have room; ``rows`` makes mappings of them when asked.

    Attributes:
        columns: their names.
        records: each row's values, in the order of the columns.
        name: the file, or files; "the data" where they were in memory.
        places: where each row comes from.
    """

    columns: tuple[str, ...]
    records: Sequence[tuple[Any, ...]]
    name: str
    places: Places

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return f"Table({self.name!r}, rows={len(self)}, columns={self.columns})"

    @property
    def rows(self) -> Sequence[Row]:
        """Each row as a mapping from column to value."""
        return _Rows(self.columns, self.records)

    def place(self, index: int) -> str:
        """Where a row stands, for errors: ``"reviews.csv, line 17"``, or ``"row 3"`` (from 1) of data in memory."""
        return self.places[index]

    def take(self, indices: Iterable[int] | NDArray[np.int64]) -> Table:
        """Some rows, in the order of the indices (numbers from 0, no mask).

        Raises:
            InputError: what isn't a row's index.
        """
        given = np.asarray(indices if isinstance(indices, np.ndarray) else list(indices))
        if given.size and (given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= len(self)):
            raise InputError(f"expected indices of {len(self)} rows, whole numbers from 0, got {beginning(given)}")
        chosen = given.astype(np.int64)
        records = [self.records[index] for index in chosen.tolist()]
        return replace(self, records=records, places=self.places.take(chosen))

    def require(self, names: Iterable[str]) -> None:
        """Checks that there are such columns.

        Raises:
            InputError: there are not; those that are present and near names are listed.
        """
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise missing_columns(missing, self.columns, self.name)

    def column(self, name: str) -> list[Any]:
        """A column's values.

        Raises:
            InputError: there is no such column; those that are present and near names are listed.
        """
        self.require([name])
        position = self.columns.index(name)
        return [record[position] for record in self.records]

    def select(self, columns: Mapping[str, str]) -> Table:
        """A table of some columns under new names, ``{new: present}``.

        Raises:
            InputError: a column that is not present.
        """
        self.require(columns.values())
        positions = [self.columns.index(name) for name in columns.values()]
        if positions == list(range(len(self.columns))):
            return replace(self, columns=tuple(columns))
        records = [tuple([record[position] for position in positions]) for record in self.records]
        return replace(self, columns=tuple(columns), records=records)


def missing_columns(missing: Sequence[str], present: Sequence[str], where: str) -> InputError:
    """The error for columns that were asked for and are not there."""
    wanted = []
    for name in missing:
        near = difflib.get_close_matches(name.casefold(), [each.casefold() for each in present], n=2, cutoff=0.5)
        meant = [repr(each) for each in present if each.casefold() in near]
        wanted.append(f"{name!r}" + (f" (did you mean {' or '.join(meant)}?)" if meant else ""))
    shown = ", ".join(beginning(name, 40) for name in present[:_SHOWN])
    more = f" and {len(present) - _SHOWN} more" if len(present) > _SHOWN else ""
    return InputError(
        f"{where} has no column {', '.join(wanted)}; its columns are {shown}{more}. A mapping gives them our names, "
        "columns={'ours': 'theirs'}; if that is a row and no header, a sequence names them all, columns=('first', …)"
    )


def joined(tables: Sequence[Table]) -> Table:
    """The rows of several tables with the same set of columns; the names are the first one's, in its order."""
    first, *others = tables
    if not others:
        return first
    parts = [first, *(table.select({name: name for name in first.columns}) for table in others)]
    sources = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts])
    numbers: NDArray[np.int64] | list[str]
    if all(isinstance(part.places.numbers, np.ndarray) for part in parts):
        numbers = np.concatenate([np.asarray(part.places.numbers, np.int64) for part in parts])
    else:
        numbers = [str(number) for part in parts for number in part.places.numbers]
    return Table(
        columns=first.columns,
        records=[record for part in parts for record in part.records],
        name=", ".join(part.name for part in parts[:3]) + (f" and {len(parts) - 3} more" if len(parts) > 3 else ""),
        places=Places(tuple(part.places.prefixes[0] for part in parts), numbers, sources),
    )
