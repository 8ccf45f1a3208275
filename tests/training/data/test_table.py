"""Tables: rows as mappings, places, parts."""

import pickle
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from enfold.errors import InputError
from enfold.training.data import read_table

TABLE = read_table([{"text": f"text {index}", "label": index % 3} for index in range(10)])


def test_rows_are_mappings() -> None:
    row = TABLE.rows[4]
    assert isinstance(row, Mapping) and isinstance(TABLE.rows, Sequence)
    assert (row["label"], list(row), len(row)) == (1, ["text", "label"], 2)
    assert row == {"text": "text 4", "label": 1}
    assert repr(row) == "{'text': 'text 4', 'label': 1}"
    assert [dict(each) for each in TABLE.rows[8:]] == [dict(TABLE.rows[8]), dict(TABLE.rows[9])]
    assert len(list(TABLE.rows)) == len(TABLE) == 10
    with pytest.raises(KeyError):
        row["absent"]
    with pytest.raises(IndexError):
        TABLE.rows[10]


def test_a_part_keeps_its_places() -> None:
    part = TABLE.take([7, 2])
    assert part.column("text") == ["text 7", "text 2"]
    assert (part.place(0), part.place(1), len(part)) == ("row 8", "row 3", 2)
    assert TABLE.take(np.array([], np.int64)).records == []
    assert TABLE.take(range(2)).take([1]).place(0) == "row 2"


@pytest.mark.parametrize("indices", [[10], [-1], [1.5], [True, False], np.ones(10, bool)])
def test_what_is_no_index_is_refused(indices: object) -> None:
    with pytest.raises(InputError, match="expected indices of 10 rows, whole numbers from 0"):
        TABLE.take(indices)  # type: ignore[arg-type]


def test_columns_are_required() -> None:
    TABLE.require(["text", "label"])
    with pytest.raises(InputError, match=r"the data has no column 'labels' \(did you mean 'label'\?\)"):
        TABLE.require(["text", "labels"])
    assert TABLE.select({"ours": "label"}).rows[1] == {"ours": 1}


def test_a_table_is_shown_shortly_and_travels_between_processes() -> None:
    assert repr(TABLE) == "Table('the data', rows=10, columns=('text', 'label'))"
    assert list(pickle.loads(pickle.dumps(TABLE)).rows) == list(TABLE.rows)
