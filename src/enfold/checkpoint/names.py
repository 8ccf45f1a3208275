"""Between our tensor names and a checkpoint's: a bijection made from a family's two columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

from enfold.families.base import Family, Stored
from enfold.heads import Head

__all__ = ["alternative_names", "canonical", "checkpoint_names", "duplicate_names", "is_known", "locate"]

_BUFFERS = re.compile(
    r"(^|\.)(embeddings\.position_ids|embeddings\.token_type_ids|attention\.relative_position_index"
    r"|(attn|attention)\.(bias|masked_bias)|rotary_emb\.inv_freq)$"
)
"""Buffers that older releases of the reference wrote among the weights."""

_SPELLINGS = ((re.compile(r"\.gamma$"), ".weight"), (re.compile(r"\.beta$"), ".bias"))
"""Norms in checkpoints converted from TensorFlow (the first bert-base-*)."""


def locate(family: Family, head: Head, tensors: Iterable[str]) -> dict[str, Stored]:
    """Our tensor names → where checkpoints keep them: full canonical names, where ``@`` stands for the base model.

    Raises:
        KeyError: a tensor that the family's table has no row for, a mistake in the family's file.
    """
    tensors = tuple(tensors)
    table = dict(family.names)
    biases: dict[str, Stored] = {}
    for index, branch in enumerate(head.branches):
        output = f"head.{index}.output"
        table |= {f"head.{index}.{leaf}": theirs for leaf, theirs in branch.names.items()}
        if branch.bias == "buffer":
            biases[f"{output}.bias"] = Stored(branch.names["buffer"], row=True)
        elif "tied_bias" in branch.names and f"{output}.weight" not in tensors:
            biases[f"{output}.bias"] = Stored(branch.names["tied_bias"])
    return {tensor: biases.get(tensor) or _translate(tensor, table) for tensor in tensors}


def checkpoint_names(family: Family, head: Head, tensors: Iterable[str]) -> dict[str, str]:
    """Our tensor names → canonical checkpoint names; several of ours may be parts of one of theirs."""
    return {ours: stored.name for ours, stored in locate(family, head, tensors).items()}


def duplicate_names(family: Family, head: Head, tensors: Iterable[str]) -> dict[str, str]:
    """Further names under which the reference wants a tensor: an untied output's bias has two, for one."""
    own = set(tensors)
    copies = {f"{theirs}.weight": f"{ours}.weight" for ours, theirs in family.copies if f"{ours}.weight" in own}
    return copies | {
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


_LAYER = re.compile(r"\blayers\.(\d+)")


def _translate(tensor: str, table: Mapping[str, str | Stored]) -> Stored:
    leaf, _, suffix = _LAYER.sub("layers.{}", tensor).rpartition(".")
    found = table[leaf]
    stored = Stored(found) if isinstance(found, str) else found
    return replace(stored, name=f"{stored.name}.{suffix}".format(*_LAYER.findall(tensor)))


def canonical(family: Family, stored: str) -> str:
    """A stored tensor's name with modern spelling and without the base model's prefix."""
    for old, modern in family.renamed:
        stored = modern + stored.removeprefix(old) if stored.startswith(old) else stored
    for pattern, spelling in _SPELLINGS:
        stored = pattern.sub(spelling, stored)
    prefixes = (family.prefix, *(head.prefix for head in family.heads.values()))
    return next((stored.removeprefix(f"{p}.") for p in prefixes if p and stored.startswith(f"{p}.")), stored)


@lru_cache(maxsize=64)
def _optional(family_key: str) -> tuple[str, ...]:
    from enfold.families import FAMILIES

    family = FAMILIES[family_key]
    heads = (name for head in family.heads.values() for branch in head.branches for name in branch.names.values())
    optional = (theirs for _, theirs in family.names if isinstance(theirs, str) and "{}" not in theirs)
    return tuple(name.removeprefix("@") for name in (*heads, *optional))


def is_known(family: Family, name: str) -> bool:
    """Whether a canonical name is a buffer, or a part that only other heads or settings of the family use."""
    optional = _optional(family.model_type)
    return (
        bool(_BUFFERS.search(name))
        or name.startswith(family.known)
        or any(name == theirs or name.startswith(f"{theirs}.") for theirs in optional)
    )
