"""What every metric shares: parts that grow by addition, so that streams merge and are kept in a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError

__all__ = ["Array", "Metric", "Part", "Sums", "array_of"]

Array = NDArray[Any]


class Part(Protocol):
    """A piece of a metric's memory, of a size that the number of examples doesn't change."""

    def merge(self, other: Any) -> None:
        """Takes what another part of this kind has seen."""

    def state(self) -> dict[str, Any]:
        """All that the part knows, as JSON has it."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Becomes the part that a state was taken of."""


class Sums:
    """Named numbers and tables of fixed shapes, each of which only ever grows by addition."""

    def __init__(self, zeros: Mapping[str, Array], *, others: Array | None = None) -> None:
        """Starts at zero.

        Args:
            zeros: the names that are known, with zeros of their shapes and types.
            others: zeros for names that come up later; without it there are none.
        """
        self._values = {name: np.array(zero) for name, zero in zeros.items()}
        self._zeros = {name: np.zeros_like(zero) for name, zero in zeros.items()}
        self._others = others

    def __getitem__(self, name: str) -> Array:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def add(self, name: str, amount: Any) -> None:
        """Adds to one of the sums."""
        self._values[name] = self._values.get(name, self._zero(name)) + amount

    def merge(self, other: Sums) -> None:
        """Adds all sums of another stream."""
        for name in other:
            self.add(name, other[name])

    def state(self) -> dict[str, Any]:
        """The sums as nested lists."""
        return {name: value.tolist() for name, value in self._values.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes the sums of a state in place of its own.

        Raises:
            InputError: names, shapes or types that are not those of these sums.
        """
        if missing := sorted(self._zeros.keys() - state.keys()):
            raise InputError(f"the state lacks {', '.join(missing)}: it is not this metric's, or its file is damaged")
        self._values = {name: array_of(state, name, self._zero(name)) for name in state}

    def _zero(self, name: str) -> Array:
        zero = self._zeros.get(name, self._others)
        if zero is None:
            raise InputError(f"the state has {name!r}, expected only {', '.join(self._zeros)}")
        return zero


def array_of(state: Mapping[str, Any], name: str, like: Array) -> Array:
    """A state's list as an array of the shape and type of another; a length of 0 there stands for any.

    Raises:
        InputError: another shape, or no numbers.
    """
    try:
        array: Array = np.asarray(state.get(name))
    except ValueError as error:  # rows of different lengths
        raise InputError(f"the state's {name!r} holds no array ({error}): its file is damaged") from error
    if array.size and array.dtype.kind not in ("iu" if like.dtype.kind == "i" else "iuf"):
        raise InputError(f"the state's {name!r} holds {array.dtype}, expected {like.dtype}: its file is damaged")
    array = array.astype(like.dtype)
    fits = array.ndim == like.ndim and all(
        want in (0, have) for have, want in zip(array.shape, like.shape, strict=True)
    )
    if not fits or not np.isfinite(array).all():
        raise InputError(
            f"the state's {name!r} has shape {array.shape}, expected {like.shape} of finite numbers: "
            "it is another metric's, or its file is damaged"
        )
    return array


def _are_parts(parts: Any) -> bool:
    return isinstance(parts, Mapping) and all(isinstance(part, Mapping) for part in parts.values())


class Metric(ABC):
    """A stream of batches that becomes figures.

    Attributes:
        examples: how many were seen.
    """

    unit: ClassVar[str] = "examples"
    """What is counted."""

    def __init__(self, parts: Mapping[str, Part], settings: Mapping[str, Any] | None = None) -> None:
        """Starts a stream.

        Args:
            parts: all memory that the metric has, by name.
            settings: what it was made with, as JSON has it; streams merge where these are equal.
        """
        self.examples = 0
        self._parts = parts
        self._settings = dict(settings or {})

    @abstractmethod
    def _figures(self) -> dict[str, float]:
        """The figures of one example or more."""

    def result(self) -> dict[str, float]:
        """The figures of all that was seen, by their usual names.

        Raises:
            InputError: nothing was seen.
        """
        self._require_examples()
        return self._figures()

    def merge(self, other: Metric) -> None:
        """Adds what another stream has seen, another process's say; that one stays as it is.

        Raises:
            InputError: a metric of another kind, or made with other settings.
        """
        if not isinstance(other, Metric):
            raise InputError(f"got {type(other).__name__} to merge, expected a {self._kind}")
        self._require_kin(other._kind, other._settings)
        if other is self:
            raise InputError(f"a {self._kind} was merged with itself: its examples would count twice")
        self.examples += other.examples
        for name, part in self._parts.items():
            part.merge(other._parts[name])

    def state(self) -> dict[str, Any]:
        """All that the metric knows, as JSON has it: for a file, or for another process."""
        return {
            "metric": self._kind,
            "settings": self._settings,
            "examples": self.examples,
            "parts": {name: part.state() for name, part in self._parts.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a state of an equal metric in place of what it has seen itself.

        Raises:
            InputError: a state of another kind of metric, of other settings, or a damaged one.
        """
        if not isinstance(state, Mapping) or state.keys() != {"metric", "settings", "examples", "parts"}:
            raise InputError(f"expected what {self._kind}.state() gave, got {str(state)[:80]!r}")
        self._require_kin(state["metric"], state["settings"])
        examples, parts = state["examples"], state["parts"]
        if not isinstance(examples, int) or examples < 0 or not _are_parts(parts):
            raise InputError("the state has no number of examples, or no parts: its file is damaged")
        if parts.keys() != self._parts.keys():
            raise InputError(f"the state has the parts {sorted(parts)}, expected {sorted(self._parts)}")
        before = {name: part.state() for name, part in self._parts.items()}
        try:
            for name, part in self._parts.items():
                part.load(parts[name])
        except InputError:
            for name, part in self._parts.items():
                part.load(before[name])
            raise
        self.examples = examples

    @property
    def _kind(self) -> str:
        return type(self).__name__

    def _require_examples(self) -> None:
        if not self.examples:
            raise InputError(
                f"{self._kind} has seen no {self.unit}, so there is nothing to compute: "
                "call update with a batch first, and look whether the evaluation data are empty"
            )

    def _require_kin(self, kind: Any, settings: Any) -> None:
        """Another stream has to be of this kind and these settings."""
        if kind != self._kind:
            raise InputError(f"got the figures of a {kind}, expected those of a {self._kind}")
        if settings != self._settings:
            raise InputError(
                f"two streams of {self._kind} that were made differently can't be one: {self._settings} and {settings}"
            )
