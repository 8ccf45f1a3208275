"""When a row is done: end tokens, stop strings, length, time, and the caller's own criteria."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError
from enfold.generation.config import GenerationConfig
from enfold.generation.foreign import adapt_criterion
from enfold.generation.rows import Criterion, Rows
from enfold.generation.token_text import TokenBytes

__all__ = ["EndTokens", "MaxLength", "MaxTime", "StopStrings", "criteria", "done"]


@dataclass(frozen=True)
class EndTokens:
    """A row is done with an end token."""

    tokens: frozenset[int]

    def __call__(self, rows: Rows) -> NDArray[np.bool_]:
        return np.array([tokens[-1] in self.tokens for tokens in rows.tokens], dtype=np.bool_)


@dataclass(frozen=True)
class MaxLength:
    """A row is done at its length; ``limit`` gives that from its prompt's."""

    limit: Callable[[int], int]

    def __call__(self, rows: Rows) -> NDArray[np.bool_]:
        lengths = zip(rows.tokens, rows.prompt_lengths, strict=True)
        return np.array([len(tokens) >= self.limit(given) for tokens, given in lengths], dtype=np.bool_)


class MaxTime:
    """Every row is done when ``seconds`` have passed since this was made."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def __call__(self, rows: Rows) -> NDArray[np.bool_]:
        return np.full(len(rows), self._clock() > self._end)


class StopStrings:
    """A row is done when its last token completes a stop string, be it in the middle of that token.

    Looks back over as many bytes as a stop string has, into the prompt where it has to: the cost of a token doesn't
    grow with the text. A stop string further back, that the last token has no part in, doesn't count.
    """

    def __init__(self, tokenizer: Any, strings: str | Iterable[str]) -> None:
        self._text = TokenBytes(tokenizer)
        self._stops = [text.encode() for text in ([strings] if isinstance(strings, str) else strings)]
        self._reach = max(len(stop) for stop in self._stops)

    def __call__(self, rows: Rows) -> NDArray[np.bool_]:
        return np.array([self._ends(tokens) for tokens in rows.tokens], dtype=np.bool_)

    def _ends(self, tokens: Sequence[int]) -> bool:
        last = self._text[tokens[-1]]
        if not last:
            return False
        before, place = b"", len(tokens) - 2
        while place >= 0 and len(before) < self._reach - 1:  # tokens without text don't count
            before = self._text[tokens[place]] + before
            place -= 1
        text = before + last
        return any(text.find(stop, max(len(before) - len(stop) + 1, 0)) >= 0 for stop in self._stops)


def criteria(
    config: GenerationConfig, tokenizer: Any = None, *, own: Iterable[Any] = (), positions: int | None = None
) -> list[Criterion]:
    """What ends a row under these options; any one of them does.

    Args:
        config: the options.
        tokenizer: the model's, needed for stop strings.
        own: the caller's criteria, enfold's or transformers'.
        positions: how many the model has, where that limits a text without a length of its own.

    Raises:
        InputError: stop strings without tokenizer.
    """
    found: list[Criterion] = [MaxLength(functools.cache(lambda given: config.length_limit(given, positions)))]
    if config.max_time is not None:
        found.append(MaxTime(config.max_time))
    if config.stop_strings is not None:
        if tokenizer is None:
            raise InputError(
                f"stop_strings={config.stop_strings!r} are compared with text: give the model's tokenizer as well, "
                "generate(…, tokenizer=tokenizer)"
            )
        found.append(StopStrings(tokenizer, config.stop_strings))
    if config.eos_token_ids:
        found.append(EndTokens(frozenset(config.eos_token_ids)))
    return found + [adapt_criterion(criterion) for criterion in own]


def done(criteria: Iterable[Criterion], rows: Rows) -> NDArray[np.bool_]:
    """Which rows ``(R,)`` any of the criteria ends.

    Raises:
        InputError: the caller's criterion returned something else than one answer, or one for each row.
    """
    result = np.zeros(len(rows), dtype=np.bool_)
    for criterion in criteria:
        answer = np.asarray(criterion(rows), dtype=np.bool_)
        if answer.shape not in ((), (len(rows),)):
            raise InputError(
                f"the stopping criterion {criterion!r} answered with the shape {answer.shape}; "
                f"expected one answer, or one for each of {len(rows)} rows"
            )
        result |= answer
    return result
