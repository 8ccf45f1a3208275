"""Training data: rows of files and of memory, their labels, and splitting them without leaks."""

from enfold.training.data.files import Format, read_table
from enfold.training.data.labels import (
    check_known,
    class_labels,
    label_kind,
    label_lists,
    label_names,
    label_order,
    numbers,
)
from enfold.training.data.splits import split
from enfold.training.data.table import Table

__all__ = [
    "Format",
    "Table",
    "check_known",
    "class_labels",
    "label_kind",
    "label_lists",
    "label_names",
    "label_order",
    "numbers",
    "read_table",
    "split",
]
