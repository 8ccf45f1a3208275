"""Texts that are written for completions and chats: piece by piece, cut at stop texts, with the chances of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from enfold.errors import InputError, TextTooLongError
from enfold.generation.calls import Call
from enfold.generation.rows import Rows, Scores
from enfold.generation.sampling import generator
from enfold.generation.token_text import TokenBytes
from enfold.serve.shelf import Held
from enfold.tokenization.incremental import IncrementalDecoder

__all__ = ["Chances", "Piece", "StopTexts", "Wanted", "write_one"]

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Wanted:
    """What one text is to be.

    Attributes:
        prompt: its token ids.
        options: of generation, as :class:`enfold.GenerationConfig` has them.
        stop: texts before which it ends.
        chances: how many likeliest tokens to tell beside each token that was chosen; None: nothing of that.
        number: which of several texts for one prompt it is.
        presence: taken from the scores of tokens that the text has already.
        frequency: taken from them once for each time.
    """

    prompt: list[int]
    options: Mapping[str, Any]
    stop: tuple[str, ...] = ()
    chances: int | None = None
    number: int = 0
    presence: float = 0.0
    frequency: float = 0.0


@dataclass
class Piece:
    """A part of a text, in its order; ``finish`` says why it is the last one.

    ``chances`` are, for each of its tokens, the token, its logarithmic probability, and those of the likeliest.
    """

    text: str
    tokens: int = 0
    ids: list[int] = field(default_factory=list)
    chances: list[dict[str, Any]] = field(default_factory=list)
    finish: Finish | None = None


class StopTexts:
    """Holds back what may be the beginning of a stop text, and ends before one.

    Args:
        stops: the stop texts.

    Attributes:
        stopped: whether one was found.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held, self.stopped = [stop for stop in stops if stop], "", False

    def push(self, text: str) -> str:
        """The text that is certain to stay after some more of it."""
        if self.stopped:
            return ""
        whole = self._held + text
        found = [place for stop in self._stops if (place := whole.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return whole[: min(found)]
        keep = max((_overlap(whole, stop) for stop in self._stops), default=0)
        self._held = whole[len(whole) - keep :]
        return whole[: len(whole) - keep]

    def finish(self) -> str:
        """What was held back and turned out to be no stop text."""
        rest, self._held = self._held, ""
        return rest


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text are the beginning of a stop text."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)


class Chances:
    """A processor that changes nothing and remembers the scores of a step, to tell how likely tokens were."""

    def __init__(self, held: Held, count: int) -> None:
        self._tokenizer, self._bytes, self._count = held.tokenizer, TokenBytes(held.tokenizer), count
        self._scores: list[Scores] = []

    def __call__(self, scores: Scores, rows: Rows) -> Scores:
        self._scores.append(scores[0].copy())
        return scores

    def told(self, token: int) -> dict[str, Any]:
        """Of the token that was chosen at the earliest step that was not told yet."""
        scores = self._scores.pop(0).astype(np.float64)
        highest = scores.max()
        logs = scores - (highest + np.log(np.exp(scores - highest).sum()))
        count = min(self._count, len(logs))
        best = np.argpartition(-logs, count - 1)[:count] if count else np.zeros(0, np.int64)
        best = best[np.argsort(-logs[best], kind="stable")]
        return {**self._of(token, logs), "top_logprobs": [self._of(int(index), logs) for index in best]}

    def _of(self, token: int, logs: Any) -> dict[str, Any]:
        raw = self._bytes[token]
        text = raw.decode("utf-8", "replace") if raw else self._tokenizer.decode([token])
        return {"token": text, "logprob": max(float(logs[token]), -9999.0), "bytes": list(raw or text.encode())}


def _repeats(presence: float, frequency: float) -> Callable[[Scores, Rows], Scores]:
    """The two penalties of OpenAI's API, on tokens that were written."""

    def process(scores: Scores, rows: Rows) -> Scores:
        for row, tokens, given in zip(scores, rows.tokens, rows.prompt_lengths, strict=True):
            used, counts = np.unique(np.asarray(tokens[given:], np.int64), return_counts=True)
            row[used] -= presence + frequency * counts.astype(np.float32)
        return scores

    return process


def write_one(held: Held, wanted: Wanted) -> Iterator[Piece]:
    """Writes a text; within a request.

    Raises:
        InputError: options that are wrong; a model that writes no such texts.
        TextTooLongError: a prompt that leaves no room in the model's context.
    """
    if held.main.kind != "causal-lm":
        raise InputError(f"{held.name} is a {held.main.blueprint.class_name}: it doesn't go on from texts")
    room = held.context - len(wanted.prompt)
    if room < 1:
        raise TextTooLongError(
            f"the prompt has {len(wanted.prompt)} tokens, and the model's context has {held.context}, new ones "
            "included: shorten it"
        )
    options = {**wanted.options, "max_new_tokens": min(room, wanted.options["max_new_tokens"])}
    repeats = [_repeats(wanted.presence, wanted.frequency)] if wanted.presence or wanted.frequency else []
    call = Call.of(held.main, [wanted.prompt], None, options, tokenizer=held.tokenizer, logits_processor=repeats)
    if wanted.number:
        call.requests[0].generator = generator(call.config.seed, wanted.number)
    chances = None if wanted.chances is None else Chances(held, wanted.chances)
    if chances:
        call.recipe.processors.insert(0, chances)
    decoder, stops = IncrementalDecoder(held.tokenizer), StopTexts(wanted.stop)
    shown = held.tokenizer.decode(wanted.prompt, skip_special_tokens=True)
    skip = len(shown) - len(decoder.push_many(wanted.prompt))  # what the decoder still holds of the prompt
    ends = frozenset(call.config.eos_token_ids)
    with closing(call.events()) as events:
        for event in events:
            text = decoder.push_many(event.final)
            piece = Piece(stops.push(text[skip:]), len(event.final), list(event.final))
            skip = max(0, skip - len(text))
            piece.chances = [chances.told(token) for token in event.final if chances]
            if stops.stopped or event.results is not None:
                ended = stops.stopped or event.final[-1] in ends
                if not stops.stopped:
                    piece.text += stops.push(decoder.finish()[skip:])
                    ended = ended or stops.stopped
                    piece.text += stops.finish()
                piece.finish = "stop" if ended else "length"
                yield piece
                return
            yield piece
