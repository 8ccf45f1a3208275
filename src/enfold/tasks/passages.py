"""Plain text cut into passages that are short enough to be found and long enough to be understood."""

from __future__ import annotations

import re
from collections.abc import Iterator

from enfold.errors import InputError
from enfold.tasks.base import check_count
from enfold.tasks.sentences import sentence_ends

__all__ = ["split_passages", "split_sentences"]

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")
_CJK = r"\u3000-\u303f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
# A line that ends within a Chinese or Japanese sentence goes on without a space.
_CJK_BREAK = re.compile(rf"(?<=[{_CJK}])\s*\n\s*(?=[{_CJK}])")


def split_passages(text: str, *, max_chars: int = 500, sentences: int | None = None) -> list[str]:
    """Cuts a text into passages of whole sentences that never reach over a blank line.

    Args:
        text: plain text; lines that were wrapped within a paragraph are joined.
        max_chars: characters of a passage; a longer sentence is cut between words, and within one where it has none.
        sentences: sentences of a passage at most, where ``max_chars`` has room for more.

    Raises:
        InputError: not a text, or a limit below 1.

    >>> split_passages("One. Two! Three?\\n\\n一。二！", max_chars=9)
    ['One. Two!', 'Three?', '一。二！']
    """
    if not isinstance(text, str):
        raise InputError(f"got {type(text).__name__}, expected a text; read or decode it first")
    check_count("max_chars", max_chars)
    if sentences is not None:
        check_count("sentences", sentences)
    passages = []
    for paragraph in _BLANK_LINES.split(text.replace("\r\n", "\n")):
        passage, count = "", 0
        for gap, sentence in _pieces(paragraph, max_chars):
            if passage and (len(passage) + len(gap) + len(sentence) > max_chars or count == sentences):
                passages.append(passage)
                passage, count = "", 0
            passage, count = (f"{passage}{gap}{sentence}" if passage else sentence), count + 1
        if passage:
            passages.append(passage)
    return passages


def split_sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph, English or Chinese, without the space around them."""
    return [sentence for _, sentence in _sentences(paragraph)]


def _sentences(paragraph: str) -> Iterator[tuple[str, str]]:
    """Each sentence with the gap before it, a space or nothing."""
    line = re.sub(r"\s+", " ", _CJK_BREAK.sub("", paragraph)).strip()
    begin = 0
    for end in sentence_ends(line):
        yield from _stripped(line[begin:end])
        begin = end
    yield from _stripped(line[begin:])


def _stripped(piece: str) -> Iterator[tuple[str, str]]:
    if sentence := piece.strip():
        yield (" " if piece[0] == " " else ""), sentence


def _pieces(paragraph: str, max_chars: int) -> Iterator[tuple[str, str]]:
    """Sentences, those over the limit cut at the last space or comma within it."""
    for gap, sentence in _sentences(paragraph):
        while len(sentence) > max_chars:
            cut = max(sentence.rfind(mark, 0, max_chars) for mark in " ，、,") + 1 or max_chars
            yield gap, sentence[:cut].rstrip()
            gap, sentence = (" " if sentence[cut - 1] == " " else ""), sentence[cut:].lstrip()
        if sentence:
            yield gap, sentence
