"""From a text's hidden states to its embedding: pooling, then the folder's other modules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from enfold.checkpoint.modules import Dense, Normalize, PoolingMode
from enfold.tokenization import Encoded

__all__ = ["apply_modules", "merge_windows", "normalized", "pool"]

Floats = NDArray[np.float32]


def pool(hidden: Floats, modes: Sequence[PoolingMode], skip: int = 0) -> Floats:
    """One vector (modes · D,) for the hidden states (S, D) of a text.

    Args:
        hidden: of all tokens, special ones included.
        modes: joined end to end where there are several.
        skip: tokens at the start, a prompt's, that don't count. Positions are counted from the first token all the
            same, as sentence-transformers does.
    """
    tokens = hidden[skip:]
    return np.concatenate([_pool_one(tokens, mode, skip) for mode in modes])


def _pool_one(tokens: Floats, mode: PoolingMode, skip: int) -> Floats:
    match mode:
        case "cls":
            result = tokens[0]
        case "max":
            result = tokens.max(axis=0)
        case "mean":
            result = tokens.mean(axis=0)
        case "mean_sqrt_len_tokens":
            result = tokens.sum(axis=0) / np.sqrt(np.float32(len(tokens)))
        case "weightedmean":
            # Later tokens count more: SGPT, https://arxiv.org/abs/2202.08904.
            weights = np.arange(skip + 1, skip + len(tokens) + 1, dtype=np.float32)
            result = weights @ tokens / weights.sum()
    return np.asarray(result, np.float32)


def apply_modules(vector: Floats, modules: Iterable[Dense | Normalize]) -> Floats:
    """What follows the pooling, on one vector (D,)."""
    for module in modules:
        if isinstance(module, Normalize):
            vector = normalized(vector)
            continue
        vector = module.weight @ vector
        if module.bias is not None:
            vector = vector + module.bias
        if module.activation == "tanh":
            vector = np.tanh(vector)
    return vector


def merge_windows(windows: Sequence[Encoded], vectors: Sequence[Floats]) -> Floats:
    """One vector for a text that was read in windows: their mean, weighted by their tokens."""
    if len(vectors) == 1:
        return vectors[0]
    return np.average(vectors, axis=0, weights=[len(window) for window in windows]).astype(np.float32)


def normalized(vectors: Floats) -> Floats:
    """Vectors (…, D) at length 1; one of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    result: Floats = vectors / np.maximum(lengths, np.float32(1e-12))
    return result
