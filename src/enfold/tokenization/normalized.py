"""A text as sentencepiece sees it: replaced by its table, spaces squeezed and written as ``▁``."""

import re
from dataclasses import dataclass, field
from functools import cached_property

from enfold.tokenization.charsmap import CharsMap

__all__ = ["Normalized", "Normalizer"]

_SPACE = "▁"


@dataclass(slots=True)
class Normalized:
    """A text, and for each of its characters where in the original it comes from: ``original[starts[i]:ends[i]]``."""

    characters: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The characters together."""
        return "".join(self.characters)

    def add(self, text: str, start: int, end: int) -> None:
        """Append characters that all come from one place."""
        self.characters += text
        self.starts += [start] * len(text)
        self.ends += [end] * len(text)

    def pop(self) -> None:
        """Drop the last character."""
        del self.characters[-1], self.starts[-1], self.ends[-1]


@dataclass(frozen=True)
class Normalizer:
    """What a sentencepiece file says about the text before it is cut.

    ``squeezes``: spaces at the ends and double ones go. ``adds_space``: each text gets one in front, or with
    ``suffixes`` at its end. ``kept`` are texts that no rule changes.
    """

    charsmap: CharsMap
    squeezes: bool
    adds_space: bool
    suffixes: bool
    kept: tuple[str, ...] = ()

    @cached_property
    def _keeping(self) -> re.Pattern[str] | None:
        longest_first = sorted(self.kept, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def normalize(self, text: str, start: int, end: int, into: Normalized) -> None:
        """Append ``text[start:end]``."""
        place = start
        while self.squeezes and place < end and (rule := self._rule(text, place, end))[1] == " ":
            place += rule[0]
        if place == end:
            return
        first = len(into.characters)
        if self.adds_space and not self.suffixes:
            into.add(_SPACE, place, place)
        after_space = self.squeezes
        while place < end:
            length, new = self._rule(text, place, end)
            if after_space:
                new = new.lstrip(" ")
            into.add(new.replace(" ", _SPACE), place, place + length)
            if new:
                after_space = self.squeezes and new.endswith(" ")
            place += length
        while self.squeezes and len(into.characters) > first and into.characters[-1] == _SPACE:
            into.pop()
        if self.adds_space and self.suffixes:
            into.add(_SPACE, end, end)

    def _rule(self, text: str, place: int, end: int) -> tuple[int, str]:
        if self._keeping is not None and (kept := self._keeping.match(text, place, end)):
            return len(kept[0]), kept[0]
        length, new, _ = self.charsmap.rule(text, place)
        # a rule never reaches into the special token behind the text
        return (length, new) if place + length <= end else self.charsmap.rule(text[place:end], 0)[:2]
