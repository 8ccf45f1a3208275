"""Assisted generation: drafts of several tokens, which the model checks in one pass (arXiv 2211.17192).

Greedy texts are those of greedy search token for token, and sampled ones have the model's own distribution, whatever
is drafted: a good draft only makes them faster. Texts are written one after another.

::

    text  … t          the cache has read all of it but t
    draft     a b c    one pass reads  t a b c  and says what comes after each
    model     a b x    a and b are accepted, x is the model's own; c is dropped from the cache
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.generation.drafts import Draft, Drafter, probabilities
from enfold.generation.logits import apply
from enfold.generation.loop import Event, Request, Text, rows_of
from enfold.generation.recipe import Recipe
from enfold.generation.rows import Scores
from enfold.generation.sampling import choose
from enfold.generation.session import Answer, Session
from enfold.generation.stop import done

__all__ = ["write_assisted"]


def write_assisted(
    session: Session,
    recipe: Recipe,
    requests: Iterable[Request],
    drafter: Callable[[], Drafter],
) -> Generator[Event, None, None]:
    """Writes texts one after another.

    Args:
        session: of the model that checks.
        recipe: the options.
        requests: the texts.
        drafter: makes a drafter for each.
    """
    for request in requests:
        text = recipe.text(request)
        answer = session.open([text.tokens], None if request.source is None else [request.source], [request.negative])
        drafts, draft = drafter(), Draft()
        while True:
            before = len(text.tokens)
            accepted, ended = _check(recipe, text, draft, answer)
            session.drop(0, len(draft.tokens) - accepted)
            if draft.tokens:
                drafts.learn(len(draft.tokens), accepted)
            yield Event(request, text.tokens[before:], [text.result()] if ended else None)
            if ended:
                break
            draft = drafts.draft(text, recipe.limit(len(request.prompt)) - len(text.tokens) - 1)
            answer = session.extend(0, [text.tokens[-1], *draft.tokens])
        session.close(0)


def _check(recipe: Recipe, text: Text, draft: Draft, answer: Answer) -> tuple[int, bool]:
    """Lengthens a text by the drafted tokens that the model agrees to, and one of its own.

    Args:
        recipe: the options.
        text: what the draft goes on from.
        draft: n tokens.
        answer: n + 1 rows, what the model says before each of them and after the last.

    Returns:
        How many of the drafted tokens the text has now, and whether it is finished.
    """
    raw = recipe.raw(answer)
    for place, row in enumerate(answer.logits):
        scores = apply(recipe.processors, row[None], rows_of([text]))
        recipe.check(scores.max(axis=1), [text])
        drafted = draft.tokens[place] if place < len(draft.tokens) else None
        chances = draft.chances[place] if place < len(draft.chances) else None
        token = _choose(recipe, text, scores, drafted, chances)
        text.tokens.append(token)
        text.record(raw[place], scores[0])
        agreed = token == drafted
        if done(recipe.criteria, rows_of([text]))[0]:
            return place + agreed, True
        if not agreed:
            return place, False
    raise AssertionError("the last row has no draft to agree with")  # pragma: no cover


def _choose(recipe: Recipe, text: Text, scores: Scores, drafted: int | None, chances: NDArray[Any] | None) -> int:
    """The model's token; where a draft was drawn from ``chances``, by the rule that keeps the model's distribution.

    A drawn token is accepted with probability p/q; if it isn't, the token comes from what p has more than q.
    """
    if not recipe.config.do_sample:
        return int(scores[0].argmax())
    generator = text.request.generator or recipe.generator
    if drafted is None or chances is None:
        return int(choose(scores, [generator])[0])
    wanted = probabilities(scores[0])
    if generator.random() * chances[drafted] < wanted[drafted]:
        return drafted
    rest = np.maximum(wanted - chances, 0)
    with np.errstate(divide="ignore"):
        left = np.log(rest if rest.any() else wanted).astype(np.float32)
    return int(choose(left[None], [generator])[0])
