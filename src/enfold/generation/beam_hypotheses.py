"""What beam searches keep of a text: rows that run in groups, hypotheses that are finished, and the rules for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np

from enfold.errors import InputError
from enfold.generation.loop import Request
from enfold.generation.recipe import Recipe
from enfold.generation.rows import Scores

__all__ = ["BeamText", "Candidate", "Group", "Hypothesis", "Rules"]


@dataclass(frozen=True)
class Candidate:
    """A continuation of a row.

    Attributes:
        score: the row's score and the token's.
        parent: the row, counted within its group.
        token: what it goes on with.
        tokens: all that it says.
        path: for each token that was written, the row of the slot that it continued.
    """

    score: float
    parent: int
    token: int
    tokens: list[int]
    path: list[int]


@dataclass(frozen=True)
class Hypothesis:
    """A finished text, its final score, and for each new token the row of the slot that it continued."""

    score: float
    tokens: list[int]
    path: list[int]


@dataclass(frozen=True)
class Rules:
    """What decides which hypotheses are kept, and how long better ones are looked for.

    Attributes:
        width: beams of a group.
        wanted: texts to return.
        length_penalty: the exponent of the length that scores are divided by: over 0 favours long texts.
        early_stopping: when a group with ``width`` finished hypotheses ends: at once (True), when its best row falls
            behind them at its present length (False), or at the length most favourable to it ("never").
        limit: a text's greatest length, from that of its prompt.
        ends: the tokens that end a text.
    """

    width: int
    wanted: int
    length_penalty: float
    early_stopping: bool | str
    limit: Callable[[int], int]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, recipe: Recipe, groups: int) -> Rules:
        """The options' rules."""
        config = recipe.config
        return cls(
            width=config.num_beams // groups,
            wanted=config.num_return_sequences,
            length_penalty=config.length_penalty,
            early_stopping=config.early_stopping,
            limit=recipe.limit,
            ends=config.eos_token_ids,
        )

    @property
    def candidates(self) -> int:
        """How many are needed so that ``width`` remain where every row may end in every way."""
        return max(2, len(self.ends) + 1) * self.width


class Group:
    """Hypotheses of one text that compete with each other.

    Args:
        request: the text.
        rules: for all groups.
        first: the row of the slot that its rows begin at.

    Attributes:
        rows: the tokens of each of its ``width`` rows.
        paths: where each of them came through; see :class:`Candidate`.
        scores: (width,) the rows' scores; ``-inf`` for those that don't count.
        finished: the best first.
        spare: finished texts that fall short of a demand, for where there are too few others.
        over: whether nothing is looked for any more.
        steps: records of each step by name, (width, V) each.
    """

    def __init__(self, request: Request, rules: Rules, first: int) -> None:
        self.request, self.rules, self.first = request, rules, first
        self.rows = [request.prompt] * rules.width
        self.paths: list[list[int]] = [[] for _ in self.rows]
        self.scores = np.full(rules.width, -np.inf, np.float32)
        self.scores[0] = 0  # the rows are equal at first
        self.finished: list[Hypothesis] = []
        self.spare: list[Hypothesis] = []
        self.over = False
        self.steps: dict[str, list[Scores]] = {}

    @property
    def full(self) -> bool:
        """Whether as many hypotheses are finished as are kept."""
        return len(self.finished) >= self.rules.width

    def continued(self, score: float, parent: int, token: int) -> Candidate:
        """A row and one more token."""
        return Candidate(score, parent, token, [*self.rows[parent], token], [*self.paths[parent], self.first + parent])

    def finish(self, score: float, tokens: list[int], path: list[int]) -> None:
        """Keeps a finished hypothesis if it is among the best."""
        self.finished.append(self.hypothesis(score, tokens, path))
        self.finished.sort(key=lambda each: -each.score)
        del self.finished[self.rules.width :]

    def hypothesis(self, score: float, tokens: list[int], path: list[int]) -> Hypothesis:
        """A text with the score that it has when it's finished."""
        return Hypothesis(self._for_length(score, len(path)), tokens, path)

    def _for_length(self, score: float, length: int) -> float:
        """A sum of log probabilities as texts of different lengths compare.

        Raises:
            InputError: the penalty is no number any more.
        """
        penalty = self.rules.length_penalty
        try:
            return float(score / length**penalty)
        except ArithmeticError as error:
            told = f"length_penalty is {penalty}, which is too far from 0 for a text of {length} tokens"
            raise InputError(told) from error

    def improvable(self, candidate: Candidate) -> bool:
        """Whether a candidate may still become better than what is finished, if its score stays what it is."""
        if not self.full:
            return True
        rules = self.rules
        if rules.early_stopping is True:
            return False
        length = len(candidate.path)
        if rules.early_stopping == "never" and rules.length_penalty > 0:
            given = len(self.request.prompt)
            length = rules.limit(given) - given
        return bool(self._for_length(candidate.score, length) > self.finished[-1].score)

    def step(self, candidates: Sequence[Candidate], ended: Sequence[bool], scores: Scores) -> list[Candidate]:
        """Finishes hypotheses and chooses the rows of the next step.

        Args:
            candidates: the best (or what was drawn) first.
            ended: which of them a criterion ends.
            scores: (width, V) of all tokens, for kinds of search that look beyond the candidates.

        Returns:
            What its rows go on from; none where there is nothing.
        """
        for candidate, end in list(zip(candidates, ended, strict=True))[: self.rules.width]:
            if end:
                self.finish(candidate.score, candidate.tokens, candidate.path)
        going = [candidate for candidate, end in zip(candidates, ended, strict=True) if not end]
        going.sort(key=lambda each: -each.score)  # what is drawn is not in order
        self.over = not going or not self.improvable(going[0])
        return self.follow(self.filled(going)) if going else []

    def filled(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The first ``width`` candidates; where they are fewer, copies of the first that don't count stand in."""
        copy = replace(candidates[0], score=-np.inf)
        return [*candidates, *[copy] * self.rules.width][: self.rules.width]

    def follow(self, picks: list[Candidate]) -> list[Candidate]:
        """Goes on from ``width`` candidates, which it hands back."""
        self.rows = [pick.tokens for pick in picks]
        self.paths = [pick.path for pick in picks]
        self.scores = np.array([pick.score for pick in picks], np.float32)
        return picks


@dataclass
class BeamText:
    """A text while it is written.

    Attributes:
        groups: its rows, in the order of the slot.
        reported: how many of its tokens were reported as final, its prompt's included.
    """

    request: Request
    groups: list[Group]
    reported: int

    @property
    def rows(self) -> list[list[int]]:
        return [row for group in self.groups for row in group.rows]

    @property
    def finished(self) -> list[Hypothesis]:
        """Of all groups, the best first."""
        return sorted((each for group in self.groups for each in group.finished), key=lambda each: -each.score)

    def settled(self) -> list[int]:
        """The tokens, beyond those reported, that everything that may become the best text has in common."""
        texts = [row for group in self.groups if not group.over for row in group.rows]
        texts += [each.tokens for each in self.finished[:1]]
        begin = self.reported
        for column in zip(*(text[begin:] for text in texts), strict=False):
            if len({*column}) > 1:
                break
            self.reported += 1
        return texts[0][begin : self.reported]

    def records(self, name: str) -> list[Scores]:
        """What was kept of each step, for all rows; zeros for those of a group that was over."""
        columns = zip_longest(*(group.steps[name] for group in self.groups))
        zeros = np.zeros_like(self.groups[0].steps[name][0])
        return [np.concatenate([zeros if part is None else part for part in parts]) for parts in columns]
