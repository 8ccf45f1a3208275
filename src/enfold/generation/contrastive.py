"""Contrastive search (arXiv 2202.06417): of the likeliest tokens, the one least like what the text has said already.

Each step reads all candidates, a row of the slot each; their hidden states say how much each would repeat::

    score = (1 - penalty_alpha) · probability - penalty_alpha · highest cosine with the states of the text so far
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from enfold.generation.logits import apply
from enfold.generation.loop import Move, Request, Text, rows_of
from enfold.generation.recipe import Recipe
from enfold.generation.session import Answer
from enfold.generation.stop import done

__all__ = ["Contrastive"]

States = NDArray[np.float32]


@dataclass
class _Writing(Text):
    """A text, the directions of its hidden states (n, D), and what may come next with which probability."""

    directions: States | None = None
    candidates: list[int] = field(default_factory=list)
    probabilities: NDArray[np.float32] | None = None


class Contrastive:
    """The best compromise between likely and new among ``top_k`` tokens.

    Args:
        recipe: the options.
        vocabulary: V, which limits how many candidates there are.
    """

    wants_hidden = True

    def __init__(self, recipe: Recipe, vocabulary: int) -> None:
        self._recipe = recipe
        self._alpha = np.float32(recipe.config.penalty_alpha)
        self.width = min(int(recipe.config.top_k), vocabulary)

    def begin(self, request: Request) -> _Writing:
        return _Writing(request, list(request.prompt), self._recipe.records())

    def advance(self, writings: Sequence[_Writing], answer: Answer) -> list[Move]:
        assert answer.hidden is not None
        width = self.width
        chosen = [
            self._choose(writing, answer.hidden[slot * width : (slot + 1) * width])
            for slot, writing in enumerate(writings)
        ]
        ended = self._ended(writings)
        going = [slot for slot, end in enumerate(ended) if not end]
        if going:
            self._propose([writings[slot] for slot in going], answer.chosen([s * width + chosen[s] for s in going]))
        return [
            Move(
                parents=[chosen[slot]] * width,
                tokens=writing.candidates,
                final=writing.tokens[-1:] if _has_chosen(writing) else [],
                results=[writing.result()] if end else None,
            )
            for slot, (writing, end) in enumerate(zip(writings, ended, strict=True))
        ]

    def _choose(self, writing: _Writing, hidden: Sequence[States]) -> int:
        """Adds the best candidate to the text; its row in the slot. Before the first step all rows are equal."""
        if writing.directions is None or writing.probabilities is None:
            writing.directions = _unit(hidden[0])
            return 0
        new = _unit(np.concatenate(hidden))
        likeness = (writing.directions @ new.T).max(axis=0)
        scores = (np.float32(1) - self._alpha) * writing.probabilities - self._alpha * likeness
        # a token that the options forbid is no candidate, however new it is
        scores[writing.probabilities == 0] = -np.inf
        best = int(scores.argmax())
        writing.tokens.append(writing.candidates[best])
        writing.directions = np.concatenate([writing.directions, new[best : best + 1]])
        return best

    def _ended(self, writings: Sequence[_Writing]) -> list[bool]:
        """Which texts their last token ended; those that have none yet go on."""
        asked = [slot for slot, writing in enumerate(writings) if _has_chosen(writing)]
        ended = [False] * len(writings)
        if asked:
            answers = done(self._recipe.criteria, rows_of([writings[slot] for slot in asked]))
            for slot, end in zip(asked, answers.tolist(), strict=True):
                ended[slot] = end
        return ended

    def _propose(self, writings: Sequence[_Writing], answer: Answer) -> None:
        """The candidates of the next step."""
        recipe = self._recipe
        raw = recipe.raw(answer)
        scores = apply(recipe.processors, answer.logits, rows_of(writings))
        recipe.check(scores.max(axis=1), writings)
        for index, (writing, row) in enumerate(zip(writings, scores, strict=True)):
            best = np.argpartition(-row, self.width - 1)[: self.width]
            best = best[np.argsort(-row[best], kind="stable")]
            weights = np.exp(row - row[best[0]])
            writing.candidates = best.tolist()
            writing.probabilities = weights[best] / weights.sum()
            writing.record(raw[index], row)


def _has_chosen(writing: _Writing) -> bool:
    return len(writing.tokens) > len(writing.request.prompt)


def _unit(states: States) -> States:
    lengths: States = np.linalg.norm(states, axis=1, keepdims=True)
    directions: States = states / lengths.clip(1e-30)
    return directions
