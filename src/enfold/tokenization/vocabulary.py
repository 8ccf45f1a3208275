"""The vocabulary side of a tokenizer: tokens, their ids, and which of them are special."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tokenizers import AddedToken

from enfold.errors import InputError
from enfold.tokenization.decoding import as_ids, stages_of
from enfold.tokenization.settings import ROLES, as_added_token
from enfold.tokenization.stages import feed, finish
from enfold.tokenization.state import State

__all__ = ["Vocabulary"]


class _SpecialToken:
    """``tokenizer.pad_token``: the text of the token in a role; assigning to it chooses or adds the token."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.role = name.removesuffix("_token")

    def __get__(self, tokenizer: "Vocabulary", owner: type) -> str | None:
        return tokenizer._state.token(self.role)

    def __set__(self, tokenizer: "Vocabulary", value: str | AddedToken | None) -> None:
        tokenizer._set_special({self.role: value})


class _SpecialTokenId:
    """``tokenizer.pad_token_id``: the id of the token in a role."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.role = name.removesuffix("_token_id")

    def __get__(self, tokenizer: "Vocabulary", owner: type) -> int | None:
        return tokenizer._state.token_id(self.role)


class Vocabulary:
    """Tokens and ids. What changes it makes a new state and swaps that in, so that threads never meet half."""

    bos_token, bos_token_id = _SpecialToken(), _SpecialTokenId()
    eos_token, eos_token_id = _SpecialToken(), _SpecialTokenId()
    unk_token, unk_token_id = _SpecialToken(), _SpecialTokenId()
    sep_token, sep_token_id = _SpecialToken(), _SpecialTokenId()
    pad_token, pad_token_id = _SpecialToken(), _SpecialTokenId()
    cls_token, cls_token_id = _SpecialToken(), _SpecialTokenId()
    mask_token, mask_token_id = _SpecialToken(), _SpecialTokenId()

    def __init__(self, state: State) -> None:
        self._state = state
        self._lock = threading.Lock()

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id, or those of a list of ids; ``None`` for an id that the vocabulary lacks."""
        book = self._state.for_decoding.book
        numbers = as_ids(ids)
        if isinstance(numbers, int):
            return book.id_to_token(numbers)
        skipped = set(self.all_special_ids) if skip_special_tokens else frozenset[int]()
        return [book.id_to_token(number) for number in numbers if number not in skipped]

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """The id of a token, or those of a list of tokens; the id of the unknown token where there is none."""
        state = self._state
        if tokens is None:
            return None
        unknown = state.token_id("unk")
        if isinstance(tokens, str):
            found = state.book.token_to_id(tokens)
            return unknown if found is None else found
        ids = (state.book.token_to_id(token) for token in tokens)
        return [unknown if found is None else found for found in ids]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text that tokens make."""
        stages = stages_of(self._state.for_decoding, clean=False)
        return feed(stages, tokens) + finish(stages)

    @property
    def vocab_size(self) -> int:
        """The number of tokens without those added later; ``len(tokenizer)`` counts them all."""
        return self._state.book.get_vocab_size(with_added_tokens=False)

    def __len__(self) -> int:
        return self._state.book.get_vocab_size(with_added_tokens=True)

    def __bool__(self) -> bool:
        return True

    def get_vocab(self) -> dict[str, int]:
        """Token → id, added tokens included."""
        return self._state.book.get_vocab(with_added_tokens=True)

    @property
    def vocab(self) -> dict[str, int]:
        """Token → id, added tokens included."""
        return self.get_vocab()

    def get_added_vocab(self) -> dict[str, int]:
        """Added token → id."""
        decoder = self.added_tokens_decoder
        return {token.content: number for number, token in decoder.items()}

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Id → added token."""
        return dict(sorted(self._state.book.get_added_tokens_decoder().items()))

    def add_tokens(
        self, new_tokens: str | AddedToken | Iterable[str | AddedToken], special_tokens: bool = False
    ) -> int:
        """Add tokens that are matched whole; return by how many the vocabulary grew.

        The embeddings of a model have to grow with it: ``model.resize_token_embeddings(len(tokenizer))``.
        """
        if isinstance(new_tokens, str | AddedToken):
            new_tokens = [new_tokens]
        tokens = [as_added_token(token, special=special_tokens) for token in new_tokens]
        with self._lock:
            before = len(self)
            self._state = self._state.with_tokens(tokens, special=special_tokens)
            return len(self) - before

    def add_special_tokens(
        self, special_tokens_dict: Mapping[str, Any], replace_extra_special_tokens: bool = True
    ) -> int:
        """Choose or add the tokens of roles, ``{"pad_token": "[PAD]"}``; return by how many the vocabulary grew.

        ``extra_special_tokens`` (or its older name, ``additional_special_tokens``) takes a list of tokens
        without role.

        Raises:
            InputError: a key that is no role.
        """
        roles: dict[str, Any] = {}
        extra: list[Any] | None = None
        for name, value in special_tokens_dict.items():
            if (role := name.removesuffix("_token")) != name and role in ROLES:
                roles[role] = value
            elif name in ("extra_special_tokens", "additional_special_tokens"):
                extra = list(value)
            else:
                expected = ", ".join(f"{role}_token" for role in ROLES)
                raise InputError(f"{name!r} is no special token; expected {expected} or extra_special_tokens.")
        return self._set_special(roles, extra, keep_extra=not replace_extra_special_tokens)

    def _set_special(self, roles: Mapping[str, Any], extra: list[Any] | None = None, *, keep_extra: bool = True) -> int:
        with self._lock:
            state, before = self._state, len(self)
            chosen = {role: as_added_token(token, special=True) for role, token in roles.items() if token is not None}
            more = [as_added_token(token, special=True) for token in extra or ()]
            kept = state.extra if keep_extra or extra is None else ()
            special = {role: token for role, token in state.special.items() if role not in roles} | chosen
            self._state = replace(
                state.with_tokens([*chosen.values(), *more], special=True),
                special=special,
                extra=tuple(dict.fromkeys([*kept, *(token.content for token in more)])),
            )
            return len(self) - before

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """``"pad_token"`` → its text, and the like, for the roles that have a token."""
        state = self._state
        return {f"{role}_token": token for role in ROLES if (token := state.token(role)) is not None}

    @property
    def extra_special_tokens(self) -> list[str]:
        """The special tokens that have no role."""
        return list(self._state.extra)

    additional_special_tokens = extra_special_tokens

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once: those with a role first."""
        return list(dict.fromkeys([*self.special_tokens_map.values(), *self._state.extra]))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of :attr:`all_special_tokens`."""
        ids: list[int] = self.convert_tokens_to_ids(self.all_special_tokens)
        return ids

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens stand around a text, or around a pair."""
        return self._state.full.num_special_tokens_to_add(pair)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)
        self._lock = threading.Lock()
