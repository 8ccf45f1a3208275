"""Draws tokens from scores: one uniform number of a row's own generator for each, so no row depends on another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError
from enfold.generation.rows import Scores

__all__ = ["choose", "choose_distinct", "generator"]


def generator(seed: int | None, place: int) -> np.random.Generator:
    """What draws for the text at a place: its own, whatever other texts there are; seed None: from the system."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(place,)))


def choose(scores: Scores, generators: Sequence[np.random.Generator]) -> NDArray[np.int64]:
    """One id ``(R,)`` for each row of scores ``(R, V)``, with the probabilities of their softmax.

    Takes exactly one number from the generator of each row.

    Raises:
        InputError: a row has no finite score, or has NaN or infinite ones.
    """
    chosen = np.empty(len(scores), dtype=np.int64)
    for index, (row, generator) in enumerate(zip(scores, generators, strict=True)):
        ids = _possible(row, index)
        sums = np.cumsum(np.exp(row[ids] - row[ids].max()).astype(np.float64))
        place = np.searchsorted(sums, generator.random() * sums[-1], side="right")
        chosen[index] = ids[min(int(place), ids.size - 1)]
    return chosen


def choose_distinct(scores: NDArray[np.float32], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Up to ``count`` different indices of flat scores ``(N,)``, drawn one after another without replacement.

    Gumbel's trick (arXiv 1903.06059): the order is that of the draws. Fewer come back where fewer are possible.

    Raises:
        InputError: no score is finite, or one is NaN or infinite.
    """
    ids = _possible(scores, 0)
    waits = np.maximum(generator.standard_exponential(ids.size), np.finfo(np.float64).tiny)
    keys = scores[ids] - np.log(waits)
    if count < ids.size:
        best = np.argpartition(keys, ids.size - count)[ids.size - count :]
        ids, keys = ids[best], keys[best]
    drawn: NDArray[np.int64] = ids[np.argsort(-keys)]
    return drawn


def _possible(row: NDArray[np.float32], index: int) -> NDArray[np.int64]:
    peak = row.max()
    if peak == -np.inf:
        raise InputError(
            f"row {index}: the options forbid every token; expected at least one with a finite score. "
            "Look at what suppresses or allows tokens (bad_words_ids, suppress_tokens, prefix_allowed_tokens_fn …)"
        )
    if not np.isfinite(peak):
        raise InputError(
            f"row {index}: the scores hold {peak}, expected finite numbers or -inf. The model or a processor "
            "computed it: remove_invalid_values=True replaces such values"
        )
    return np.flatnonzero(row > -np.inf)
