"""The PyTorch engine's leaves: ``nn.Module``s with autograd, dropout and any device.

The same set as the CPU engine's; a leaf's parameters are named as the layout names its tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from enfold import layout
from enfold.arch import Activation, RelativeBias
from enfold.packing import Packed
from enfold.relative import relative_rows
from enfold.wiring import Trace

__all__ = ["Node", "make_leaf"]

ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda hidden: functional.gelu(hidden, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


class Node(nn.Module):
    """A level of the tree; it only holds what is below."""


def make_leaf(leaves: list[layout.Leaf]) -> nn.Module:
    """The engine's leaf for the layout's leaves of one place, its parameters empty."""
    match leaves:
        case [layout.Embedding() as leaf]:
            return Embedding(leaf)
        case [layout.Join() as leaf]:
            return Join(leaf)
        case [layout.Norm() as leaf]:
            return Norm(leaf)
        case [layout.RelativeTable() as leaf]:
            return RelativeTable(leaf)
        case [layout.Attend() as leaf]:
            return Attend(leaf)
        case [layout.Output() as leaf]:
            return Output(leaf)
        case [layout.Linear() as leaf]:
            return Linear(leaf)
        case _:
            return FusedLinear([leaf for leaf in leaves if isinstance(leaf, layout.Linear)])


class Leaf(nn.Module):
    """A leaf with the tensors that the layout gives it; ``leaf`` is the layout's own, of the kind of its class."""

    leaf: Any
    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(self, leaf: layout.Leaf) -> None:
        super().__init__()
        self.leaf = leaf
        for name, shape in leaf.tensors().items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))

    def dropped(self, hidden: Tensor, rate: float) -> Tensor:
        """``hidden`` with dropout while training."""
        return functional.dropout(hidden, rate) if self.training and rate else hidden

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={tuple(tensor.shape)}" for name, tensor in self.named_parameters(recurse=False))


class Embedding(Leaf):
    """ids (T,) → (T, D)."""

    def forward(self, ids: Tensor) -> Tensor:
        return functional.embedding(ids, self.weight, padding_idx=self.leaf.padding_row)


class Linear(Leaf):
    """(T, inputs) → activation(x Wᵀ + b), (T, outputs)."""

    def __init__(self, leaf: layout.Linear) -> None:
        super().__init__(leaf)
        self.activation = ACTIVATIONS[leaf.activation] if leaf.activation else None

    def forward(self, hidden: Tensor) -> Tensor:
        result = functional.linear(self.dropped(hidden, self.leaf.dropout), self.weight, self.bias)
        return self.activation(result) if self.activation else result


class FusedLinear(nn.Module):
    """Several linear leaves of one input: (T, D) → a tuple of (T, outputs)."""

    def __init__(self, leaves: list[layout.Linear]) -> None:
        super().__init__()
        for leaf in leaves:
            self.add_module(leaf.name.rsplit(".", 1)[1], Linear(leaf))

    def forward(self, hidden: Tensor) -> tuple[Tensor, ...]:
        return tuple(part(hidden) for part in self.children())


class Norm(Leaf):
    """Layer norm of (T, D)."""

    def forward(self, hidden: Tensor) -> Tensor:
        return functional.layer_norm(hidden, (self.leaf.width,), self.weight, self.bias, self.leaf.eps)


class Join(Leaf):
    """``residual, hidden = join(residual, delta)``; see :mod:`enfold.wiring`."""

    def forward(self, residual: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        total = residual + self.dropped(delta, self.leaf.dropout)
        normed = functional.layer_norm(total, (self.leaf.width,), self.weight, self.bias, self.leaf.eps)
        hidden = self.dropped(normed, self.leaf.dropout_after)
        return (hidden if self.leaf.placement == "after" else total), hidden


class RelativeTable(Leaf):
    """A bias (H, S, S) for the batch's longest sequence, or the table itself where positions are vectors."""

    def forward(self, batch: Packed) -> Tensor:
        if not isinstance(self.leaf.relative, RelativeBias):
            return self.weight
        longest = max((end - begin for begin, end in batch.spans), default=0)
        rows = _rows(self.leaf.relative, longest, self.weight.device)
        return functional.embedding(rows, self.weight).permute(2, 0, 1)


class Output(Leaf):
    """The last layer of a head branch: (N, D) → (N, outputs), or (N,) where it is squeezed.

    A tied weight is the embedding's own parameter: the model assigns it after the tree is built.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        result = functional.linear(self.dropped(hidden, self.leaf.dropout), self.weight, self.bias)
        return result[:, 0] if self.leaf.squeeze else result


class Attend(Leaf):
    """softmax(Q Kᵀ / √d) V within each sequence, with what distances add to the scores."""

    def __init__(self, leaf: layout.Attend) -> None:
        super().__init__(leaf)
        parts = 1
        if leaf.relative and not isinstance(leaf.relative, RelativeBias):
            parts += leaf.relative.content_to_position + leaf.relative.position_to_content
        self.scale = (leaf.head_size * parts) ** -0.5

    def forward(self, query: Tensor, key: Tensor, value: Tensor, batch: Packed, distances: Any, trace: Trace) -> Tensor:
        query, key, value = (self._by_head(array) for array in (query, key, value))
        mixed, seen = [], []
        for begin, end in batch.spans:
            q, k, v = (array[None, :, begin:end] for array in (query, key, value))
            bias = self._bias(q[0], k[0], distances)
            if trace.attentions:
                probabilities = self._probabilities(q[0], k[0], bias)
                seen.append(probabilities)
                result = (self.dropped(probabilities, self.leaf.dropout) @ v[0])[None]
            else:
                rate = self.leaf.dropout if self.training else 0.0
                result = functional.scaled_dot_product_attention(q, k, v, bias, rate, scale=self.scale)
            mixed.append(result[0].transpose(0, 1).reshape(end - begin, -1))
        if trace.attentions:
            trace.attention(seen)
        return torch.cat(mixed) if mixed else query.transpose(0, 1).reshape(0, self.leaf.heads * self.leaf.head_size)

    def _by_head(self, array: Tensor) -> Tensor:
        return array.view(len(array), self.leaf.heads, self.leaf.head_size).transpose(0, 1)

    def _probabilities(self, query: Tensor, key: Tensor, bias: Tensor | None) -> Tensor:
        scores = query @ key.transpose(1, 2) * self.scale
        return torch.softmax(scores if bias is None else scores + bias[0], dim=-1)

    def _bias(self, query: Tensor, key: Tensor, distances: Any) -> Tensor | None:
        """What is added to scaled scores, (1, H, S, S)."""
        length = query.shape[1]
        if self.leaf.relative is None:
            return None
        if isinstance(self.leaf.relative, RelativeBias):
            return distances[None, :, :length, :length]
        rows = _rows(self.leaf.relative, length, query.device).expand(self.leaf.heads, -1, -1)
        position_query, position_key = (None if d is None else self._by_head(d) for d in distances)
        bias = torch.zeros_like(query[:, :, :1])
        if position_key is not None:
            bias = bias + torch.gather(query @ position_key.transpose(1, 2), 2, rows)
        if position_query is not None:
            towards = torch.gather(key @ position_query.transpose(1, 2), 2, rows.transpose(1, 2))
            bias = bias + towards.transpose(1, 2)
        return (bias * self.scale)[None].expand(-1, -1, length, length)


def _rows(relative: Any, length: int, device: torch.device) -> Tensor:
    return torch.tensor(relative_rows(relative, length), device=device)
