"""Between our tensor names and a checkpoint's: a bijection made from a family's two columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from enfold.families.base import Family
from enfold.heads import Head

__all__ = ["canonical", "checkpoint_names", "is_known"]

_BUFFERS = re.compile(
    r"(^|\.)(embeddings\.position_ids|embeddings\.token_type_ids|attention\.relative_position_index)$"
)
"""Buffers that older releases of the reference wrote among the weights."""

_SPELLINGS = ((re.compile(r"\.gamma$"), ".weight"), (re.compile(r"\.beta$"), ".bias"))
"""Norms in checkpoints converted from TensorFlow (the first bert-base-*)."""


def checkpoint_names(family: Family, head: Head, tensors: Iterable[str]) -> dict[str, str]:
    """Our tensor names → canonical checkpoint names, where ``@`` stands for the base model.

    Raises:
        KeyError: a tensor that the family's table has no row for, a mistake in the family's file.
    """
    table = dict(family.names)
    for index, branch in enumerate(head.branches):
        table |= {f"head.{index}.{leaf}": theirs for leaf, theirs in branch.names.items()}
    return {tensor: _translate(tensor, table) for tensor in tensors}


def _translate(tensor: str, table: Mapping[str, str]) -> str:
    numbers = re.findall(r"(?<=^layers\.)\d+", tensor)
    template = re.sub(r"(?<=^layers\.)\d+", "{}", tensor)
    leaf, _, suffix = template.rpartition(".")
    theirs = table[template] if template in table else f"{table[leaf]}.{suffix}"
    return theirs.format(*numbers)


def canonical(family: Family, stored: str) -> str:
    """A stored tensor's name with modern spelling and without the base model's prefix."""
    for pattern, modern in _SPELLINGS:
        stored = pattern.sub(modern, stored)
    return stored.removeprefix(f"{family.prefix}.")


@lru_cache(maxsize=64)
def _other_heads(family_key: str) -> tuple[str, ...]:
    from enfold.families import FAMILIES

    family = FAMILIES[family_key]
    return tuple(
        theirs.removeprefix("@")
        for head in family.heads.values()
        for branch in head.branches
        for theirs in branch.names.values()
    )


def is_known(family: Family, name: str) -> bool:
    """Whether a canonical name is a buffer, or belongs to one of the family's other heads."""
    heads = _other_heads(family.model_type)
    return (
        bool(_BUFFERS.search(name))
        or name.startswith(family.known)
        or any(name == theirs or name.startswith(f"{theirs}.") for theirs in heads)
    )
