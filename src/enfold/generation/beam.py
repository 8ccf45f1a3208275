"""Beam search: several hypotheses of each text, side by side in the rows of its slot, of which the best are kept.

::

    rows, with a score each (the sum of their tokens' log-probabilities)
      │  log-softmax, processors, + the row's score
    candidates: the best of all continuations of all rows, or as many that are drawn
      │                                         │
      │ ended, and among the first W            │ not ended: the best W
    finished: the W best by                   rows of the next step
    score / length ** length_penalty

A text is over when no row can become better than what is finished (:meth:`Group.improvable` says what is taken for
granted there), or none is left. A row that is left without a candidate of its own goes on as a copy of the first row,
with a score that never comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from enfold.generation.beam_hypotheses import BeamText, Candidate, Group, Hypothesis, Rules
from enfold.generation.beam_scores import best, drawn
from enfold.generation.logits import apply
from enfold.generation.loop import Move, Request, Result, rows_of
from enfold.generation.numerics import log_softmax
from enfold.generation.recipe import Recipe
from enfold.generation.rows import Scores
from enfold.generation.session import Answer
from enfold.generation.stop import done

__all__ = ["Beam"]

_NO_TEXT = -1e9  # the score of a text that could not be written, as in the reference


@dataclass
class _Continued:
    """The candidates of a group, as processors and criteria look at rows."""

    request: Request
    rows: list[list[int]]


class Beam:
    """Greedy beam search, and beam sampling: candidates that are drawn rather than the best.

    Which hypotheses are kept is what transformers 5 decides: a row is finished by any criterion, its length too.
    """

    wants_hidden = False

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._groups: int = recipe.config.num_beam_groups
        self._rules = Rules.of(recipe, self._groups)
        self.width: int = recipe.config.num_beams

    def begin(self, request: Request) -> BeamText:
        groups = [self._group(request, number * self._rules.width) for number in range(self._groups)]
        return BeamText(request, groups, len(request.prompt))

    def advance(self, writings: Sequence[BeamText], answer: Answer) -> list[Move]:
        logits = np.asarray(answer.logits, np.float32)
        raw = logits.copy() if "logits" in self._recipe.kept else None
        scores = log_softmax(logits)
        moved: list[list[list[Candidate]]] = [[] for _ in writings]
        for number in range(self._groups):
            live = [index for index, writing in enumerate(writings) if not writing.groups[number].over]
            picks = self._in_turn(writings, number, live, scores, raw, moved) if live else []
            found = dict(zip(live, picks, strict=True))
            for index, so_far in enumerate(moved):
                so_far.append(found.get(index, []))
        self._close(writings)
        return [self._move(writing, picks) for writing, picks in zip(writings, moved, strict=True)]

    def _group(self, request: Request, first: int) -> Group:
        return Group(request, self._rules, first)

    def _in_turn(
        self,
        writings: Sequence[BeamText],
        number: int,
        live: Sequence[int],
        scores: Scores,
        raw: Scores | None,
        moved: Sequence[Sequence[Sequence[Candidate]]],
    ) -> list[list[Candidate]]:
        """Moves the group of this number on in those texts where it's not over.

        Args:
            writings: all texts.
            number: which of their groups.
            live: in which texts.
            scores: (R, V) of all rows.
            raw: (R, V) before log-softmax, where they are kept.
            moved: what earlier groups of each text went on with.

        Returns:
            What the rows of each group go on from.
        """
        groups = [writings[index].groups[number] for index in live]
        places = np.arange(len(scores)).reshape(len(writings), self._groups, -1)[live, number].ravel()
        rows = rows_of(groups)
        rows.chosen = [self._tokens(moved[index]) for index in live for _ in range(self._rules.width)]
        mine = scores if len(places) == len(scores) else scores[places]
        mine = apply(self._recipe.processors, mine, rows)
        self._keep(groups, "scores", mine)
        if raw is not None:
            self._keep(groups, "logits", raw[places])
        candidates = self._candidates(groups, mine)
        ended = self._ended(groups, candidates)
        parts = mine.reshape(len(groups), self._rules.width, -1)
        both = zip(groups, candidates, ended, parts, strict=True)
        return [group.step(found, ends, part) for group, found, ends, part in both]

    def _ended(self, groups: Sequence[Group], candidates: Sequence[Sequence[Candidate]]) -> list[list[bool]]:
        """Which candidates of each group are finished texts."""
        both = list(zip(groups, candidates, strict=True))
        rows = [_Continued(group.request, [each.tokens for each in mine]) for group, mine in both]
        answers = iter(done(self._recipe.criteria, rows_of(rows)).tolist())
        return [[next(answers) for _ in mine] for mine in candidates]

    def _close(self, writings: Sequence[BeamText]) -> None:
        """Ends what a criterion ends after the step; here all that are ended were candidates already."""

    def _keep(self, groups: Sequence[Group], name: str, scores: Scores) -> None:
        if name in self._recipe.kept:
            for group, mine in zip(groups, np.split(scores, len(groups)), strict=True):
                group.steps.setdefault(name, []).append(mine.copy())

    def _candidates(self, groups: Sequence[Group], scores: Scores) -> list[list[Candidate]]:
        """What each group may go on with, the best (or what was drawn) first."""
        recipe, count = self._recipe, self._rules.candidates
        before = np.stack([group.scores for group in groups])
        if recipe.config.do_sample:
            generators = [group.request.generator or recipe.generator for group in groups]
            self._check(groups, (scores.max(axis=1).reshape(before.shape) + before).max(axis=1))
            found = drawn(scores, before, count, generators)
        else:
            found = best(scores, before, count)
            self._check(groups, found.scores.max(axis=1))
        columns = zip(groups, *(part.tolist() for part in found), strict=True)
        return [
            [group.continued(*each) for each in zip(*parts, strict=True) if each[0] > -np.inf]
            for group, *parts in columns
        ]

    def _check(self, groups: Sequence[Group], highest: NDArray[np.float32]) -> None:
        """Refuses NaN, and groups without a possible token; where something is finished these just end."""
        judged = [place for place, group in enumerate(groups) if highest[place] != -np.inf or not group.finished]
        self._recipe.check(highest[judged], [groups[place] for place in judged])

    def _move(self, writing: BeamText, moved: Sequence[Sequence[Candidate]]) -> Move:
        """What a text's groups decided, as the loop takes it; a group that is over marks time."""
        parents: list[int] = []
        for number, picks in enumerate(moved):
            first = number * self._rules.width
            parents += [first + pick.parent for pick in picks] or range(first, first + self._rules.width)
        tokens = self._tokens(moved)
        if not all(group.over for group in writing.groups):
            return Move(parents, tokens, writing.settled())
        results = self._results(writing)
        return Move(list(range(self.width)), tokens, results[0].tokens[writing.reported :], results)

    def _tokens(self, moved: Sequence[Sequence[Candidate]]) -> list[int]:
        """The tokens that groups chose; padding in those that are over, as in the reference."""
        pad = self._recipe.config.pad_token_id
        idle = pad if pad is not None and pad >= 0 else (self._rules.ends or (0,))[0]
        return [token for picks in moved for token in [each.token for each in picks] or [idle] * self._rules.width]

    def _results(self, writing: BeamText) -> list[Result]:
        """The best finished hypotheses; where there are too few, texts without a token of their own."""
        nothing = Hypothesis(_NO_TEXT, writing.request.prompt, [])
        spare = [each for group in writing.groups for each in group.spare]
        found = [*writing.finished, *spare, *[nothing] * self._rules.wanted][: self._rules.wanted]
        results = [Result(each.tokens, each.score, {"beam_indices": each.path}) for each in found]
        results[0].steps |= {name: writing.records(name) for name in self._recipe.kept}
        return results
