"""From a folder's tensors to a model's, strictly: all that is missing, unexpected or misshapen is one error."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from enfold.checkpoint.arrange import stored_shape, take
from enfold.checkpoint.files import Weights, open_weights
from enfold.checkpoint.names import alternative_names, canonical, is_known, locate
from enfold.checkpoint.packed import PackedMatrices, is_packed, read_packed
from enfold.checkpoint.tensors import TensorView
from enfold.config import UNTRAINED_KEY, Config
from enfold.errors import TensorMismatchError
from enfold.families.base import Family, Stored
from enfold.heads import CLASS_SUFFIXES, Branch, Head, HeadKind
from enfold.leaves import Shape

if TYPE_CHECKING:
    from enfold.checkpoint.gguf.blocks import BlockType

__all__ = ["Loaded", "Tensors", "clashes", "differ", "load_tensors"]

_SHOWN = 12


class Tensors(Mapping[str, NDArray[np.float32]]):
    """A checkpoint's tensors by our names, each read when it is asked for; the stored bytes where they are float32."""

    def __init__(self, views: Mapping[str, TensorView], places: Mapping[str, Stored], heads: int) -> None:
        self._views, self._places, self._heads = views, places, heads

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return take(self._views[name].numpy("float32"), self._places[name], self._heads)

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __contains__(self, name: object) -> bool:
        return name in self._views  # not by reading it

    @property
    def has_blocks(self) -> bool:
        """Whether any matrix is of quantized blocks."""
        return any(view.blocks_by_row() is not None for view in self._views.values())

    def blocks(self, name: str) -> tuple[NDArray[np.uint8], BlockType] | None:
        """The quantized blocks (N, K / size, bytes of a block) that hold a matrix row by row, and their type."""
        if name not in self._views:
            return None
        view, place = self._views[name], self._places[name]
        is_whole = place.parts == 1 and not place.row and place.transposed == view.is_transposed
        return view.blocks_by_row() if is_whole else None


@dataclass(frozen=True)
class Loaded:
    """What a checkpoint gave a model.

    Attributes:
        tensors: our name → float32 array.
        fresh: names of head tensors that the checkpoint lacks.
        untrained: names of tensors that the checkpoint has, but remembers as never trained.
        left_out: stored names that belong to other heads or are buffers.
        dtype: the type most tensors are stored in.
        packed: matrices that are stored as an engine computes with them.
    """

    tensors: Tensors
    fresh: tuple[str, ...]
    untrained: frozenset[str]
    left_out: tuple[str, ...]
    dtype: str
    packed: PackedMatrices = field(default_factory=dict)


def load_tensors(
    folder: Path | Weights,
    family: Family,
    config: Config,
    kind: HeadKind,
    head: Head,
    shapes: Mapping[str, Shape],
    *,
    heads: int = 1,
    computed: Collection[str] = (),
    new_head: bool | None,
) -> Loaded:
    """Finds every tensor of ``shapes`` in the folder's weights.

    Args:
        folder: holds the weights, or they themselves, opened.
        family: whose name table is used.
        config: the checkpoint's own; it says which head the weights were saved with and what is untrained.
        kind: the head that is wanted.
        head: the family's head of that kind.
        shapes: our tensor names and shapes, from the layout.
        heads: attention heads, between which a stored tensor's parts may alternate.
        computed: those of them that a file may lack, because a formula fills them.
        new_head: None makes a missing head fresh, False makes it an error, True makes the head fresh always.

    Raises:
        TensorMismatchError: lists every missing, unexpected and misshapen tensor.
        CorruptFileError: the files can't be read.
    """
    weights = folder if isinstance(folder, Weights) else open_weights(folder)
    packed = read_packed(weights)
    held = {name for names in packed for name in names}
    plain = [name for name in weights if not is_packed(name)]
    stored = {canonical(family, name): name for name in plain}
    places = locate(family, head, shapes)
    wanted = {ours: place.name.removeprefix("@") for ours, place in places.items()}
    in_base = {ours for ours, place in places.items() if place.name.startswith("@")}
    replaced = _foreign(family, config, kind, head)
    if new_head:
        replaced |= {ours for ours in wanted if ours.startswith("head.") and ours not in in_base}
    for ours, other in alternative_names(head, shapes).items():
        if wanted[ours] not in stored and other in stored:
            wanted[ours] = other
    found = {
        ours: weights[stored[theirs]]
        for ours, theirs in wanted.items()
        if theirs in stored and not _within(ours, replaced)
    }
    fresh = tuple(ours for ours in wanted if ours not in found and ours not in held and ours not in computed)
    expected = {ours: stored_shape(places[ours], shape) for ours, shape in shapes.items()}
    used = {*wanted.values()}
    left_out = [name for key, name in stored.items() if key not in used]
    twice = [name for name in plain if stored[canonical(family, name)] != name]
    problems = [
        *(f"twice       {name}, and {stored[canonical(family, name)]}" for name in twice),
        *_missing(fresh, found, wanted, new_head),
        *_misshapen(found, expected),
        *(
            f"unexpected  {name} {weights[name].shape}"
            for name in left_out
            if not is_known(family, canonical(family, name))
        ),
    ]
    if problems:
        raise TensorMismatchError(_report(weights, family, kind, problems, head_only=_is_head_problem(found, expected)))
    remembered = set(config.get(UNTRAINED_KEY) or ())
    return Loaded(
        tensors=Tensors(found, places, heads),
        fresh=fresh,
        untrained=frozenset(ours for ours in found if wanted[ours] in remembered),
        left_out=tuple(left_out),
        dtype=_main_dtype(found),
        packed=packed,
    )


def differ(weights: Weights, family: Family, first: str, second: str) -> bool:
    """Whether a file holds two tensors, by canonical names, and they are not the same numbers."""
    stored = {canonical(family, name): name for name in weights}
    views = [weights[stored[name]] for name in (first.removeprefix("@"), second.removeprefix("@")) if name in stored]
    if len(views) < 2:
        return False
    a, b = views
    return a.shape != b.shape or not np.array_equal(a.numpy("float32"), b.numpy("float32"))


def _foreign(family: Family, config: Config, kind: HeadKind, head: Head) -> set[str]:
    """Head leaves whose stored namesake belongs to a head of another meaning.

    A token classifier and a sequence classifier are both called ``classifier``; the configuration's
    ``architectures`` says which one the file holds.
    """
    saved = family.saved_kind(config)
    if saved is None or saved == kind:
        return set()
    other = family.heads[saved]
    return {f"head.{index}.output" for index, branch in enumerate(head.branches) if clashes(branch, other)}


def clashes(branch: Branch, saved: Head) -> bool:
    """Whether a saved head's output has the name of this branch's, and another meaning."""
    return any(
        branch.names.get("output") == other.names.get("output") is not None
        and (branch.select, branch.outputs) != (other.select, other.outputs)
        for other in saved.branches
    )


def _within(tensor: str, leaves: set[str]) -> bool:
    return tensor in leaves or tensor.rpartition(".")[0] in leaves


def _missing(
    fresh: tuple[str, ...], found: Mapping[str, TensorView], wanted: Mapping[str, str], new_head: bool | None
) -> list[str]:
    """Base tensors may not be missing; a head leaf may, but only whole."""
    whole_leaves = {ours.rpartition(".")[0] for ours in found}
    return [
        f"missing     {wanted[ours]}"
        for ours in fresh
        if not ours.startswith("head.") or new_head is False or ours.rpartition(".")[0] in whole_leaves
    ]


def _misshapen(found: Mapping[str, TensorView], shapes: Mapping[str, Shape]) -> list[str]:
    return [
        f"misshapen   {view.name}: {tuple(view.shape)} in the file, {shapes[ours]} by the configuration"
        for ours, view in found.items()
        if tuple(view.shape) != shapes[ours]
    ]


def _is_head_problem(found: Mapping[str, TensorView], shapes: Mapping[str, Shape]) -> bool:
    wrong = [ours for ours, view in found.items() if tuple(view.shape) != shapes[ours]]
    return bool(wrong) and all(ours.startswith("head.") for ours in wrong)


def _report(weights: Weights, family: Family, kind: HeadKind, problems: list[str], *, head_only: bool) -> str:
    more = f"\n  … and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    advice = (
        "pass new_head=True to replace the head by a fresh one of the wanted size"
        if head_only
        else "is config.json the one of these weights, and were they saved completely?"
    )
    name = family.class_prefix + CLASS_SUFFIXES.get(kind, "Model")
    return (
        f"{weights.path} does not fit a {name} of its configuration:\n  "
        + "\n  ".join(problems[:_SHOWN])
        + f"{more}\n{advice}"
    )


def _main_dtype(found: Mapping[str, TensorView]) -> str:
    counts: dict[str, int] = {}
    for view in found.values():
        counts[view.dtype] = counts.get(view.dtype, 0) + 1
    return max(counts, key=lambda dtype: counts[dtype], default="float32")
