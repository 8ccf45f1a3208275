"""From the adapter on a model to a folder that ``peft``, and enfold as a model, read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from enfold.adapters.changes import Change, joined
from enfold.adapters.config_file import CONFIG_FILE, config_values
from enfold.adapters.folder import PREFIX, WEIGHTS_FILE, stored_tensors
from enfold.adapters.rounding import rounded
from enfold.adapters.sample import write_sample
from enfold.adapters.source import name_of_source, weights_of_source
from enfold.checkpoint.arrange import assemble_stored
from enfold.checkpoint.files import WEIGHT_FILES, atomic_folder, write_json
from enfold.checkpoint.names import canonical, locate
from enfold.checkpoint.safetensors import write_safetensors
from enfold.config import UNTRAINED_KEY
from enfold.errors import InputError, SourceError
from enfold.families.base import Stored
from enfold.leaves import tensor_shapes

if TYPE_CHECKING:
    from enfold.engines.torch.model import TorchModel

__all__ = ["AdapterDtype", "save"]

AdapterDtype = Literal["float32", "float16", "int8"]
Floats = NDArray[np.float32]


def save(
    model: TorchModel, folder: str | os.PathLike[str], *, dtype: AdapterDtype, base: str | None, revision: str | None
) -> None:
    """See :func:`enfold.adapters.save_adapter`."""
    from enfold.engines.torch.adapters import state_of

    state = state_of(model)
    folder = Path(folder)
    if state is None:
        raise InputError("the model has no adapter: add_adapter(model, LoRA()) first, or model.save_pretrained(folder)")
    _check_target(folder, dtype)
    stored = _Stored(model)
    if base is None:
        base, revision = _own_base(model, folder, stored)
    changes, whole = stored.changes(), stored.whole(state.whole)
    both = sorted({name.rpartition(".")[0] for name in whole} & changes.keys())
    if both:
        raise InputError(
            f"checkpoints keep leaves that are adapted and leaves that train whole in one: {', '.join(both)}"
        )
    values = config_values(
        changes,
        stored.modules_of(state.whole),
        stored.modules(),
        head=model.kind,
        base=base,
        revision=revision,
        use_rslora=state.use_rslora,
        dropout=state.dropout,
        transposed=stored.transposed,
    )
    arrays = {**stored_tensors(changes), **{f"{PREFIX}{name}": array for name, array in whole.items()}}
    tensors: dict[str, tuple[NDArray[Any], Any]]
    if dtype == "int8":
        tensors = {name: (array, array.dtype.name) for name, array in rounded(arrays)}
    else:
        tensors = {name: (array, dtype) for name, array in arrays.items()}
    untrained = list(model.untrained) or None
    config = model.config.updated(**{"architectures": [model.blueprint.class_name], UNTRAINED_KEY: untrained})
    with atomic_folder(folder, replaces=("adapter_model.*",)) as aside:
        write_safetensors(aside / WEIGHTS_FILE, tensors)
        write_json(aside / CONFIG_FILE, values)
        write_sample(aside, *stored.sample())
        config.save_pretrained(aside)


def _check_target(folder: Path, dtype: str) -> None:
    if dtype not in ("float32", "float16", "int8"):
        raise InputError(f"dtype is {dtype!r}, expected 'float32', 'float16' or 'int8'")
    if any((folder / name).exists() for name in WEIGHT_FILES):
        raise InputError(f"{folder} holds a model, beside which an adapter would not be found: name another folder")


def _own_base(model: TorchModel, folder: Path, stored: _Stored) -> tuple[str, str | None]:
    """Where the model came from, and its revision.

    Raises:
        InputError: from nowhere, from the folder that is written to, or its weights are others by now.
    """
    base, revision = name_of_source(model)
    advice = "model.save_pretrained(…) before add_adapter and load it from there, or name the base: base='org/name'"
    if base is None:
        raise InputError(f"the adapter's base was made in memory, and nobody would find it again: {advice}")
    if Path(base).resolve() == folder.resolve():
        raise InputError(f"{folder} is the base of this adapter, and would be lost: name another folder")
    if not stored.is_of_source():
        raise InputError(
            f"the adapter's base is not what lies in {base}: its weights were trained, or another adapter was merged "
            f"into them, before this adapter was added. {advice[:1].upper()}{advice[1:]}"
        )
    return base, revision


class _Stored:
    """A model's tensors as checkpoints keep them: several of ours may be parts of one."""

    def __init__(self, model: TorchModel) -> None:
        from enfold.engines.torch.adapters import adapted_leaves

        self._model, self._adapted = model, adapted_leaves(model)
        shapes = tensor_shapes(model.blueprint.leaves)
        self._places = locate(model.blueprint.family, model.head, shapes)
        self._groups: dict[str, dict[int, str]] = {}
        for ours, place in self._places.items():
            self._groups.setdefault(place.name, {})[place.part] = ours

    @property
    def _heads(self) -> int:
        return self._model.arch.num_heads

    def _place(self, stored: str) -> Stored:
        return self._places[next(iter(self._groups[stored].values()))]

    def _changed(self) -> list[str]:
        """Stored matrices of which any part is adapted."""
        return list(dict.fromkeys(self._places[f"{leaf}.weight"].name for leaf in self._adapted))

    @property
    def transposed(self) -> bool:
        """Whether the adapted matrices are stored as (inputs, outputs)."""
        return all(self._place(stored).transposed for stored in self._changed())

    def _base(self, tensor: str) -> Floats:
        """One of our tensors as it is without the adapter."""
        adapted = self._adapted.get(tensor.rpartition(".")[0])
        return self._model.tensor(tensor) if adapted is None else adapted.base_weight.detach().float().cpu().numpy()

    def changes(self) -> dict[str, Change]:
        """Full module name → its change."""
        found = {}
        for stored in self._changed():
            parts = self._groups[stored]
            weights = {part: self._base(ours) for part, ours in parts.items()}
            own = {part: self._adapted.get(ours.rpartition(".")[0]) for part, ours in parts.items()}
            changes: Mapping[int, Change] = {part: leaf.change() for part, leaf in own.items() if leaf is not None}
            module = self._model._prefixed(stored).rpartition(".")[0]
            found[module] = joined(changes, weights, self._place(stored), self._heads)
        return found

    def sample(self) -> tuple[str, Floats]:
        """The name and the values of the base's tensor that tells it from another."""
        return self._unchanged(self._changed()[0])

    def _unchanged(self, stored: str) -> tuple[str, Floats]:
        arrays = {part: self._base(ours) for part, ours in self._groups[stored].items()}
        return stored.removeprefix("@"), assemble_stored(arrays, self._place(stored), self._heads)

    def is_of_source(self) -> bool:
        """Whether the base's weights are those of the files that it came from, by two of its matrices."""
        model = self._model
        if getattr(model, "has_merged", False):
            return False
        try:
            weights = weights_of_source(model)
        except SourceError:  # moved since, or in a cache of its own
            return True
        kept = {canonical(model.blueprint.family, name): name for name in weights}
        tolerance = 1e-5 if model.dtype.itemsize >= 4 else 2**-7
        for name, values in (self._unchanged(self._changed()[place]) for place in (0, -1)):
            theirs = weights[kept[name]].numpy("float32")
            if values.shape != theirs.shape or not np.allclose(values, theirs, rtol=tolerance, atol=1e-7):
                return False
        return True

    def whole(self, tensors: tuple[str, ...]) -> dict[str, Floats]:
        """Full stored name → array, for tensors that are kept as they are."""
        names = dict.fromkeys(self._places[tensor].name for tensor in tensors)
        return {
            self._model._prefixed(name): assemble_stored(
                {part: self._model.tensor(ours) for part, ours in self._groups[name].items()},
                self._place(name),
                self._heads,
            )
            for name in names
        }

    def modules_of(self, tensors: tuple[str, ...]) -> set[str]:
        """The modules that ``peft`` has to keep whole: a head's by their first name, others by their full one."""
        found = set()
        for tensor in tensors:
            name = self._places[tensor].name
            is_head = tensor.startswith("head.")
            found.add(
                name.removeprefix("@").split(".")[0] if is_head else self._model._prefixed(name).rpartition(".")[0]
            )
        return found

    def modules(self) -> set[str]:
        """Every module on the way to a tensor."""
        names = (self._model._prefixed(name).split(".") for name in self._groups)
        return {".".join(parts[:count]) for parts in names for count in range(1, len(parts))}
