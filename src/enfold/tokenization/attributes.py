"""The settings side of a tokenizer: what its files state, as attributes that can be read and set."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from enfold.errors import InputError
from enfold.tokenization.chat import Templates
from enfold.tokenization.kinds import Kind
from enfold.tokenization.settings import NO_LIMIT, Settings, as_templates
from enfold.tokenization.state import State
from enfold.tokenization.vocabulary import Vocabulary

__all__ = ["Attributes"]


class Attributes(Vocabulary):
    """The settings of a tokenizer. Setting one swaps the whole state, so that threads never meet half a change."""

    is_fast = True

    def __init__(
        self,
        state: State,
        kind: Kind,
        settings: Settings,
        name_or_path: str = "",
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        super().__init__(state)
        self._kind = kind
        self._settings = settings
        self._files = files or {}
        self.name_or_path = name_or_path

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

    @property
    def chat_template(self) -> Templates:
        """How the model marks who says what: a Jinja template, several by name, or ``None``."""
        return self._state.chat_template

    @chat_template.setter
    def chat_template(self, value: str | Mapping[str, str] | None) -> None:
        self._swap(chat_template=as_templates(value))

    # ── languages ────────────────────────────────────────────────────────────

    @property
    def src_lang(self) -> str | None:
        """The language of the texts, where the tokenizer marks it; assigning chooses another."""
        languages = self._state.languages
        return None if languages is None else languages.source

    @src_lang.setter
    def src_lang(self, value: str) -> None:
        with self._lock:
            self._state = self._state.speaking(value)

    @property
    def tgt_lang(self) -> str | None:
        """The language of ``text_target``, where the tokenizer marks it; assigning chooses another."""
        languages = self._state.languages
        return None if languages is None else languages.target

    @tgt_lang.setter
    def tgt_lang(self, value: str | None) -> None:
        with self._lock:
            state = self._state
            languages = state.known_languages(value)
            if value is not None:
                languages.token(value)
            self._state = replace(state, languages=replace(languages, target=value))

    @property
    def lang_code_to_id(self) -> dict[str, int]:
        """Language code → the id of its token; empty where the tokenizer marks no languages."""
        state = self._state
        tokens = {} if state.languages is None else state.languages.tokens
        found = {code: state.book.token_to_id(token) for code, token in tokens.items()}
        return {code: number for code, number in found.items() if number is not None}

    def get_lang_id(self, lang: str) -> int:
        """The id of a language's token.

        Raises:
            InputError: there is no such language, or the tokenizer marks none.
        """
        return self.forced_bos_id(lang)

    def forced_bos_id(self, language: str) -> int:
        """The id that a translation into a language has to begin with: ``generate(…, forced_bos_token_id=…)``.

        Raises:
            InputError: there is no such language, or the tokenizer marks none.
        """
        state = self._state
        number = state.book.token_to_id(state.known_languages(language).token(language))
        assert number is not None  # languages are kept only where the vocabulary has their token
        return number

    @property
    def supported_language_codes(self) -> list[str]:
        """Marian's ``>>fra<<``: what may stand in front of a text to choose the language to translate into."""
        vocabulary = self.get_vocab()
        codes = [token for token in vocabulary if token.startswith(">>") and token.endswith("<<")]
        return sorted(codes, key=vocabulary.__getitem__)

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
