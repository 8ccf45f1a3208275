"""From an adapter's folder onto a model that is loaded already, unmerged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from enfold.adapters.changes import Change, part_of
from enfold.adapters.folder import AdapterFolder, mismatch, open_adapter
from enfold.adapters.sample import read_sample, sample_differs
from enfold.adapters.source import name_of_source
from enfold.checkpoint.arrange import assemble_stored, stored_shape, take
from enfold.checkpoint.names import canonical, locate
from enfold.checkpoint.sources import resolve
from enfold.errors import InputError
from enfold.families.base import Stored
from enfold.leaves import Linear, tensor_shapes

if TYPE_CHECKING:
    from enfold.engines.torch.model import TorchModel

__all__ = ["load"]

Places = dict[str, dict[str, Stored]]
"""Canonical stored name → our tensors in it, and where."""


def load(model: TorchModel, folder: str | os.PathLike[str], *, trainable: bool, base: Literal["same", "any"]) -> None:
    """See :func:`enfold.adapters.load_adapter`."""
    from enfold.engines.torch.adapters import AdapterState, install, refuse_second

    if base not in ("same", "any"):
        raise InputError(f"base is {base!r}, expected 'same' or 'any'")
    refuse_second(model)
    path = resolve(folder, want="config")
    adapter = open_adapter(path)
    shapes, places = tensor_shapes(model.blueprint.leaves), _places(model)
    problems = [*_wrong_head(model, adapter)]
    if base == "same":
        problems += _another_base(model, adapter, places)
    linear = {leaf.name for leaf in model.blueprint.leaves if isinstance(leaf, Linear)}
    changes: dict[str, Change] = {}
    family, heads = model.blueprint.family, model.arch.num_heads
    for module, change in adapter.changes.items():
        parts = places.get(canonical(family, f"{module}.weight"), {})
        if not parts or not all(ours.rpartition(".")[0] in linear for ours in parts):
            problems.append(f"unexpected  {module}: this {model.blueprint.class_name} has no such linear layer")
            continue
        rows = sum(shapes[ours][0] for ours in parts)
        columns = shapes[next(iter(parts))][1]
        if not change.fits((rows, columns)):
            problems.append(f"misshapen   {module}: its change does not fit ({rows}, {columns})")
            continue
        own = {ours.rpartition(".")[0]: part_of(change, place, heads) for ours, place in parts.items()}
        changes |= {leaf: part for leaf, part in own.items() if part is not None}
    tensors = _tensors(model, adapter, places, problems)
    if problems:
        raise mismatch(f"the adapter {path} does not fit this {model.blueprint.class_name}", problems)
    state = AdapterState(tuple(tensors), adapter.config.use_rslora, adapter.config.dropout)
    install(model, changes, tensors, state, trainable=trainable)


def _places(model: TorchModel) -> Places:
    found: Places = {}
    for ours, place in locate(model.blueprint.family, model.head, tensor_shapes(model.blueprint.leaves)).items():
        found.setdefault(place.name.removeprefix("@"), {})[ours] = place
    return found


def _tensors(
    model: TorchModel, adapter: AdapterFolder, places: Places, problems: list[str]
) -> dict[str, NDArray[np.float32]]:
    """The adapter's whole tensors by our names."""
    shapes, heads = tensor_shapes(model.blueprint.leaves), model.arch.num_heads
    found = {}
    for name, view in adapter.tensors.items():
        parts = places.get(canonical(model.blueprint.family, name), {})
        if not parts:
            problems.append(f"unexpected  {name} {tuple(view.shape)}")
        for ours, place in parts.items():
            expected = stored_shape(place, shapes[ours])
            if tuple(view.shape) != expected:
                problems.append(f"misshapen   {name}: {tuple(view.shape)} in the file, {expected} in the model")
                break
            found[ours] = np.ascontiguousarray(take(view.numpy("float32"), place, heads))
    return found


def _wrong_head(model: TorchModel, adapter: AdapterFolder) -> list[str]:
    """A head of another kind: its tensors may have the same names, and mean something else."""
    trained, kind = adapter.config.head, model.kind
    if trained is None or not adapter.tensors or trained == kind or {trained, kind} == {"base", "encoder"}:
        return []
    return [f"other head  the adapter was trained for {trained}, and the model is for {kind}"]


def _another_base(model: TorchModel, adapter: AdapterFolder, places: Places) -> list[str]:
    """By the sample of the base's numbers; without one by the names, where both are known."""
    sample = read_sample(adapter.path)
    if sample is not None and sample[0] in places:
        parts = places[sample[0]]
        arrays = {place.part: model.tensor(ours) for ours, place in parts.items()}
        stored = assemble_stored(arrays, next(iter(parts.values())), model.arch.num_heads)
        if sample_differs(sample[1], stored):
            return [
                f"other base  {sample[0]} has other numbers than where the adapter was trained "
                f"({adapter.config.base}); base='any' takes it all the same"
            ]
        return []
    own, _ = name_of_source(model)
    trained = adapter.config.base
    if own is None or trained is None or _is_path(own) or _is_path(trained) or _last(own) == _last(trained):
        return []
    return [
        f"other base  the adapter was trained on {trained}, and the model is {own}; base='any' takes it all the same"
    ]


def _is_path(name: str) -> bool:
    return name.startswith((".", "~", "/")) or "\\" in name or Path(name).exists()


def _last(name: str) -> str:
    """A source's name without its organisation and version: hubs have models under several."""
    return name.partition("==")[0].removeprefix("pypi:").rpartition("/")[2].lower()
