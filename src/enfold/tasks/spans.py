"""From tokens to characters of the text that was given: exact spans, and the likeliest ones of a window."""

from __future__ import annotations

import unicodedata

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_spans", "exact_span"]

Floats = NDArray[np.float32]


def exact_span(text: str, start: int, end: int) -> tuple[int, int]:
    """``start`` and ``end`` without white space around, and with the combining marks of the last character.

    SentencePiece counts the space before a word as the word's; BERT's normaliser drops accents that are characters
    of their own, and the token ends before them.
    """
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    while start < end < len(text) and unicodedata.category(text[end]).startswith("M"):
        end += 1
    return start, end


def best_spans(
    start: Floats, end: Floats, allowed: NDArray[np.bool_], *, count: int, longest: int
) -> list[tuple[int, int, float]]:
    """The spans of a window whose first and last token are likeliest together, best first.

    Args:
        start: each token's probability to be an answer's first, (S,).
        end: to be its last, (S,).
        allowed: where an answer may be, (S,).
        count: how many spans to return at most.
        longest: how many tokens a span may have.

    Returns:
        First token, last token and the product of their probabilities.
    """
    reach = min(longest, len(start))
    padded = np.concatenate([np.where(allowed, end, -1.0), np.full(reach - 1, -1.0)])
    last = np.lib.stride_tricks.sliding_window_view(padded, reach)
    scores = np.where(allowed[:, None] & (last >= 0), start[:, None] * last, -1.0)
    flat = scores.ravel()
    best = np.argsort(-flat, kind="stable")[:count] if count >= flat.size else _largest(flat, count)
    first, further = np.divmod(best, reach)
    return [
        (int(token), int(token + more), float(flat[index]))
        for token, more, index in zip(first, further, best, strict=True)
        if flat[index] >= 0
    ]


def _largest(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Indices of the ``count`` largest values, in order, without sorting them all."""
    found = np.argpartition(-values, count - 1)[:count]
    ordered: NDArray[np.int64] = found[np.lexsort((found, -values[found]))]
    return ordered
