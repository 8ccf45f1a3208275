"""Padding: bringing rows to one length, on encodings before they become lists, or on lists made earlier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Encoding

from enfold.errors import InputError
from enfold.tokenization.settings import NO_LIMIT
from enfold.tokenization.state import State

__all__ = ["Padding", "PaddingChoice", "choose_padding", "pad_columns", "pad_encodings"]

PaddingChoice = bool | Literal["longest", "max_length", "do_not_pad"]
_FILLERS = {"attention_mask": 0, "token_type_ids": 0, "special_tokens_mask": 1}


@dataclass(frozen=True, slots=True)
class Padding:
    """To which length to pad (``None``: that of the longest row), where, and with what."""

    length: int | None
    multiple: int | None
    side: Literal["right", "left"]
    token: str
    token_id: int

    def target(self, sizes: Sequence[int]) -> int:
        """The length of every row, in tokens; rows that are longer stay so."""
        length = max(sizes, default=0) if self.length is None else self.length
        return length if not self.multiple else -(-length // self.multiple) * self.multiple


def choose_padding(
    state: State,
    padding: PaddingChoice,
    max_length: int | None,
    multiple: int | None,
    side: Literal["right", "left"] | None,
) -> Padding | None:
    """What the arguments of a call mean; ``None`` for no padding.

    ``padding="max_length"`` without any limit pads nothing, as in the reference.

    Raises:
        InputError: an option is of the wrong type or value, or there is no padding token.
    """
    problems = []
    if padding not in (True, False, "longest", "max_length", "do_not_pad"):
        problems.append(f"padding={padding!r}: expected True, False, 'longest', 'max_length' or 'do_not_pad'")
    for name, value in (("max_length", max_length), ("pad_to_multiple_of", multiple)):
        least = 0 if name == "max_length" else 1
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            problems.append(f"{name}={value!r}: expected a whole number of at least {least}, or None")
    if side not in ("right", "left", None):
        problems.append(f"padding_side={side!r}: expected 'right', 'left' or None")
    if problems:
        raise InputError(". ".join(problems) + ".")
    if padding is False or padding == "do_not_pad":
        return None
    length = None
    if padding == "max_length":
        length = state.model_max_length if max_length is None else max_length
        if length >= NO_LIMIT:
            return None
    number = state.pad_id()
    return Padding(length, multiple, side or state.padding_side, state.token("pad") or "", number)


def pad_encodings(encodings: Sequence[Encoding], padding: Padding | None) -> None:
    """Pad fresh encodings in place."""
    if padding is None:
        return
    target = padding.target([len(encoding) for encoding in encodings])
    for encoding in encodings:
        encoding.pad(target, direction=padding.side, pad_id=padding.token_id, pad_token=padding.token)


def pad_columns(
    encoded: Mapping[str, Any] | Sequence[Mapping[str, Any]], padding: Padding | None, *, with_mask: bool
) -> dict[str, Any]:
    """Pad columns of lists: one row of ids, or a list of rows.

    Raises:
        InputError: there are no ``input_ids``, or rows of one example differ in length.
    """
    columns = _as_columns(encoded)
    ids = columns["input_ids"]
    if not ids:
        return columns | ({"attention_mask": []} if with_mask else {})
    single = not isinstance(ids[0], list)
    if single:
        columns = {name: [value] for name, value in columns.items()}
        ids = columns["input_ids"]
    if with_mask and "attention_mask" not in columns:
        columns["attention_mask"] = [[1] * len(row) for row in ids]
    if padding is not None:
        target = padding.target([len(row) for row in ids])
        missing = [target - len(row) for row in ids]
        for name, filler in {"input_ids": padding.token_id, **_FILLERS}.items():
            if name in columns:
                rows = zip(columns[name], missing, strict=True)
                columns[name] = [_padded(row, filler, count, padding.side) for row, count in rows]
    return {name: value[0] for name, value in columns.items()} if single else columns


def _padded(row: list[int], filler: int, count: int, side: str) -> list[int]:
    more = [filler] * count
    return row + more if side == "right" else more + row


def _as_columns(encoded: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A dictionary of lists, from one or from a list of dictionaries; arrays and tensors become lists."""
    if isinstance(encoded, Mapping):
        columns = dict(encoded)
    elif encoded and all(isinstance(each, Mapping) for each in encoded):
        names = [name for name in encoded[0] if all(name in each for each in encoded)]
        columns = {name: [each[name] for each in encoded] for name in names}
    else:
        raise InputError(
            f"pad takes what the tokenizer returned, or a list of that; a {type(encoded).__name__} was given. "
            "Call the tokenizer on texts first."
        )
    if "input_ids" not in columns:
        raise InputError(f"There are no input_ids to pad; only {', '.join(columns) or 'nothing'} was given.")
    return {name: _as_list(value) for name, value in columns.items()}


def _as_list(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_as_list(each) for each in value]
    return value
