"""Files of every format, and what is said of those that can't be read."""

import gzip
import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enfold.errors import InputError, MissingDependencyError
from enfold.training.data import read_table
from tests.support import shared
from tests.training.data.conftest import Write

ROWS = [{"text": "你好", "label": 1}, {"text": 'a "b"\n', "label": None}]


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def dicts(path: Any, **options: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in read_table(path, **options).rows]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.JSONL"])
def test_json_lines(name: str, write: Write) -> None:
    path = write(name, "\ufeff" + lines(ROWS).replace("\n{", "\r\n\n{"))
    assert dicts(path) == ROWS
    assert read_table(path).place(1) == f"{path}, line 3"


def test_a_json_list_and_json_lines_by_its_name(write: Write) -> None:
    path = write("a.json", json.dumps(ROWS, indent=2))
    assert dicts(path) == ROWS
    assert read_table(path).place(1) == f"{path}, row 2"
    other = write("b.json", lines(ROWS))
    assert dicts(other) == ROWS
    assert read_table(other).place(1) == f"{other}, line 2"


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 9)), min_size=1).filter(any))
def test_a_key_that_a_row_lacks_is_none(rows: list[dict[str, int]]) -> None:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    table = read_table(rows)
    assert table.columns == tuple(keys)
    assert list(table.records) == [tuple(row.get(key) for key in keys) for row in rows]


def test_broken_json_lines_are_listed(write: Write) -> None:
    text = '{"a": 1}\n{oops\n[1]\n"text"\nnull\n' + '{"a": "\\ud83d"}\n{"a": "\\ud83d\\ude00"}\n' + "[" * 100_000
    with pytest.raises(InputError, match=r"6 of 8 rows of .*a\.jsonl are broken") as caught:
        read_table(write("a.jsonl", text))
    for line in (
        "line 2: not JSON at column 2: Expecting property name",
        "line 3: JSON of a list, expected an object: '[1]'",
        "line 4: JSON of a string",
        "line 5: JSON of null",
        "line 6: half of a surrogate pair",
        "line 8: ",
    ):
        assert line in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1},\n {"a": }]', r"a\.json, line 2: not JSON at column 8: Expecting value: ' \{\"a\": \}\]'"),
        ('[{"a": 1}, 3, "x"]', r"2 of 3 rows .* broken:\n  row 2: JSON of a number, expected an object: 3\n  row 3"),
        ('{"rows": []}', r"is JSON of an object; expected a list of objects, SQuAD's shape, or format='jsonl'"),
        ("[]", "has no rows"),
        ("[{}]", "every row of .* is empty"),
        ('[{"a": "\\udc00"}]', "half of a surrogate pair"),
    ],
)
def test_broken_json_is_named(text: str, message: str, write: Write) -> None:
    with pytest.raises(InputError, match=message):
        read_table(write("a.json", text))


def test_text_is_a_row_for_each_line_or_paragraph(write: Write) -> None:
    path = write("a.txt", "one\u2028\r\n two \n\n \n三\nlast")
    table = read_table(path)
    assert table.column("text") == ["one\u2028", " two ", "三", "last"]
    assert [table.place(index) for index in range(4)] == [f"{path}, line {line}" for line in (1, 2, 5, 6)]
    table = read_table(path, format="paragraphs", columns=("story",))
    assert table.column("story") == ["one\u2028\n two ", "三\nlast"]
    assert table.place(1) == f"{path}, line 5"
    with pytest.raises(InputError, match=r"one column, and columns= names en, zh; .* format='tsv'"):
        read_table(path, columns=("en", "zh"))


def test_plain_text_with_tabs_can_be_read_as_columns() -> None:
    path = shared("data", "news-commentary.en-zh.txt")
    assert len(read_table(path)) == 1000
    assert read_table(path, format="tsv", columns=("en", "zh")).rows[0]["zh"] == "1929年还是1989年?"


def test_parquet(write: Write, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    rows = [{"text": f"文{index}", "tags": ["a", "b"], "label": index % 2 or None} for index in range(3000)]
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=1000)
    assert dicts(path) == rows
    assert read_table(path).place(2999) == f"{path}, row 3000"
    assert dicts(write("a.parquet.gz", gzip.compress(path.read_bytes()))) == rows
    assert dicts(pyarrow.Table.from_pylist(rows)) == rows
    for content in (path.read_bytes()[:-20], b"text,label\nx,y\n", b"PAR1" + b"\1" * 50 + b"PAR1"):
        with pytest.raises(InputError, match=r"b\.parquet can't be read as Parquet"):
            read_table(write("b.parquet", content))
    parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), path)
    with pytest.raises(InputError, match="has no rows"):
        read_table(path)


def test_parquet_without_pyarrow(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match="pip install pyarrow"):
        read_table(write("a.parquet", b"PAR1"))


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.GZ", "a.csv"])
def test_gzip(name: str, write: Write) -> None:
    path = write(name, gzip.compress("\ufefftext,label\n好,1\n".encode()))
    assert dicts(path) == [{"text": "好", "label": "1"}]
    assert read_table(path).place(0) == f"{path}, line 2"


def test_damaged_gzip(write: Write) -> None:
    packed = gzip.compress(b"text,label\n" + bytes(range(97, 120)) * 100)
    for content in (packed[:-12], packed[:20] + b"\0\0\0\0" + packed[24:]):
        with pytest.raises(InputError, match="is damaged: it can't be unpacked"):
            read_table(write("a.csv.gz", content))
    with pytest.raises(InputError, match="isn't gzip, as its name says: it begins with b'text'"):
        read_table(write("b.csv.gz", b"text"))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.conll", "a.txt"])
def test_bytes_that_are_no_text_are_named(name: str, write: Write) -> None:
    start = {"a.jsonl": b'{"a": 1}\n"', "a.json": b'[{"a": 1},\n"'}.get(name, b"t\tu\nx\t")
    row = start.replace(b"\t", b",") if name == "a.csv" else start
    for mark in (b"", b"\xef\xbb\xbf"):
        at = len(mark) + len(row)
        with pytest.raises(InputError, match=rf"isn't UTF-8 text: byte {at} \(line 2\) is 0xe9.*iconv"):
            read_table(write(name, mark + row + b"\xe9\n"))
        with pytest.raises(InputError, match=rf"isn't text: byte {at} \(line 2\) is zero"):
            read_table(write(name, mark + row + b"\0\n"))
    with pytest.raises(InputError, match="is UTF-16 text; save it as UTF-8"):
        read_table(write(name, "text".encode("utf-16")))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.conll", "a.txt", "a.parquet"])
@pytest.mark.parametrize("content", ["", "\ufeff", "\n \r\n"])
def test_an_empty_file_is_refused(name: str, content: str, write: Write) -> None:
    with pytest.raises(InputError, match=r"a\.\w+ is empty: expected rows"):
        read_table(write(name, content))


def test_a_file_that_is_not_there(write: Write, tmp_path: Path) -> None:
    path = write("reviews.csv", "text,label\nx,y\n")
    with pytest.raises(InputError, match=r"no file .*review\.csv'; the folder has reviews\.csv"):
        read_table(tmp_path / "review.csv")
    with pytest.raises(InputError, match=r"no file .*a\.csv', and no folder .*nowhere"):
        read_table(tmp_path / "nowhere" / "a.csv")
    with pytest.raises(InputError, match="is a folder; expected a file"):
        read_table(tmp_path)
    with pytest.raises(InputError, match="can't be read"):
        read_table(path / "b.csv")
    for text in ("a text", "long " * 1000, "zero\0"):
        with pytest.raises(InputError, match=r"no file 'a text'.*texts in memory are rows|can't be read"):
            read_table([text])


def test_an_unknown_extension(write: Write) -> None:
    path = write("a.data", "text,label\nx,y\n")
    with pytest.raises(InputError, match=r"nothing is known of the extension '\.data'; known are \.csv.*format='csv'"):
        read_table(path)
    assert dicts(path, format="csv") == [{"text": "x", "label": "y"}]
    with pytest.raises(InputError, match=r"unknown format 'jsonlines' \(did you mean 'jsonl'\?\)"):
        read_table(path, format="jsonlines")
    with pytest.raises(InputError, match="is a spreadsheet; save it as CSV"):
        read_table(write("a.xlsx", b"PK\3\4"))


def test_columns_are_renamed(write: Write) -> None:
    path = write("a.csv", "id,text,review,stars\n1,short,long,5\n")
    assert dicts(path, columns={"text": "review", "label": "stars"}) == [{"id": "1", "text": "long", "label": "5"}]
    swapped = {"text": "review", "review": "text"}
    assert dicts(path, columns=swapped)[0] == {"id": "1", "review": "short", "text": "long", "stars": "5"}
    assert dicts(path, columns={"a": "text", "b": "text"})[0] | {} == {
        "id": "1", "a": "short", "b": "short", "review": "long", "stars": "5",
    }  # fmt: skip


def test_columns_are_chosen_where_they_have_names(write: Write) -> None:
    path = write("a.jsonl", '{"id": 1, "text": "x", "label": "y"}\n')
    assert read_table(path, columns=("label", "text")).records == [("y", "x")]


def test_missing_columns_are_named_with_those_that_are_there(write: Write) -> None:
    path = write("a.csv", "Text,stars\nx,5\n")
    message = r"a\.csv has no column 'text' \(did you mean 'Text'\?\), 'rating'.*; its columns are 'Text', 'stars'"
    with pytest.raises(InputError, match=message):
        read_table(path, columns={"text": "text", "label": "rating"})
    with pytest.raises(InputError, match=r"no column 'label'.*A mapping gives them our names, columns=\{"):
        read_table(path).column("label")
    with pytest.raises(InputError, match=r"are '1', 'This is a review of.*if that is a row and no header, a sequence"):
        read_table(write("b.tsv", "1\tThis is a review of some length, and no header.\n0\tx\n")).column("label")


@pytest.mark.parametrize("columns", ["text,label", (), {}, ("text", "text"), ("text", 3), {"text": None}, 5, ("", "a")])
def test_columns_that_are_none(columns: Any, write: Write) -> None:
    with pytest.raises(InputError, match="columns="):
        read_table(write("a.csv", "text,label\nx,y\n"), columns=columns)


def test_several_files_are_one_table(write: Write) -> None:
    paths = [write("a.csv", "text,label\nx,1\n"), write("b.csv", "label,text\n2,y\n3,z\n")]
    table = read_table(paths)
    assert list(table.records) == [("x", "1"), ("y", "2"), ("z", "3")]
    assert [table.place(index) for index in range(3)] == [
        f"{paths[0]}, line 2", f"{paths[1]}, line 2", f"{paths[1]}, line 3",
    ]  # fmt: skip
    assert table.name == f"{paths[0]}, {paths[1]}"
    assert [table.take([2, 0]).place(index)[-13:] for index in range(2)] == ["b.csv, line 3", "a.csv, line 2"]
    other = write("c.csv", "text,stars\nx,1\n")
    with pytest.raises(
        InputError, match=r"different columns:\n.*a\.csv has no column 'stars'.*\n.*c\.csv has no column"
    ):
        read_table([paths[0], other])
    loose = [write("a.jsonl", '{"a": 1}\n'), write("b.json", '[{"b": 2}]')]
    assert dicts(loose) == [{"a": 1, "b": None}, {"a": None, "b": 2}]


def test_what_is_wrong_with_several_files_is_one_error(write: Write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)a\.csv is empty.*b\.csv are broken.*no file .*c\.csv"):
        read_table([write("a.csv", ""), write("b.csv", "a,b\nx\n"), tmp_path / "c.csv"])


def test_rows_in_memory() -> None:
    table = read_table([("x", 1), ["y", 2]], columns=("text", "label"))
    assert list(table.records) == [("x", 1), ("y", 2)]
    assert (table.place(1), table.name) == ("row 2", "the data")
    assert dicts({"text": ["x", "y"], "label": range(2)}) == [{"text": "x", "label": 0}, {"text": "y", "label": 1}]
    assert dicts(row for row in ROWS) == ROWS
    assert dicts(read_table(ROWS), columns={"ours": "text"})[0] == {"ours": "你好", "label": 1}
    assert dicts(read_table(ROWS).rows) == ROWS


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "has no rows"),
        ({}, "has no rows"),
        ({"text": []}, "has no rows"),
        (iter(()), "has no rows"),
        ([{}], "every row of the data is empty"),
        (5, "can't read rows from int. Expected a path"),
        (b"text", "can't read rows from bytes"),
        ([{"a": 1}, 3, "x"], r"2 of 3 rows can't be used:\n  row 2: int, expected a dict or a tuple: 3"),
        ([("x", 1)], "row 1: tuple without names; pass columns="),
        ([{1: 2}], "row 1: the key 1 is no text"),
        ({"text": "abc", "label": [1]}, "'text' is str, expected a list of values"),
        ({"text": ["a", "b"], "label": [1]}, r"different lengths \(text: 2, label: 1\)"),
    ],
)
def test_rows_in_memory_that_are_none(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_table(data)
    with pytest.raises(InputError, match="row 2: 1 value, expected 2"):
        read_table([("x", 1), ("y",)], columns=("text", "label"))
    with pytest.raises(InputError, match="format='csv' is for files"):
        read_table([{"a": 1}], format="csv")


def test_datasets_of_the_datasets_library() -> None:
    class Dataset(list[dict[str, Any]]):
        column_names = ("text", "label", "tags")
        features: ClassVar[dict[str, Any]] = {
            "text": SimpleNamespace(dtype="string"),
            "label": SimpleNamespace(names=["neg", "pos"]),
            "tags": SimpleNamespace(feature=SimpleNamespace(names=["O", "B-PER"])),
        }

        def to_dict(self) -> None:
            raise AssertionError

    data = Dataset([{"text": "x", "label": 1, "tags": [0, 1]}, {"text": "y", "label": -1, "tags": None}])
    assert dicts(data) == [
        {"text": "x", "label": "pos", "tags": ["O", "B-PER"]},
        {"text": "y", "label": None, "tags": None},
    ]
    with pytest.raises(InputError, match=r"several datasets \(train, test\); pass one"):
        read_table({"train": data, "test": data})


def test_data_frames() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["x", None], "label": [1, 2], "score": [0.5, float("nan")]}, index=[7, 9])
    assert dicts(frame) == [
        {"text": "x", "label": 1, "score": 0.5},
        {"text": None, "label": 2, "score": None},
    ]
    assert read_table(frame).place(1) == "row 2"
