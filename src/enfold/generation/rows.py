"""What processors and stopping criteria see of the sequences that are being written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Criterion", "Processor", "Rows", "Scores"]

Scores: TypeAlias = NDArray[np.float32]


@dataclass
class Rows:
    """The R rows that still run: ragged lists, no padding.

    Attributes:
        tokens: every row's tokens so far; prompt and new ones for a decoder-only model, decoder start and new
            ones for a sequence-to-sequence model.
        prompt_lengths: how many of them were given, not generated.
        sources: the encoder's input of each row; the prompt for decoder-only models.
        inputs: which of the caller's inputs a row belongs to (several beams share one); None: row r is input r.
        chosen: for diverse beams, the tokens that earlier groups of the same input chose in this step.
    """

    tokens: list[list[int]]
    prompt_lengths: list[int]
    sources: list[list[int]]
    inputs: list[int] | None = None
    chosen: list[list[int]] | None = None

    def __len__(self) -> int:
        return len(self.tokens)


Processor: TypeAlias = Callable[[Scores, Rows], Scores]
"""Scores ``(R, V)`` to processed scores ``(R, V)``; may write in place. ``-inf`` forbids a token."""

Criterion: TypeAlias = Callable[[Rows], NDArray[np.bool_]]
"""Which rows ``(R,)`` are done, asked after every new token."""
