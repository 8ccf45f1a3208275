"""CoNLL's columns: every token and tag, odd spaces included."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enfold.errors import InputError
from enfold.training.data import Table, read_table
from tests.support import shared
from tests.training.data.conftest import Write

TOKEN = st.text(st.sampled_from("a#-'\"\u3000\xa0\u2028北，"), min_size=1, max_size=4)
TAG = st.sampled_from(["O", "B-PER", "I-PER", "NN"])


def pairs(table: Table) -> list[list[tuple[str, str]]]:
    return [list(zip(row["tokens"], row["tags"], strict=True)) for row in table.rows]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(
    sentences=st.lists(st.lists(st.tuples(TOKEN, TAG), min_size=1, max_size=4), min_size=1, max_size=4),
    between=st.sampled_from(["\t", " ", "   "]),
    blank=st.sampled_from(["", "\t", "  ", "\n\n"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_is_written_is_read(
    sentences: list[list[tuple[str, str]]], between: str, blank: str, end: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.conll"
    sentences = [[("tags that are known", "NN")], *sentences] if between == "\t" else [[("known", "NN")], *sentences]
    text = (end + blank + end).join(end.join(between.join(pair) for pair in sentence) for sentence in sentences)
    path.write_bytes(("\ufeff" + text + end).encode())
    table = read_table(path)
    assert pairs(table) == sentences
    before = 0
    for index, sentence in enumerate(sentences):
        assert table.place(index) == f"{path}, line {before + 1}"
        before += len(sentence) + 1 + blank.count("\n")


@pytest.mark.parametrize("name", ["a.bio", "a.iob", "a.conll"])
def test_document_marks_and_comments_are_no_tokens(name: str, write: Write) -> None:
    text = "-DOCSTART- -X- O\n\n# text = He won # 1\n#\nHe PRP O\n# # O\n#1 CD O\n\n-DOCSTART-\n# id 7\nYes UH O\n"
    table = read_table(write(name, text))
    assert table.column("tokens") == [["He", "#", "#1"], ["Yes"]]
    assert table.column("tags") == [["O", "O", "O"], ["O"]]
    assert table.place(0).endswith("line 5")
    assert table.place(1).endswith("line 11")


def test_columns_may_be_named(write: Write) -> None:
    path = write("a.conll", "He PRP O\nwon VBD O\n")
    table = read_table(path, columns=("tokens", "pos", "tags"))
    assert list(table.records) == [(["He", "won"], ["PRP", "VBD"], ["O", "O"])]
    with pytest.raises(InputError, match=r"line 1: 3 columns, expected 2: 'He PRP O'"):
        read_table(path, columns=("tokens", "tags"))


def test_broken_lines_are_listed(write: Write) -> None:
    path = write("a.conll", "He\tO\nwon\n\nIt\tX\tO\n\tO\nis\t\n#tag\n")
    with pytest.raises(InputError, match=r"5 lines of .*a\.conll are broken") as caught:
        read_table(path)
    for line in (
        "line 2: 1 column, expected 2: 'won'",
        r"line 4: 3 columns, expected 2: 'It\tX\tO'",
        r"line 5: nothing in column 1: '\tO'",
        r"line 6: nothing in column 2: 'is\t'",
        "line 7: 1 column, expected 2: '#tag'",
    ):
        assert line in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("He\nwon\n", "has one column, such as 'He'"), ("# only\n-DOCSTART- O\n", "has no sentences")],
)
def test_what_has_no_tags_is_refused(text: str, message: str, write: Write) -> None:
    with pytest.raises(InputError, match=message):
        read_table(write("a.conll", text))


@pytest.mark.parametrize(("part", "sentences", "tokens"), [("train", 3394, 62730), ("dev", 1009, 15733)])
def test_a_real_file(part: str, sentences: int, tokens: int) -> None:
    path = shared("data", f"wnut17.{part}.conll")
    table = read_table(path)
    assert len(table) == sentences
    assert sum(len(row["tokens"]) for row in table.rows) == tokens
    assert {tag[:2] for tags in table.column("tags") for tag in tags} == {"O", "B-", "I-"}
    lines = path.read_text(encoding="utf-8").split("\n")
    for index in range(0, sentences, 100):
        first = table.rows[index]
        number = int(table.place(index).rpartition(" ")[2])
        assert lines[number - 1] == f"{first['tokens'][0]}\t{first['tags'][0]}"
