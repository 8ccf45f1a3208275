"""One encoded text, and the one way in which a text is cut: truncation, overflow and windows are the same thing.

::

    text ──raw──▶ pieces ──cut──▶ part, part, part ──template──▶ [CLS] part [SEP], [CLS] part [SEP] …
                                   └ stride ┘ tokens shared by neighbours

Truncation keeps the first window; overflow returns the others as well.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from enfold.errors import InputError
from enfold.tokenization.state import State

__all__ = ["Cut", "Encoded", "Item", "Strategy", "Text", "check_room", "cut_items"]

Strategy = Literal["longest_first", "only_first", "only_second"]
Text = str | list[str]
Item = Text | tuple[Text, Text]
"""What the engine encodes: a text or its words; a tuple is always a pair."""


@dataclass(frozen=True)
class Encoded:
    """One text or pair as T tokens. What costs is made when it is first asked for."""

    encoding: Encoding
    item: Item
    add_special_tokens: bool = True

    def __len__(self) -> int:
        return len(self.encoding)

    @cached_property
    def ids(self) -> NDArray[np.int32]:
        """Token ids, ``(T,)``."""
        return np.array(self.encoding.ids, dtype=np.int32)

    @cached_property
    def type_ids(self) -> NDArray[np.int32]:
        """Token types, ``(T,)``: 1 in the second text of a pair, where the template says so."""
        return np.array(self.encoding.type_ids, dtype=np.int32)

    @cached_property
    def offsets(self) -> NDArray[np.int32]:
        """Start and end of each token in characters of its own text, ``(T, 2)``; ``(0, 0)`` for special tokens."""
        return np.array(self.encoding.offsets, dtype=np.int32).reshape(-1, 2)

    @cached_property
    def special_mask(self) -> NDArray[np.bool_]:
        """True where the template put a special token, ``(T,)``."""
        return np.array(self.encoding.special_tokens_mask, dtype=np.bool_)

    @cached_property
    def word_ids(self) -> tuple[int | None, ...]:
        """The word that each token is part of, counted from 0 in its own text; ``None`` for special tokens."""
        return tuple(self.encoding.word_ids)

    @cached_property
    def sequence_ids(self) -> tuple[int | None, ...]:
        """0 for tokens of the text, 1 for those of its pair, ``None`` for special tokens."""
        return tuple(self.encoding.sequence_ids)

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The tokens as text."""
        return tuple(self.encoding.tokens)


@dataclass(frozen=True, slots=True)
class Cut:
    """How to make a text fit: at most ``max_length`` tokens with the special ones, ``stride`` of them shared."""

    max_length: int
    strategy: Strategy = "longest_first"
    stride: int = 0
    side: Literal["right", "left"] = "right"

    def __post_init__(self) -> None:
        problems = []
        for name, value, least in (("max_length", self.max_length, 0), ("stride", self.stride, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                problems.append(f"{name}={value!r}: expected a whole number of at least {least}")
        if self.strategy not in get_args(Strategy):
            problems.append(f"truncation={self.strategy!r}: expected one of {', '.join(get_args(Strategy))}")
        if self.side not in ("right", "left"):
            problems.append(f"truncation_side={self.side!r}: expected 'right' or 'left'")
        if problems:
            raise InputError(". ".join(problems) + ".")


def cut_items(
    state: State,
    items: Sequence[Item],
    cut: Cut,
    *,
    add_special_tokens: bool,
    is_pretokenized: bool = False,
    first_only: bool = False,
) -> list[list[Encoding]]:
    """The windows of each item: one where it fits into ``cut.max_length``, else several, or the ``first_only``.

    With ``longest_first`` both texts of a pair may be cut; the windows are every combination of their parts, in
    the order of the reference: the first, then each further part of the first text with all of the second, then
    the rest.

    Raises:
        InputError: there is no room beside the special tokens, or the text to be cut is too short to give way.
    """
    flat = [text for item in items for text in (item if isinstance(item, tuple) else (item,))]
    encodings = iter(state.pieces(flat, is_pretokenized=is_pretokenized))
    windows: list[list[Encoding]] = []
    for item in items:
        first, second = next(encodings), next(encodings) if isinstance(item, tuple) else None
        _cut(first, second, _room(state, cut, second is not None, add_special_tokens), cut)
        if second is None:
            whole = state.full.post_process(first, None, add_special_tokens)
            windows.append([whole] if first_only else [whole, *whole.overflowing])
            continue
        pairs = _combinations(first, second)
        made = (state.full.post_process(*pair, add_special_tokens) for pair in pairs)
        windows.append([next(made)] if first_only else list(made))
    return windows


def _combinations(first: Encoding, second: Encoding) -> list[tuple[Encoding, Encoding]]:
    """Every part of the first text with every part of the second.

    The engine would combine them too, but gives wrong token types to the further parts of the second text.
    """
    firsts, seconds = first.overflowing, second.overflowing
    if firsts and seconds:
        first, second = _alone(first), _alone(second)
    return [
        (first, second),
        *((part, other) for part in firsts for other in (second, *seconds)),
        *((first, other) for other in seconds),
    ]


def _alone(encoding: Encoding) -> Encoding:
    """A copy without ``overflowing``, which the engine would otherwise combine again at each use."""
    copy = Encoding()
    values = json.loads(encoding.__getstate__())
    copy.__setstate__(json.dumps({**values, "overflowing": []}).encode())
    return copy


def check_room(state: State, items: Sequence[Item], cut: Cut, *, add_special_tokens: bool) -> None:
    """Refuse a cut that could not be made, whether or not one of these texts is long enough to need it.

    Raises:
        InputError: the special tokens leave no room, the stride fills it, or a second text is missing.
    """
    pairs = {isinstance(item, tuple) for item in items}
    for pair in sorted(pairs):
        _room(state, cut, pair, add_special_tokens)
    if cut.strategy == "only_second" and False in pairs:
        raise InputError(
            "truncation='only_second' cuts the second text of a pair, but a text without a pair was given. "
            "Pass text_pair, or truncation=True."
        )


def _room(state: State, cut: Cut, pair: bool, add_special_tokens: bool) -> int:
    """How many tokens of text fit beside the special tokens."""
    around = state.full.num_special_tokens_to_add(pair) if add_special_tokens else 0
    room = cut.max_length - around
    if room < 0:
        raise InputError(
            f"max_length={cut.max_length} is less than the {around} special tokens around a "
            f"{'pair' if pair else 'text'}. Pass at least {around + 1}, or add_special_tokens=False."
        )
    if cut.stride and cut.stride >= room:
        raise InputError(
            f"stride={cut.stride} leaves nothing new in a window: max_length={cut.max_length} less {around} special "
            f"tokens is {room}. Pass a stride below {room}, or a greater max_length."
        )
    return room


def _cut(first: Encoding, second: Encoding | None, room: int, cut: Cut) -> None:
    """Shorten fresh encodings in place to ``room`` tokens together; the rest becomes their ``overflowing``."""
    sizes = [len(first), 0 if second is None else len(second)]
    over = sum(sizes) - room
    if over <= 0:
        return
    if room == 0:
        keep = [0, 0]
    elif cut.strategy == "longest_first":
        keep = _shares(sizes, room)
    else:
        target = 0 if cut.strategy == "only_first" else 1
        keep = list(sizes)
        keep[target] -= over
        if keep[target] <= 0:
            which, other = ("first", "second")[target], ("second", "first")[target]
            raise InputError(
                f"truncation={cut.strategy!r}: {over} tokens have to go to fit max_length={cut.max_length}, "
                f"but the {which} text has only {sizes[target]} and the {other} one takes {sizes[1 - target]}. "
                "Pass a greater max_length, or truncation=True to cut both."
            )
    for part, size, kept in zip((first, second), sizes, keep, strict=True):
        if part is None or kept >= size:
            continue
        if cut.stride and cut.stride >= kept:
            raise InputError(
                f"stride={cut.stride} leaves nothing new in a window: of one text only {kept} tokens fit beside the "
                f"other. Pass a stride below {kept}, or a greater max_length."
            )
        part.truncate(kept, stride=cut.stride, direction=cut.side)


def _shares(sizes: Sequence[int], room: int) -> list[int]:
    """How many tokens each text of a pair keeps when tokens go from the longer one first.

    The longer text gives way until both are equal; then they share the room, the odd token to the longer one.
    """
    shorter, longer = sorted(sizes)
    longer = shorter if shorter > room else max(shorter, room - shorter)
    if shorter + longer > room:
        shorter, longer = room // 2, room - room // 2
    return [longer, shorter] if sizes[0] > sizes[1] else [shorter, longer]
