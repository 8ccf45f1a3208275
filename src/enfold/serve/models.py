"""The models of a server: which there are, which are in memory, and a queue for each."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from enfold.errors import InputError
from enfold.serve.queue import FairQueue

__all__ = ["Served", "name_of", "parse"]

State = Literal["loading", "ready", "asleep", "waking", "failed"]


@dataclass(eq=False)
class Served:
    """A model that requests may name.

    Attributes:
        name: what they call it.
        source: where it comes from.
        dtype: how it is computed.
        queue: the jobs that wait for it.
        state: whether it can answer.
        info: what workers say of it, once it was loaded.
        version: counts loads.
        error: why it could not be loaded.
        used: when it was last asked for, by the monotonic clock.
        since: when it was last loaded, by the same clock.
        deaths: processes in a row that ended while they loaded it.
        weights: worker → bytes that it takes there, or took when it was last there.
    """

    name: str
    source: str
    dtype: str
    queue: FairQueue
    state: State = "loading"
    info: dict[str, Any] = field(default_factory=dict)
    version: int = 1
    error: str | None = None
    used: float = -math.inf
    since: float = -math.inf
    deaths: int = 0
    weights: dict[int, int] = field(default_factory=dict)
    created: int = field(default_factory=lambda: int(time.time()))
    reloads: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes of its weights in all workers."""
        return sum(self.weights.values())

    @property
    def tasks(self) -> list[str]:
        """What it can do."""
        return list(self.info.get("tasks", ()))

    @property
    def public_source(self) -> str | None:
        """Where others find the model, too: no folder or file of this machine."""
        return None if _is_local(self.source) else self.source


def name_of(source: str) -> str:
    """What a model is called that has no other name: its source without prefix and version, or its folder's name."""
    if source.startswith("pypi:"):
        package, _, inside = source.removeprefix("pypi:").partition("#")
        return package.partition("==")[0] + (f"-{Path(inside).stem}" if inside else "")
    if source.startswith("enfold:"):
        return source.removeprefix("enfold:")
    if _is_local(source):
        path = Path(source).expanduser()
        return path.resolve().stem if path.suffix == ".gguf" else path.resolve().name
    return source


def _is_local(source: str) -> bool:
    return source.startswith((".", "/", "~")) or Path(source).expanduser().exists()


def parse(given: str) -> tuple[str, str]:
    """The name and the source of ``SOURCE`` or ``NAME=SOURCE``.

    Raises:
        InputError: there is nothing on one of the sides.
    """
    name, equals, source = given.partition("=")
    if equals and not source.startswith("=") and not name.startswith("pypi:"):
        if not (name.strip() and source.strip()):
            raise InputError(f"got {given!r}, expected a model, or NAME=MODEL")
        return name.strip(), source.strip()
    return name_of(given), given
