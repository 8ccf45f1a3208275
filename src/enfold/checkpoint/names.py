"""Between our tensor names and a checkpoint's: a bijection made from a family's two columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from enfold.families.base import Family
from enfold.heads import Head

__all__ = ["alternative_names", "canonical", "checkpoint_names", "duplicate_names", "is_known"]

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
    tensors = tuple(tensors)
    table = dict(family.names)
    biases = {}
    for index, branch in enumerate(head.branches):
        output = f"head.{index}.output"
        table |= {f"head.{index}.{leaf}": theirs for leaf, theirs in branch.names.items()}
        if "tied_bias" in branch.names and f"{output}.weight" not in tensors:
            biases[f"{output}.bias"] = branch.names["tied_bias"]
    return {tensor: biases.get(tensor) or _translate(tensor, table) for tensor in tensors}


def duplicate_names(head: Head, tensors: Iterable[str]) -> dict[str, str]:
    """Further names under which the reference wants a tensor: an untied output's bias has two."""
    own = set(tensors)
    return {
        branch.names["tied_bias"]: f"head.{index}.output.bias"
        for index, branch in enumerate(head.branches)
        if "tied_bias" in branch.names and f"head.{index}.output.weight" in own
    }


def alternative_names(head: Head, tensors: Iterable[str]) -> dict[str, str]:
    """Tensors that some files hold under another name alone: a tied output's bias, under the output's own."""
    own = set(tensors)
    return {
        f"head.{index}.output.bias": f"{branch.names['output']}.bias"
        for index, branch in enumerate(head.branches)
        if "tied_bias" in branch.names and f"head.{index}.output.weight" not in own
    }


_LAYER = re.compile(r"^layers\.(\d+)")


def _translate(tensor: str, table: Mapping[str, str]) -> str:
    leaf, _, suffix = _LAYER.sub("layers.{}", tensor).rpartition(".")
    return f"{table[leaf]}.{suffix}".format(*_LAYER.findall(tensor))


def canonical(family: Family, stored: str) -> str:
    """A stored tensor's name with modern spelling and without the base model's prefix."""
    for pattern, modern in _SPELLINGS:
        stored = pattern.sub(modern, stored)
    return stored.removeprefix(f"{family.prefix}.")


@lru_cache(maxsize=64)
def _optional(family_key: str) -> tuple[str, ...]:
    from enfold.families import FAMILIES

    family = FAMILIES[family_key]
    heads = (name for head in family.heads.values() for branch in head.branches for name in branch.names.values())
    optional = (theirs for _, theirs in family.names if "{}" not in theirs)
    return tuple(name.removeprefix("@") for name in (*heads, *optional))


def is_known(family: Family, name: str) -> bool:
    """Whether a canonical name is a buffer, or a part that only other heads or settings of the family use."""
    optional = _optional(family.model_type)
    return (
        bool(_BUFFERS.search(name))
        or name.startswith(family.known)
        or any(name == theirs or name.startswith(f"{theirs}.") for theirs in optional)
    )
