"""What is read as a text, a file or a pipe, and what is refused."""

from pathlib import Path

import pytest

from enfold.cli.inputs import read_inputs, read_text, text_files
from enfold.errors import InputError
from tests.cli.conftest import Invoke


def values(*arguments: str, whole: bool = False) -> list[object]:
    return [given.value for given in read_inputs(arguments, whole=whole)]


def test_arguments_are_texts() -> None:
    assert values("Hello world.", "he/she", "...", "3.5 stars", "你好") == [
        "Hello world.",
        "he/she",
        "...",
        "3.5 stars",
        "你好",
    ]


def test_a_very_long_argument_is_a_text() -> None:
    assert values("word " * 2000) == ["word " * 2000]


def test_a_file_is_a_text_per_line_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes("\ufeffone\r\n\n  \n北京\nlast".encode())
    assert values(str(path)) == ["one", "北京", "last"]
    assert [given.place for given in read_inputs([str(path)])] == [f"{path}, line {line}" for line in (1, 4, 5)]


def test_a_whole_file_is_one_text(tmp_path: Path) -> None:
    path = tmp_path / "text.md"
    path.write_text("one\n\ntwo\n")
    assert values(str(path), whole=True) == ["one\n\ntwo\n"]


def test_json_lines_are_strings_or_records(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('"one"\n{"text": "two", "id": 3}\n', encoding="utf-8")
    assert values(str(path)) == ["one", {"text": "two", "id": 3}]


@pytest.mark.parametrize(
    ("line", "message"), [("{oops", r"line 2: not JSON at column 2"), ("[1]", "line 2: a JSON list; expected a string")]
)
def test_a_wrong_json_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(f'"one"\n{line}\n')
    with pytest.raises(InputError, match=message):
        values(str(path))


def test_what_is_not_utf8_is_named_with_its_byte_and_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("good\ncaf\xe9\n".encode("latin-1"))
    message = r"latin\.txt isn't UTF-8 text: byte 8 \(line 2\) is 0xe9"
    with pytest.raises(InputError, match=message):
        values(str(path))
    with pytest.raises(InputError, match=message):
        values(str(path), whole=True)
    with pytest.raises(InputError, match=message):
        read_text(path)


@pytest.mark.parametrize(
    "argument", ["absent.txt", "./absent", "data/absent.jsonl", "/no/such", "~/absent", "My texts/a.txt"]
)
def test_a_missing_file_is_not_taken_for_a_text(argument: str) -> None:
    with pytest.raises(InputError, match=r"no file .* looks like one"):
        values(argument)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; expected a text or files"):
        values(str(tmp_path))


def test_an_empty_argument_is_refused() -> None:
    with pytest.raises(InputError, match="an argument is an empty text"):
        values("  ")


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    path.write_text(content)
    with pytest.raises(InputError, match=r"empty\.txt is empty"):
        values(str(path))
    with pytest.raises(InputError, match=r"empty\.txt is empty"):
        values(str(path), whole=True)


def test_an_argument_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(InputError, match="isn't UTF-8 text"):
        values("caf\udce9")


def test_standard_input_is_read_where_there_are_no_arguments(invoke: Invoke, classifier: Path) -> None:
    for args in ([], ["-"]):
        result = invoke("tokenize", *args, "--ids", "--model", str(classifier), stdin="a good film\n\nbad\n")
        assert result.stdout == "2 5 6 8 3\n2 7 3\n"


def test_empty_standard_input_is_an_error(invoke: Invoke) -> None:
    result = invoke("tokenize", stdin="\n")
    assert result.exit_code == 1
    assert result.stderr == "Error: standard input is empty: expected texts, one per line\n"


def test_standard_input_that_is_not_utf8_is_an_error(invoke: Invoke) -> None:
    result = invoke("tokenize", stdin=b"\xff\xfea\x00")
    assert result.exit_code == 1
    assert "standard input isn't UTF-8 text: byte 0 (line 1) is 0xff" in result.stderr


def test_a_folder_gives_its_text_files_by_name(tmp_path: Path) -> None:
    for name, content in {
        "b/two.md": b"two",
        "a.txt": b"one",
        ".git/x": b"no",
        "c.png": b"\x89PNG",
        "d.bin": b"a\0",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = [(path.relative_to(tmp_path).as_posix(), text) for path, text in text_files(tmp_path)]
    assert found == [("a.txt", "one"), ("b/two.md", "two"), ("c.png", None), ("d.bin", None)]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file or folder"):
        list(text_files(tmp_path / "absent"))
