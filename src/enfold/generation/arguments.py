"""What callers hand to ``generate`` beside options: looked at before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from enfold.errors import InputError
from enfold.generation.config import GenerationConfig
from enfold.model import PreTrainedModel

__all__ = ["argument_problems", "rows_of_ids"]


def argument_problems(
    *,
    generation_config: Any = None,
    logits_processor: Any = None,
    stopping_criteria: Any = None,
    prefix_allowed_tokens_fn: Any = None,
    assistant_model: Any = None,
    streamer: Any = None,
) -> Iterator[str]:
    """What is wrong with the arguments of ``generate`` that are objects; None is always right."""
    if isinstance(generation_config, dict):
        yield "generation_config is a dict: give its options by name, generate(…, **options), or a GenerationConfig"
    elif generation_config is not None and not isinstance(generation_config, GenerationConfig):
        yield f"generation_config is of type {type(generation_config).__name__}, expected an enfold.GenerationConfig"
    for name, value in (("logits_processor", logits_processor), ("stopping_criteria", stopping_criteria)):
        if value is not None and (not isinstance(value, Iterable) or isinstance(value, str)):
            yield f"{name} is {value!r:.60}, expected a list"
    if prefix_allowed_tokens_fn is not None and not callable(prefix_allowed_tokens_fn):
        yield (
            f"prefix_allowed_tokens_fn is {prefix_allowed_tokens_fn!r:.60}, expected a function "
            "(index of the input, tokens so far) -> ids that may follow"
        )
    if assistant_model is not None and not isinstance(assistant_model, PreTrainedModel):
        yield (
            f"assistant_model is of type {type(assistant_model).__name__}, expected an enfold model: load it with "
            "AutoModelForCausalLM or AutoModelForSeq2SeqLM"
        )
    if streamer is not None and not all(callable(getattr(streamer, name, None)) for name in ("put", "end")):
        yield f"streamer is {streamer!r:.60}, expected an object with put(ids) and end(), as enfold.TextStreamer"


def rows_of_ids(
    model: PreTrainedModel, ids: Any, mask: Any, name: str, *, of_decoder: bool = False
) -> tuple[list[list[int]], Any]:
    """The real tokens of each row, and the ids as an array or the lists that were given.

    Args:
        model: what reads them.
        ids: (B, S), or lists of different lengths; None: no rows.
        mask: (B, S), 0 where there is padding; None: nowhere.
        name: what errors call them.
        of_decoder: an encoder-decoder model's decoder reads them, not its encoder.

    Raises:
        InputError: a shape other than (B, S), a row without tokens, or ids that the model does not know.
    """
    if ids is None:
        return [], None
    ragged = isinstance(ids, list | tuple) and bool(ids) and all(isinstance(row, list | tuple) for row in ids)
    if ragged and len({len(row) for row in ids}) > 1:
        if mask is not None:
            raise InputError(f"{name} have rows of different lengths, which need no attention_mask: leave it out")
        for row in ids:
            _check_type(row, name)
        rows = [[int(token) for token in row] for row in ids]
    else:
        _check_type(ids, name)
        array = model.ops.integers(ids, name)
        if array.ndim == 1:
            array = array[None]
        if array.ndim != 2:
            raise InputError(f"{name}: the shape is {tuple(array.shape)}, expected (batch, length)")
        kept = model.ops.mask(mask, array)
        rows = [
            [token for token, real in zip(row, m, strict=True) if real]
            for row, m in zip(array.tolist(), kept.tolist(), strict=True)
        ]
        ids = array
    _check_rows(model, rows, name, of_decoder)
    return rows, ids


def _check_type(ids: Any, name: str) -> None:
    """Raises InputError for what are no token ids: texts, and numbers with a fraction or made of such."""
    try:
        values = ids if hasattr(ids, "dtype") else np.asarray(ids)
    except ValueError:
        return  # not rectangular, which the engine says
    kind = str(values.dtype).removeprefix("torch.")
    if not kind.startswith(("int", "uint")) and 0 not in values.shape:
        got = "texts: tokenizer(texts)['input_ids'] are their ids" if kind.startswith("<U") else f"{kind} values"
        raise InputError(f"{name}: expected token ids, which are whole numbers, got {got}")


def _check_rows(model: PreTrainedModel, rows: list[list[int]], name: str, of_decoder: bool) -> None:
    arch, part = (model.arch, "decoder") if of_decoder else (model.arch.encoder or model.arch, "encoder")
    reader = "this model" if model.arch.encoder is None else f"this model's {part}"
    if rows in ([], [[]]):
        raise InputError(f"{name}: empty, so that there is no token to go on from")
    for index, row in enumerate(rows):
        if not row:
            raise InputError(f"row {index} of {name} has no token to go on from")
        if min(row) < 0 or max(row) >= arch.vocab_size:
            raise InputError(
                f"row {index} of {name} has ids from {min(row)} to {max(row)}, and {reader} knows 0 to "
                f"{arch.vocab_size - 1}: is the tokenizer the model's own?"
            )
