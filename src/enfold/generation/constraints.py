"""Texts that have to occur in the output: what constrained beam search (arXiv 1704.07138) keeps count of.

A constraint is a set of phrases of which one has to be written without interruption. A :class:`Progress` says how far
a beam is with all of them; it is a value, so that beams share and branch freely::

    pending ──a phrase's first token──▶ in progress ──its last──▶ complete
       ▲                                    │
       └────────── another token ───────────┘       (to the end of the queue, from the start)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from enfold.errors import InputError
from enfold.generation.config import GenerationConfig

__all__ = ["DisjunctiveConstraint", "PhrasalConstraint", "Progress", "constraints_of"]

Phrase = tuple[int, ...]


class DisjunctiveConstraint:
    """One of several phrases has to occur.

    Args:
        nested_token_ids: the phrases; none may begin another one, or be there twice.

    Raises:
        InputError: no phrases, empty ones, something else than ids, or phrases that begin others: all listed.
    """

    def __init__(self, nested_token_ids: Sequence[Sequence[int]]) -> None:
        self.phrases = _checked(nested_token_ids)
        self.longest = max(len(phrase) for phrase in self.phrases)

    def following(self, begun: Phrase) -> Phrase:
        """The tokens that continue what was begun, each once, in the order of the phrases."""
        size = len(begun)
        return tuple(dict.fromkeys(phrase[size] for phrase in self.phrases if phrase[:size] == begun))

    def is_complete(self, begun: Phrase) -> bool:
        """Whether what was begun is one of the phrases."""
        return begun in self.phrases

    def __repr__(self) -> str:
        return f"{type(self).__name__}({[list(phrase) for phrase in self.phrases]})"


class PhrasalConstraint(DisjunctiveConstraint):
    """A phrase has to occur.

    Args:
        token_ids: its tokens.

    Raises:
        InputError: an empty phrase, or something else than ids.
    """

    def __init__(self, token_ids: Sequence[int]) -> None:
        super().__init__([token_ids])


@dataclass(frozen=True)
class Progress:
    """How far a row is with its constraints.

    Attributes:
        pending: those that are not begun.
        active: the one being written, and ``begun``, its tokens so far.
        complete: how many are done.
        longest: the most tokens that a phrase of any constraint has.
    """

    pending: tuple[DisjunctiveConstraint, ...]
    active: DisjunctiveConstraint | None = None
    begun: Phrase = ()
    complete: int = 0
    longest: int = 0

    @classmethod
    def start(cls, constraints: Iterable[DisjunctiveConstraint]) -> Progress:
        """No constraint is begun."""
        pending = tuple(constraints)
        return cls(pending, longest=max(constraint.longest for constraint in pending))

    @property
    def completed(self) -> bool:
        """Whether every constraint is fulfilled."""
        return not self.pending and self.active is None

    @property
    def bank(self) -> int:
        """How many steps are made, the measure by which beams are grouped: more is nearer to the end."""
        made = self.longest - self.active.longest + len(self.begun) if self.active else 0
        return self.complete * self.longest + made

    def following(self) -> list[int]:
        """The tokens that make progress: those of the phrase in progress, else the first of every pending one."""
        if self.active:
            return list(self.active.following(self.begun))
        return [token for constraint in self.pending for token in constraint.following(())]

    def advanced(self, tokens: Iterable[int]) -> Progress:
        """The progress after more tokens."""
        result = self
        for token in tokens:
            if result.completed:
                break
            result = result._after(token)
        return result

    def _after(self, token: int) -> Progress:
        if self.active:
            if token in self.active.following(self.begun):
                return self._with(self.active, (*self.begun, token))
            # Begun anew later on: the token that broke it starts no other phrase, as in the reference.
            return replace(self, pending=(*self.pending, self.active), active=None, begun=())
        for place, constraint in enumerate(self.pending):
            if token in constraint.following(()):
                rest = self.pending[:place] + self.pending[place + 1 :]
                return replace(self, pending=rest)._with(constraint, (token,))
        return self

    def _with(self, constraint: DisjunctiveConstraint, begun: Phrase) -> Progress:
        if constraint.is_complete(begun):
            return replace(self, active=None, begun=(), complete=self.complete + 1)
        return replace(self, active=constraint, begun=begun)


def constraints_of(config: GenerationConfig) -> list[DisjunctiveConstraint]:
    """What ``constraints`` and ``force_words_ids`` ask for.

    Raises:
        InputError: a constraint that is none of enfold's, or phrases that can't be used.
    """
    own: list[Any] = config.constraints or []
    if strangers := [constraint for constraint in own if not isinstance(constraint, DisjunctiveConstraint)]:
        raise InputError(f"constraints has {strangers!r}; expected PhrasalConstraint and DisjunctiveConstraint objects")
    words = config.force_words_ids or []
    return own + [(PhrasalConstraint if isinstance(word[0], int) else DisjunctiveConstraint)(word) for word in words]


def _checked(phrases: Sequence[Sequence[int]]) -> tuple[Phrase, ...]:
    problems = [] if phrases else ["there are no phrases"]
    problems += [f"{phrase!r} is no list of token ids" for phrase in phrases if not _is_phrase(phrase)]
    if not problems:
        for place, phrase in enumerate(phrases):
            others = [other for index, other in enumerate(phrases) if index != place]
            longer = [other for other in others if [*other[: len(phrase)]] == [*phrase]]
            problems += [f"{[*other]} begins with {[*phrase]}, which is enough: leave one out" for other in longer]
    if problems:
        raise InputError(f"a constraint can't be used: {'; '.join(problems)}")
    return tuple(tuple(phrase) for phrase in phrases)


def _is_phrase(value: Any) -> bool:
    ids = value if isinstance(value, list | tuple) else ()
    return bool(ids) and all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in ids)
