"""What the arguments of a call mean, and the rows that they make."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from tokenizers import Encoding

from enfold.errors import InputError
from enfold.tokenization.encoded import Cut, Item, check_room, cut_items
from enfold.tokenization.inputs import explain_refusal
from enfold.tokenization.padding import Padding
from enfold.tokenization.settings import NO_LIMIT
from enfold.tokenization.state import State

__all__ = ["COLUMNS", "TruncationChoice", "check_multiple", "choose_cut", "encode", "fit"]

TruncationChoice = bool | Literal["longest_first", "only_first", "only_second", "do_not_truncate"] | None

COLUMNS: Mapping[str, Callable[[Encoding], Any]] = {
    "input_ids": lambda encoding: encoding.ids,
    "token_type_ids": lambda encoding: encoding.type_ids,
    "attention_mask": lambda encoding: encoding.attention_mask,
    "special_tokens_mask": lambda encoding: encoding.special_tokens_mask,
    "offset_mapping": lambda encoding: encoding.offsets,
    "length": len,
}


def encode(
    state: State, items: Sequence[Item], *, add_special_tokens: bool, is_pretokenized: bool = False
) -> list[Encoding]:
    try:
        return state.full.encode_batch(items, is_pretokenized=is_pretokenized, add_special_tokens=add_special_tokens)
    except (TypeError, UnicodeEncodeError) as error:
        raise explain_refusal(items, error) from error


def fit(
    state: State,
    items: Sequence[Item],
    rows: Sequence[Encoding],
    cut: Cut | None,
    *,
    add_special_tokens: bool,
    is_pretokenized: bool,
    first_only: bool,
) -> list[list[Encoding]]:
    """The windows of each row: the row itself where it fits."""
    if cut is None:
        return [[row] for row in rows]
    check_room(state, items, cut, add_special_tokens=add_special_tokens)
    long = [number for number, row in enumerate(rows) if len(row) > cut.max_length]
    cuts = cut_items(
        state,
        [items[number] for number in long],
        cut,
        add_special_tokens=add_special_tokens,
        is_pretokenized=is_pretokenized,
        first_only=first_only,
    )
    windows = [[row] for row in rows]
    for number, each in zip(long, cuts, strict=True):
        windows[number] = each
    return windows


def choose_cut(
    state: State,
    truncation: TruncationChoice,
    max_length: int | None,
    stride: int,
    side: Literal["right", "left"] | None,
    pads: bool,
) -> Cut | None:
    """What ``truncation`` and ``max_length`` mean together; ``None`` for no cut, as without any limit."""
    if truncation is None:
        truncation = max_length is not None and not pads
    if truncation is False or truncation == "do_not_truncate":
        return None
    strategy: Any = "longest_first" if truncation is True else truncation
    limit = max_length if max_length is not None else state.model_max_length
    cut = Cut(limit, strategy, stride, side or state.truncation_side)
    return None if limit >= NO_LIMIT else cut


def check_multiple(cut: Cut | None, pad: Padding | None) -> None:
    """Refuse to cut to a length that padding to a multiple would then exceed."""
    multiple = pad.multiple if pad is not None else None
    if cut is not None and multiple and cut.max_length % multiple:
        raise InputError(
            f"max_length={cut.max_length} is not a multiple of pad_to_multiple_of={multiple}, so rows that "
            "are cut to the "
            "one would be padded beyond it. Pass "
            f"max_length={cut.max_length - cut.max_length % multiple or multiple}."
        )
