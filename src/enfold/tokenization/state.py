"""The one frozen value that a tokenizer works from, so that a call reads it once and a change swaps it whole."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

from tokenizers import AddedToken, Encoding, Tokenizer

from enfold.errors import InputError
from enfold.tokenization.chat import Templates
from enfold.tokenization.languages import Languages
from enfold.tokenization.table import Table

__all__ = ["State"]


@dataclass(frozen=True)
class State:
    """Two Rust tokenizers over one vocabulary, and the settings that a call falls back on.

    ``full`` puts the special tokens around a text; ``raw`` is the same without, for texts that have to be cut first.
    Neither is changed after this value is made: padding and truncation are never switched on in them.

    ``languages`` says what stands around a text in each language. ``table`` is the vocabulary of the families that
    number their pieces in a file of its own; there the engines only cut. ``target`` is the state for texts of the
    target side, where its files differ from those of the source.
    """

    full: Tokenizer
    special: Mapping[str, AddedToken]
    extra: tuple[str, ...]
    input_names: tuple[str, ...]
    model_max_length: int
    padding_side: Literal["right", "left"]
    truncation_side: Literal["right", "left"]
    clean_up: bool
    chat_template: Templates = None
    languages: Languages | None = None
    table: Table | None = None
    target: "State | None" = None
    raw: Tokenizer = field(init=False, repr=False, compare=False)
    _spoken: dict[str, "State"] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "raw", _twin(self.full, with_template=False))
        object.__setattr__(self, "_spoken", {})

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}

    def __setstate__(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    @property
    def book(self) -> Tokenizer:
        """What knows the ids of the tokens."""
        return self.full if self.table is None else self.table.book

    @property
    def for_decoding(self) -> "State":
        """The state whose vocabulary a model writes in: that of the target side."""
        return self.target or self

    @cached_property
    def special_texts(self) -> frozenset[str]:
        """The tokens that ``skip_special_tokens`` leaves out."""
        decoder = self.book.get_added_tokens_decoder()
        return frozenset(token.content for token in decoder.values() if token.special)

    def pieces(self, texts: Sequence[str | list[str]], *, is_pretokenized: bool = False) -> list[Encoding]:
        """The rows of texts, or of texts split into words, without special tokens around them."""
        if self.table is not None:
            return self.table.pieces(self.raw, texts, is_pretokenized=is_pretokenized)
        return self.raw.encode_batch(texts, is_pretokenized=is_pretokenized)

    def speaking(self, language: str | None) -> "State":
        """This state for texts of a language; as it is for ``None``.

        Raises:
            InputError: there is no such language.
        """
        if language is None:
            return self
        languages = self.known_languages(language)
        if language == languages.source:
            return self
        if (known := self._spoken.get(language)) is None:
            full = _twin(self.full, with_template=False)
            full.post_processor = languages.template(self.book, language)
            known = self._spoken[language] = replace(self, full=full, languages=replace(languages, source=language))
        return known

    def for_target(self, language: str | None) -> "State":
        """This state for texts to be produced, in a language or in the one that is set.

        Raises:
            InputError: no target language is set, or there is no such language.
        """
        if self.languages is None and language is None:
            return self.target or self
        languages = self.known_languages(language)
        if (language := language or languages.target) is None:
            raise InputError(
                "The language of the target texts is not known. Pass tgt_lang=, or set it: tokenizer.tgt_lang = "
                f"{next(iter(languages.tokens))!r}."
            )
        return self.speaking(language)

    def known_languages(self, language: str | None) -> Languages:
        """The languages, of which one was asked for.

        Raises:
            InputError: this tokenizer marks none.
        """
        if self.languages is not None:
            return self.languages
        prefixed = self.table is not None and self.table.prefixed
        hint = "A Marian model takes it in front of the text: '>>fra<< Hello'." if prefixed else "Leave it out."
        raise InputError(f"The language {language!r} was given, but this tokenizer marks no languages. {hint}")

    def token(self, role: str) -> str | None:
        """The text of the token in a role such as ``pad``."""
        token = self.special.get(role)
        return None if token is None else token.content

    def token_id(self, role: str) -> int | None:
        """The id of the token in a role such as ``pad``."""
        token = self.token(role)
        return None if token is None else self.book.token_to_id(token)

    def with_tokens(self, tokens: Iterable[AddedToken], *, special: bool) -> "State":
        """This state with more tokens; what is in the vocabulary already with the same flags changes nothing."""
        known = {token.content: token for token in self.book.get_added_tokens_decoder().values()}
        new = [
            token for token in tokens if token.content not in known or (special and not known[token.content].special)
        ]
        if not new:
            return self
        return replace(
            self,
            full=_with(self.full, new, special),
            table=None if self.table is None else replace(self.table, book=_with(self.table.book, new, special)),
            target=None if self.target is None else self.target.with_tokens(new, special=special),
        )

    def pad_id(self) -> int:
        """The id to pad with.

        Raises:
            InputError: there is no padding token.
        """
        if (number := self.token_id("pad")) is None:
            raise InputError(
                "Padding was asked for, but this tokenizer has no padding token. Choose one that it has "
                "(tokenizer.pad_token = tokenizer.eos_token) or add one "
                "(tokenizer.add_special_tokens({'pad_token': '[PAD]'})), then resize the model's embeddings."
            )
        return number


def _with(backend: Tokenizer, tokens: list[AddedToken], special: bool) -> Tokenizer:
    twin = _twin(backend, with_template=True)
    _ = twin.add_special_tokens(tokens) if special else twin.add_tokens(tokens)
    return twin


def _twin(backend: Tokenizer, *, with_template: bool) -> Tokenizer:
    """A second tokenizer over the same vocabulary, which is shared in memory, with its own list of added tokens."""
    twin = Tokenizer(backend.model)
    parts = ("normalizer", "pre_tokenizer", "decoder") + (("post_processor",) if with_template else ())
    for name in parts:
        if (part := getattr(backend, name)) is not None:
            setattr(twin, name, part)
    twin.add_tokens([token for _, token in sorted(backend.get_added_tokens_decoder().items())])
    return twin
