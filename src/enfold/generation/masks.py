"""Processors that forbid or force tokens by position, and that mend scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from enfold.errors import InputError
from enfold.generation.rows import Rows, Scores

__all__ = [
    "AllowedTokens",
    "BeginSuppress",
    "ForcedEnd",
    "ForcedStart",
    "MinLength",
    "MinNewTokens",
    "RemoveInvalid",
    "Suppress",
]


@dataclass(frozen=True)
class MinLength:
    """Forbids the end tokens in rows of fewer than ``length`` tokens, the given ones counted."""

    length: int
    end_tokens: tuple[int, ...]

    def __call__(self, scores: Scores, rows: Rows) -> Scores:
        short = [row for row, tokens in enumerate(rows.tokens) if len(tokens) < self.length]
        scores[np.ix_(short, self.end_tokens)] = -np.inf
        return scores


@dataclass(frozen=True)
class MinNewTokens:
    """Forbids the end tokens until ``count`` tokens were generated."""

    count: int
    end_tokens: tuple[int, ...]

    def __call__(self, scores: Scores, rows: Rows) -> Scores:
        lengths = zip(rows.tokens, rows.prompt_lengths, strict=True)
        short = [row for row, (tokens, given) in enumerate(lengths) if len(tokens) - given < self.count]
        scores[np.ix_(short, self.end_tokens)] = -np.inf
        return scores


@dataclass(frozen=True)
class ForcedStart:
    """Forces the first token after a lone start token (BART's ``<s>``, mBART's language)."""

    token: int

    def __call__(self, scores: Scores, rows: Rows) -> Scores:
        return _force(scores, [row for row, tokens in enumerate(rows.tokens) if len(tokens) == 1], (self.token,))


@dataclass(frozen=True)
class ForcedEnd:
    """Forces an end token where a row has one place left; ``limit`` gives a row's length from its prompt's."""

    tokens: tuple[int, ...]
    limit: Callable[[int], int]

    def __call__(self, scores: Scores, rows: Rows) -> Scores:
        lengths = zip(rows.tokens, rows.prompt_lengths, strict=True)
        last = [row for row, (tokens, given) in enumerate(lengths) if len(tokens) == self.limit(given) - 1]
        return _force(scores, last, self.tokens)


def _force(scores: Scores, rows: list[int], tokens: tuple[int, ...]) -> Scores:
    if rows:
        scores[rows] = -np.inf
        scores[np.ix_(rows, tokens)] = 0
    return scores


@dataclass(frozen=True)
class Suppress:
    """Forbids tokens everywhere."""

    tokens: tuple[int, ...]

    def __call__(self, scores: Scores, rows: Rows) -> Scores:
        scores[:, self.tokens] = -np.inf
        return scores


@dataclass(frozen=True)
class Only:
    """Forbids all other tokens."""

    tokens: tuple[int, ...]

    def __call__(self, scores: Scores, rows: Rows) -> Scores:
        kept = scores[:, self.tokens]
        scores.fill(-np.inf)
        scores[:, self.tokens] = kept
        return scores


@dataclass(frozen=True)
class BeginSuppress:
    """Forbids tokens as the first generated one; the one after it where the first is forced (Whisper)."""

    tokens: tuple[int, ...]
    start_is_forced: bool

    def __call__(self, scores: Scores, rows: Rows) -> Scores:
        begins = [given + (given <= 1 and self.start_is_forced) for given in rows.prompt_lengths]
        first = [row for row, tokens in enumerate(rows.tokens) if len(tokens) == begins[row]]
        scores[np.ix_(first, self.tokens)] = -np.inf
        return scores


class RemoveInvalid:
    """Turns NaN into 0 and infinities into the largest finite numbers."""

    def __call__(self, scores: Scores, rows: Rows) -> Scores:
        largest = float(np.finfo(np.float32).max)
        return np.nan_to_num(scores, copy=False, nan=0.0, posinf=largest, neginf=-largest)


@dataclass(frozen=True)
class AllowedTokens:
    """Allows only what the caller's function of (input's index, tokens so far) returns.

    Where everything that it allows for an input is forbidden already, its word counts: those tokens score 0.
    """

    allowed: Callable[[int, list[int]], Any]

    def __call__(self, scores: Scores, rows: Rows) -> Scores:
        inputs: Sequence[int] = range(len(rows)) if rows.inputs is None else rows.inputs
        mask = np.full_like(scores, -np.inf)
        for row, (index, tokens) in enumerate(zip(inputs, rows.tokens, strict=True)):
            ids = np.asarray(self.allowed(index, tokens), dtype=np.int64)
            if ids.size == 0:
                raise InputError(
                    f"prefix_allowed_tokens_fn allows no token for input {index} after {len(tokens)} tokens; "
                    "expected at least one id: return the end token's where the text is complete"
                )
            mask[row, ids] = 0
        scores += mask
        open_inputs = {index for index, best in zip(inputs, scores.max(axis=1), strict=True) if best != -np.inf}
        stuck = [row for row, index in enumerate(inputs) if index not in open_inputs]
        scores[stuck] = mask[stuck]
        return scores
