"""How many tokens a pass may read, by how long passes took: so that what waits beside it need not wait long."""

from __future__ import annotations

__all__ = ["Pace"]

_LEAST_TOKENS = 64
"""Of a pass on the slowest machine: fewer would leave the cores waiting for memory."""
_FIRST_TOKENS = 256
"""Of a pass before any was made."""


class Pace:
    """The size of one model's passes.

    Args:
        most: tokens.
        seconds: that a pass may take; where the machine is slower than ``most``, fewer tokens do.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds, self._tokens_per_s = most, seconds, 0.0

    @property
    def budget(self) -> int:
        """Tokens of the next pass."""
        found = self._tokens_per_s * self._seconds if self._tokens_per_s else _FIRST_TOKENS
        return int(min(self._most, max(_LEAST_TOKENS, found)))

    def learn(self, tokens: int, seconds: float) -> None:
        """A pass was made: a running mean of those that are large enough to tell."""
        if tokens >= _LEAST_TOKENS:
            speed = tokens / max(seconds, 1e-6)
            self._tokens_per_s = 0.7 * self._tokens_per_s + 0.3 * speed if self._tokens_per_s else speed
