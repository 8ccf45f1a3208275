"""What building a tokenizer gives, from whatever files."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tokenizers import AddedToken, Tokenizer

from enfold.tokenization.kinds import Kind
from enfold.tokenization.languages import Languages
from enfold.tokenization.table import Table

__all__ = ["Built"]


@dataclass(frozen=True, slots=True)
class Built:
    """A Rust tokenizer with its kind, role → special token, and the special tokens that have no role.

    ``table`` is the vocabulary of the families that number their pieces in a file of its own, ``target`` engine and
    table of the target side, where it has its own, and ``files`` what has to be saved to build such a tokenizer again.
    """

    backend: Tokenizer
    kind: Kind
    special: dict[str, AddedToken]
    extra: tuple[str, ...]
    languages: Languages | None = None
    table: Table | None = None
    target: tuple[Tokenizer, Table] | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
