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
from enfold.engines.torch.dropout import dropout
from enfold.positions import sinusoidal_table

__all__ = [
    "BatchNorm",
    "Embedding",
    "FusedLinear",
    "GatedLinear",
    "Join",
    "Joins",
    "Leaf",
    "Linear",
    "Node",
    "Norm",
    "Output",
    "SharedInput",
    "answering",
    "make_linear_leaf",
    "rms_norm",
]


def _gelu_tanh(hidden: Tensor) -> Tensor:
    return functional.gelu(hidden, approximate="tanh")


ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


_MOMENTUM = 0.1
"""How far a batch moves running statistics."""

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
            return BatchJoin(leaf) if leaf.kind == "batch" else Join(leaf)
        case [kinds.Join(kind=kind), *_]:
            joins = [leaf for leaf in leaves if isinstance(leaf, kinds.Join)]
            return BatchJoins(joins) if kind == "batch" else Joins(joins)
        case [kinds.Norm() as leaf]:
            return _norm(leaf)
        case [kinds.Norm(), *_]:
            return Norms([leaf for leaf in leaves if isinstance(leaf, kinds.Norm)])
        case [kinds.Output() as leaf]:
            return Output(leaf)
        case [kinds.Gate() as leaf, kinds.Linear() as up]:
            return GatedLinear([leaf, up])
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
        return dropout(hidden, rate) if rate and self.drops else hidden

    @property
    def drops(self) -> bool:
        """Whether dropout falls and batches are what batch norms go by: while training, but not inside
        :func:`answering`."""
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

    def plain(self, hidden: Tensor) -> Tensor:
        """Without the activation."""
        return functional.linear(self.dropped(hidden, self.leaf.dropout), self.weight, self.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        result = self.plain(hidden)
        return self.activation(result) if self.activation else result


class SharedInput(nn.Module):
    """Linear leaves of one input: without gradients one matrix product, once :meth:`pack` laid them side by side.

    The parts keep their own parameters, as views of one block, so that training, names and adapters are as without it.
    """

    def __init__(self, leaves: list[kinds.Linear]) -> None:
        super().__init__()
        for leaf in leaves:
            self.add_module(leaf.name.rsplit(".", 1)[1], Linear(leaf))
        self.sizes = [leaf.outputs for leaf in leaves]
        self._block: tuple[list[int], Tensor, Tensor | None] | None = None

    @torch.no_grad()
    def pack(self) -> None:
        """Lays the parts' weights side by side in memory; nothing else changes."""
        parts = list(self.children())
        if not all(type(part) is Linear for part in parts) or self.packed():
            return
        weight = _side_by_side([part.weight for part in parts])  # type: ignore[misc]
        bias = None if parts[0].bias is None else _side_by_side([part.bias for part in parts])  # type: ignore[misc]
        self._block = (self._places(), weight, bias)

    def unpack(self) -> None:
        """Forgets the block: a part was replaced."""
        self._block = None

    def _places(self) -> list[int]:
        return [part.weight.data_ptr() for part in self._modules.values()]  # type: ignore[union-attr, operator]

    def packed(self) -> tuple[Tensor, Tensor | None] | None:
        """The block, as long as the parts are views of it."""
        if self._block is None or self._block[0] != self._places():
            return None
        return self._block[1:]

    def outputs(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """Each part's output, before any activation."""
        packed = None if torch.is_grad_enabled() else self.packed()
        if packed is None:
            return tuple(part.plain(hidden) for part in self.children())  # type: ignore[operator]
        return functional.linear(hidden, *packed).split_with_sizes(self.sizes, -1)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_block": None}


def _side_by_side(tensors: list[Tensor]) -> Tensor:
    """One block of all rows, of which the tensors become views."""
    block = torch.cat([tensor.data for tensor in tensors])
    views = block.split_with_sizes([len(tensor) for tensor in tensors])
    for tensor, view in zip(tensors, views, strict=True):
        tensor.data = view
    return block


class FusedLinear(SharedInput):
    """Several linear leaves of one input: (T, D) → a tuple of (T, outputs)."""

    def forward(self, hidden: Tensor) -> tuple[Tensor, ...]:
        return self.outputs(hidden)


class GatedLinear(SharedInput):
    """(T, inputs) → activation(gate(x)) · up(x), (T, outputs)."""

    def __init__(self, leaves: list[kinds.Linear]) -> None:
        super().__init__(leaves)
        activation = leaves[0].activation
        assert activation is not None
        self.activation = ACTIVATIONS[activation]

    def forward(self, hidden: Tensor) -> Tensor:
        gate, up = self.outputs(hidden)
        return self.activation(gate) * up


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
                return rms_norm(hidden, self.weight, self.leaf.eps)
            case _:
                return hidden

    def forward(self, hidden: Tensor) -> Tensor:
        if hidden.shape[-1] == self.leaf.width:
            return self.normed(hidden)
        return self.normed(hidden.view(len(hidden), -1, self.leaf.width)).view(hidden.shape)


def rms_norm(hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
    """torch's own takes three times as long for one token, and is kept for what it does better: half precision."""
    if hidden.dtype is not torch.float32 or torch.is_grad_enabled():
        return functional.rms_norm(hidden, weight.shape, weight, eps)
    square = torch.linalg.vecdot(hidden, hidden).div_(hidden.shape[-1]).add_(eps).rsqrt_()
    return (hidden * square.unsqueeze(-1)).mul_(weight)


class BatchNorm(Norm):
    """Batch normalisation of (T, D) over a packed batch's T tokens (https://arxiv.org/abs/1502.03167).

    While training each number is normed by its mean and variance in this batch, of real tokens only, and
    ``running_mean`` and ``running_var`` follow these, as in ``torch.nn.BatchNorm1d``; otherwise, and inside
    :func:`answering`, it is normed by the latter, so that a result does not depend on its batch mates. A lone token
    has no variance: while training, too, it is normed by the running statistics, which it leaves as they are.

    The statistics are those of one forward pass: with accumulated gradients each part of a step norms by its own and
    moves the running ones, and several processes norm by their own each (``DistributedDataParallel`` hands round the
    first one's running statistics); a layer that is run again for its gradients moves them twice.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, leaf: kinds.Norm) -> None:
        super().__init__(leaf)
        for name in leaf.buffers:
            delattr(self, name)
            self.register_buffer(name, torch.empty(leaf.width))

    def normed(self, hidden: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        wide, weight, bias = (each.to(mean.dtype) for each in (hidden, self.weight, self.bias))
        learns = self.drops and len(hidden) > 1
        normed = functional.batch_norm(wide, mean, variance, weight, bias, learns, _MOMENTUM, self.leaf.eps)
        return normed.to(hidden.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        """Running statistics stay in float32 where the parameters become narrower: they move by small steps."""
        before = {name: getattr(self, name) for name in self.leaf.buffers}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in before.items():
            now = getattr(self, name)
            if now.dtype in (torch.float16, torch.bfloat16):
                setattr(self, name, buffer.to(now.device))
        return self


def _norm(leaf: kinds.Norm) -> Norm:
    return BatchNorm(leaf) if leaf.kind == "batch" else Norm(leaf)


class Norms(nn.Module):
    """Several norms of one input: (T, D) → a tuple of (T, D)."""

    def __init__(self, leaves: list[kinds.Norm]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(_norm(leaf) for leaf in leaves)

    def forward(self, hidden: Tensor) -> tuple[Tensor, ...]:
        return tuple(norm(hidden) for norm in self.norms)


class Join(Norm):
    """``residual, hidden = join(residual, delta)``; see :mod:`enfold.wiring`."""

    def forward(self, residual: Tensor, *deltas: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        for delta in deltas:
            residual = residual + self.dropped(delta, self.leaf.dropout)
        hidden = self.dropped(self.normed(residual), self.leaf.dropout_after)
        return (hidden if self.leaf.placement == "after" else residual), hidden


class BatchJoin(BatchNorm, Join):
    """A join whose norm is a batch norm. A class of its own, since a bound join has the other norms' arithmetic."""


class Joins(nn.Module):
    """A join with several norms: ``residual, (hidden, …) = join(residual, *deltas)``."""

    join: type[Join] = Join

    def __init__(self, leaves: list[kinds.Join]) -> None:
        super().__init__()
        self.first = self.join(leaves[0])
        self.others = nn.ModuleList(self.join(leaf) for leaf in leaves[1:])

    def forward(self, residual: Tensor, *deltas: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        residual, hidden = self.first(residual, *deltas)
        return residual, (hidden, *(join.normed(residual) for join in self.others))  # type: ignore[operator]


class BatchJoins(Joins):
    """A join with several batch norms."""

    join = BatchJoin


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
