"""How a model runs over batches while it learns: precision, compiled or recomputed layers, rates of dropout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from enfold import wiring
from enfold.arch import Architecture, Dropout
from enfold.engines.torch.leaves import Join, Leaf, Linear
from enfold.engines.torch.model import TorchModel
from enfold.layout import layout
from enfold.training.examples import Batch
from enfold.training.settings import Precision
from enfold.training.words import UsedRows

if TYPE_CHECKING:
    from enfold.training.sharding import Shards

__all__ = ["Execution", "autocast", "compiled", "set_dropout"]

Fields = Mapping[str, Tensor]


class Execution:
    """A model over batches, with gradients.

    Args:
        model: runs.
        fields: of its outputs, those that are wanted; empty: the head's.
        words: the used rows of its word embeddings, where they are a parameter of their own.
        precision: see :class:`enfold.training.settings.Settings`.
        recompute: layers are computed again on the way back.
        shards: the model split over processes, or None.
    """

    def __init__(
        self,
        model: TorchModel,
        fields: tuple[str, ...],
        words: UsedRows | None,
        precision: Precision,
        recompute: bool,
        shards: Shards | None = None,
    ) -> None:
        self.model, self.fields, self.words, self.shards = model, fields, words, shards
        self.cast = autocast(model.device, precision)
        self.plan = model.plan
        if recompute or shards is not None:
            self.plan = _by_layer(self.plan, model.tree, model.arch, recompute, shards)

    def __call__(self, batch: Batch) -> Fields:
        """The model's outputs for a batch."""
        packed, source = batch.packed, batch.source
        if self.words is not None:
            packed = self.words.within(packed)
            source = None if source is None else self.words.within(source)
        run: Callable[..., Fields] = self.model.outputs
        if self.shards is not None:
            run = partial(self.shards, run)
        with self.cast():
            return run(packed, fields=self.fields, tokens=batch.tokens, source=source, plan=self.plan)


def _by_layer(plan: wiring.Plan, tree: Any, arch: Architecture, recompute: bool, shards: Shards | None) -> wiring.Plan:
    """The plan with layers that keep nothing but what enters them, or that are gathered for what they compute."""
    nodes = [getattr(tree.layers, str(index)) for index in arch.layer_order]
    within = [_just if shards is None else shards.layer(node) for node in nodes]

    def run(residual: Tensor, hidden: Any, flow: wiring.Flow) -> Tensor:
        for gathered, layer in zip(within, plan.layers, strict=True):

            def one(residual: Tensor, hidden: Any, layer: Any = layer) -> Any:
                return wiring.run_layer(layer, residual, hidden, flow)

            step = partial(checkpoint, one, use_reentrant=False) if recompute else one
            residual, hidden = gathered(step, residual, hidden)
        return hidden  # type: ignore[no-any-return]

    encoder = plan.encoder
    if encoder is not None:
        assert arch.encoder is not None
        encoder = _by_layer(encoder, tree.encoder, arch.encoder, recompute, shards)
    return replace(plan, at_once=run, encoder=encoder)


def _just(run: Callable[..., Any], *args: Any) -> Any:
    return run(*args)


def autocast(device: torch.device, precision: Precision) -> Callable[[], Any]:
    """A context in which matrices are multiplied in bfloat16, or as they are."""
    if precision == "auto":
        precision = "bfloat16" if _computes_bfloat16(device) else "float32"
    if precision == "float32":
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)


def _computes_bfloat16(device: torch.device) -> bool:
    """Whether products of bfloat16 are faster there than those of float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = getattr(torch.cpu, "_is_avx512_bf16_supported", bool), getattr(torch.cpu, "_is_amx_tile_supported", bool)
    return device.type == "cpu" and any(flag() for flag in flags)


@contextmanager
def compiled(model: TorchModel, wanted: bool) -> Iterator[None]:
    """Compiles what stands between matrix products: activations, dropout, sums and norms."""
    if not wanted:
        yield
        return
    parts = [
        module
        for module in model.modules()
        if isinstance(module, Join) or (type(module) is Linear and module.activation)
    ]
    for module in parts:
        module.compile(dynamic=True)
    try:
        yield
    finally:
        for module in parts:
            module._compiled_call_impl = None


def set_dropout(model: TorchModel, dropout: float | Dropout | None) -> None:
    """Gives a model other rates of dropout; a number is every kind's.

    The model's configuration stays as it was: rates belong to a training run.
    """
    if dropout is None:
        return
    rates = dropout if isinstance(dropout, Dropout) else Dropout(**dict.fromkeys(Dropout.__dataclass_fields__, dropout))
    arch = replace(model.arch, dropout=rates)
    if arch.encoder is not None:
        arch = replace(arch, encoder=replace(arch.encoder, dropout=rates))
    leaves = {leaf.name: leaf for leaf in layout(arch, model.head, num_labels=model.num_labels)}
    for module in model.modules():
        if isinstance(module, Leaf):
            module.leaf = leaves[module.leaf.name]
