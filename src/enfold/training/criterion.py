"""What tells the better of two evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Criterion"]


@dataclass(frozen=True)
class Criterion:
    """A metric, and whether more or less of it is better.

    Attributes:
        metric: its name.
        sign: 1 where more is better, -1 where less is.
    """

    metric: str
    sign: int = 1

    @classmethod
    def of(cls, spelt: str) -> Criterion:
        """From ``"accuracy"``, or ``"-loss"`` where less is better."""
        return cls(spelt.removeprefix("-"), -1 if spelt.startswith("-") else 1)

    def value(self, metrics: Mapping[str, float]) -> float:
        """An evaluation's, as more is better.

        Raises:
            KeyError: it has no such metric.
        """
        return self.sign * metrics[self.metric]
