"""What an adapter is, before it is on a model: its kind, its size and the leaves that it changes.

Leaves are named as :func:`enfold.layout.layout` names them, the same for every family: ``query``, ``key``, ``value``
and ``output`` of attention, ``expand`` (or ``gate`` and ``up``) and ``shrink`` of the feed-forward.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from enfold.errors import InputError
from enfold.leaves import Leaf, Linear

__all__ = ["ALL_LINEAR", "IA3", "LoRA", "Settings", "also_trained", "targeted"]

ALL_LINEAR = "all-linear"
"""The target that stands for every linear leaf of the stacks."""


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """A low-rank change of linear leaves (https://arxiv.org/abs/2106.09685), or DoRA (https://arxiv.org/abs/2402.09353).

    ``W x + scale · B A x``, where A is (rank, inputs) and B is (outputs, rank); only A, B and the head train. DoRA
    brings each row of the changed matrix to a learnt length.

    >>> LoRA(rank=4, targets=("query", "layers.0.*.shrink")).scale
    4.0

    Attributes:
        rank: rows of A.
        alpha: ``scale`` is ``alpha / rank``.
        dropout: the probability of dropping what enters A, while training.
        targets: leaves by the last part of their names, or patterns of whole names (``layers.*.attention.query``);
            ``"all-linear"`` for every linear leaf of the stacks.
        kind: ``"lora"`` or ``"dora"``.
        use_rslora: ``scale`` is ``alpha / √rank`` (https://arxiv.org/abs/2312.03732), better for large ranks.
        also_train: leaves that train as they are beside the head, named likewise (``"norm"``).

    Raises:
        InputError: lists every value that is out of range.
    """

    rank: int = 8
    alpha: float = 16
    dropout: float = 0.0
    targets: Sequence[str] = ("query", "value")
    kind: Literal["lora", "dora"] = "lora"
    use_rslora: bool = False
    also_train: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", _names(self.targets))
        object.__setattr__(self, "also_train", _names(self.also_train))
        problems = [*_bad_names("targets", self.targets, least=1), *_bad_names("also_train", self.also_train)]
        if type(self.rank) is not int or self.rank < 1:
            problems.append(f"rank is {self.rank!r}, expected a whole number of 1 or more")
        if not _is_number(self.alpha) or self.alpha <= 0:
            problems.append(f"alpha is {self.alpha!r}, expected a positive number")
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            problems.append(f"dropout is {self.dropout!r}, expected 0 or more and less than 1")
        if self.kind not in ("lora", "dora"):
            problems.append(f"kind is {self.kind!r}, expected 'lora' or 'dora'")
        if not _is_bool(self.use_rslora):
            problems.append(f"use_rslora is {self.use_rslora!r}, expected True or False")
        _refuse("LoRA", problems)

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.use_rslora else self.rank)


@dataclass(frozen=True, kw_only=True)
class IA3:
    """A learnt factor for each output of linear leaves, or for each input (https://arxiv.org/abs/2205.05638).

    Attributes:
        targets: leaves, named as for :class:`LoRA`.
        feed_forward: those of them whose inputs are scaled instead of their outputs.
        also_train: leaves that train as they are beside the head.

    Raises:
        InputError: lists every value that is out of range.
    """

    targets: Sequence[str] = ("key", "value", "shrink")
    feed_forward: Sequence[str] = ("shrink",)
    also_train: Sequence[str] = ()

    def __post_init__(self) -> None:
        problems: list[str] = []
        for name, least in (("targets", 1), ("feed_forward", 0), ("also_train", 0)):
            object.__setattr__(self, name, _names(getattr(self, name)))
            problems += _bad_names(name, getattr(self, name), least=least)
        _refuse("IA3", problems)

    def scales_inputs(self, leaf: str) -> bool:
        """Whether the factors of a leaf are for its inputs."""
        return any(_matches(leaf, pattern) for pattern in self.feed_forward)


Settings = LoRA | IA3


def targeted(settings: Settings, leaves: Sequence[Leaf]) -> list[Linear]:
    """The linear leaves that an adapter changes, in the layout's order; never the head's.

    Raises:
        InputError: names that are no such leaf, and the names that there are.
    """
    linear = [leaf for leaf in leaves if isinstance(leaf, Linear) and not leaf.name.startswith("head.")]
    return _chosen("targets", settings.targets, linear, "linear leaves")


def also_trained(settings: Settings, leaves: Sequence[Leaf]) -> list[Leaf]:
    """The leaves of the stacks that train as they are.

    Raises:
        InputError: names that are no leaf with tensors, or that the adapter changes already.
    """
    own = [leaf for leaf in leaves if leaf.tensors() and not leaf.name.startswith("head.")]
    chosen = _chosen("also_train", settings.also_train, own, "leaves")
    both = sorted({leaf.name for leaf in chosen} & {leaf.name for leaf in targeted(settings, leaves)})
    if both:
        raise InputError(f"targets and also_train both name {', '.join(both)}: a leaf is adapted or trained whole")
    return chosen


def _chosen(field: str, patterns: Sequence[str], leaves: Sequence[Any], what: str) -> list[Any]:
    unknown = [each for each in patterns if not any(_matches(leaf.name, each) for leaf in leaves)]
    if unknown:
        last = dict.fromkeys(leaf.name.rpartition(".")[2] for leaf in leaves)
        near = {each: difflib.get_close_matches(each, last, n=2) for each in unknown}
        listed = ", ".join(
            f"{each!r}" + (f" (near: {', '.join(near[each])})" if near[each] else "") for each in unknown
        )
        raise InputError(
            f"{field} name no leaf of this model: {listed}. Its {what} are called {', '.join(last)}; "
            f"a whole name is {leaves[0].name!r}, and a pattern 'layers.*.attention.query'"
        )
    return [leaf for leaf in leaves if any(_matches(leaf.name, each) for each in patterns)]


def _matches(leaf: str, pattern: str) -> bool:
    if pattern == ALL_LINEAR:
        return True
    return fnmatchcase(leaf, pattern) if "." in pattern or "*" in pattern else leaf.rpartition(".")[2] == pattern


def _names(given: object) -> object:
    """One name for a tuple of it; any other sequence as a tuple."""
    if isinstance(given, str):
        return (given,)
    return tuple(given) if isinstance(given, list | tuple | set | frozenset) else given


def _bad_names(field: str, names: object, least: int = 0) -> Iterator[str]:
    if not isinstance(names, tuple) or len(names) < least or not all(isinstance(each, str) and each for each in names):
        yield f"{field} is {names!r}, expected names of leaves, such as ('query', 'value')"


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _refuse(kind: str, problems: list[str]) -> None:
    if problems:
        raise InputError(f"this {kind} can't be made:\n  " + "\n  ".join(problems))
