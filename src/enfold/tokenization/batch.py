"""What a tokenizer returns: a dictionary of lists, arrays or tensors that knows where its tokens come from."""

from collections import UserDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from tokenizers import Encoding

from enfold.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    import torch

__all__ = ["BatchEncoding", "CharSpan", "TokenSpan"]

TensorKind = Literal["np", "pt"]


class CharSpan(NamedTuple):
    """Characters of a text: ``text[start:end]``."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens of a row: ``tokens[start:end]``."""

    start: int
    end: int


class BatchEncoding(UserDict[str, Any]):
    """Model inputs by name, ``(B, S)`` where they are tensors.

    ``enc["input_ids"]`` and ``enc.input_ids`` are the same; ``model(**enc)`` works; ``enc[0]`` is the engine's own
    record of the first row. The methods that go between characters, words and tokens take ``(row, index)``, or only
    ``index`` for the first row.
    """

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        encodings: Sequence[Encoding] | None = None,
        return_tensors: TensorKind | None = None,
    ) -> None:
        super().__init__(dict(data or {}))
        self._encodings = None if encodings is None else list(encodings)
        if return_tensors is not None:
            self.data = _as_tensors(self.data, return_tensors)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self.data[key]
        if isinstance(key, slice) and self._encodings is None:
            return {name: value[key] for name, value in self.data.items()}
        return self._rows()[key]

    def __getattr__(self, name: str) -> Any:
        data = self.__dict__.get("data", {})
        if name in data:
            return data[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}; it has {', '.join(data) or 'no entries'}.")

    @property
    def encodings(self) -> list[Encoding] | None:
        """The engine's record of each row; ``None`` where the batch was not made from text."""
        return self._encodings

    @property
    def is_fast(self) -> bool:
        """True where the way back to characters and words is known."""
        return self._encodings is not None

    @property
    def n_sequences(self) -> int | None:
        """1 for texts, 2 for pairs, ``None`` where it is not known."""
        return self._encodings[0].n_sequences if self._encodings else None

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of a row as text."""
        return self._rows()[batch_index].tokens

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """0 for tokens of the text, 1 for those of its pair, ``None`` for special tokens."""
        return self._rows()[batch_index].sequence_ids

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """The word that each token is part of, ``None`` for special tokens."""
        return self._rows()[batch_index].word_ids

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """0 or 1: which text of a pair a token is from."""
        row, index = self._place(batch_or_token_index, token_index)
        return row.token_to_sequence(_from_end(index, len(row)))

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """The word that a token is part of."""
        row, index = self._place(batch_or_token_index, token_index)
        return row.token_to_word(_from_end(index, len(row)))

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> CharSpan | None:
        """The characters of a token, ``None`` for special tokens."""
        row, index = self._place(batch_or_token_index, token_index)
        span = row.token_to_chars(index)
        return None if span is None else CharSpan(*span)

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The token that covers a character, ``None`` for a space that no token holds."""
        row, index = self._place(batch_or_char_index, char_index)
        return row.char_to_token(index, sequence_index)

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The word that covers a character."""
        row, index = self._place(batch_or_char_index, char_index)
        return row.char_to_word(index, sequence_index)

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """The tokens of a word, ``None`` where it has none."""
        row, index = self._place(batch_or_word_index, word_index)
        span = row.word_to_tokens(index, sequence_index)
        return None if span is None else TokenSpan(*span)

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """The characters of a word."""
        row, index = self._place(batch_or_word_index, word_index)
        span = row.word_to_chars(index, sequence_index)
        return None if span is None else CharSpan(*span)

    def to(self, device: "str | int | torch.device", *, non_blocking: bool = False) -> "BatchEncoding":
        """Move the tensors to a device, in place, and return this batch."""
        self.data = {
            name: value.to(device=device, non_blocking=non_blocking) if hasattr(value, "to") else value
            for name, value in self.data.items()
        }
        return self

    def convert_to_tensors(self, tensor_type: TensorKind | None = None) -> "BatchEncoding":
        """Turn the lists into ``"np"`` arrays or ``"pt"`` tensors, in place, and return this batch."""
        if tensor_type is not None:
            self.data = _as_tensors(self.data, tensor_type)
        return self

    def _rows(self) -> list[Encoding]:
        if self._encodings is None:
            raise InputError(
                "This batch was made from ids, so the way back to words and characters is not known. "
                "Call the tokenizer on the texts, with padding=True where you called pad()."
            )
        return self._encodings

    def _place(self, first: int, second: int | None) -> tuple[Encoding, int]:
        return (self._rows()[0], first) if second is None else (self._rows()[first], second)


def _from_end(index: int, size: int) -> int:
    return index + size if index < 0 else index


def _as_tensors(data: Mapping[str, Any], kind: TensorKind) -> dict[str, Any]:
    if kind not in ("np", "pt"):
        raise InputError(f"return_tensors={kind!r}: expected 'np' for numpy, 'pt' for PyTorch, or None for lists.")
    arrays = {name: _as_array(name, value) for name, value in data.items()}
    if kind == "np":
        return arrays
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            "return_tensors='pt' needs PyTorch: pip install torch (extra 'train'). return_tensors='np' does without."
        ) from error
    return {
        name: value if torch.is_tensor(value) else torch.from_numpy(np.ascontiguousarray(value))
        for name, value in arrays.items()
    }


def _as_array(name: str, value: Any) -> Any:
    """Lists of numbers as an array; what is an array or tensor already, as it is."""
    if hasattr(value, "shape"):
        return value
    try:
        array = np.array(value)
    except ValueError:
        array = np.array(None)
    if array.dtype == object:
        sizes = [len(row) for row in value if hasattr(row, "__len__")]
        what = f"its rows have {min(sizes)} to {max(sizes)} entries" if sizes else "it holds values that are no numbers"
        raise InputError(
            f"{name!r} can't become a tensor: {what}. Pass padding=True, and truncation=True where a limit is meant; "
            "labels of different length need padding of their own."
        )
    return array if array.size else array.astype(np.int64)
