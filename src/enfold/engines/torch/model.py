"""Models on the PyTorch engine: ``nn.Module``s that train."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from enfold import wiring
from enfold.adapter import Ops
from enfold.blueprint import Blueprint
from enfold.cache import Cache, Turn
from enfold.checkpoint.load import Loaded
from enfold.engines.torch import ops
from enfold.engines.torch.attention import make_leaf
from enfold.engines.torch.bound import bind, few_rows, some_outputs
from enfold.engines.torch.leaves import Leaf, Node, SharedInput, answering
from enfold.errors import InputError
from enfold.leaves import Embedding, Output
from enfold.model import PreTrainedModel, initial_values, table_of
from enfold.packing import Packed

__all__ = ["TorchModel"]

_packing = threading.Lock()
"""Weights are laid out anew by one thread at a time: they are the model's own parameters."""


class TorchModel(PreTrainedModel, nn.Module):
    """A model as an ``nn.Module``: parameters, autograd, dropout in ``train()``, any device."""

    engine: ClassVar[str] = "torch"
    ops: ClassVar[Ops] = ops

    def __init__(self, blueprint: Blueprint, loaded: Loaded | None = None, source: Path | None = None) -> None:
        nn.Module.__init__(self)
        self.tree = wiring.build_tree(blueprint.leaves, Node, make_leaf)
        leaves = self._named_leaves()
        for module in leaves.values():
            if isinstance(module.leaf, Output | Embedding) and module.leaf.tied_to:
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
                elif (table := table_of(module.leaf)) is not None:
                    parameter.copy_(_as_tensor(table))
                else:
                    _initialise(parameter, suffix, blueprint.arch.initializer_range)

    def _named_leaves(self) -> dict[str, Leaf]:
        return {module.leaf.name: module for module in self.tree.modules() if isinstance(module, Leaf)}

    @property
    def plan(self) -> wiring.Plan:
        """Assembled for each pass, so that copies, replicas and replaced leaves are what runs."""
        return wiring.assemble(self.tree, self.arch, self.head)

    def quick_plan(self, shortlist: NDArray[np.int64] | None = None) -> wiring.Plan:
        with _packing:
            for module in self.modules():
                if isinstance(module, SharedInput):
                    module.pack()
        plan = wiring.assemble(bind(self.tree), self.arch, self.head)
        if shortlist is None:
            return plan
        modules = iter([steps[-1] for _, _, steps in self.plan.branches])
        return wiring.narrowed(plan, lambda _: some_outputs(next(modules), shortlist))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' type."""
        return next(self.parameters()).dtype

    def get_memory_footprint(self) -> int:
        return sum(tensor.nbytes for tensor in (*self.parameters(), *self.buffers()))

    def tensor(self, name: str) -> NDArray[Any]:
        leaf, _, suffix = name.rpartition(".")
        return getattr(self._named_leaves()[leaf], suffix).detach().float().cpu().numpy()

    @torch.inference_mode()
    def run(
        self,
        batch: Packed,
        *,
        fields: Sequence[str] = (),
        tokens: NDArray[np.int64] | None = None,
        source: Packed | None = None,
        turn: Turn | None = None,
        plan: wiring.Plan | None = None,
    ) -> dict[str, NDArray[np.float32]]:
        device = self.device
        wanted = None if tokens is None else torch.from_numpy(tokens).to(device)
        moved, from_source = _moved(batch, device), None if source is None else _moved(source, device)
        steps = nullcontext() if turn is None else few_rows(len(batch.ids), device)
        with answering(), steps:
            outputs = self._run(plan or self.plan, moved, fields, wanted, from_source, turn)
        return {name: tensor.float().cpu().numpy() for name, tensor in outputs.items()}

    def outputs(
        self,
        batch: Packed,
        *,
        fields: Sequence[str] = (),
        tokens: Tensor | None = None,
        source: Packed | None = None,
        plan: wiring.Plan | None = None,
    ) -> dict[str, Tensor]:
        """One pass over a packed batch of tensors, with gradients and, in ``train()``, dropout.

        Args:
            batch: its tokens, on the model's device.
            fields: as for :meth:`run`.
            tokens: likewise, (N,).
            source: likewise; with it ``batch`` is what the decoder reads.
            plan: :attr:`plan`, where many passes follow each other.
        """
        return self._run(plan or self.plan, batch, fields, tokens, source, None)

    @contextmanager
    def inference(self) -> Iterator[None]:
        with torch.no_grad(), answering():
            yield

    @torch.inference_mode()
    def remember(self, source: Packed, cache: Cache, *, plan: wiring.Plan | None = None) -> None:
        with answering():
            self._remember(plan or self.plan, _moved(source, self.device), cache)

    def new_cache(self, *, quantized: bool = False) -> Cache:
        if quantized:
            raise InputError(
                "cache_implementation is 'quantized', which the CPU engine has and the PyTorch engine lacks: "
                "load the model with engine='cpu', or leave the option away"
            )
        like = next(self.parameters())

        @torch.inference_mode(False)  # rows are moved outside of it too
        def allocate(shape: tuple[int, ...]) -> Tensor:
            if like.device.type == "cpu" and like.dtype is torch.float32:
                return torch.from_numpy(np.zeros(shape, np.float32))  # pages that are not used are never touched
            return torch.zeros(shape, dtype=like.dtype, device=like.device)

        return Cache(self.arch, allocate)

    def unknown_parameters(self) -> list[str]:
        return [name for name, _ in self.named_parameters() if not name.startswith("tree.")]

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings."""
        return self.tree.embeddings.words


def _moved(batch: Packed, device: torch.device) -> Packed:
    arrays = {name: getattr(batch, name) for name in ("ids", "positions", "types", "starts", "last")}
    tensors = {name: torch.from_numpy(a).to(device) for name, a in arrays.items() if a is not None}
    return replace(batch, **tensors)  # type: ignore[arg-type]


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
