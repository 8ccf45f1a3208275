"""Constrained beam search (arXiv 1704.07138): beams that are led to write what has to occur.

At every step the candidates are joined by continuations that bring a constraint forward, however unlikely they are.
Rows are then taken from banks in turn, those of equal progress being a bank, the furthest first: some beams are
always on their way to fulfil the constraints, and likely texts stay in the race::

    bank 2   a ─────▶ 1st   d ─────▶ 4th         a text counts as finished when it ends with every constraint
    bank 1   b ─────▶ 2nd   e                    fulfilled; those that don't are only returned where too few do
    bank 0   c ─────▶ 3rd   f
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from enfold.generation.beam_groups import GroupBeam, OpenGroup
from enfold.generation.beam_hypotheses import Candidate, Group, Rules
from enfold.generation.constraints import DisjunctiveConstraint, Progress, constraints_of
from enfold.generation.loop import Request
from enfold.generation.recipe import Recipe
from enfold.generation.rows import Scores

__all__ = ["ConstrainedBeam"]

_BANK = 100  # what a step of progress weighs in the order of candidates, as in the reference


class ConstrainedGroup(OpenGroup):
    """Hypotheses and how far each of them is; words of the prompt count, as in the reference."""

    def __init__(
        self, request: Request, rules: Rules, first: int, constraints: Sequence[DisjunctiveConstraint]
    ) -> None:
        super().__init__(request, rules, first)
        self.progress = [Progress.start(constraints).advanced(request.prompt)] * rules.width

    def step(self, candidates: Sequence[Candidate], ended: Sequence[bool], scores: Scores) -> list[Candidate]:
        picks = super().step(candidates, ended, scores)
        if not picks:  # all that is left ends here, be it too early
            short = [candidate for candidate in candidates if not self.accepts(candidate)]
            self.spare = [self.hypothesis(each.score, each.tokens, each.path) for each in short]
        return picks

    def accepts(self, candidate: Candidate) -> bool:
        return self.progress[candidate.parent].completed

    def arranged(self, picks: list[Candidate], scores: Scores) -> list[Candidate]:
        forward = self._forward(picks, scores)
        everything = [*picks, *forward]
        progress = [self.progress[each.parent].advanced([each.token]) for each in everything]
        order = _in_turn(everything, progress) if forward else range(len(picks))
        chosen = order[: self.rules.width]
        self.progress = [progress[place] for place in chosen]
        return [everything[place] for place in chosen]

    def _forward(self, picks: Sequence[Candidate], scores: Scores) -> list[Candidate]:
        """The continuations that bring a constraint forward and are not among ``picks``."""
        known = {tuple(pick.tokens) for pick in picks}
        found = []
        for row, progress in enumerate(self.progress):
            for token in progress.following():
                text = (*self.rows[row], token)
                if text not in known:
                    known.add(text)
                    found.append(self.continued(float(scores[row, token] + self.scores[row]), row, token))
        return found

    def close(self) -> None:
        """Finishes the open rows that fulfil every constraint, and the others where these are too few."""
        complete = [row for row, progress in enumerate(self.progress) if progress.completed]
        self.finish_rows(complete)
        if len(complete) < self.rules.wanted:
            self.finish_rows([row for row in range(self.rules.width) if row not in complete])
        self.over = True


def _in_turn(candidates: Sequence[Candidate], progress: Sequence[Progress]) -> list[int]:
    """Candidates in the order of banks and scores, then taken from the banks in turn."""
    banks = [each.bank for each in progress]
    weights = np.array([each.score for each in candidates], np.float32) + np.array(banks, np.float32) * _BANK
    order = np.argsort(-weights, kind="stable").tolist()
    turns: list[int] = []
    for place, index in enumerate(order):
        same = place > 0 and banks[order[place - 1]] == banks[index]
        turns.append(turns[-1] + 1 if same else 0)
    return [order[place] for place in np.argsort(turns, kind="stable").tolist()]


class ConstrainedBeam(GroupBeam):
    """One group of beams, with ``constraints`` or ``force_words_ids``."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self._constraints = constraints_of(recipe.config)

    def _group(self, request: Request, first: int) -> Group:
        return ConstrainedGroup(request, self._rules, first, self._constraints)
