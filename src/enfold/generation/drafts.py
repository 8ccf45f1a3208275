"""Where drafts come from: a smaller model, or what the text has said before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from enfold.errors import InputError
from enfold.generation.config import GenerationConfig
from enfold.generation.context import context_of
from enfold.generation.logits import apply, shortlist_of
from enfold.generation.loop import Text, rows_of
from enfold.generation.prefixes import common_beginning
from enfold.generation.recipe import Recipe
from enfold.generation.rows import Scores
from enfold.generation.sampling import choose
from enfold.generation.session import Session
from enfold.model import PreTrainedModel

__all__ = ["Assistant", "Draft", "Drafter", "Lookup", "check_assistant", "probabilities"]


@dataclass
class Draft:
    """Tokens that may come next, and the probabilities (V,) that each was drawn from, where it was drawn."""

    tokens: list[int] = field(default_factory=list)
    chances: list[NDArray[np.float64]] = field(default_factory=list)


class Drafter(Protocol):
    """Guesses how a text goes on; one for each text."""

    def draft(self, text: Text, room: int) -> Draft:
        """At most ``room`` tokens."""

    def learn(self, drafted: int, accepted: int) -> None:
        """Told how many of the last draft's tokens the model said too."""


class Lookup:
    """What followed where the text's last tokens stood before (prompt lookup decoding).

    The longest match counts, and of equal ones the first. An encoder-decoder model's text is looked up in its source
    as well, which summaries and corrections copy from.
    """

    def __init__(self, config: GenerationConfig) -> None:
        self._count = int(config.prompt_lookup_num_tokens)
        self._longest = int(config.max_matching_ngram_size or 2)

    def draft(self, text: Text, room: int) -> Draft:
        words = np.asarray([*(text.request.source or ()), *text.tokens])
        for size in range(min(self._longest, len(text.tokens), len(words) - 1), 0, -1):
            windows = sliding_window_view(words[:-1], size)
            found = np.flatnonzero((windows == words[-size:]).all(axis=1))
            if found.size:
                start = int(found[0]) + size
                return Draft(words[start : start + min(self._count, room)].tolist())
        return Draft()

    def learn(self, drafted: int, accepted: int) -> None:
        """Nothing: the count stays."""


class Assistant:
    """A smaller model's own way on, greedy or drawn as the options say.

    Args:
        model: the assistant.
        recipe: of the model that is assisted; the assistant's scores go through the same processors.
        config: says how much is drafted: ``num_assistant_tokens``, two more with the heuristic schedule after a draft
            that was all right, one less after another, and fewer where the assistant gives its token less than
            ``assistant_confidence_threshold``.
    """

    def __init__(self, model: PreTrainedModel, recipe: Recipe, config: GenerationConfig) -> None:
        self._model, self._recipe = model, recipe
        self._count = int(config.num_assistant_tokens)
        self._adapts = config.num_assistant_tokens_schedule != "constant"
        self._least = float(config.assistant_confidence_threshold or 0)
        self._session: Session | None = None
        self._read: list[int] = []

    def draft(self, text: Text, room: int) -> Draft:
        recipe, draft = self._recipe, Draft()
        ahead = Text(text.request, list(text.tokens), {})
        count = min(self._count, room, self._room(text))
        while len(draft.tokens) < count:
            logits = self._answer(ahead)
            scores = apply(recipe.processors, logits, rows_of([ahead]))
            chances = probabilities(scores[0])
            if recipe.config.do_sample:
                token = int(choose(scores, [text.request.generator or recipe.generator])[0])
                draft.chances.append(chances)
            else:
                token = int(scores[0].argmax())
            ahead.tokens.append(token)
            draft.tokens.append(token)
            if token in recipe.config.eos_token_ids or not chances[token] >= self._least:
                break
        return draft

    def _room(self, text: Text) -> int:
        """Tokens that the assistant has positions for, which may be fewer than the model has."""
        decoder, source = self._model.arch, text.request.source or ()
        reads, holds = None if decoder.encoder is None else context_of(decoder.encoder), context_of(decoder)
        if reads is not None and len(source) > reads:
            return 0
        return self._count if holds is None else holds - len(text.tokens)

    def learn(self, drafted: int, accepted: int) -> None:
        if self._adapts:
            self._count = self._count + 2 if accepted == drafted else max(1, self._count - 1)

    def _answer(self, text: Text) -> Scores:
        """Reads what is new of a text: logits (1, V) of what comes next."""
        tokens, source = text.tokens, text.request.source
        if self._session is None:
            listed = shortlist_of(self._recipe.config, self._model.arch.vocab_size)
            self._session = Session(self._model, shortlist=listed)
            logits = self._session.open([tokens], None if source is None else [source]).logits
        else:
            known = min(common_beginning(self._read, tokens), len(tokens) - 1)
            self._session.drop(0, len(self._read) - known)
            logits = self._session.extend(0, tokens[known:]).logits[-1:]
        self._read = list(tokens)
        return logits


def check_assistant(model: PreTrainedModel, assistant: PreTrainedModel) -> None:
    """Raises InputError where an assistant's tokens are not the model's, UntrainedHeadError where it knows none."""
    problems: list[str] = []
    ours, theirs = model.arch, assistant.arch
    if ours.vocab_size != theirs.vocab_size:
        problems.append(f"it has {theirs.vocab_size} tokens, and the model {ours.vocab_size}: they must share them")
    if assistant.kind != model.kind:
        problems.append(f"it is a {assistant.blueprint.class_name}, and the model a {model.blueprint.class_name}")
    if problems:
        raise InputError("this assistant_model can't draft: " + "; ".join(problems))
    assistant.require_trained()


def probabilities(scores: Scores) -> NDArray[np.float64]:
    """Of scores (V,), their softmax."""
    weights = np.exp(scores - scores.max()).astype(np.float64)
    result: NDArray[np.float64] = weights / weights.sum()
    return result
