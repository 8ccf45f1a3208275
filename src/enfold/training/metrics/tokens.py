"""Language models: how surprised they are, and how often their likeliest token is the right one."""

from __future__ import annotations

import math
from typing import SupportsFloat, SupportsIndex

import numpy as np

from enfold.errors import InputError, NumericalError
from enfold.training.metrics.base import Metric, Sums

__all__ = ["Perplexity", "TokenAccuracy"]

_LARGEST = 700.0
"""Nats whose exponential still is a float64."""

_ROUNDING = 1e-3
"""Nats by which a token that is certain may be more than that, in 16 bits."""


class Perplexity(Metric):
    """``loss`` (nats a token), ``perplexity`` (infinite for losses over 700 nats) and ``bits_per_token``."""

    unit = "tokens"

    def __init__(self) -> None:
        """Starts a stream."""
        self._sums = Sums({"nats": np.zeros((), np.float64)})
        super().__init__({"sums": self._sums})

    def update(self, negative_log_likelihood: SupportsFloat, tokens: SupportsIndex) -> None:
        """Counts a batch.

        Args:
            negative_log_likelihood: the sum over the batch's predicted tokens in nats; not their mean.
            tokens: how many tokens were predicted.

        Raises:
            InputError: no number, a negative one, or a sum without tokens.
            NumericalError: NaN or infinite.
        """
        count = _count("tokens", tokens)
        try:
            nats = float(negative_log_likelihood)
        except (TypeError, ValueError) as error:
            raise InputError(f"got {negative_log_likelihood!r}, expected the sum of a batch's losses") from error
        if not math.isfinite(nats):
            raise NumericalError(f"the negative log likelihood of {count} tokens is {nats}, expected a finite sum")
        if nats < -_ROUNDING * count or (nats and not count):
            raise InputError(
                f"the negative log likelihood of {count} tokens is {nats}, expected 0 or more, and 0 without tokens"
            )
        self._sums.add("nats", max(nats, 0.0))
        self.examples += count

    def _figures(self) -> dict[str, float]:
        loss = float(self._sums["nats"]) / self.examples
        return {
            "loss": loss,
            "perplexity": math.exp(loss) if loss <= _LARGEST else math.inf,
            "bits_per_token": loss / math.log(2),
        }


class TokenAccuracy(Metric):
    """``accuracy`` over tokens, those that a masked language model had to guess."""

    unit = "tokens"

    def __init__(self) -> None:
        """Starts a stream."""
        self._sums = Sums({"correct": np.zeros((), np.int64)})
        super().__init__({"sums": self._sums})

    def update(self, correct: SupportsIndex, total: SupportsIndex) -> None:
        """Counts a batch.

        Args:
            correct: tokens whose likeliest guess is right.
            total: tokens that were guessed.

        Raises:
            InputError: no counts, or more correct than there are.
        """
        right, count = _count("correct", correct), _count("total", total)
        if right > count:
            raise InputError(f"got {right} correct tokens of {count}, expected no more than there are")
        self._sums.add("correct", right)
        self.examples += count

    def _figures(self) -> dict[str, float]:
        return {"accuracy": float(self._sums["correct"]) / self.examples}


def _count(name: str, value: SupportsIndex) -> int:
    try:
        count = value.__index__()
    except (AttributeError, TypeError) as error:
        raise InputError(f"{name} is {value!r}, expected a whole number") from error
    if count < 0:
        raise InputError(f"{name} is {count}, expected 0 or more")
    return count
