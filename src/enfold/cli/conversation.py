"""A conversation with a model: what was said, and what of it the model need not read again."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any

from enfold.cli.writing import Tally, Writer, say
from enfold.errors import InputError
from enfold.generation.calls import Call, session_of, strategy_of
from enfold.generation.loop import Event, write
from enfold.generation.prefixes import Prefixes
from enfold.generation.rules import mode

__all__ = ["Conversation"]

_KEPT_BYTES = 1 << 30


class Conversation:
    """Questions and answers, and a system message before them.

    Args:
        writer: who answers.
        generation: options of generation.
        system: what the model is told before everything, or "".

    Attributes:
        messages: questions and answers, as chat templates take them.
    """

    def __init__(self, writer: Writer, generation: Mapping[str, Any], system: str = "") -> None:
        self.writer, self.system = writer, system
        self.messages: list[dict[str, str]] = []
        self._generation = generation
        self._prefixes = Prefixes(_KEPT_BYTES)

    @property
    def whole(self) -> list[dict[str, str]]:
        """The messages with the system's before them."""
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.messages]

    def clear(self) -> None:
        """Forgets what was said; the system message stays."""
        self.messages.clear()

    def ask(self, question: str, tally: Tally) -> Generator[str, None, None]:
        """The answer as it is written. What there is of one that is stopped (by closing, by Ctrl-C) is remembered.

        Raises:
            InputError: a question over the model's limit, a conversation that its template refuses, wrong options.
        """
        self.messages.append({"role": "user", "content": question})
        answer = ""
        try:
            ids = self._fitting()
            call = self.writer.call(ids, self._generation)
            for piece in self.writer.pieces(call, self._events(call, tally), tally):
                answer += piece
                yield piece
        finally:
            if answer.strip():
                self.messages.append({"role": "assistant", "content": answer})
            else:
                self.messages.pop()

    def _events(self, call: Call, tally: Tally) -> Iterator[Event]:
        if mode(call.config) == "assisted":
            yield from call.events()
            return
        strategy, before = strategy_of(call), self._prefixes.found
        session = session_of(call, strategy.width, strategy.wants_hidden, self._prefixes)
        for event in write(session, strategy, call.requests, slots=1):
            tally.kept = self._prefixes.found - before
            yield event

    def _fitting(self) -> list[int]:
        """The conversation as tokens with room for an answer; the oldest questions leave it where it is too long."""
        room = self.writer.limit // 4
        asked = self._generation.get("max_new_tokens")
        most = self.writer.limit - min(room, asked if isinstance(asked, int) else room)
        ids = self._ids()
        dropped = 0
        while len(ids) > most and len(self.messages) > 1:
            following = (place for place, each in enumerate(self.messages) if place and each["role"] == "user")
            place = next(following)
            del self.messages[:place]
            dropped += place
            ids = self._ids()
        if len(ids) > most:
            raise InputError(
                f"the question has {len(ids):,} tokens with what the chat template adds, and the model reads "
                f"{self.writer.limit:,}, its answer included: ask for less at once"
            )
        if dropped:
            say(f"the conversation is over the model's {self.writer.limit:,} tokens: it forgot {dropped} old messages")
        return ids

    def _ids(self) -> list[int]:
        ids: list[int] = self.writer.tokenizer.apply_chat_template(
            self.whole, add_generation_prompt=True, return_dict=False
        )
        return ids
