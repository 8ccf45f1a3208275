"""The one frozen value that a tokenizer works from, so that a call reads it once and a change swaps it whole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from tokenizers import AddedToken, Tokenizer

from enfold.errors import InputError

__all__ = ["State"]


@dataclass(frozen=True)
class State:
    """Two Rust tokenizers over one vocabulary, and the settings that a call falls back on.

    ``full`` puts the special tokens around a text; ``raw`` is the same without, for texts that have to be cut first.
    Neither is changed after this value is made: padding and truncation are never switched on in them.
    """

    full: Tokenizer
    special: Mapping[str, AddedToken]
    extra: tuple[str, ...]
    input_names: tuple[str, ...]
    model_max_length: int
    padding_side: Literal["right", "left"]
    truncation_side: Literal["right", "left"]
    clean_up: bool
    raw: Tokenizer = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "raw", _twin(self.full, with_template=False))

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}

    def __setstate__(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    def token(self, role: str) -> str | None:
        """The text of the token in a role such as ``pad``."""
        token = self.special.get(role)
        return None if token is None else token.content

    def token_id(self, role: str) -> int | None:
        """The id of the token in a role such as ``pad``."""
        token = self.token(role)
        return None if token is None else self.full.token_to_id(token)

    def with_tokens(self, tokens: Iterable[AddedToken], *, special: bool) -> "State":
        """This state with more tokens; what is in the vocabulary already with the same flags changes nothing."""
        known = {token.content: token for token in self.full.get_added_tokens_decoder().values()}
        new = [
            token for token in tokens if token.content not in known or (special and not known[token.content].special)
        ]
        if not new:
            return self
        full = _twin(self.full, with_template=True)
        _ = full.add_special_tokens(new) if special else full.add_tokens(new)
        return replace(self, full=full)

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


def _twin(backend: Tokenizer, *, with_template: bool) -> Tokenizer:
    """A second tokenizer over the same vocabulary, which is shared in memory, with its own list of added tokens."""
    twin = Tokenizer(backend.model)
    parts = ("normalizer", "pre_tokenizer", "decoder") + (("post_processor",) if with_template else ())
    for name in parts:
        if (part := getattr(backend, name)) is not None:
            setattr(twin, name, part)
    twin.add_tokens([token for _, token in sorted(backend.get_added_tokens_decoder().items())])
    return twin
