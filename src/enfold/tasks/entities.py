"""From tokens with label probabilities to entities: words are labelled as one, neighbours of a kind are joined.

::

    pieces ──strategy──▶ tagged tokens or words ──prefixes──▶ groups ──▶ records
    Ang ##ela Merkel      B-PER  I-PER  I-PER       PER          {"entity_group": "PER", "word": "Angela Merkel", …}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from enfold.tasks.spans import exact_span

__all__ = ["Piece", "Strategy", "find_entities"]

Strategy = Literal["none", "simple", "first", "average", "max"]
Floats = NDArray[np.float32]
Join = Callable[[Sequence[str]], str]

_BEGINS = {"B": True, "S": True, "U": True, "I": False, "E": False, "L": False, "M": False}
"""Prefixes of the schemes BIO, BIOES, BILOU and BMES, and whether a new entity begins there."""

_OF_WORD: Mapping[Strategy, Callable[[Floats], Floats]] = {
    "first": lambda scores: scores[0],
    "average": lambda scores: scores.mean(axis=0),
    "max": lambda scores: scores[scores.max(axis=1).argmax()],
}
"""Probabilities of a word's tokens (N, L) → the word's (L,)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One token of a text: its place in the row, its text, its place in characters, the word it is part of.

    ``scores`` (L,) are the probabilities of the labels.
    """

    index: int
    token: str
    start: int
    end: int
    word: int | None
    scores: Floats


@dataclass(frozen=True, slots=True)
class _Tagged:
    label: str
    score: float
    pieces: Sequence[Piece]
    text: str


def find_entities(
    text: str, pieces: Sequence[Piece], labels: Mapping[int, str], strategy: Strategy, join: Join
) -> Iterator[dict[str, Any]]:
    """Records of all tokens (``"none"``) or of all groups, those outside of entities included.

    Args:
        text: what the pieces' characters count in.
        pieces: the text's tokens in order.
        labels: names by id.
        strategy: what is labelled, and how the labels of a word's tokens become one.
        join: tokens to readable text.
    """
    if strategy == "none":
        for tagged in _tag(pieces, labels, strategy, join):
            (piece,) = tagged.pieces
            yield {
                "entity": tagged.label,
                "score": tagged.score,
                "index": piece.index,
                "word": tagged.text,
                **_place(text, tagged, tagged),
            }
        return
    for group in _group(_tag(pieces, labels, strategy, join)):
        yield {
            "entity_group": _split(group[0].label)[1],
            "score": float(np.mean([tagged.score for tagged in group])),
            "word": join([tagged.text for tagged in group]),
            **_place(text, group[0], group[-1]),
        }


def _tag(pieces: Sequence[Piece], labels: Mapping[int, str], strategy: Strategy, join: Join) -> Iterator[_Tagged]:
    """Every token with its likeliest label; or every word, where the strategy says how to label one."""
    reduce = _OF_WORD.get(strategy)
    units = [[piece] for piece in pieces] if reduce is None else _words(pieces)
    for unit in units:
        scores = unit[0].scores if reduce is None else reduce(np.stack([piece.scores for piece in unit]))
        best = int(scores.argmax())
        text = unit[0].token if reduce is None else join([piece.token for piece in unit])
        yield _Tagged(labels[best], float(scores[best]), unit, text)


def _words(pieces: Sequence[Piece]) -> list[list[Piece]]:
    return [list(word) for _, word in groupby(pieces, key=lambda piece: piece.word)]


def _group(tagged: Iterator[_Tagged]) -> Iterator[list[_Tagged]]:
    """Neighbours with one label, cut where a prefix says that another entity begins."""
    group: list[_Tagged] = []
    for each in tagged:
        begins, kind = _split(each.label)
        if group and (begins or kind != _split(group[-1].label)[1]):
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _split(label: str) -> tuple[bool, str]:
    """Whether an entity begins with this label, and its kind: ``B-PER`` → True, ``PER``; without prefix False."""
    prefix, hyphen, kind = label.partition("-")
    return (_BEGINS[prefix], kind) if hyphen and prefix in _BEGINS else (False, label)


def _place(text: str, first: _Tagged, last: _Tagged) -> dict[str, int]:
    start, end = exact_span(text, first.pieces[0].start, last.pieces[-1].end)
    return {"start": start, "end": end}
