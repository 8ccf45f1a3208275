"""Sentencepiece's own normalisation, character for character.

The engine's version of it looks at whole graphemes, which cuts some combining characters otherwise. The families that
were never served by the engine (Marian, M2M-100) get the original: at each place the longest rule of the compiled
table wins.

A table is a double-array trie over the bytes of the text (darts-clone, https://github.com/s-yata/darts-clone), then
the replacements, each ended by a zero byte.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from enfold.errors import TokenizerError

__all__ = ["CharsMap"]


@dataclass(frozen=True)
class CharsMap:
    """A compiled table of replacements, empty for none."""

    compiled: bytes = b""
    _plain: set[str] = field(default_factory=set, repr=False, compare=False)

    def __post_init__(self) -> None:
        size = self._trie_bytes
        if self.compiled and (size % 4 or not size or size + 4 > len(self.compiled)):
            raise TokenizerError(f"A normalisation table of {len(self.compiled)} bytes states a trie of {size} bytes.")

    @property
    def _trie_bytes(self) -> int:
        return int.from_bytes(self.compiled[:4], "little")

    @cached_property
    def _units(self) -> list[int]:
        units: list[int] = np.frombuffer(self.compiled, "<u4", count=self._trie_bytes // 4, offset=4).tolist()
        return units

    def rule(self, text: str, place: int) -> tuple[int, str, bool]:
        """How many characters the longest rule at a place takes, what they become, and whether more text could make
        it longer. Without a rule, one character stays what it is."""
        first = text[place]
        if not self.compiled or first in self._plain:
            return 1, first, False
        units, size = self._units, len(self._units)
        node = _offset(units[0])
        found: tuple[int, int] | None = None
        for length in range(1, len(text) - place + 1):
            for byte in text[place + length - 1].encode("utf-8", "surrogatepass"):
                node ^= byte
                if node >= size or units[node] & 0x800000FF != byte:
                    if length == 1:
                        self._plain.add(first)
                    return *self._result(found, first), False
                unit = units[node]
                node ^= _offset(unit)
            if unit >> 8 & 1 and node < size:
                found = length, units[node] & 0x7FFFFFFF
        return *self._result(found, first), True

    def _result(self, found: tuple[int, int] | None, first: str) -> tuple[int, str]:
        if found is None:
            return 1, first
        length, position = found
        start = 4 + self._trie_bytes + position
        return length, self.compiled[start : self.compiled.find(b"\0", start)].decode("utf-8", "replace")


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 0x200) >> 6)
