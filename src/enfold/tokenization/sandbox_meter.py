"""The meter of a template: what one rendering has cost so far, and how large values are."""

from __future__ import annotations

import time
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from jinja2.runtime import LoopContext

__all__ = [
    "CONTAINERS",
    "MAX_NUMBER",
    "MAX_SECONDS",
    "MAX_SIZE",
    "MAX_WORK",
    "PER_STEP",
    "RUN",
    "Run",
    "TooMuchError",
    "limit",
    "made",
    "metered",
    "seen",
    "size_of",
    "spend",
    "whole",
]

MAX_SIZE = 16_000_000
"""The largest text, list or output that a template may make, in characters and entries."""
MAX_WORK = 1_000_000
"""The most steps of one rendering; a step that handles much counts once more for every 256 characters or entries."""
MAX_SECONDS = 5.0
"""The longest that one rendering may compute, in its thread's own time: a busy machine stops no honest template."""
MAX_NUMBER = 10_000
"""The largest width or count, and the most bytes of a whole number, whose products take long."""
PER_STEP = 256
CONTAINERS = (list, tuple, Mapping, set, frozenset, KeysView, ValuesView, ItemsView)
_MAX_DEPTH = 100
"""How deep containers may lie in each other: Python's own hashing of them ends the process where it is too deep."""


class TooMuchError(Exception):
    """The template wants more work, time or memory than any conversation needs."""


@dataclass(slots=True)
class Run:
    """One rendering: what it has cost, what it has written, and where the assistant's own words are in that.

    ``sizes`` are those of the containers met so far, which nothing can change in the sandbox, by their identity;
    ``depths`` how deep they are.
    """

    work: int = 0
    written: int = 0
    ends: float = field(default_factory=lambda: time.thread_time() + MAX_SECONDS)
    chunks: list[str] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    sizes: dict[int, tuple[Any, int]] = field(default_factory=dict)
    depths: dict[int, int] = field(default_factory=dict)


RUN: ContextVar[Run] = ContextVar("template run")


def spend(steps: int) -> None:
    """Counts steps; raises TooMuchError where they or the time are used up."""
    current = RUN.get()
    current.work += steps
    if current.work > MAX_WORK:
        raise TooMuchError(f"it takes more than {MAX_WORK:,} steps")
    if time.thread_time() > current.ends:
        raise TooMuchError(f"it computes for more than {MAX_SECONDS:g} seconds")


def limit(size: int, most: int = MAX_SIZE) -> None:
    """Raises TooMuchError where a value is larger than it may be."""
    if size > most:
        raise TooMuchError(f"it makes a value of {size:,} characters or entries")


def size_of(value: Any) -> int:
    """Characters and entries of a value with all that is in it; a container is counted once and then known."""
    if isinstance(value, str):
        return 1 + len(value)
    if isinstance(value, int):
        return 1 + value.bit_length() // 8
    if not isinstance(value, CONTAINERS):
        return 1
    sizes, depths = RUN.get().sizes, RUN.get().depths
    if (known := sizes.get(id(value))) is not None:
        return known[1]
    total, depth = 1, 1
    for each in [*value.keys(), *value.values()] if isinstance(value, Mapping) else value:
        total += size_of(each)
        depth = max(depth, 1 + depths.get(id(each), 0))
        if total > MAX_SIZE:
            raise TooMuchError(f"it makes a value of more than {MAX_SIZE:,} characters and entries")
    if depth > _MAX_DEPTH:
        raise TooMuchError(f"it puts more than {_MAX_DEPTH} lists or mappings into each other")
    spend(len(value) // 4)
    sizes[id(value)] = value, total  # the value itself is kept, so that no other gets its identity
    depths[id(value)] = depth
    return total


def seen(value: Any) -> Any:
    """A value that is looked at as a whole."""
    spend(1 + size_of(value) // PER_STEP)
    return value


def made(value: Any) -> Any:
    """A value that was made: a text in full, a container from parts that exist already."""
    size = size_of(value)
    limit(size, MAX_NUMBER if isinstance(value, int) else MAX_SIZE)
    spend(1 + (size if isinstance(value, str) else len(value) if hasattr(value, "__len__") else 0) // PER_STEP)
    return value


def metered(values: Iterable[Any], steps: int = 1) -> Iterator[Any]:
    """The same values, each of which costs ``steps`` when it is taken."""
    for value in values:
        spend(steps)
        yield value


def whole(value: Any) -> Any:
    """A list for what would be made while it is read, so that its size can be known before."""
    return list(metered(value)) if isinstance(value, Iterator) and not isinstance(value, LoopContext) else value
