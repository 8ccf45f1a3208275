"""Texts are cut where sentences end, and nothing is lost."""

import json
from collections.abc import Iterator

import pytest

from enfold.tasks.sentences import Piece, blocks, clauses, glue, sentences, unwrapped, windows
from tests.support import shared


def real_texts() -> Iterator[str]:
    """Passages of Wikipedia in two languages, a play, news, and a document with code, tables and lists."""
    for name in ("xquad.en.json", "xquad.zh.json"):
        articles = json.loads(shared("data", name).read_text(encoding="utf-8"))["data"]
        passages = [passage["context"] for article in articles for passage in article["paragraphs"]]
        yield from passages
        yield "\n\n".join(passages)
    yield shared("data", "tinyshakespeare.txt").read_text(encoding="utf-8")[:200_000]
    pairs = shared("data", "news-commentary.en-zh.txt").read_text(encoding="utf-8").splitlines()
    yield from ("\n".join(side) for side in zip(*(pair.split("\t") for pair in pairs), strict=True))


def joined(pieces: list[Piece], rest: str = "") -> str:
    return "".join(piece.before + piece.text for piece in pieces) + rest


def test_no_character_is_lost() -> None:
    for text in real_texts():
        found, rest = blocks(text)
        assert joined(found, rest) == text
        for block in found:
            parts = sentences(block.text)
            assert joined(parts) == block.text
            for part in parts:
                cut = clauses(part.text, lambda each: len(each) <= 40)
                assert joined(cut) == part.text
                assert all(0 < len(each.text) <= 40 for each in cut)


def test_windows_are_the_whole_text() -> None:
    room = 400
    for text in real_texts():
        parts = windows(text, lambda units: [len(unit) for unit in units], room, lambda part: len(part) <= room)
        assert "".join("".join(parts).split()) == "".join(text.split())
        assert all(len(part) <= room for part in parts)
        assert len(parts) <= 2.1 * len(text) / room + 2, "windows are about full"


def test_a_window_ends_with_a_sentence() -> None:
    text = "One two three. Four five six. Seven eight nine. Ten."
    parts = windows(text, lambda units: [len(unit.split()) for unit in units], 6, lambda part: len(part.split()) <= 6)
    assert parts == ["One two three. Four five six.", "Seven eight nine. Ten."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Smith met J. R. Jones at No. 5. They spoke.", ["Dr. Smith met J. R. Jones at No. 5.", "They spoke."]),
        ("No. I won't. See Fig. 3 on p. 4.", ["No.", "I won't.", "See Fig. 3 on p. 4."]),
        ("U.S. exports rose, e.g. of cars. Prices fell.", ["U.S. exports rose, e.g. of cars.", "Prices fell."]),
        ('"Really?" he asked. "Yes!" She left...', ['"Really?" he asked.', '"Yes!"', "She left..."]),
        ("It cost 3.14 dollars in 1990. Then it rose.", ["It cost 3.14 dollars in 1990.", "Then it rose."]),
        ("1. First do this. Then that.", ["1. First do this.", "Then that."]),
        ("他来了。她走了！真的吗？是的；不是。", ["他来了。", "她走了！", "真的吗？", "是的；", "不是。"]),
        ("他说：“好。”然后走了。", ["他说：“好。”", "然后走了。"]),
        ("等等……什么？", ["等等……", "什么？"]),
        ("圆周率是3.14。GDP增长5.2%。", ["圆周率是3.14。", "GDP增长5.2%。"]),
        ("Hello world", ["Hello world"]),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert [piece.text for piece in sentences(text)] == expected


def test_blocks_keep_lists_blank_lines_and_what_has_no_words() -> None:
    text = "# Title\n\nA line that was\nwrapped here.\n\n\n- one\n- two\n  1) three\n---\n42\n三、最后\n"
    found, rest = blocks(text)
    assert [(piece.before, piece.text) for piece in found] == [
        ("# ", "Title"),
        ("\n\n", "A line that was\nwrapped here."),
        ("\n\n\n- ", "one"),
        ("\n- ", "two"),
        ("\n  1) ", "three"),
        ("\n---\n42\n三、", "最后"),
    ]
    assert rest == "\n"
    assert blocks("12:30\n---") == ([], "12:30\n---")


def test_verses_stay_lines_and_full_lines_are_one_paragraph() -> None:
    verses = "Speak, speak.\nBefore we proceed any further, hear me\nAnd then resolve"
    assert [piece.text for piece in blocks(verses)[0]] == verses.split("\n")
    prose = (
        "The committee met on Tuesday to discuss the report of the working group of\n"
        "Boston, which had been delayed by two weeks, and to hear the members who\n"
        "were there."
    )
    assert len(blocks(prose)[0]) == 1
    chinese = "野马队在分区轮击败了匹兹堡钢人队然后他们在美式足球联合会锦标\n赛上击败了卫冕冠军"
    assert [unwrapped(piece.text) for piece in blocks(chinese)[0]] == [chinese.replace("\n", "")]


def test_a_clause_is_cut_where_it_hurts_least() -> None:
    text = "When the rain came, and it came early; the harvest, which was late, was lost"
    assert [piece.text for piece in clauses(text, lambda each: len(each) < 50)] == [
        "When the rain came, and it came early;",
        "the harvest, which was late, was lost",
    ]
    assert [piece.text for piece in clauses("abcdefgh", lambda each: len(each) < 5)] == ["abcd", "efgh"]
    assert clauses("a", lambda each: False) == [Piece("", "a")], "one character can't be cut"


def test_glue_is_a_space_where_a_language_has_them() -> None:
    assert glue(" ", "One.", "Two.") == glue("", "One.", "Two.") == " "
    assert glue(" ", "一。", "二。") == glue("", "One", "二") == ""
    assert glue("\n\n- ", "一。", "Two.") == "\n\n- "
    assert unwrapped("a \n b\n世\n界") == "a b世界"
