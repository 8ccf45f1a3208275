"""The tokenizer: texts to ids and back, with the names that the field knows.

A tokenizer works from one frozen :class:`~enfold.tokenization.state.State`. Every call reads it once, and what changes
it (``add_tokens``, ``tokenizer.pad_token = …``) makes a new one and swaps it in, so threads never meet half a change.
"""

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tokenizers import AddedToken, Encoding

from enfold.errors import InputError
from enfold.tokenization.batch import BatchEncoding, TensorKind
from enfold.tokenization.build import build
from enfold.tokenization.decoding import as_ids, clean_up, decode
from enfold.tokenization.encoded import Cut, Encoded, Item, Strategy, check_room, cut_items
from enfold.tokenization.inputs import as_items, explain_refusal
from enfold.tokenization.kinds import Kind
from enfold.tokenization.padding import Padding, PaddingChoice, choose_padding, pad_columns, pad_encodings
from enfold.tokenization.saving import save
from enfold.tokenization.settings import NO_LIMIT, ROLES, Settings, as_added_token, read_settings
from enfold.tokenization.state import State

__all__ = ["Tokenizer"]

TruncationChoice = bool | Literal["longest_first", "only_first", "only_second", "do_not_truncate"] | None


class _SpecialToken:
    """``tokenizer.pad_token``: the text of the token in a role; assigning to it chooses or adds the token."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.role = name.removesuffix("_token")

    def __get__(self, tokenizer: "Tokenizer", owner: type) -> str | None:
        return tokenizer._state.token(self.role)

    def __set__(self, tokenizer: "Tokenizer", value: str | AddedToken | None) -> None:
        tokenizer._set_special({self.role: value})


class _SpecialTokenId:
    """``tokenizer.pad_token_id``: the id of the token in a role."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.role = name.removesuffix("_token_id")

    def __get__(self, tokenizer: "Tokenizer", owner: type) -> int | None:
        return tokenizer._state.token_id(self.role)


class Tokenizer:
    """Turns texts into the ids that a model was trained on, and ids back into text.

    Made by :meth:`from_pretrained` or :meth:`from_folder`. Safe to share between threads.

    ::

        tokenizer = Tokenizer.from_pretrained("./my-model")
        batch = tokenizer(["Hello world", "Hi"], padding=True, return_tensors="np")
    """

    bos_token, eos_token, unk_token, sep_token = (
        _SpecialToken(),
        _SpecialToken(),
        _SpecialToken(),
        _SpecialToken(),
    )
    pad_token, cls_token, mask_token = _SpecialToken(), _SpecialToken(), _SpecialToken()
    bos_token_id, eos_token_id, unk_token_id = _SpecialTokenId(), _SpecialTokenId(), _SpecialTokenId()
    sep_token_id, pad_token_id, cls_token_id = _SpecialTokenId(), _SpecialTokenId(), _SpecialTokenId()
    mask_token_id = _SpecialTokenId()
    is_fast = True

    def __init__(self, state: State, kind: Kind, settings: Settings, name_or_path: str = "") -> None:
        self._state = state
        self._kind = kind
        self._settings = settings
        self._lock = threading.Lock()
        self.name_or_path = name_or_path

    # ── making ───────────────────────────────────────────────────────────────

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        *,
        kind: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        **overrides: Any,
    ) -> "Tokenizer":
        """Load the tokenizer of a folder, a package or a hub model.

        ``kind`` (``"bert"``, ``"roberta"`` …, or a class name such as ``"BertTokenizer"``) is needed only where the
        files do not tell. ``overrides`` are settings: ``do_lower_case=False``, ``model_max_length=256``,
        ``pad_token="[PAD]"``, ``padding_side="left"`` and the like.

        Raises:
            SourceError: the source can't be found or fetched.
            TokenizerError: its files make no tokenizer, or a setting is unknown or of the wrong type.
        """
        from enfold.checkpoint.sources import resolve

        folder = resolve(
            source,
            want="tokenizer",
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        tokenizer = cls.from_folder(folder, kind, **overrides)
        tokenizer.name_or_path = os.fspath(source)
        return tokenizer

    @classmethod
    def from_folder(
        cls, path: str | os.PathLike[str], kind: str | None = None, **overrides: Any
    ) -> "Tokenizer":
        """Load the tokenizer files of a local folder; arguments and errors as in :meth:`from_pretrained`."""
        folder = Path(path)
        settings = read_settings(folder, overrides)
        built = build(folder, settings, kind)
        state = State(
            full=built.backend,
            special=built.special,
            extra=built.extra,
            input_names=settings.model_input_names or built.kind.input_names,
            model_max_length=settings.model_max_length or NO_LIMIT,
            padding_side=settings.padding_side or built.kind.padding_side,
            truncation_side=settings.truncation_side or "right",
            clean_up=settings.clean_up_tokenization_spaces or False,
        )
        return cls(state, built.kind, settings, os.fspath(path))

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> tuple[str, ...]:
        """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``special_tokens_map.json``; return their paths.

        ``transformers`` 4 and 5 load them back. The files appear complete or not at all.
        """
        return save(Path(save_directory), self._state, self._kind, self._settings)

    # ── text to ids ──────────────────────────────────────────────────────────

    def __call__(
        self,
        text: str | Sequence[Any] | None = None,
        text_pair: str | Sequence[Any] | None = None,
        *,
        add_special_tokens: bool = True,
        padding: PaddingChoice = False,
        truncation: TruncationChoice = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: Literal["right", "left"] | None = None,
        truncation_side: Literal["right", "left"] | None = None,
        return_tensors: TensorKind | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
    ) -> BatchEncoding:
        """Encode a text, a pair, or a batch of either.

        One text gives flat lists; a list of texts, ``return_tensors`` or ``return_overflowing_tokens`` give a batch
        axis. ``truncation`` left out cuts only where ``max_length`` is given without ``padding``. ``stride`` is the
        number of tokens that neighbouring windows share under ``return_overflowing_tokens``; then
        ``overflow_to_sample_mapping`` says which text each row is from.

        Raises:
            InputError: something that is not text, or options that do not fit each other.
        """
        state = self._state
        items, batched = as_items(text, text_pair, is_split_into_words=is_split_into_words)
        cut = _choose_cut(state, truncation, max_length, stride, truncation_side, bool(padding))
        pad = choose_padding(state, padding, max_length, pad_to_multiple_of, padding_side)
        _check_multiple(cut, pad)
        rows = _encode(
            state, items, add_special_tokens=add_special_tokens, is_pretokenized=is_split_into_words
        )
        windows = _fit(
            state,
            items,
            rows,
            cut,
            add_special_tokens=add_special_tokens,
            is_pretokenized=is_split_into_words,
            first_only=not return_overflowing_tokens,
        )
        encodings = [encoding for each in windows for encoding in each]
        pad_encodings(encodings, pad)
        types, mask = return_token_type_ids, return_attention_mask
        columns = {
            "input_ids": True,
            "token_type_ids": "token_type_ids" in state.input_names if types is None else types,
            "attention_mask": "attention_mask" in state.input_names if mask is None else mask,
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
            "length": return_length,
        }
        data: dict[str, Any] = {
            name: [_COLUMNS[name](encoding) for encoding in encodings]
            for name, wanted in columns.items()
            if wanted
        }
        if return_overflowing_tokens:
            data["overflow_to_sample_mapping"] = [number for number, each in enumerate(windows) for _ in each]
        if not batched and return_tensors is None and not return_overflowing_tokens:
            # A length stays a list, as in the reference.
            data = {name: value if name == "length" else value[0] for name, value in data.items()}
        return BatchEncoding(data, encodings, return_tensors)

    def encode(
        self, text: str | Sequence[Any], text_pair: str | Sequence[Any] | None = None, **options: Any
    ) -> Any:
        """The ids alone of one text or pair; ``options`` are those of a call."""
        return self(text, text_pair, **options)["input_ids"]

    def tokenize(
        self, text: str, pair: str | None = None, add_special_tokens: bool = False, **options: Any
    ) -> list[str]:
        """The tokens of one text as text; ``options`` are those of a call."""
        return self(text, pair, add_special_tokens=add_special_tokens, **options).tokens()

    def encode_many(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, add_special_tokens: bool = True
    ) -> list[Encoded]:
        """Encode many texts in one go, none of them cut or padded: the path that the tasks take.

        Raises:
            InputError: something that is not text.
        """
        if isinstance(texts, str):
            raise InputError("encode_many takes a list of texts; one string was given. Pass [text].")
        items, _ = as_items(list(texts), None if pairs is None else list(pairs))
        rows = _encode(self._state, items, add_special_tokens=add_special_tokens)
        return [Encoded(row, item, add_special_tokens) for row, item in zip(rows, items, strict=True)]

    def windows(
        self,
        text: str | Encoded,
        pair: str | None = None,
        *,
        max_length: int,
        stride: int = 0,
        strategy: Strategy | None = None,
        side: Literal["right", "left"] = "right",
        add_special_tokens: bool = True,
    ) -> list[Encoded]:
        """Cut one text into windows of at most ``max_length`` tokens, each with the special tokens around it.

        Neighbouring windows share ``stride`` tokens. Of a pair, the second text is cut and the first is repeated
        (``strategy="only_second"``: a question and its document), unless ``strategy`` says otherwise. A text that
        fits is one window.

        Raises:
            InputError: no room beside the special tokens (and, of a pair, the text that is not cut).
        """
        state = self._state
        if isinstance(text, Encoded):
            if pair is not None:
                raise InputError("An encoded text has its pair with it; leave pair out.")
            encoded = text
        else:
            items, _ = as_items(text, pair)
            (row,) = _encode(state, items, add_special_tokens=add_special_tokens)
            encoded = Encoded(row, items[0], add_special_tokens)
        item, special = encoded.item, encoded.add_special_tokens
        default: Strategy = "only_second" if isinstance(item, tuple) else "only_first"
        cut = Cut(max_length, strategy or default, stride, side)
        check_room(state, [item], cut, add_special_tokens=special)
        if len(encoded) <= max_length:
            return [encoded]
        (cuts,) = cut_items(state, [item], cut, add_special_tokens=special)
        return [Encoded(each, item, special) for each in cuts]

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: PaddingChoice = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: Literal["right", "left"] | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: TensorKind | None = None,
    ) -> BatchEncoding:
        """Pad what was encoded before: a list of encodings, or one with a list of rows.

        ``input_ids``, ``attention_mask``, ``token_type_ids`` and ``special_tokens_mask`` are padded; other entries
        (labels) are passed on as they are.

        Raises:
            InputError: there are no ``input_ids``, or there is no padding token.
        """
        state = self._state
        pad = choose_padding(state, padding, max_length, pad_to_multiple_of, padding_side)
        mask = (
            "attention_mask" in state.input_names if return_attention_mask is None else return_attention_mask
        )
        return BatchEncoding(pad_columns(encoded_inputs, pad, with_mask=mask), None, return_tensors)

    # ── ids to text ──────────────────────────────────────────────────────────

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> Any:
        """The text of ids: a string for one row, a list of strings for several.

        ``clean_up_tokenization_spaces`` removes the spaces before punctuation that WordPiece leaves. As in the
        reference it does nothing for BPE, whose spaces are those of the text.

        Raises:
            InputError: something that is not a list, array or tensor of ids.
        """
        state = self._state
        clean = state.clean_up if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        return decode(state, token_ids, skip_special_tokens=skip_special_tokens, clean=clean)

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """The texts of several rows of ids."""
        texts = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces)
        return [texts] if isinstance(texts, str) else texts

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id, or those of a list of ids; ``None`` for an id that the vocabulary lacks."""
        state = self._state
        numbers = as_ids(ids)
        if isinstance(numbers, int):
            return state.full.id_to_token(numbers)
        skipped = set(self.all_special_ids) if skip_special_tokens else frozenset[int]()
        return [state.full.id_to_token(number) for number in numbers if number not in skipped]

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """The id of a token, or those of a list of tokens; the id of the unknown token where there is none."""
        state = self._state
        if tokens is None:
            return None
        unknown = state.token_id("unk")
        if isinstance(tokens, str):
            found = state.full.token_to_id(tokens)
            return unknown if found is None else found
        ids = (state.full.token_to_id(token) for token in tokens)
        return [unknown if found is None else found for found in ids]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text that tokens make."""
        decoder = self._state.full.decoder
        return " ".join(tokens) if decoder is None else decoder.decode(list(tokens))

    def clean_up_tokenization(self, text: str) -> str:
        """Remove the spaces before punctuation and English contractions that WordPiece leaves."""
        return clean_up(text)

    # ── the vocabulary ───────────────────────────────────────────────────────

    @property
    def vocab_size(self) -> int:
        """The number of tokens without those added later; ``len(tokenizer)`` counts them all."""
        return self._state.full.get_vocab_size(with_added_tokens=False)

    def __len__(self) -> int:
        return self._state.full.get_vocab_size(with_added_tokens=True)

    def __bool__(self) -> bool:
        return True

    def get_vocab(self) -> dict[str, int]:
        """Token → id, added tokens included."""
        return self._state.full.get_vocab(with_added_tokens=True)

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
        return dict(sorted(self._state.full.get_added_tokens_decoder().items()))

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

        ``extra_special_tokens`` (or its older name, ``additional_special_tokens``) takes a list of tokens without role.

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
                raise InputError(
                    f"{name!r} is no special token; expected {expected} or extra_special_tokens."
                )
        return self._set_special(roles, extra, keep_extra=not replace_extra_special_tokens)

    def _set_special(
        self, roles: Mapping[str, Any], extra: list[Any] | None = None, *, keep_extra: bool = True
    ) -> int:
        with self._lock:
            state, before = self._state, len(self)
            chosen = {
                role: as_added_token(token, special=True)
                for role, token in roles.items()
                if token is not None
            }
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

    # ── settings ─────────────────────────────────────────────────────────────

    @property
    def kind(self) -> str:
        """The name of the kind, such as ``"bert"``."""
        return self._kind.name

    @property
    def model_input_names(self) -> list[str]:
        """What a call returns by default."""
        return list(self._state.input_names)

    @property
    def model_max_length(self) -> int:
        """The limit that the files state, in tokens; a very large number where they state none."""
        return self._state.model_max_length

    @model_max_length.setter
    def model_max_length(self, value: int) -> None:
        self._swap(model_max_length=value)

    @property
    def padding_side(self) -> Literal["right", "left"]:
        """Where padding goes."""
        return self._state.padding_side

    @padding_side.setter
    def padding_side(self, value: Literal["right", "left"]) -> None:
        self._swap(padding_side=value)

    @property
    def truncation_side(self) -> Literal["right", "left"]:
        """Where tokens go away."""
        return self._state.truncation_side

    @truncation_side.setter
    def truncation_side(self, value: Literal["right", "left"]) -> None:
        self._swap(truncation_side=value)

    def _swap(self, **values: Any) -> None:
        for name, value in values.items():
            if name.endswith("_side") and value not in ("right", "left"):
                raise InputError(f"{name}={value!r}: expected 'right' or 'left'.")
            if name == "model_max_length" and (
                isinstance(value, bool) or not isinstance(value, int) or value < 1
            ):
                raise InputError(f"{name}={value!r}: expected a number of tokens of at least 1.")
        with self._lock:
            self._state = replace(self._state, **values)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        state = self._state
        limit = "none stated" if state.model_max_length >= NO_LIMIT else f"{state.model_max_length:,}"
        algorithm = type(state.full.model).__name__
        special = " ".join(
            f"{name.removesuffix('_token')}={token}" for name, token in self.special_tokens_map.items()
        )
        extra = f" + {len(state.extra)} more" if state.extra else ""
        return (
            f"Tokenizer({self.name_or_path!r}: {self._kind.name}, {algorithm}, {len(self):,} tokens, "
            f"model_max_length {limit}, pads {state.padding_side}, cuts {state.truncation_side}, "
            f"special tokens {special or 'none'}{extra})"
        )


_COLUMNS = {
    "input_ids": lambda encoding: encoding.ids,
    "token_type_ids": lambda encoding: encoding.type_ids,
    "attention_mask": lambda encoding: encoding.attention_mask,
    "special_tokens_mask": lambda encoding: encoding.special_tokens_mask,
    "offset_mapping": lambda encoding: encoding.offsets,
    "length": len,
}


def _encode(
    state: State, items: Sequence[Item], *, add_special_tokens: bool, is_pretokenized: bool = False
) -> list[Encoding]:
    try:
        return state.full.encode_batch(
            items, is_pretokenized=is_pretokenized, add_special_tokens=add_special_tokens
        )
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
            f"max_length={cut.max_length} is not a multiple of pad_to_multiple_of={multiple}, so rows that are cut to the "
            f"one would be padded beyond it. Pass max_length={cut.max_length - cut.max_length % multiple or multiple}."
        )
