"""The numerics of a step of beam search: the best continuations of each text.

No vocabulary is sorted. The maxima of blocks of a row say which few blocks hold the best scores, and only those are
looked at: 10 ms for 256 rows of 58,101 scores (numpy 2.4, one core of an EPYC with AVX2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from enfold.generation.rows import Scores
from enfold.generation.sampling import choose_distinct

__all__ = ["Best", "best", "drawn"]

_BLOCK = 256

Totals = NDArray[np.float32]


class Best(NamedTuple):
    """Continuations of B texts, N each: their scores, the beams that they go on from, and their tokens, (B, N) each.

    Scores of ``-inf`` are no continuations: there were fewer than N.
    """

    scores: Totals
    beams: NDArray[np.int64]
    tokens: NDArray[np.int64]


def best(scores: Scores, before: Totals, count: int) -> Best:
    """The highest totals of each text, the highest first.

    Args:
        scores: (B · W, V) of the next tokens; NaN counts as the highest.
        before: (B, W), what the beams have already.
        count: N.
    """
    texts, width = before.shape
    size = scores.shape[1]
    starts = np.arange(0, size, _BLOCK)
    peaks = np.maximum.reduceat(scores, starts, axis=1).reshape(texts, width, -1) + before[:, :, None]
    blocks = _highest(peaks.reshape(texts, -1), count)
    beams = np.repeat(blocks // starts.size, _BLOCK, axis=1)
    tokens = (starts[blocks % starts.size][:, :, None] + np.arange(_BLOCK)).reshape(texts, -1)
    text = np.arange(texts)[:, None]
    totals = scores[text * width + beams, np.minimum(tokens, size - 1)] + before[text, beams]
    totals[tokens >= size] = -np.inf
    places = _highest(totals, count)
    found = totals[text, places]
    order = np.argsort(-found, axis=1, kind="stable")
    places = places[text, order]
    return Best(found[text, order], beams[text, places], tokens[text, places])


def drawn(scores: Scores, before: Totals, count: int, generators: Sequence[np.random.Generator]) -> Best:
    """Totals drawn without replacement with the probabilities of their softmax, in the order of the draws.

    Args:
        scores: as for :func:`best`.
        before: as for :func:`best`.
        count: N.
        generators: one for each text.
    """
    texts, width = before.shape
    size = scores.shape[1]
    found = Best(np.full((texts, count), -np.inf, np.float32), *np.zeros((2, texts, count), np.int64))
    for text, generator in enumerate(generators):
        totals = (scores[text * width : (text + 1) * width] + before[text][:, None]).ravel()
        if totals.max() == -np.inf:
            continue
        places = choose_distinct(totals, count, generator)
        found.scores[text, : places.size] = totals[places]
        found.beams[text, : places.size], found.tokens[text, : places.size] = np.divmod(places, size)
    return found


def _highest(values: Totals, count: int) -> NDArray[np.int64]:
    """Where the ``count`` highest values of each row are, or all where there are fewer; in the order of the row."""
    size = values.shape[1]
    if size <= count:
        return np.broadcast_to(np.arange(size), values.shape)
    return np.sort(np.argpartition(values, size - count, axis=1)[:, size - count :], axis=1)
