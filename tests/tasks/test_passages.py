"""Passages: whole sentences, within the limit, never over a blank line, and nothing of the text is lost."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enfold.errors import InputError
from enfold.tasks.passages import split_passages, split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ('He said "Go!" Then he went.', ['He said "Go!"', "Then he went."]),
        (
            "Dr. Smith paid 3.50 to J. Doe, e.g. for tea. Fine.",
            ["Dr. Smith paid 3.50 to J. Doe, e.g. for tea.", "Fine."],
        ),
        ("他说：“好。”然后走了！真的吗？是", ["他说：“好。”", "然后走了！", "真的吗？", "是"]),
        ("a line\nwrapped here.  Next one", ["a line wrapped here.", "Next one"]),
        ("第一\n行。第二行。", ["第一行。", "第二行。"]),
        ("", []),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_sentences_are_packed_up_to_the_limit() -> None:
    text = "One is here. Two is here. Three is here.\n\nFour."
    assert split_passages(text, max_chars=25) == ["One is here. Two is here.", "Three is here.", "Four."]
    assert split_passages(text) == ["One is here. Two is here. Three is here.", "Four."]
    assert split_passages(text, sentences=1) == ["One is here.", "Two is here.", "Three is here.", "Four."]
    assert split_passages("一。二。三。", sentences=2) == ["一。二。", "三。"]


def test_blank_lines_part_passages_whatever_is_in_them() -> None:
    assert split_passages("A\r\n\r\nB\n \t\nC\n\n\n\nD\n") == ["A", "B", "C", "D"]


def test_long_sentences_are_cut_between_words() -> None:
    assert split_passages("word " * 8, max_chars=11) == ["word word", "word word", "word word", "word word"]
    assert split_passages("字" * 5 + "，" + "字" * 5, max_chars=8) == ["字字字字字，", "字字字字字"]
    assert split_passages("x" * 10, max_chars=4) == ["xxxx", "xxxx", "xx"]


@given(st.text('aB .!?\n，。“”"1', max_size=80), st.integers(1, 30), st.none() | st.integers(1, 3))
def test_nothing_is_lost_and_nothing_is_too_long(text: str, max_chars: int, sentences: int | None) -> None:
    passages = split_passages(text, max_chars=max_chars, sentences=sentences)
    assert all(0 < len(passage) <= max_chars for passage in passages)
    assert re.sub(r"\s", "", "".join(passages)) == re.sub(r"\s", "", text)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((b"bytes",), {}, "got bytes, expected a text"),
        (("text",), {"max_chars": 0}, "max_chars is 0, expected a whole number of 1 or more"),
        (("text",), {"sentences": 0}, "sentences is 0"),
    ],
)
def test_what_is_refused(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_passages(*arguments, **options)
