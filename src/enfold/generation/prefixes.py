"""What texts that are finished began with, kept for the texts that will begin alike.

A chat's next question begins with all that was said before, and every chat of an application with the same
instructions: their keys and values are copied instead of computed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from enfold.cache import Tokens

__all__ = ["LEAST_SHARED", "Prefix", "Prefixes", "common_beginning"]

LEAST_SHARED = 16
"""Tokens at the beginning of two prompts from which on copying what was computed pays."""


@dataclass(frozen=True)
class Prefix:
    """The beginning of a text, and what each layer of a model keeps of it."""

    tokens: tuple[int, ...]
    layers: list[Tokens]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return sum(int(array.nbytes) for pair in self.layers for array in pair)


class Prefixes:
    """The beginnings that were last of use, as many as the memory allows.

    Args:
        limit: bytes.

    Attributes:
        nbytes: bytes in use.
        found: tokens that were copied instead of computed, since this was made.
        asked: tokens of the texts that could have been.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.nbytes, self.found, self.asked = limit, 0, 0, 0
        self._kept: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def has(self, tokens: Sequence[int]) -> bool:
        """Whether a text is there, or one that goes on from it."""
        count = len(tokens)
        return any(kept[:count] == tuple(tokens) for kept in self._kept)

    def keep(self, prefix: Prefix) -> None:
        """Keeps a beginning instead of those that it goes on from; those that were not of use for longest give way."""
        if prefix.nbytes > self.limit:
            return
        for tokens in [tokens for tokens in self._kept if tokens == prefix.tokens[: len(tokens)]]:
            self._forget(tokens)
        self._kept[prefix.tokens] = prefix
        self.nbytes += prefix.nbytes
        while self.nbytes > self.limit:
            self._forget(next(iter(self._kept)))

    def best(self, prompt: Sequence[int]) -> tuple[int, Prefix | None]:
        """The one that has most tokens in common with a prompt's beginning, and how many; it is none for a few."""
        best, found, prompt = LEAST_SHARED - 1, None, tuple(prompt)
        for prefix in self._kept.values():
            if (common := common_beginning(prefix.tokens, prompt)) > best:
                best, found = common, prefix
        return (best, found) if found else (0, None)

    def take(self, prompt: Sequence[int]) -> tuple[int, Prefix | None]:
        """The same, for a text that begins now: counted, and remembered as of use."""
        length, prefix = self.best(prompt)
        self.asked += len(prompt)
        if prefix is not None:
            self._kept.move_to_end(prefix.tokens)
            self.found += min(length, len(prompt) - 1)
        return length, prefix

    def _forget(self, tokens: tuple[int, ...]) -> None:
        self.nbytes -= self._kept.pop(tokens).nbytes


def common_beginning(first: Sequence[int], second: Sequence[int]) -> int:
    """Tokens that two texts have in common at their beginning."""
    length = min(len(first), len(second))
    if first[:length] == second[:length]:
        return length
    return next(index for index in range(length) if first[index] != second[index])
