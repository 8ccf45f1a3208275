"""What the arguments of a call mean, and the rows that they make."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Encoding

from enfold.errors import InputError
from enfold.tokenization.batch import BatchEncoding, TensorKind
from enfold.tokenization.encoded import Cut, Item, check_room, cut_items
from enfold.tokenization.inputs import as_items, explain_refusal
from enfold.tokenization.padding import Padding, PaddingChoice, choose_padding, pad_encodings
from enfold.tokenization.settings import NO_LIMIT
from enfold.tokenization.state import State

__all__ = ["CallOptions", "TruncationChoice", "call", "encode"]

TruncationChoice = bool | Literal["longest_first", "only_first", "only_second", "do_not_truncate"] | None

_COLUMNS: Mapping[str, Callable[[Encoding], Any]] = {
    "input_ids": lambda encoding: encoding.ids,
    "token_type_ids": lambda encoding: encoding.type_ids,
    "attention_mask": lambda encoding: encoding.attention_mask,
    "special_tokens_mask": lambda encoding: encoding.special_tokens_mask,
    "offset_mapping": lambda encoding: encoding.offsets,
    "length": len,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """The options of one call, under their public names."""

    add_special_tokens: bool
    padding: PaddingChoice
    truncation: TruncationChoice
    max_length: int | None
    stride: int
    is_split_into_words: bool
    pad_to_multiple_of: int | None
    padding_side: Literal["right", "left"] | None
    truncation_side: Literal["right", "left"] | None
    return_tensors: TensorKind | None
    return_token_type_ids: bool | None
    return_attention_mask: bool | None
    return_overflowing_tokens: bool
    return_special_tokens_mask: bool
    return_offsets_mapping: bool
    return_length: bool


def call(state: State, text: Any, text_pair: Any, options: CallOptions) -> BatchEncoding:
    """Encode, cut and pad a text, a pair, or a batch of either.

    Raises:
        InputError: something that is not text, or options that do not fit each other.
    """
    words, special = options.is_split_into_words, options.add_special_tokens
    items, batched = as_items(text, text_pair, is_split_into_words=words)
    length, side, pads = options.max_length, options.truncation_side, bool(options.padding)
    cut = _choose_cut(state, options.truncation, length, options.stride, side, pads)
    pad = choose_padding(state, options.padding, length, options.pad_to_multiple_of, options.padding_side)
    _check_multiple(cut, pad)
    rows = encode(state, items, add_special_tokens=special, is_pretokenized=words)
    overflows = options.return_overflowing_tokens
    windows = _fit(state, items, rows, cut, add_special_tokens=special, is_pretokenized=words, first_only=not overflows)
    encodings = [encoding for each in windows for encoding in each]
    pad_encodings(encodings, pad)
    types, mask = options.return_token_type_ids, options.return_attention_mask
    columns = {
        "input_ids": True,
        "token_type_ids": "token_type_ids" in state.input_names if types is None else types,
        "attention_mask": "attention_mask" in state.input_names if mask is None else mask,
        "special_tokens_mask": options.return_special_tokens_mask,
        "offset_mapping": options.return_offsets_mapping,
        "length": options.return_length,
    }
    data: dict[str, Any] = {
        name: [_COLUMNS[name](encoding) for encoding in encodings] for name, wanted in columns.items() if wanted
    }
    if overflows:
        data["overflow_to_sample_mapping"] = [number for number, each in enumerate(windows) for _ in each]
    if not batched and options.return_tensors is None and not overflows:
        # A length stays a list, as in the reference.
        data = {name: value if name == "length" else value[0] for name, value in data.items()}
    return BatchEncoding(data, encodings, options.return_tensors)


def encode(
    state: State, items: Sequence[Item], *, add_special_tokens: bool, is_pretokenized: bool = False
) -> list[Encoding]:
    """One row for each text or pair.

    Raises:
        InputError: a text that can't be written as UTF-8.
    """
    try:
        if state.table is not None:
            flat = [text for item in items for text in (item if isinstance(item, tuple) else (item,))]
            pieces = iter(state.pieces(flat, is_pretokenized=is_pretokenized))
            rows = ((next(pieces), next(pieces) if isinstance(item, tuple) else None) for item in items)
            return [state.full.post_process(*row, add_special_tokens) for row in rows]
        return state.full.encode_batch(items, is_pretokenized=is_pretokenized, add_special_tokens=add_special_tokens)
    except (TypeError, UnicodeEncodeError) as error:
        raise explain_refusal(items, error) from error


def _fit(
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


def _choose_cut(
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


def _check_multiple(cut: Cut | None, pad: Padding | None) -> None:
    """Refuse to cut to a length that padding to a multiple would then exceed."""
    multiple = pad.multiple if pad is not None else None
    if cut is not None and multiple and cut.max_length % multiple:
        raise InputError(
            f"max_length={cut.max_length} is not a multiple of pad_to_multiple_of={multiple}, so rows that "
            "are cut to the "
            "one would be padded beyond it. Pass "
            f"max_length={cut.max_length - cut.max_length % multiple or multiple}."
        )
