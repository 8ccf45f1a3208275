"""The loop that writes: texts join, all rows take a step together, finished texts leave.

What is decided at a step (which token, which beam goes on) is a :class:`Strategy`; the loop moves the cache
accordingly. It is a Python generator of events: closing it ends the work and frees the cache.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import numpy as np

from enfold.generation.rows import Rows, Scores
from enfold.generation.session import Answer, Session

__all__ = ["Event", "Move", "Request", "Result", "Strategy", "Text", "Writing", "rows_of", "write"]


@dataclass
class Request:
    """A text to be written.

    Attributes:
        index: which of the caller's inputs it belongs to.
        prompt: tokens that it begins with, at least one.
        source: the encoder's tokens, for an encoder-decoder model.
        generator: draws its random numbers, so that they don't depend on other texts.
        number: which of the input's several texts (``num_return_sequences``) this is.
        negative: the prompt that guidance leads away from, instead of the prompt's last token.
    """

    index: int
    prompt: list[int]
    source: list[int] | None = None
    generator: np.random.Generator | None = None
    number: int = 0
    negative: list[int] | None = None


@dataclass
class Result:
    """A finished text: all its tokens, prompt included, and what was asked to be kept.

    ``score`` is a beam's; ``steps`` are records of each token, such as processed scores (V,) by name.
    """

    tokens: list[int]
    score: float | None = None
    steps: dict[str, list[Any]] = field(default_factory=dict)


@dataclass
class Move:
    """What a strategy decided for one text.

    Attributes:
        parents: for each row of its slot, the row of the slot (0 …) whose past it goes on from.
        tokens: for each row, the token that it gets.
        final: tokens of the text that can't change any more, and were not reported before.
        results: the finished text or texts, best first; None while it goes on.
    """

    parents: list[int]
    tokens: list[int]
    final: list[int]
    results: list[Result] | None = None


class Writing(Protocol):
    """A text while it is written: what a strategy keeps for each request."""

    request: Request

    @property
    def rows(self) -> list[list[int]]:
        """The tokens of each row of its slot, prompt included."""


@dataclass
class Text:
    """A text of which one row is kept, and the records of its steps that are wanted."""

    request: Request
    tokens: list[int]
    steps: dict[str, list[Any]]

    @property
    def rows(self) -> list[list[int]]:
        """Its one row."""
        return [self.tokens]

    def record(self, logits: Scores, scores: Scores) -> None:
        """Keeps copies of one step's logits and processed scores, (V,) each, where they are wanted."""
        for name, row in (("logits", logits), ("scores", scores)):
            if name in self.steps:
                self.steps[name].append(row.copy())

    def result(self) -> Result:
        """The text as it is now."""
        return Result(self.tokens, steps=self.steps)


class Strategy(Protocol):
    """Decides, at every step, how each text goes on.

    ``width`` is the rows of a slot; ``wants_hidden`` whether answers must carry hidden states.
    """

    width: int
    wants_hidden: bool

    def begin(self, request: Request) -> Any:
        """A :class:`Writing` for a new text."""

    def advance(self, writings: Sequence[Any], answer: Answer) -> list[Move]:
        """One move for each text.

        Args:
            writings: in the order of their slots.
            answer: for ``width`` rows of each, in order; at a text's first step they are equal.
        """


@dataclass
class Event:
    """News of a text: tokens that are final, or its results, which are its last event."""

    request: Request
    final: list[int]
    results: list[Result] | None = None


def rows_of(writings: Sequence[Writing]) -> Rows:
    """What processors see of all rows of these texts."""
    tokens, prompts, sources, inputs = [], [], [], []
    for writing in writings:
        request = writing.request
        for row in writing.rows:
            tokens.append(row)
            prompts.append(len(request.prompt))
            sources.append(request.prompt if request.source is None else request.source)
            inputs.append(request.index)
    return Rows(tokens, prompts, sources, inputs)


def write(
    session: Session, strategy: Strategy, requests: Iterable[Request], *, slots: int
) -> Generator[Event, None, None]:
    """Writes texts until all are finished; at most ``slots`` at once, the next joins when one leaves."""
    waiting = iter(requests)
    writings: list[Any] = []
    answer: Answer | None = None
    width = strategy.width
    while True:
        joining = list(islice(waiting, slots - len(writings)))
        if joining:
            joining.sort(key=lambda each: (len(each.source or ()), len(each.prompt)))  # neighbours are read together
            sources = [each.source for each in joining if each.source is not None]
            negatives = [each.negative for each in joining]
            first = session.open([each.prompt for each in joining], sources or None, negatives).repeated(width)
            answer = first if answer is None else answer.followed_by(first)
            writings += [strategy.begin(each) for each in joining]
        if not writings or answer is None:
            return
        moves = strategy.advance(writings, answer)
        for writing, move in zip(list(writings), moves, strict=True):
            if move.final or move.results is not None:
                yield Event(writing.request, move.final, move.results)
        session.follow([slot * width + parent for slot, move in enumerate(moves) for parent in move.parents])
        for slot in reversed(range(len(moves))):
            if moves[slot].results is not None:
                last = session.close(slot)
                writings[slot], moves[slot] = writings[last], moves[last]
                del writings[last], moves[last]
        answer = session.step([token for move in moves for token in move.tokens]) if moves else None
