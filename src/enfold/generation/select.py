"""Greedy search and sampling: each text is one row, and each step chooses one token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from enfold.generation.logits import apply
from enfold.generation.loop import Move, Request, Result, rows_of
from enfold.generation.recipe import Recipe
from enfold.generation.sampling import choose
from enfold.generation.session import Answer
from enfold.generation.stop import done

__all__ = ["Select"]


@dataclass
class _Writing:
    request: Request
    tokens: list[int]
    steps: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def rows(self) -> list[list[int]]:
        return [self.tokens]


class Select:
    """The likeliest token, or one that is drawn."""

    width = 1
    wants_hidden = False

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def begin(self, request: Request) -> _Writing:
        return _Writing(request, list(request.prompt), {name: [] for name in self._recipe.kept})

    def advance(self, writings: Sequence[_Writing], answer: Answer) -> list[Move]:
        recipe = self._recipe
        raw = answer.logits.copy() if "logits" in recipe.kept else None
        scores = apply(recipe.processors, answer.logits, rows_of(writings))
        if recipe.config.do_sample:
            chosen = choose(scores, [writing.request.generator or recipe.generator for writing in writings])
        else:
            chosen = scores.argmax(axis=1)
        recipe.check(scores[np.arange(len(scores)), chosen], writings)
        for index, (writing, token) in enumerate(zip(writings, chosen.tolist(), strict=True)):
            writing.tokens.append(token)
            if raw is not None:
                writing.steps["logits"].append(raw[index])
            if "scores" in recipe.kept:
                writing.steps["scores"].append(scores[index].copy())
        ended = done(recipe.criteria, rows_of(writings))
        return [
            Move([0], [token], [token], [Result(writing.tokens, steps=writing.steps)] if end else None)
            for writing, token, end in zip(writings, chosen.tolist(), ended.tolist(), strict=True)
        ]
