"""Ids back to text."""

from typing import Any

import numpy as np
from tokenizers import models

from enfold.errors import InputError
from enfold.tokenization.stages import CLEANED, Pieces, Replace, Stage, Trim, feed, finish, make_stages
from enfold.tokenization.state import State

__all__ = ["as_ids", "clean_up", "decode", "stages_of"]


def clean_up(text: str) -> str:
    """Remove the spaces before punctuation and English contractions that WordPiece leaves."""
    for spaced in CLEANED:
        text = text.replace(spaced, spaced.strip())
    return text


def decode(state: State, token_ids: Any, *, skip_special_tokens: bool, clean: bool) -> str | list[str]:
    """The text of one row of ids, or the texts of several.

    Raises:
        InputError: something that is not a list, array or tensor of ids.
    """
    values = _as_lists(token_ids)
    if isinstance(values, list) and values and isinstance(values[0], list):
        rows = [_checked(row) for row in values]
        return _decode_rows(state, rows, skip_special_tokens, clean)
    row = _checked(values if isinstance(values, list) else [values])
    return _decode_rows(state, [row], skip_special_tokens, clean)[0]


def _decode_rows(state: State, rows: list[list[int]], skip: bool, clean: bool) -> list[str]:
    if state.table is None:
        texts = state.full.decode_batch(rows, skip_special_tokens=skip)
        return [clean_up(text) for text in texts] if clean and _is_cleaned(state) else texts
    stages, skipped = stages_of(state, clean=clean), state.special_texts if skip else frozenset[str]()
    texts = []
    for row in rows:
        tokens = (state.book.id_to_token(number) for number in row)
        text = feed(stages, (token for token in tokens if token is not None and token not in skipped))
        texts.append(text + finish(stages))
    return texts


def stages_of(state: State, *, clean: bool) -> list[Stage]:
    """The stages from tokens to text, fresh."""
    if state.table is None:
        stages = make_stages(state.full.decoder)
    else:
        rules, squeezes = state.table.denormalizer, state.table.normalizer.squeezes
        stages = [Pieces(state.special_texts, state.table.after_special, rules, squeezes=squeezes), Trim()]
    if clean and _is_cleaned(state):
        stages += [Replace(spaced, spaced.strip()) for spaced in CLEANED]
    return stages


def _is_cleaned(state: State) -> bool:
    """BPE never is: its spaces are those of the text."""
    return state.table is not None or not isinstance(state.full.model, models.BPE)


def as_ids(ids: Any) -> int | list[int]:
    """One id, or a flat list of ids.

    Raises:
        InputError: it is neither.
    """
    values = _as_lists(ids)
    return _checked(values) if isinstance(values, list) else _checked([values])[0]


def _as_lists(value: Any) -> Any:
    """Lists and ints, of whatever holds them: arrays, tensors, an encoding."""
    if hasattr(value, "keys") and "input_ids" in value:
        value = value["input_ids"]
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_as_lists(each) for each in value] if value and not isinstance(value[0], int) else list(value)
    return value


def _checked(row: Any) -> list[int]:
    if not isinstance(row, list):
        raise InputError(f"Rows of ids were expected; {row!r} is between them.")
    for number in row:
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise InputError(f"Ids are whole numbers; {number!r}, a {type(number).__name__}, was given.")
        if not 0 <= number < 2**32:
            raise InputError(
                f"{number} is no id. Where -100 marks positions without a label, replace it first: "
                "np.where(labels < 0, tokenizer.pad_token_id, labels)."
            )
    return [int(number) for number in row]
