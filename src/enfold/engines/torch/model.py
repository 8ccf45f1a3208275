"""Models on the PyTorch engine: ``nn.Module``s that train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from enfold import wiring
from enfold.adapter import Ops
from enfold.checkpoint.load import Loaded
from enfold.engines.torch import ops
from enfold.engines.torch.leaves import Leaf, Node, answering, make_leaf
from enfold.layout import Output
from enfold.model import Blueprint, PreTrainedModel, initial_values
from enfold.packing import Packed

__all__ = ["TorchModel"]


class TorchModel(PreTrainedModel, nn.Module):
    """A model as an ``nn.Module``: parameters, autograd, dropout in ``train()``, any device."""

    engine: ClassVar[str] = "torch"
    ops: ClassVar[Ops] = ops

    def __init__(self, blueprint: Blueprint, loaded: Loaded | None = None, source: Path | None = None) -> None:
        nn.Module.__init__(self)
        self.tree = wiring.build_tree(blueprint.leaves, Node, make_leaf)
        leaves = self._named_leaves()
        for module in leaves.values():
            if isinstance(module.leaf, Output) and module.leaf.tied_to:
                module.weight = leaves[module.leaf.tied_to].weight
        self._fill(blueprint, loaded)
        self._adopt(blueprint, loaded, source)
        if loaded is not None:
            self.eval()

    @torch.no_grad()
    def _fill(self, blueprint: Blueprint, loaded: Loaded | None) -> None:
        for name, module in self._named_leaves().items():
            for suffix in module.leaf.tensors():
                parameter = getattr(module, suffix)
                stored = loaded.tensors.get(f"{name}.{suffix}") if loaded else None
                if stored is not None:
                    parameter.copy_(_as_tensor(stored))
                else:
                    _initialise(parameter, suffix, blueprint.arch.initializer_range)

    def _named_leaves(self) -> dict[str, Leaf]:
        return {module.leaf.name: module for module in self.tree.modules() if isinstance(module, Leaf)}

    @property
    def plan(self) -> wiring.Plan:
        """Assembled for each pass, so that copies, replicas and replaced leaves are what runs."""
        return wiring.assemble(self.tree, self.arch, self.head)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' type."""
        return next(self.parameters()).dtype

    def tensor(self, name: str) -> NDArray[Any]:
        leaf, _, suffix = name.rpartition(".")
        return getattr(self._named_leaves()[leaf], suffix).detach().float().cpu().numpy()

    @torch.inference_mode()
    def run(
        self, batch: Packed, *, fields: Sequence[str] = (), tokens: NDArray[np.int64] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        device = self.device
        moved = Packed(
            ids=torch.from_numpy(batch.ids).to(device),
            positions=torch.from_numpy(batch.positions).to(device),
            types=torch.from_numpy(batch.types).to(device),
            starts=torch.from_numpy(batch.starts).to(device),
            spans=batch.spans,
        )
        wanted = None if tokens is None else torch.from_numpy(tokens).to(device)
        with answering():
            outputs = self._run(moved, fields, wanted)
        return {name: tensor.float().cpu().numpy() for name, tensor in outputs.items()}

    def unknown_parameters(self) -> list[str]:
        return [name for name, _ in self.named_parameters() if not name.startswith("tree.")]

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings."""
        return self.tree.embeddings.words


def _as_tensor(array: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _initialise(parameter: Tensor, suffix: str, scale: float) -> None:
    match initial_values(suffix, parameter.ndim):
        case "normal":
            parameter.normal_(0.0, scale)
        case "ones":
            parameter.fill_(1.0)
        case _:
            parameter.zero_()
