"""Greedy search and sampling: each text is one row, and each step chooses one token."""

from __future__ import annotations

from collections.abc import Sequence

from enfold.generation.logits import apply
from enfold.generation.loop import Move, Request, Text, rows_of
from enfold.generation.recipe import Recipe
from enfold.generation.sampling import choose
from enfold.generation.session import Answer
from enfold.generation.stop import done

__all__ = ["Select"]


class Select:
    """The likeliest token, or one that is drawn."""

    width = 1
    wants_hidden = False

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def begin(self, request: Request) -> Text:
        return self._recipe.text(request)

    def advance(self, writings: Sequence[Text], answer: Answer) -> list[Move]:
        recipe = self._recipe
        raw = recipe.raw(answer)
        scores = apply(recipe.processors, answer.logits, rows_of(writings))
        recipe.check(scores.max(axis=1), writings)
        if recipe.config.do_sample:
            chosen = choose(scores, [writing.request.generator or recipe.generator for writing in writings])
        else:
            chosen = scores.argmax(axis=1)
        for index, (writing, token) in enumerate(zip(writings, chosen.tolist(), strict=True)):
            writing.tokens.append(token)
            writing.record(raw[index], scores[index])
        ended = done(recipe.criteria, rows_of(writings))
        return [
            Move([0], [token], [token], [writing.result()] if end else None)
            for writing, token, end in zip(writings, chosen.tolist(), ended.tolist(), strict=True)
        ]
