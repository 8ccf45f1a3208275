"""Objects that ``generate(streamer=…)`` tells tokens as they become final, under the names that the field knows.

::

    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True)
    threading.Thread(target=model.generate, args=(ids,), kwargs={"streamer": streamer}).start()
    for piece in streamer:
        print(piece, end="")

``model.stream`` and ``model.astream`` do the same without a thread of the caller's own.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from enfold.errors import InputError
from enfold.tokenization.incremental import IncrementalDecoder

if TYPE_CHECKING:
    from enfold.tokenization.tokenizer import Tokenizer

__all__ = ["AsyncTextIteratorStreamer", "TextIteratorStreamer", "TextStreamer", "failures_told"]

Piece: TypeAlias = "str | BaseException | None"
"""Text, what went wrong, or None for the end."""


class TextStreamer:
    """Prints a text while it is written; a piece as soon as no later token can change it.

    Args:
        tokenizer: the model's.
        skip_prompt: whether only new text is shown.
        skip_special_tokens: as in :meth:`enfold.Tokenizer.decode`.
        clean_up_tokenization_spaces: likewise; the tokenizer's own setting by default.
    """

    closed = False
    """True asks the text to end with its next token."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        skip_prompt: bool = False,
        *,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> None:
        self.tokenizer, self.skip_prompt = tokenizer, skip_prompt
        self._decoder = IncrementalDecoder(tokenizer, skip_special_tokens, clean_up_tokenization_spaces)
        self._prompt_is_next = True

    def put(self, value: Any) -> None:
        """Told token ids, (n,) or (1, n): first the prompt's, then new ones.

        Raises:
            InputError: ids of several texts.
        """
        if getattr(value, "ndim", 1) > 1:
            if len(value) > 1:
                raise InputError(f"a streamer is told one text, got {len(value)}")
            value = value[0]
        is_prompt, self._prompt_is_next = self._prompt_is_next, False
        if not (is_prompt and self.skip_prompt) and (piece := self._decoder.push_many(value)):
            self.on_finalized_text(piece)

    def end(self) -> None:
        """Told that the text is finished."""
        self._prompt_is_next = True
        self.on_finalized_text(self._decoder.finish(), stream_end=True)

    def fail(self, error: BaseException) -> None:
        """Told that no more will come, and why."""
        self._decoder.finish()
        self._prompt_is_next = True

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Prints a piece; other streamers do something else with it."""
        print(text, flush=True, end="\n" if stream_end else "")


class _Queued(TextStreamer):
    """What streamers have in common that another thread reads.

    Args:
        tokenizer: as for :class:`TextStreamer`.
        skip_prompt: likewise.
        timeout: seconds to wait for a piece; None waits for ever.
        skip_special_tokens: likewise.
        clean_up_tokenization_spaces: likewise.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        skip_prompt: bool = False,
        timeout: float | None = None,
        *,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> None:
        super().__init__(
            tokenizer,
            skip_prompt,
            skip_special_tokens=skip_special_tokens,
            clean_up_tokenization_spaces=clean_up_tokenization_spaces,
        )
        self.timeout = timeout
        self._add = self._queue()

    def _queue(self) -> Callable[[Piece], object]:
        """Makes the queue; what adds to it."""
        raise NotImplementedError  # pragma: no cover - both subclasses have one

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self._add(text)
        if stream_end:
            self._add(None)

    def fail(self, error: BaseException) -> None:
        super().fail(error)
        self._add(error)

    def close(self) -> None:
        """Ends the text with its next token."""
        self.closed = True


class TextIteratorStreamer(_Queued):
    """An iterator over the pieces of a text that another thread's ``generate`` writes.

    What goes wrong there is raised here; after ``timeout`` seconds without a piece, ``queue.Empty``.
    """

    def _queue(self) -> Callable[[Piece], object]:
        self._pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        return self._pieces.put

    def __iter__(self) -> TextIteratorStreamer:
        return self

    def __next__(self) -> str:
        piece = self._pieces.get(timeout=self.timeout)
        if piece is None:
            raise StopIteration
        return _text(piece)


class AsyncTextIteratorStreamer(_Queued):
    """The same for ``async for``, made in the event loop that reads it; the timeout's error is ``TimeoutError``."""

    def _queue(self) -> Callable[[Piece], object]:
        loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[Piece] = asyncio.Queue()
        return lambda piece: loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

    def __aiter__(self) -> AsyncTextIteratorStreamer:
        return self

    async def __anext__(self) -> str:
        piece = await asyncio.wait_for(self._pieces.get(), self.timeout)
        if piece is None:
            raise StopAsyncIteration
        return _text(piece)


def _text(piece: str | BaseException) -> str:
    if isinstance(piece, BaseException):
        raise piece
    return piece


@contextmanager
def failures_told(streamer: Any) -> Iterator[None]:
    """Tells a streamer what goes wrong, so that nobody waits for more."""
    try:
        yield
    except BaseException as error:
        if hasattr(streamer, "fail"):
            streamer.fail(error)
        raise
