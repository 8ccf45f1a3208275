"""The PyTorch engine's leaves: ``nn.Module``s with autograd, dropout and any device.

The same set as the CPU engine's; a leaf's parameters are named as the layout names its tensors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from enfold import leaves as kinds
from enfold.arch import Activation
from enfold.positions import sinusoidal_table

__all__ = ["Leaf", "Node", "answering", "make_linear_leaf"]


def _gelu_tanh(hidden: Tensor) -> Tensor:
    return functional.gelu(hidden, approximate="tanh")


ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


_answering = threading.local()


@contextmanager
def answering() -> Iterator[None]:
    """No dropout in this thread, whatever mode the modules are in: tasks answer beside a training loop."""
    before = getattr(_answering, "now", False)
    _answering.now = True
    try:
        yield
    finally:
        _answering.now = before


class Node(nn.Module):
    """A level of the tree; it only holds what is below."""


def make_linear_leaf(leaves: list[kinds.Leaf]) -> nn.Module:
    """The engine's leaf for the layout's leaves of one place, its parameters empty; all but attention's."""
    match leaves:
        case [kinds.Embedding() as leaf]:
            return Embedding(leaf)
        case [kinds.Sinusoid() as leaf]:
            return Sinusoid(leaf)
        case [kinds.Join() as leaf]:
            return Join(leaf)
        case [kinds.Join(), *_]:
            return Joins([leaf for leaf in leaves if isinstance(leaf, kinds.Join)])
        case [kinds.Norm() as leaf]:
            return Norm(leaf)
        case [kinds.Norm(), *_]:
            return Norms([leaf for leaf in leaves if isinstance(leaf, kinds.Norm)])
        case [kinds.Output() as leaf]:
            return Output(leaf)
        case [kinds.Gate() as leaf, kinds.Linear() as expand]:
            return GatedLinear(leaf, expand)
        case [kinds.Linear() as leaf]:
            return Linear(leaf)
        case _:
            return FusedLinear([leaf for leaf in leaves if isinstance(leaf, kinds.Linear)])


class Leaf(nn.Module):
    """A leaf with the tensors that the layout gives it; ``leaf`` is the layout's own, of the kind of its class."""

    leaf: Any
    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(self, leaf: kinds.Leaf) -> None:
        super().__init__()
        self.leaf = leaf
        for name, shape in leaf.tensors().items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))
        if isinstance(leaf, kinds.Linear | kinds.Output) and not leaf.bias:
            self.register_parameter("bias", None)

    def dropped(self, hidden: Tensor, rate: float) -> Tensor:
        """``hidden`` with dropout while training."""
        return functional.dropout(hidden, rate) if rate and self.drops else hidden

    @property
    def drops(self) -> bool:
        """Whether dropout falls: while training, but not inside :func:`answering`."""
        return self.training and not getattr(_answering, "now", False)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={tuple(tensor.shape)}" for name, tensor in self.named_parameters(recurse=False))


class Embedding(Leaf):
    """ids (T,) → (T, D). A tied table is the other embedding's own parameter: the model assigns it."""

    def forward(self, ids: Tensor) -> Tensor:
        vectors = functional.embedding(ids, self.weight, padding_idx=self.leaf.padding_row)
        return vectors if self.leaf.scale == 1 else vectors * self.leaf.scale


class Sinusoid(Leaf):
    """Positions (T,) → (T, D): a table that a formula fills, or the file."""

    def __init__(self, leaf: kinds.Sinusoid) -> None:
        super().__init__(leaf)
        if leaf.positions.stored:
            self.weight.requires_grad_(False)
        else:
            table = torch.from_numpy(sinusoidal_table(leaf.positions, leaf.width))
            self.register_buffer("weight", table, persistent=False)

    def forward(self, positions: Tensor) -> Tensor:
        return functional.embedding(positions, self.weight)


class Linear(Leaf):
    """(T, inputs) → activation(x Wᵀ + b), (T, outputs)."""

    def __init__(self, leaf: kinds.Linear) -> None:
        super().__init__(leaf)
        self.activation = ACTIVATIONS[leaf.activation] if leaf.activation else None

    def forward(self, hidden: Tensor) -> Tensor:
        result = functional.linear(self.dropped(hidden, self.leaf.dropout), self.weight, self.bias)
        return self.activation(result) if self.activation else result


class FusedLinear(nn.Module):
    """Several linear leaves of one input: (T, D) → a tuple of (T, outputs)."""

    def __init__(self, leaves: list[kinds.Linear]) -> None:
        super().__init__()
        for leaf in leaves:
            self.add_module(leaf.name.rsplit(".", 1)[1], Linear(leaf))

    def forward(self, hidden: Tensor) -> tuple[Tensor, ...]:
        return tuple(part(hidden) for part in self.children())


class GatedLinear(nn.Module):
    """(T, inputs) → activation(gate(x)) · expand(x), (T, outputs)."""

    def __init__(self, gate: kinds.Gate, expand: kinds.Linear) -> None:
        super().__init__()
        self.gate, self.expand = Linear(gate), Linear(expand)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.gate(hidden) * self.expand(hidden)


class Norm(Leaf):
    """Layer norm (https://arxiv.org/abs/1607.06450), RMS norm (https://arxiv.org/abs/1910.07467) or none.

    Of (T, n · width), each ``width`` numbers on their own.
    """

    def normed(self, hidden: Tensor) -> Tensor:
        """The norm alone, over the last ``width`` numbers."""
        shape = (self.leaf.width,)
        match self.leaf.kind:
            case "layer":
                return functional.layer_norm(hidden, shape, self.weight, self.bias, self.leaf.eps)
            case "rms":
                return functional.rms_norm(hidden, shape, self.weight, self.leaf.eps)
            case _:
                return hidden

    def forward(self, hidden: Tensor) -> Tensor:
        if hidden.shape[-1] == self.leaf.width:
            return self.normed(hidden)
        return self.normed(hidden.view(len(hidden), -1, self.leaf.width)).view(hidden.shape)


class Norms(nn.Module):
    """Several norms of one input: (T, D) → a tuple of (T, D)."""

    def __init__(self, leaves: list[kinds.Norm]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(Norm(leaf) for leaf in leaves)

    def forward(self, hidden: Tensor) -> tuple[Tensor, ...]:
        return tuple(norm(hidden) for norm in self.norms)


class Join(Norm):
    """``residual, hidden = join(residual, delta)``; see :mod:`enfold.wiring`."""

    def forward(self, residual: Tensor, *deltas: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        for delta in deltas:
            residual = residual + self.dropped(delta, self.leaf.dropout)
        hidden = self.dropped(self.normed(residual), self.leaf.dropout_after)
        return (hidden if self.leaf.placement == "after" else residual), hidden


class Joins(nn.Module):
    """A join with several norms: ``residual, (hidden, …) = join(residual, *deltas)``."""

    def __init__(self, leaves: list[kinds.Join]) -> None:
        super().__init__()
        self.first = Join(leaves[0])
        self.others = nn.ModuleList(Join(leaf) for leaf in leaves[1:])

    def forward(self, residual: Tensor, *deltas: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        residual, hidden = self.first(residual, *deltas)
        return residual, (hidden, *(join.normed(residual) for join in self.others))  # type: ignore[operator]


class Output(Leaf):
    """The last layer of a head branch: (N, D) → (N, outputs), or (N,) where it is squeezed.

    A tied weight is the embedding's own parameter: the model assigns it after the tree is built.
    """

    def __init__(self, leaf: kinds.Output) -> None:
        super().__init__(leaf)
        if leaf.constant_bias:
            self.bias.requires_grad_(False)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.dropped(hidden, self.leaf.dropout)
        result = functional.linear(hidden if self.leaf.scale == 1 else hidden * self.leaf.scale, self.weight, self.bias)
        return result[:, 0] if self.leaf.squeeze else result
