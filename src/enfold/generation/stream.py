"""Texts piece by piece, for loops and for ``async for``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from enfold.errors import InputError
from enfold.generation.calls import Call
from enfold.tokenization.incremental import IncrementalDecoder

__all__ = ["astream", "stream"]


def stream(model: Any, inputs: Any, *, tokenizer: Any = None, **options: Any) -> Iterator[Any]:
    """See :meth:`enfold.generation.mixin.GenerationMixin.stream`."""
    call = Call.of(model, inputs, None, options, tokenizer=tokenizer)
    if len(call.requests) != 1:
        raise InputError(f"stream writes one text, got {len(call.requests)}: use generate_many for several")
    model.require_trained()
    return _pieces(call, tokenizer)


def _pieces(call: Call, tokenizer: Any) -> Iterator[Any]:
    decoder = None if tokenizer is None else IncrementalDecoder(tokenizer)
    for event in call.events():
        if decoder is None:
            yield from event.final
        elif piece := decoder.push_many(event.final):
            yield piece
    if decoder is not None and (rest := decoder.finish()):
        yield rest


async def astream(model: Any, inputs: Any, *, tokenizer: Any = None, **options: Any) -> AsyncIterator[Any]:
    """See :meth:`enfold.generation.mixin.GenerationMixin.astream`."""
    pieces = stream(model, inputs, tokenizer=tokenizer, **options)
    end = object()
    try:
        while (piece := await asyncio.to_thread(next, pieces, end)) is not end:
            yield piece
    finally:
        pieces.close()  # type: ignore[attr-defined]
