"""Texts piece by piece, for loops and for ``async for``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import closing
from typing import Any

from enfold.errors import InputError
from enfold.generation.calls import Call
from enfold.tokenization.incremental import IncrementalDecoder

__all__ = ["astream", "stream"]

_ARGUMENTS = (
    "attention_mask",
    "decoder_input_ids",
    "negative_prompt_ids",
    "negative_prompt_attention_mask",
    "assistant_model",
    "logits_processor",
    "stopping_criteria",
    "prefix_allowed_tokens_fn",
)


def stream(model: Any, inputs: Any, *, tokenizer: Any = None, **options: Any) -> Generator[Any, None, None]:
    """See :meth:`enfold.generation.mixin.GenerationMixin.stream`."""
    return _pieces(_call(model, inputs, tokenizer, options), tokenizer)


def _call(model: Any, inputs: Any, tokenizer: Any, options: Mapping[str, Any]) -> Call:
    """A call for one text, its arguments told from its options."""
    arguments = {name: options[name] for name in _ARGUMENTS if name in options}
    rest = {
        name: value for name, value in options.items() if name not in (*arguments, "generation_config", "input_ids")
    }
    given = options.get("input_ids", inputs)
    call = Call.of(model, given, options.get("generation_config"), rest, tokenizer=tokenizer, **arguments)
    if len(call.requests) != 1:
        raise InputError(f"stream writes one text, got {len(call.requests)}: use generate_many for several")
    model.require_trained()
    return call


def _pieces(call: Call, tokenizer: Any) -> Generator[Any, None, None]:
    decoder = None if tokenizer is None else IncrementalDecoder(tokenizer)
    with closing(call.events()) as events:
        for event in events:
            if decoder is None:
                yield from event.final
            elif piece := decoder.push_many(event.final):
                yield piece
    if decoder is not None and (rest := decoder.finish()):
        yield rest


async def astream(model: Any, inputs: Any, *, tokenizer: Any = None, **options: Any) -> AsyncIterator[Any]:
    """See :meth:`enfold.generation.mixin.GenerationMixin.astream`.

    Where the task is cancelled, the step that runs is waited for, the text ends there, and the cache is free.
    """
    cancelled = threading.Event()
    criteria = [*(options.pop("stopping_criteria", None) or ()), lambda rows: cancelled.is_set()]
    pieces = stream(model, inputs, tokenizer=tokenizer, stopping_criteria=criteria, **options)
    running, end = threading.Lock(), object()

    def step() -> Any:
        with running:
            return next(pieces, end)

    def stop() -> None:
        with running:
            pieces.close()

    try:
        while (piece := await asyncio.to_thread(step)) is not end:
            yield piece
    finally:
        cancelled.set()
        await asyncio.to_thread(stop)
