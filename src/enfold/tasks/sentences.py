"""Texts cut where languages allow it, without losing a character: into lines and paragraphs, sentences, clauses.

::

    text ──blocks──▶ paragraphs, headings, list items ──sentences──▶ sentences ──clauses──▶ what fits

Every function here returns pieces that, joined with what stands before each of them, are the text again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Piece", "blocks", "clauses", "glue", "sentence_ends", "sentences", "unwrapped", "windows"]

_CJK = r"\u2e80-\u303f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef"
_IS_CJK = re.compile(f"[{_CJK}]")
# Western marks end a sentence before a space, Chinese ones anywhere; closing quotes and brackets stay with it.
_END = re.compile(r"""[.!?…]+["'”’»)\]]*(?=\s|$)|(?:[。！？；｡]|…{2,})+["'”’」』）】]*""")
_WORD_BEFORE = re.compile(r"""[(\["'“‘«]*(\S+)\.$""")
_NEVER_LAST = re.compile(
    r"mr|mrs|ms|dr|prof|st|mt|gen|col|sen|rep|gov|capt|lt|sgt|rev|hon|messrs|vs|cf|viz|approx|ca|resp|incl|bzw|sog"
    r"|mme|mlle|jan|feb|mar|apr|aug|sept|oct|nov|dec",
    re.I,
)
"""Abbreviations that no sentence ends with."""
_BEFORE_NUMBER = re.compile(r"nos?|figs?|vol|pp?|ch|sec|eq|art|nr|pt|par|bd", re.I)
"""Words that are abbreviations where a number follows."""
_INITIALS = re.compile(r"[A-Z]|(?:[^\W\d_]\.)+[^\W\d_]")
_MARKER = re.compile(
    r"[^\S\n]*(?:(?:[-*+•·–—▪◦●○■□]|#{1,6}|>+|\(?\d{1,3}[.)]|\(?[a-zA-Z]\)|\([ivx]{1,4}\))[^\S\n]+"
    r"|[（(]?[一二三四五六七八九十\d]{1,3}[)）、．][^\S\n]*)?[^\S\n]*"
)
_BREAK = re.compile(r"[^\S\n]*\n\s*")
_CUTS = (
    re.compile(r"[;:–—](?=\s)|[；：]|——"),
    re.compile(r",(?=\s)|[，、]"),
    re.compile(r"\s+"),
    re.compile(r"(?<=.)(?=.)", re.S),
)
"""Where a sentence may be cut that is too long: what is least bad first."""
_WRAPPED_AT = 60
_CJK_WRAPPED_AT = 20
"""Characters of a paragraph's longest line from which on its line ends may be a matter of width alone."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text and what stands between it and the part before: spaces, line ends, a list's marker."""

    before: str
    text: str


def blocks(text: str) -> tuple[list[Piece], str]:
    """The paragraphs, headings and list items of a text, and what follows the last.

    Blank lines, indentation, the markers of lists and lines without any letter stand before the pieces. Lines that
    were wrapped at a width stay together; other line ends part pieces.
    """
    pieces: list[Piece] = []
    done = 0
    for begin, end in _spans(text):
        if any(character.isalpha() for character in text[begin:end]):
            pieces.append(Piece(text[done:begin], text[begin:end]))
            done = end
    return pieces, text[done:]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where each block begins, behind its marker, and ends."""
    place = 0
    for paragraph in re.split(r"(\n[^\S\n]*(?=\n))", text):
        lines = paragraph.split("\n")
        width = max(map(len, lines))
        flows = any(line[:1].islower() for line in lines[1:])
        open_at, end = -1, -1
        for number, line in enumerate(lines):
            match = _MARKER.match(line)
            content = match.end() if match else 0
            if line.strip():
                marked = bool(line[:content].strip())
                if open_at >= 0 and (marked or not _is_wrapped(lines[number - 1], line.strip(), width, flows)):
                    yield open_at, end
                    open_at = -1
                open_at = place + content if open_at < 0 else open_at
                end = place + len(line.rstrip())
            place += len(line) + 1
        place -= 1
        if open_at >= 0:
            yield open_at, end


def _is_wrapped(line: str, following: str, width: int, flows: bool) -> bool:
    """Whether a line ended because it was full: what follows goes on in small letters, or had no room there."""
    line = line.rstrip()
    if not line or _END.search(line[-3:] + "\n") or line[-1] in ":：":
        return False
    if _IS_CJK.match(line[-1]) and _IS_CJK.match(following):
        return width >= _CJK_WRAPPED_AT and len(line) >= width - 1
    first = following.split(maxsplit=1)[0]
    return first[:1].islower() or (flows and width >= _WRAPPED_AT and len(line) + 1 + len(first) > width)


def unwrapped(text: str) -> str:
    """A block on one line: a line end becomes a space, and nothing between Chinese or Japanese characters."""

    def space(match: re.Match[str]) -> str:
        return glue(" ", text[: match.start()], text[match.end() :])

    return _BREAK.sub(space, text)


def glue(before: str, left: str, right: str) -> str:
    """What to put between two texts that had ``before`` between them in another language: its lines, or a space."""
    if "\n" in before or not left or not right:
        return before
    return "" if _IS_CJK.match(left[-1]) or _IS_CJK.match(right[0]) else " "


def sentences(text: str) -> list[Piece]:
    """The sentences of a block, with the spaces before each; spaces behind the last one belong to it."""
    pieces: list[Piece] = []
    begin = 0
    for end in (*sentence_ends(text), len(text)):
        sentence = text[begin:end]
        if content := sentence.strip():
            start = begin + len(sentence) - len(sentence.lstrip())
            pieces.append(Piece(text[begin:start], content))
        elif pieces:
            pieces[-1] = Piece(pieces[-1].before, pieces[-1].text + sentence)
        begin = end
    return pieces


def sentence_ends(text: str) -> Iterator[int]:
    """Where sentences end, English, Chinese and other: not behind abbreviations, initials and numbers of lists."""
    begin = 0
    for match in _END.finditer(text):
        if not _goes_on(text[begin : match.end()], text[match.end() :].lstrip()[:1]):
            begin = match.end()
            yield begin


def _goes_on(sentence: str, following: str) -> bool:
    """Whether a sentence goes on behind a mark that could have ended it."""
    if sentence[-1] in "。！？；｡」』）】":
        return False
    if following.islower() or not any(character.isalpha() for character in sentence):
        return True
    if (match := _WORD_BEFORE.search(sentence)) is None:
        return False
    word = match[1]
    if _BEFORE_NUMBER.fullmatch(word):
        return following.isdigit()
    # A name's initials go on; "U.S." or "a.m." before a capital letter may be an end, and joining does less harm.
    return bool(_NEVER_LAST.fullmatch(word) or _INITIALS.fullmatch(word))


def clauses(sentence: str, fits: Callable[[str], bool]) -> list[Piece]:
    """A sentence in parts that fit, cut near its middle: between clauses, at commas, between words, or anywhere."""
    if len(sentence) < 2 or fits(sentence):
        return [Piece("", sentence)]
    middle = len(sentence) // 2
    for kind in _CUTS:
        places = [match.end() for match in kind.finditer(sentence)]
        near = [place for place in places if middle // 2 <= place <= len(sentence) - middle // 2 and place]
        if near:
            place = min(near, key=lambda each: abs(each - middle))
            break
    else:
        place = middle
    left, right = sentence[:place].rstrip(), sentence[place:].lstrip()
    if not left or not right:
        return [Piece("", sentence)]
    first, *rest = clauses(right, fits)
    gap = sentence[len(left) : len(sentence) - len(right)]
    return [*clauses(left, fits), Piece(gap, first.text), *rest]


def windows(
    text: str, sizes: Callable[[list[str]], Sequence[int]], room: int, fits: Callable[[str], bool]
) -> list[str]:
    """Consecutive parts of a text, each of as many whole sentences as fit; together they are all of it.

    Args:
        text: of any length.
        sizes: roughly how much room each of many texts takes.
        room: how much there is.
        fits: whether a part really fits; what doesn't is halved, between sentences or, where it has one, within.
    """
    found, rest = blocks(text)
    inner = [(block.before, sentences(block.text)) for block in found]
    units = [(before if first is each else "") + each.before + each.text for before, (first, *more) in inner
             for each in (first, *more)]  # fmt: skip
    units = [*units[:-1], units[-1] + rest] if units else [text]
    parts: list[list[str]] = []
    taken = room + 1
    for unit, size in zip(units, sizes(units), strict=True):
        if taken + size > room:
            parts.append([])
            taken = 0
        parts[-1].append(unit)
        taken += size
    return [part for units in parts for part in _halved(units, fits)]


def _halved(units: list[str], fits: Callable[[str], bool]) -> Iterator[str]:
    whole = "".join(units).strip()
    if not whole:
        return
    if fits(whole):
        yield whole
    elif len(units) == 1:
        yield from (piece.text for piece in clauses(whole, fits))
    else:
        yield from _halved(units[: len(units) // 2], fits)
        yield from _halved(units[len(units) // 2 :], fits)
