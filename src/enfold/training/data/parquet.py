"""Parquet files, by pyarrow."""

from __future__ import annotations

from importlib import import_module

import numpy as np

from enfold.errors import InputError, MissingDependencyError
from enfold.training.data.source import Source
from enfold.training.data.table import Places, Table

__all__ = ["read_parquet"]


def read_parquet(source: Source) -> Table:
    """The rows of a Parquet file.

    Raises:
        InputError: it is damaged, no Parquet file, or has no rows.
        MissingDependencyError: pyarrow isn't installed.
    """
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingDependencyError(f"{source.name} is read with the package pyarrow: pip install pyarrow") from error
    records: list[tuple[object, ...]] = []
    try:
        file = parquet.ParquetFile(arrow.BufferReader(source.data))
        columns = tuple(file.schema_arrow.names)
        for batch in file.iter_batches():
            records.extend(zip(*(column.to_pylist() for column in batch.columns), strict=True))
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{source.name} can't be read as Parquet: {error}") from error
    if len(set(columns)) < len(columns):
        raise InputError(f"{source.name} has a column more than once: {', '.join(columns)}")
    if not records:
        raise InputError(f"{source.name} has no rows")
    return Table(columns, records, source.name, Places((f"{source.name}, row",), np.arange(1, len(records) + 1)))
