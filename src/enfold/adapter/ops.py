"""What of an engine and of a model a call needs."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from enfold import wiring
from enfold.arch import Architecture
from enfold.cache import Cache
from enfold.config import Config
from enfold.heads import Head, HeadKind

__all__ = ["Array", "Callee", "Ops"]

Array = Any


class Ops(Protocol):
    """An engine's array operations; arrays are its own kind."""

    def integers(self, values: Any, name: str) -> Array:
        """``values`` as an integer array; InputError where they are not whole numbers."""

    def from_numpy(self, values: NDArray[Any]) -> Array:
        """``values`` as the engine's kind of array."""

    def mask(self, values: Any, ids: Array) -> Array:
        """``values`` as booleans of the shape of ``ids``; None is all true."""

    def zeros_like(self, ids: Array) -> Array: ...

    def lengths(self, mask: Array) -> list[int]:
        """True values of each row."""

    def rows(self, mask: Array) -> Array:
        """(B,) 0, 1, 2 …"""

    def starts(self, lengths: list[int], like: Array) -> Array:
        """(B + 1,) cumulated lengths."""

    def scatter(self, flat: Array, mask: Array, fill: float) -> Array:
        """(T, …) to (B, S, …), ``fill`` where the mask is false."""

    def pad_attentions(self, rows: list[Array], mask: Array, key_mask: Array) -> Array:
        """(H, s, s') per sequence to (B, H, S, S'), zero where a mask is false."""

    def cross_entropy(self, logits: Array, labels: Array) -> Array:
        """Mean over the labels that are not -100; logits (N, C)."""

    def squared_error(self, logits: Array, labels: Array) -> Array: ...

    def binary_cross_entropy(self, logits: Array, labels: Array) -> Array: ...

    def is_floating(self, labels: Array) -> bool: ...

    def bounds(self, values: Array) -> tuple[int, int]:
        """Smallest and largest value."""

    def lowest(self, values: Array) -> float:
        """The smallest number of its type."""


class Callee(Protocol):
    """What of a model a call needs."""

    config: Config
    arch: Architecture
    kind: HeadKind
    head: Head

    @property
    def plan(self) -> wiring.Plan: ...

    @property
    def training(self) -> bool: ...

    def new_cache(self) -> Cache: ...
