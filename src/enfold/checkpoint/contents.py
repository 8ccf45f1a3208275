"""What a checkpoint holds: which heads are there whole, and which tensors nobody knows."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from enfold.blueprint import Blueprint
from enfold.checkpoint.arrange import stored_shape
from enfold.checkpoint.files import Weights
from enfold.checkpoint.load import clashes
from enfold.checkpoint.names import canonical, is_known, locate
from enfold.checkpoint.packed import is_packed, read_packed
from enfold.config import UNTRAINED_KEY
from enfold.heads import HeadKind
from enfold.leaves import Shape, tensor_shapes

__all__ = ["Contents"]


class Contents:
    """What a checkpoint holds, seen from its configuration.

    Attributes:
        heads: the kinds of head whose tensors are all there.
        main: the blueprint of the head that the checkpoint was saved with, or of the encoder.
        problems: what is missing, misshapen or unexpected.
        left_out: tensors that no head here uses, buffers among them.
        untrained: tensors that the checkpoint remembers as never trained.
    """

    def __init__(self, encoder: Blueprint, stored: Weights) -> None:
        self._family, self._config = encoder.family, encoder.config
        packed = {name for names in read_packed(stored) for name in names}
        plain = {name: view for name, view in stored.items() if not is_packed(name)}
        shapes = {canonical(self._family, name): tuple(view.shape) for name, view in plain.items()}
        shapes |= _names(encoder, packed)
        saved = self._family.saved_kind(self._config)
        wanted = _names(encoder)
        self.problems = [f"missing tensor {name}" for name in wanted if name not in shapes]
        self.heads: list[HeadKind] = []
        self.main = encoder
        for kind, head in self._family.heads.items():
            blueprint = Blueprint.of(self._config, kind)
            shapes |= _names(blueprint, packed)
            own = {name: shape for name, shape in _names(blueprint).items() if name not in wanted}
            writes = any(branch.outputs == "vocabulary" for branch in head.branches) and encoder.arch.causal
            if (
                (not own and not writes)
                or not own.keys() <= shapes.keys()
                or (saved and any(clashes(branch, self._family.heads[saved]) for branch in head.branches))
            ):
                continue
            self.heads.append(kind)
            self.main = blueprint if kind == saved else self.main
        for kind in self.heads:
            wanted |= _names(Blueprint.of(self._config, kind))
        self.problems += [
            f"misshapen tensor {name}: {shapes[name]} in the file, {shape} by the configuration"
            for name, shape in wanted.items()
            if shapes.get(name, shape) != shape
        ]
        others = [name for name in plain if canonical(self._family, name) not in wanted]
        self.left_out = [name for name in others if is_known(self._family, canonical(self._family, name))]
        self.problems += [f"unexpected tensor {name}" for name in others if name not in self.left_out]
        self.untrained: list[str] = list(self._config.get(UNTRAINED_KEY) or ())

    def section(self) -> dict[str, Any]:
        """The findings for a report."""
        labelled = any(branch.outputs == "labels" for branch in self.main.head.branches)
        return {
            "in_checkpoint": {kind: self._family.class_name(kind) for kind in self.heads},
            "labels": list(self._config.id2label.values()) if labelled else None,
            "untrained": self.untrained,
            "left_out": self.left_out,
        }


def _names(blueprint: Blueprint, among: Collection[str] | None = None) -> dict[str, Shape]:
    """Canonical checkpoint names, without the base model's prefix, and shapes; of all tensors, or of some of ours."""
    shapes = tensor_shapes(blueprint.leaves)
    places = locate(blueprint.family, blueprint.head, shapes)
    chosen = {ours: place for ours, place in places.items() if among is None or ours in among}
    return {place.name.removeprefix("@"): stored_shape(place, shapes[ours]) for ours, place in chosen.items()}
