"""Random scores and ragged histories, and the reference's processors run over them row by row."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from enfold.generation.rows import Processor, Rows, Scores

VOCABULARY = 97


def random_scores(seed: int, rows: int = 8, vocabulary: int = VOCABULARY, scale: float = 4.0) -> Scores:
    """Scores ``(R, V)``."""
    return (np.random.default_rng(seed).standard_normal((rows, vocabulary)) * scale).astype(np.float32)


def random_rows(seed: int, count: int = 8, vocabulary: int = VOCABULARY, longest: int = 30) -> Rows:
    """Rows of different lengths, with repetitions in them."""
    generator = np.random.default_rng(seed)
    few = generator.integers(0, vocabulary, 6)
    tokens = [generator.choice(few, generator.integers(1, longest)).tolist() for _ in range(count)]
    prompts = [int(generator.integers(1, len(each) + 1)) for each in tokens]
    sources = [generator.choice(few, generator.integers(1, longest)).tolist() for _ in range(count)]
    return Rows(tokens, prompts, sources)


def by_row(make: Callable[[Rows, int], Any], scores: Scores, rows: Rows) -> Scores:
    """What the reference makes of every row alone; ``make(rows, index)`` gives its processor for a row."""
    result = [
        make(rows, index)(torch.tensor([tokens]), torch.from_numpy(scores[index : index + 1].copy())).numpy()
        for index, tokens in enumerate(rows.tokens)
    ]
    return np.concatenate(result)


def assert_same(ours: Processor, make: Callable[[Rows, int], Any], scores: Scores, rows: Rows) -> None:
    """Equal forbidden tokens, and values within 1e-5."""
    expected = by_row(make, scores, rows)
    got = ours(scores.copy(), rows)
    np.testing.assert_array_equal(np.isneginf(got), np.isneginf(expected))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
