"""Searches of an older kind: diverse groups of beams (arXiv 1610.02424), and what they share with constrained ones.

Groups choose one after another, and each is kept from repeating what those before it chose in the same step.

transformers had these searches until 4.55, and they finish texts as that version does: only an end token finishes one,
a row that is open when the text has to end counts as it is, and how far rows may still come is judged by the best
candidate, ended or not.
"""

from __future__ import annotations

from collections.abc import Sequence

from enfold.generation.beam import Beam
from enfold.generation.beam_hypotheses import BeamText, Candidate, Group
from enfold.generation.loop import Request, rows_of
from enfold.generation.rows import Scores
from enfold.generation.stop import done

__all__ = ["GroupBeam", "OpenGroup"]


class OpenGroup(Group):
    """Hypotheses that only an end token finishes; the first of the end tokens is written, whichever it was."""

    def step(self, candidates: Sequence[Candidate], ended: Sequence[bool], scores: Scores) -> list[Candidate]:
        for candidate, end in list(zip(candidates, ended, strict=True))[: self.rules.width]:
            if end and self.accepts(candidate):
                self.finish(candidate.score, [*candidate.tokens[:-1], self.rules.ends[0]], candidate.path)
        going = [candidate for candidate, end in zip(candidates, ended, strict=True) if not end]
        picks = self.follow(self.arranged(self.filled(going), scores)) if going else []
        self.over = not going or not self.improvable(candidates[0])
        return picks

    def accepts(self, candidate: Candidate) -> bool:
        """Whether a candidate that ends may be a finished text."""
        return True

    def arranged(self, picks: list[Candidate], scores: Scores) -> list[Candidate]:
        """The rows of the next step, from the best candidates and the scores (width, V) of all tokens."""
        return picks

    def close(self) -> None:
        """Finishes the open rows as they are."""
        self.finish_rows(range(self.rules.width))
        self.over = True

    def finish_rows(self, rows: Sequence[int]) -> None:
        """Finishes these rows, but for those that don't count."""
        for row in rows:
            if self.scores[row] > -float("inf"):
                self.finish(float(self.scores[row]), self.rows[row], self.paths[row])


class GroupBeam(Beam):
    """Diverse beam search: groups of beams, each with its own finished hypotheses."""

    def _group(self, request: Request, first: int) -> Group:
        return OpenGroup(request, self._rules, first)

    def _ended(self, groups: Sequence[Group], candidates: Sequence[Sequence[Candidate]]) -> list[list[bool]]:
        return [[each.token in self._rules.ends for each in mine] for mine in candidates]

    def _close(self, writings: Sequence[BeamText]) -> None:
        """Ends texts of which a criterion, such as the length, ends all rows that still run."""
        running = [[group for group in writing.groups if not group.over] for writing in writings]
        answers = iter(done(self._recipe.criteria, rows_of([group for groups in running for group in groups])).tolist())
        for groups in running:
            mine = [next(answers) for group in groups for _ in group.rows]
            if all(mine):
                for group in groups:
                    assert isinstance(group, OpenGroup)
                    group.close()
