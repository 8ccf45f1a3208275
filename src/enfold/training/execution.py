"""How a model runs over batches while it learns: precision, compiled or recomputed layers, rates of dropout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from enfold import wiring
from enfold.arch import Dropout
from enfold.engines.torch.leaves import Join, Leaf, Linear
from enfold.engines.torch.model import TorchModel
from enfold.layout import layout
from enfold.training.examples import Batch
from enfold.training.settings import Precision
from enfold.training.words import UsedRows

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
    """

    def __init__(
        self, model: TorchModel, fields: tuple[str, ...], words: UsedRows | None, precision: Precision, recompute: bool
    ) -> None:
        self.model, self.fields, self.words = model, fields, words
        self.cast = autocast(model.device, precision)
        plan = model.plan
        self.plan = _recomputed(plan) if recompute else plan

    def __call__(self, batch: Batch) -> Fields:
        """The model's outputs for a batch."""
        packed, source = batch.packed, batch.source
        if self.words is not None:
            packed = self.words.within(packed)
            source = None if source is None else self.words.within(source)
        with self.cast():
            return self.model.outputs(packed, fields=self.fields, tokens=batch.tokens, source=source, plan=self.plan)


def _recomputed(plan: wiring.Plan) -> wiring.Plan:
    """The plan with layers that keep nothing but what enters them."""

    def run(residual: Tensor, hidden: Any, flow: wiring.Flow) -> Tensor:
        for layer in plan.layers:

            def one(residual: Tensor, hidden: Any, layer: Any = layer) -> Any:
                return wiring.run_layer(layer, residual, hidden, flow)

            residual, hidden = checkpoint(one, residual, hidden, use_reentrant=False)
        return hidden  # type: ignore[no-any-return]

    encoder = None if plan.encoder is None else _recomputed(plan.encoder)
    return replace(plan, at_once=run, encoder=encoder)


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
