"""Beam search: several hypotheses of each text, side by side in the rows of its slot, of which the best are kept.

::

    rows, with a score each (the sum of their tokens' log-probabilities)
      │  log-softmax, processors, + the row's score
    candidates: the best of all continuations of all rows, or as many that are drawn
      │                                         │
      │ ended, and among the first W            │ not ended: the first W
    finished: the W best by                   rows of the next step
    score / length ** length_penalty

A text is over when no row can become better than what is finished (:meth:`Group.improvable` says what is taken for
granted there), or none is left. A row that is left without a candidate of its own goes on as a copy of the first row,
with a score that never comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from enfold.errors import InputError
from enfold.generation.beam_scores import best, drawn, normalize
from enfold.generation.logits import apply
from enfold.generation.loop import Move, Request, Result, rows_of
from enfold.generation.recipe import Recipe
from enfold.generation.rows import Scores
from enfold.generation.session import Answer
from enfold.generation.stop import MaxLength, done

__all__ = ["Beam", "Candidate", "Group", "Hypothesis", "Rules", "Text"]

_NO_TEXT = -1e9  # the score of a text that could not be written, as in the reference


@dataclass(frozen=True)
class Candidate:
    """A continuation of a row (``parent``, counted within its group) by a token; ``tokens`` are all it says."""

    score: float
    parent: int
    token: int
    tokens: list[int]


@dataclass(frozen=True)
class Hypothesis:
    """A finished text and its final score."""

    score: float
    tokens: list[int]


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
            limit=next(each.limit for each in recipe.criteria if isinstance(each, MaxLength)),
            ends=config.eos_token_ids,
        )

    @property
    def candidates(self) -> int:
        """How many are needed so that ``width`` remain where every row may end in every way."""
        return max(2, len(self.ends) + 1) * self.width


class Group:
    """Hypotheses of one text that compete with each other.

    Attributes:
        rows: the tokens of each of its ``width`` rows.
        scores: (width,) the rows' scores; ``-inf`` for those that don't count.
        finished: the best first.
        over: whether nothing is looked for any more.
    """

    def __init__(self, request: Request, rules: Rules) -> None:
        self.request, self.rules = request, rules
        self.rows = [request.prompt] * rules.width
        self.scores = np.full(rules.width, -np.inf, np.float32)
        self.scores[0] = 0  # the rows are equal at first
        self.finished: list[Hypothesis] = []
        self.over = False

    @property
    def written(self) -> int:
        """Tokens that rows have beyond the prompt."""
        return len(self.rows[0]) - len(self.request.prompt)

    @property
    def full(self) -> bool:
        """Whether as many hypotheses are finished as are kept."""
        return len(self.finished) >= self.rules.width

    def finish(self, score: float, tokens: list[int], length: int) -> None:
        """Keeps a finished hypothesis of ``length`` new tokens if it is among the best."""
        score /= length**self.rules.length_penalty
        self.finished.append(Hypothesis(score, tokens))
        self.finished.sort(key=lambda each: -each.score)
        del self.finished[self.rules.width :]

    def improvable(self, score: float, length: int) -> bool:
        """Whether a row with this score and ``length`` new tokens may still become better than what is finished."""
        if not self.full:
            return True
        rules = self.rules
        if rules.early_stopping is True:
            return False
        if rules.early_stopping == "never" and rules.length_penalty > 0:
            given = len(self.request.prompt)
            length = rules.limit(given) - given
        return bool(score / length**rules.length_penalty > self.finished[-1].score)

    def step(self, candidates: Sequence[Candidate], ended: Sequence[bool]) -> list[Candidate]:
        """Finishes hypotheses and chooses the rows of the next step, ``width`` of them or, at the end, none."""
        length = self.written + 1
        for candidate, end in list(zip(candidates, ended, strict=True))[: self.rules.width]:
            if end:
                self.finish(candidate.score, candidate.tokens, length)
        going = [candidate for candidate, end in zip(candidates, ended, strict=True) if not end]
        self.over = not going or not self.improvable(going[0].score, length)
        return [] if self.over else self.follow(going)

    def follow(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Goes on from the first ``width`` candidates; where they are fewer, from copies that don't count."""
        first = candidates[0]
        copy = Candidate(-np.inf, first.parent, first.token, first.tokens)
        picks = [*candidates, *[copy] * self.rules.width][: self.rules.width]
        self.rows = [pick.tokens for pick in picks]
        self.scores = np.array([pick.score for pick in picks], np.float32)
        return picks


@dataclass
class Text:
    """A text while it is written.

    Attributes:
        groups: its rows, in the order of the slot.
        reported: how many of its tokens were reported as final, its prompt's included.
        steps: records of each step, for all its rows (width, V).
    """

    request: Request
    groups: list[Group]
    reported: int
    steps: dict[str, list[Any]] = field(default_factory=dict)

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
    group_type: ClassVar[type[Group]] = Group

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._number = recipe.config.num_beam_groups
        self._rules = Rules.of(recipe, self._number)
        self.width: int = recipe.config.num_beams

    def begin(self, request: Request) -> Text:
        groups = [self.group_type(request, self._rules) for _ in range(self._number)]
        return Text(request, groups, len(request.prompt), {name: [] for name in self._recipe.kept})

    def advance(self, writings: Sequence[Text], answer: Answer) -> list[Move]:
        self._keep(writings, "logits", answer.logits)
        scores = normalize(np.asarray(answer.logits, np.float32))
        scores = apply(self._recipe.processors, scores, rows_of(writings))
        self._keep(writings, "scores", scores)
        groups = [writing.groups[0] for writing in writings]
        moved = self._step(groups, scores)
        return [self._move(writing, [picks]) for writing, picks in zip(writings, moved, strict=True)]

    def _keep(self, writings: Sequence[Text], name: str, scores: Scores) -> None:
        if name in self._recipe.kept:
            for index, writing in enumerate(writings):
                writing.steps[name].append(scores[index * self.width : (index + 1) * self.width].copy())

    def _step(self, groups: Sequence[Group], scores: Scores) -> list[list[Candidate]]:
        """Moves groups on; the rows that each goes on from, none where it is over. Scores are (B · width, V)."""
        candidates = self._candidates(groups, scores)
        both = list(zip(groups, candidates, strict=True))
        rows = [_Continued(group.request, [each.tokens for each in mine]) for group, mine in both]
        ended = iter(done(self._recipe.criteria, rows_of(rows)).tolist())
        return [group.step(mine, [next(ended) for _ in mine]) for group, mine in both]

    def _candidates(self, groups: Sequence[Group], scores: Scores) -> list[list[Candidate]]:
        """What each group may go on with, the best (or what was drawn) first."""
        recipe, count = self._recipe, self._rules.candidates
        before = np.stack([group.scores for group in groups])
        if recipe.config.do_sample:
            recipe.check(scores.max(axis=1), groups)
            generators = [group.request.generator or recipe.generator for group in groups]
            found = drawn(scores, before, count, generators)
        else:
            found = best(scores, before, count)
            recipe.check(found.scores.max(axis=1), groups)
        return [
            [
                Candidate(score, parent, token, [*group.rows[parent], token])
                for score, parent, token in zip(*mine, strict=True)
                if score > -np.inf
            ]
            for group, mine in zip(groups, zip(*(part.tolist() for part in found), strict=True), strict=True)
        ]

    def _move(self, writing: Text, moved: Sequence[Sequence[Candidate]]) -> Move:
        """What a text's groups decided, as the loop takes it; a group that is over marks time."""
        parents: list[int] = []
        tokens: list[int] = []
        for number, picks in enumerate(moved):
            first = number * self._rules.width
            parents += [first + pick.parent for pick in picks] or range(first, first + self._rules.width)
            tokens += [pick.token for pick in picks] or [self._idle] * self._rules.width
        if not all(group.over for group in writing.groups):
            return Move(parents, tokens, writing.settled())
        results = self._results(writing)
        return Move(parents, tokens, results[0].tokens[writing.reported :], results)

    @property
    def _idle(self) -> int:
        """The token of rows that nobody reads any more."""
        pad = self._recipe.config.pad_token_id
        return pad if pad is not None and pad >= 0 else (self._rules.ends or (0,))[0]

    def _results(self, writing: Text) -> list[Result]:
        """The best finished hypotheses; where there are too few, texts without a token of their own.

        Raises:
            InputError: there is none.
        """
        if not writing.finished:
            raise InputError(
                f"input {writing.request.index}: the options forbid every token after some point, so that no text "
                "can be finished; expected at least one with a finite score. Look at what suppresses or allows tokens "
                "(bad_words_ids, suppress_tokens, prefix_allowed_tokens_fn …)"
            )
        found = [Result(each.tokens, each.score) for each in writing.finished]
        nothing = [Result(list(writing.request.prompt), _NO_TEXT) for _ in range(self._rules.wanted)]
        results = [*found, *nothing][: self._rules.wanted]
        results[0].steps = writing.steps
        return results
