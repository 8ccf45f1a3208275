"""Processors that look at what a row already says: repetition, n-grams, biased sequences, length, other beams."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from enfold.generation.rows import Rows, Scores

__all__ = ["Diversity", "EndDecay", "NoRepeat", "Repetition", "SequenceBias"]

Of = Literal["tokens", "sources"]

_LARGEST_GROWTH = math.log(1e30)  # a larger factor would overflow float32 and make infinities, then NaN


@dataclass(frozen=True)
class Repetition:
    """Divides the positive scores of seen tokens by ``penalty`` and multiplies the negative ones.

    CTRL (arXiv 1909.05858). With ``of="sources"`` the encoder's input is what was seen, and a penalty over 1
    favours it: against hallucinations.
    """

    penalty: float
    of: Of = "tokens"

    def __call__(self, scores: Scores, rows: Rows) -> Scores:
        penalty = self.penalty if self.of == "tokens" else 1 / self.penalty
        for row, seen in zip(scores, getattr(rows, self.of), strict=True):
            ids = _inside(seen, row.size)
            values = row[ids]
            row[ids] = np.where(values < 0, values * penalty, values / penalty)
        return scores


@dataclass(frozen=True)
class NoRepeat:
    """Forbids what would complete an n-gram of ``size`` tokens that the row, or its source, already has."""

    size: int
    of: Of = "tokens"

    def __call__(self, scores: Scores, rows: Rows) -> Scores:
        before = self.size - 1
        for row, tokens, text in zip(scores, rows.tokens, getattr(rows, self.of), strict=True):
            if len(text) < self.size or len(tokens) < before:
                continue
            windows = np.lib.stride_tricks.sliding_window_view(np.asarray(text), self.size)
            begun = np.asarray(tokens[len(tokens) - before :], dtype=np.int64)
            repeated = windows[(windows[:, :-1] == begun).all(axis=1), -1]
            row[_inside(repeated, row.size)] = -np.inf
        return scores


class SequenceBias:
    """Adds a bias to the token that would complete a sequence; a bias of ``-inf`` makes a bad word.

    Args:
        biases: sequences of one or more ids, and what is added to the last one's score.
    """

    def __init__(self, biases: Mapping[tuple[int, ...], float]) -> None:
        alone = {ids[0]: bias for ids, bias in biases.items() if len(ids) == 1}
        self._ids = np.fromiter(alone.keys(), dtype=np.int64)
        self._biases = np.fromiter(alone.values(), dtype=np.float32)
        # By the tokens before the last: {length: {prefix: [(last token, bias), …]}}
        self._longer: dict[int, dict[tuple[int, ...], list[tuple[int, float]]]] = {}
        for (*prefix, last), bias in biases.items():
            if prefix:
                self._longer.setdefault(len(prefix), {}).setdefault(tuple(prefix), []).append((last, bias))

    def __call__(self, scores: Scores, rows: Rows) -> Scores:
        scores[:, self._ids] += self._biases
        for row, tokens in zip(scores, rows.tokens, strict=True):
            for length, prefixes in self._longer.items():
                for last, bias in prefixes.get(tuple(tokens[-length:]), ()):
                    row[last] += np.float32(bias)
        return scores


@dataclass(frozen=True)
class EndDecay:
    """Raises the end tokens' scores exponentially from ``start`` generated tokens on: |score| · (factorⁿ - 1)."""

    start: int
    factor: float
    end_tokens: tuple[int, ...]

    def __call__(self, scores: Scores, rows: Rows) -> Scores:
        for row, tokens, given in zip(scores, rows.tokens, rows.prompt_lengths, strict=True):
            over = len(tokens) - given - self.start
            if over > 0:
                growth = math.expm1(min(over * math.log(self.factor), _LARGEST_GROWTH))
                ends = [token for token in self.end_tokens if np.isfinite(row[token])]
                row[ends] += np.abs(row[ends]) * np.float32(growth)
        return scores


@dataclass(frozen=True)
class Diversity:
    """Lowers tokens by ``penalty`` for every earlier group that chose them in this step (arXiv 1610.02424)."""

    penalty: float

    def __call__(self, scores: Scores, rows: Rows) -> Scores:
        for row, chosen in zip(scores, rows.chosen or [[]] * len(rows), strict=True):
            ids, times = np.unique(np.asarray(chosen, dtype=np.int64), return_counts=True)
            row[ids] -= (self.penalty * times).astype(np.float32)
        return scores


def _inside(ids: Iterable[int] | NDArray[np.int64], vocabulary: int) -> NDArray[np.int64]:
    """The ids that have a score: a vocabulary may hold more tokens than the model's head."""
    given = np.asarray(ids, dtype=np.int64)
    return given[given < vocabulary]
