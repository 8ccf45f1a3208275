"""Many texts written at once, whoever asked for them.

::

    item ──script──▶ prompts ─┐                            ┌─▶ texts ──script──▶ more prompts, or a record
    item ──script──▶ prompts ─┴─▶ model.generate_many ─────┴─▶ texts ──script──▶ …

An item's script is a generator: it yields prompts, is sent what was written on from them, and returns a record. A
long document asks twice (its parts, then their summaries), a translation for all its sentences at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from enfold.generation.loop import Result

__all__ = ["Ids", "Script", "in_order"]

Record = TypeVar("Record")
Ids = list[int]
Script = Generator[list[Ids], list[list[Result]], Record]
"""Yields prompts, is sent the results of each, returns a record."""


@dataclass
class _Running:
    """A script that waits for results."""

    number: int
    script: Script[Any]
    results: list[list[Result]] = field(default_factory=list)
    missing: int = 0


class _Scripts:
    """Scripts that were begun, the prompts that they asked for, and the records of those that are done."""

    def __init__(self, scripts: Iterable[Script[Any]]) -> None:
        self._source = enumerate(scripts)
        self._asked: dict[int, tuple[_Running, int]] = {}
        self._records: dict[int, Any] = {}
        self._turn = 0
        self.waiting: deque[tuple[_Running, int, Ids]] = deque()

    def prompts(self) -> Iterator[Ids]:
        """Prompts, as long as there are any; the next script is begun when those before have nothing more to ask."""
        numbers = count()
        while self.waiting or self._begin():
            if self.waiting:
                running, place, prompt = self.waiting.popleft()
                self._asked[next(numbers)] = (running, place)
                yield prompt

    def take(self, index: int, results: list[Result]) -> None:
        """The results of the prompt of this number: the script that asked goes on once it has all."""
        running, place = self._asked.pop(index)
        running.results[place] = results
        running.missing -= 1
        if not running.missing:
            self._advance(running, running.results)

    def ready(self) -> Iterator[Any]:
        """The records whose turn it is."""
        while self._turn in self._records:
            yield self._records.pop(self._turn)
            self._turn += 1

    def _begin(self) -> bool:
        number, script = next(self._source, (0, None))
        if script is not None:
            self._advance(_Running(number, script), None)
        return script is not None

    def _advance(self, running: _Running, results: list[list[Result]] | None) -> None:
        try:
            prompts = next(running.script) if results is None else running.script.send(results)
        except StopIteration as end:
            self._records[running.number] = end.value
            return
        running.results, running.missing = [[]] * len(prompts), len(prompts)
        self.waiting.extend((running, place, prompt) for place, prompt in enumerate(prompts))


def in_order(
    scripts: Iterable[Script[Record]], generate: Callable[[Iterable[Ids]], Iterator[tuple[int, list[Result]]]]
) -> Iterator[Record]:
    """Runs scripts, and gives their records in their order.

    Args:
        scripts: read as their prompts are needed, so that there may be any number; each asks for one or more at once.
        generate: prompts to the number of each and its results, in any order.
    """
    state = _Scripts(scripts)
    more = True
    while more:
        for index, results in generate(state.prompts()):
            state.take(index, results)
            yield from state.ready()
        yield from state.ready()
        more = bool(state.waiting)  # what the last results led to, when the prompts had already come to an end
