"""The numerics of a step of beam search: the best continuations of each text, or some that are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from enfold.generation.numerics import highest
from enfold.generation.rows import Scores
from enfold.generation.sampling import choose_distinct

__all__ = ["Best", "best", "drawn"]

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
    values, tokens = highest(scores, count)
    totals = (values.reshape(texts, width, -1) + before[:, :, None]).reshape(texts, -1)
    found, places = highest(totals, count)
    chosen = np.take_along_axis(tokens.reshape(texts, -1), places, axis=1)
    return Best(found, places // values.shape[1], chosen)


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
