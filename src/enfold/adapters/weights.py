"""A base model's stored tensors with an adapter merged into them, as they are read; neither engine knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from enfold.adapters.changes import Change, Rescaled
from enfold.adapters.folder import AdapterFolder, mismatch
from enfold.adapters.sample import read_sample, sample_differs
from enfold.blueprint import Blueprint
from enfold.checkpoint.files import Weights
from enfold.checkpoint.names import canonical, is_known, locate
from enfold.checkpoint.packed import is_packed
from enfold.checkpoint.tensors import DType, TensorView
from enfold.errors import CheckpointError
from enfold.families.base import Stored
from enfold.leaves import tensor_shapes

__all__ = ["merged_weights", "stored_places"]


@dataclass(frozen=True, eq=False)
class _MergedView(TensorView):
    """A tensor of the base that an adapter changes; computed in float32 each time that it is asked for."""

    base: TensorView = field(kw_only=True)
    change: Change = field(kw_only=True)
    role: Literal["weight", "bias"] = field(kw_only=True)
    transposed: bool = field(kw_only=True)

    def raw(self) -> NDArray[Any]:
        return self.numpy()

    def numpy(self, dtype: DType = "float32") -> NDArray[Any]:
        values = self.base.numpy("float32")
        if self.role == "bias":
            merged = self.change.bias(values)
        elif self.transposed:
            merged = self.change.weight(values.T).T
        else:
            merged = self.change.weight(values)
        return np.ascontiguousarray(merged, dtype=dtype)


def stored_places(blueprint: Blueprint) -> dict[str, Stored]:
    """Canonical stored name → how it is arranged, for every tensor of a model."""
    places = locate(blueprint.family, blueprint.head, tensor_shapes(blueprint.leaves))
    return {place.name.removeprefix("@"): place for place in places.values()}


def merged_weights(base: Weights, adapter: AdapterFolder, blueprint: Blueprint) -> Weights:
    """The tensors of a base model with an adapter on it; the adapter's own tensors take the place of the base's.

    Args:
        base: the base model's.
        adapter: what changes them.
        blueprint: of the model that is to be loaded; changes of other heads are left out.

    Raises:
        TensorMismatchError: changes of what the model doesn't have or of another size, or another base than the one
            that the adapter was trained on; all listed.
        CheckpointError: a quantized base.
    """
    if any(map(is_packed, base)):
        raise CheckpointError(
            f"{adapter.path} is an adapter, and its base {base.path} is quantized: an adapter is merged before. "
            "Take the model as it was, and dtype='int8'"
        )
    family, places = blueprint.family, stored_places(blueprint)
    stored = {canonical(family, name): name for name in base}
    tensors: dict[str, TensorView] = dict(base)
    problems: list[str] = [*_another_base(adapter, {key: base[name] for key, name in stored.items()})]
    for module, change in adapter.changes.items():
        weight = canonical(family, f"{module}.weight")
        if weight not in places or weight not in stored:
            if not is_known(family, weight):
                problems.append(f"unexpected  {module}: this {family.model_type} model has no such layer")
            continue
        view, transposed = base[stored[weight]], places[weight].transposed
        if not change.fits(view.shape[::-1] if transposed else view.shape):
            problems.append(f"misshapen   {module}: its change does not fit {view.name} {tuple(view.shape)}")
            continue
        tensors[stored[weight]] = _merged(view, change, "weight", transposed)
        bias = stored.get(f"{weight.removesuffix('.weight')}.bias")
        if bias is not None and isinstance(change, Rescaled) and change.side == "outputs":
            tensors[bias] = _merged(base[bias], change, "bias", False)
    for name, view in adapter.tensors.items():
        replaced = stored.get(canonical(family, name))
        tensors.pop(replaced or "", None)
        tensors[name] = view
    problems += _untied(adapter, blueprint)
    if problems:
        raise mismatch(f"the adapter {adapter.path} does not fit its base {base.path}", problems)
    return Weights(base.path, base.format, tensors)


def _merged(view: TensorView, change: Change, role: Literal["weight", "bias"], transposed: bool) -> TensorView:
    return _MergedView(
        view.name, "float32", view.shape, view.bits, base=view, change=change, role=role, transposed=transposed
    )


def _another_base(adapter: AdapterFolder, stored: Mapping[str, TensorView]) -> list[str]:
    sample = read_sample(adapter.path)
    if sample is None or sample[0] not in stored:
        return []
    if not sample_differs(sample[1], stored[sample[0]].numpy("float32")):
        return []
    return [f"other base  {sample[0]} has other numbers than where the adapter was trained ({adapter.config.base})"]


def _untied(adapter: AdapterFolder, blueprint: Blueprint) -> list[str]:
    """An output of the adapter's own, where the model's is its word embeddings."""
    own = {canonical(blueprint.family, name) for name in adapter.tensors}
    shapes = tensor_shapes(blueprint.leaves)
    outputs = [
        f"{branch.names['output']}.weight"
        for index, branch in enumerate(blueprint.head.branches)
        if branch.outputs == "vocabulary" and f"head.{index}.output.weight" not in shapes
    ]
    return [f"unexpected  {name}: this model's output is its word embeddings" for name in outputs if name in own]
