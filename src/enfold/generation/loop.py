"""The loop that writes: texts join, all rows take a step together, finished texts leave.

What is decided at a step (which token, which beam goes on) is a :class:`Strategy`; the loop moves the cache
accordingly. It is a Python generator of events: closing it ends the work and frees the cache.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import numpy as np

from enfold.generation.rows import Rows, Scores
from enfold.generation.session import Answer, Opening, Session, joined
from enfold.pace import Pace

__all__ = ["Event", "Loop", "Move", "Request", "Result", "Strategy", "Text", "Writing", "rows_of", "write"]


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
        error: why the text can't go on.
    """

    parents: list[int]
    tokens: list[int]
    final: list[int]
    results: list[Result] | None = None
    error: Exception | None = None


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
    """News of a text: tokens that are final, or its results or an error, which are its last event."""

    request: Request
    final: list[int]
    results: list[Result] | None = None
    error: Exception | None = None

    @property
    def ended(self) -> bool:
        """Whether it is the text's last."""
        return self.results is not None or self.error is not None


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


@dataclass
class _Joining:
    """A text that has no slot yet, and what was read of its prompt where that is read in pieces."""

    request: Request
    strategy: Strategy
    opening: Opening | None = None


@dataclass
class _Seat:
    """A text in its slot, what decides for it, and the tokens that its rows get next."""

    writing: Any
    strategy: Strategy
    tokens: list[int] = field(default_factory=list)


class Loop:
    """Texts that are written together: they join at any time, all take a step, the finished ones leave.

    Texts may have strategies of their own, as long as the session's slots have rows for them.

    Args:
        session: where they are written.
        pace: says how many tokens of prompts one step reads, so that long ones don't hold up the texts beside them;
            None for all.
    """

    def __init__(self, session: Session, pace: Pace | None = None) -> None:
        self.session, self._pace = session, pace
        self._seats: list[_Seat] = []
        self._joining: list[_Joining] = []

    def __len__(self) -> int:
        return len(self._seats) + len(self._joining)

    def join(self, requests: Iterable[Request], strategy: Strategy) -> None:
        """Texts that are begun with the next step, or as soon as their prompts are read."""
        self._joining += [_Joining(request, strategy) for request in requests]

    def leave(self, request: Request) -> None:
        """Ends a text that nobody wants any more; what isn't there is no matter."""
        self._joining = [each for each in self._joining if each.request is not request]
        for slot, seat in enumerate(self._seats):
            if seat.writing.request is request:
                self._close(slot)
                return

    def end(self) -> None:
        """Ends all texts."""
        self._joining = []
        while self._seats:
            self._close(len(self._seats) - 1)

    def step(self) -> list[Event]:
        """Runs the model over one more token of each text and over the prompts of new ones, and decides.

        An error of what decides is the news of its texts, which it ends.
        """
        answers = [self.session.step([token for seat in self._seats for token in seat.tokens])] if self._seats else []
        if self._joining:
            answers += self._begin_some()
        if not answers:
            return []
        moves = self._moves(joined(answers) if len(answers) > 1 else answers[0])
        width, events = self.session.width, []
        self.session.follow([slot * width + parent for slot, move in enumerate(moves) for parent in move.parents])
        for seat, move in zip(self._seats, moves, strict=True):
            seat.tokens = move.tokens
            events.append(Event(seat.writing.request, move.final, move.results, move.error))
        for slot in reversed(range(len(events))):
            if events[slot].ended:
                self._close(slot)
        return [event for event in events if event.final or event.ended]

    def _begin_some(self) -> list[Answer]:
        """Reads prompts, as many as the pace allows; what the model says to those that are read whole.

        The eldest gets half of the budget and what the others leave: those that fit, the shortest first. Where it has
        more tokens than that, a piece of them is read.
        """
        pace, joining, self._joining = self._pace, self._joining, []
        if pace is None:
            return [self._open(joining)]
        (size, eldest), *others = [(self._unread(each), each) for each in joining]
        begun: list[_Joining] = []
        left = budget = pace.budget
        for tokens, each in sorted(others, key=lambda other: other[0]):
            if left - tokens < budget // 2:
                break
            left -= tokens
            begun.append(each)
        began = time.perf_counter()
        if size <= left or not self.session.in_pieces:
            left -= size
            begun.append(eldest)
        else:
            eldest.opening = eldest.opening or Opening(self.session, eldest.request.prompt)
            eldest.opening.read(left)
            left = 0
        self._joining = [each for each in joining if all(each is not other for other in begun)]
        answers = [self._open(begun)] if begun else []
        pace.learn(budget - left, time.perf_counter() - began)
        return answers

    def _unread(self, joining: _Joining) -> int:
        """Tokens that a text's beginning takes."""
        request = joining.request
        if joining.opening is not None:
            return joining.opening.left
        return len(request.source or ()) + len(request.prompt) - self.session.donor(request.prompt)[0]

    def _open(self, begun: list[_Joining]) -> Answer:
        # neighbours are read together
        begun.sort(key=lambda each: (len(each.request.source or ()), len(each.request.prompt)))
        requests = [each.request for each in begun]
        sources = [each.source for each in requests if each.source is not None]
        negatives = [each.negative for each in requests]
        read = [each.opening.prefix if each.opening else None for each in begun]
        first = self.session.open([each.prompt for each in requests], sources or None, negatives, read)
        self._seats += [_Seat(each.strategy.begin(each.request), each.strategy) for each in begun]
        return first.repeated(self.session.width)

    def _moves(self, answer: Answer) -> list[Move]:
        """What each text's strategy decides, those of one strategy together."""
        groups: dict[int, list[int]] = {}
        for slot, seat in enumerate(self._seats):
            groups.setdefault(id(seat.strategy), []).append(slot)
        moves: dict[int, Move] = {}
        width = self.session.width
        for slots in groups.values():
            rows = [slot * width + row for slot in slots for row in range(width)]
            own = answer if len(groups) == 1 else answer.chosen(rows)
            try:
                decided = self._seats[slots[0]].strategy.advance([self._seats[slot].writing for slot in slots], own)
            except Exception as error:  # a processor of one text is no matter of the others
                decided = [Move([*range(width)], [], [], error=error)] * len(slots)
            moves.update(zip(slots, decided, strict=True))
        return [moves[slot] for slot in range(len(self._seats))]

    def _close(self, slot: int) -> None:
        seat = self._seats[slot]
        rows = seat.writing.rows
        last = self.session.close(slot, rows[0] if self.session.width == 1 else seat.writing.request.prompt)
        self._seats[slot] = self._seats[last]
        self._seats.pop()


def write(
    session: Session, strategy: Strategy, requests: Iterable[Request], *, slots: int
) -> Generator[Event, None, None]:
    """Writes texts until all are finished; at most ``slots`` at once, the next joins when one leaves.

    What was read of texts that are given up in between is kept, where the session keeps beginnings.

    Raises:
        Exception: what decides can't.
    """
    waiting = iter(requests)
    loop = Loop(session)
    try:
        while True:
            loop.join(islice(waiting, slots - len(loop)), strategy)
            if not len(loop):
                return
            for event in loop.step():
                if event.error is not None:
                    raise event.error
                yield event
    except GeneratorExit:
        loop.end()
        raise
