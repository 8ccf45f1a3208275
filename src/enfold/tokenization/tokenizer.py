"""The tokenizer: texts to ids and back, with the names that the field knows.

A tokenizer works from one frozen :class:`~enfold.tokenization.state.State`. Every call reads it once, and
what changes it (``add_tokens``, ``tokenizer.pad_token = …``) makes a new one and swaps it in, so threads
never meet half a change.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from enfold.checkpoint.files import gguf_file
from enfold.errors import InputError
from enfold.tokenization.batch import BatchEncoding, TensorKind
from enfold.tokenization.build import build
from enfold.tokenization.calling import COLUMNS, TruncationChoice, check_multiple, choose_cut, encode, fit
from enfold.tokenization.decoding import clean_up, decode
from enfold.tokenization.encoded import Cut, Encoded, Strategy, check_room, cut_items
from enfold.tokenization.inputs import as_items
from enfold.tokenization.kinds import Kind
from enfold.tokenization.padding import PaddingChoice, choose_padding, pad_columns, pad_encodings
from enfold.tokenization.saving import save
from enfold.tokenization.settings import NO_LIMIT, Settings, read_settings
from enfold.tokenization.state import State
from enfold.tokenization.vocabulary import Vocabulary

__all__ = ["Tokenizer"]

_VOCABULARY_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.spm")


class Tokenizer(Vocabulary):
    """Turns texts into the ids that a model was trained on, and ids back into text.

    Made by :meth:`from_pretrained` or :meth:`from_folder`. Safe to share between threads.

    ::

        tokenizer = Tokenizer.from_pretrained("./my-model")
        batch = tokenizer(["Hello world", "Hi"], padding=True, return_tensors="np")
    """

    is_fast = True

    def __init__(self, state: State, kind: Kind, settings: Settings, name_or_path: str = "") -> None:
        super().__init__(state)
        self._kind = kind
        self._settings = settings
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

        ``kind`` (``"bert"``, ``"roberta"`` …, or a class name such as ``"BertTokenizer"``) is needed only
        where the files do not tell. ``overrides`` are settings: ``do_lower_case=False``,
        ``model_max_length=256``, ``pad_token="[PAD]"``, ``padding_side="left"`` and the like.

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
    def from_folder(cls, path: str | os.PathLike[str], kind: str | None = None, **overrides: Any) -> "Tokenizer":
        """Load the tokenizer files of a local folder, or what a GGUF file says where there are none.

        ``path`` may be a GGUF file itself. Arguments and errors as in :meth:`from_pretrained`.
        """
        folder = Path(path)
        if (file := _gguf_file(folder)) is not None:
            from enfold.tokenization.gguf import read_gguf  # few models come this way

            built, settings = read_gguf(file, overrides)
        else:
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
        """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``special_tokens_map.json``; return their
        paths.

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

        One text gives flat lists; a list of texts, ``return_tensors`` or ``return_overflowing_tokens`` give
        a batch axis. ``truncation`` left out cuts only where ``max_length`` is given without ``padding``.
        ``stride`` is the number of tokens that neighbouring windows share under
        ``return_overflowing_tokens``; then ``overflow_to_sample_mapping`` says which text each row is from.

        Raises:
            InputError: something that is not text, or options that do not fit each other.
        """
        state = self._state
        items, batched = as_items(text, text_pair, is_split_into_words=is_split_into_words)
        cut = choose_cut(state, truncation, max_length, stride, truncation_side, bool(padding))
        pad = choose_padding(state, padding, max_length, pad_to_multiple_of, padding_side)
        check_multiple(cut, pad)
        rows = encode(state, items, add_special_tokens=add_special_tokens, is_pretokenized=is_split_into_words)
        windows = fit(
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
            name: [COLUMNS[name](encoding) for encoding in encodings] for name, wanted in columns.items() if wanted
        }
        if return_overflowing_tokens:
            data["overflow_to_sample_mapping"] = [number for number, each in enumerate(windows) for _ in each]
        if not batched and return_tensors is None and not return_overflowing_tokens:
            # A length stays a list, as in the reference.
            data = {name: value if name == "length" else value[0] for name, value in data.items()}
        return BatchEncoding(data, encodings, return_tensors)

    def encode(self, text: str | Sequence[Any], text_pair: str | Sequence[Any] | None = None, **options: Any) -> Any:
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
        rows = encode(self._state, items, add_special_tokens=add_special_tokens)
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

        Neighbouring windows share ``stride`` tokens. Of a pair, the second text is cut and the first is
        repeated (``strategy="only_second"``: a question and its document), unless ``strategy`` says
        otherwise. A text that fits is one window.

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
            (row,) = encode(state, items, add_special_tokens=add_special_tokens)
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

        ``input_ids``, ``attention_mask``, ``token_type_ids`` and ``special_tokens_mask`` are padded; other
        entries (labels) are passed on as they are.

        Raises:
            InputError: there are no ``input_ids``, or there is no padding token.
        """
        state = self._state
        pad = choose_padding(state, padding, max_length, pad_to_multiple_of, padding_side)
        mask = "attention_mask" in state.input_names if return_attention_mask is None else return_attention_mask
        return BatchEncoding(pad_columns(encoded_inputs, pad, with_mask=mask), None, return_tensors)

    # ── ids to text ──────────────────────────────────────────────────────────

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> Any:
        """The text of ids: a string for one row, a list of strings for several.

        ``clean_up_tokenization_spaces`` removes the spaces before punctuation that WordPiece leaves. As in
        the reference it does nothing for BPE, whose spaces are those of the text.

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

    def clean_up_tokenization(self, text: str) -> str:
        """Remove the spaces before punctuation and English contractions that WordPiece leaves."""
        return clean_up(text)

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
            if name == "model_max_length" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f"{name}={value!r}: expected a number of tokens of at least 1.")
        with self._lock:
            self._state = replace(self._state, **values)

    def __repr__(self) -> str:
        state = self._state
        limit = "none stated" if state.model_max_length >= NO_LIMIT else f"{state.model_max_length:,}"
        algorithm = type(state.full.model).__name__
        special = " ".join(f"{name.removesuffix('_token')}={token}" for name, token in self.special_tokens_map.items())
        extra = f" + {len(state.extra)} more" if state.extra else ""
        return (
            f"Tokenizer({self.name_or_path!r}: {self._kind.name}, {algorithm}, {len(self):,} tokens, "
            f"model_max_length {limit}, pads {state.padding_side}, cuts {state.truncation_side}, "
            f"special tokens {special or 'none'}{extra})"
        )


def _gguf_file(path: Path) -> Path | None:
    """The GGUF file that is all there is to make a tokenizer of, if so."""
    if any(found for name in _VOCABULARY_FILES for found in path.glob(name)):
        return None
    return gguf_file(path)
