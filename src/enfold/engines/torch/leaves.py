"""The PyTorch engine's leaves: ``nn.Module``s with autograd, dropout and any device.

The same set as the CPU engine's; a leaf's parameters are named as the layout names its tensors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from enfold import layout
from enfold.arch import Activation, RelativeBias
from enfold.packing import Packed
from enfold.relative import relative_rows
from enfold.wiring import Trace

__all__ = ["Node", "answering", "make_leaf"]


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
        return functional.dropout(hidden, rate) if rate and self.drops else hidden

    @property
    def drops(self) -> bool:
        """Whether dropout falls: while training, but not inside :func:`answering`."""
        return self.training and not getattr(_answering, "now", False)

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

    def forward(self, query: Tensor, key: Tensor, value: Tensor, batch: Packed, distances: Any, trace: Trace) -> Tensor:
        mixed: list[Tensor] = []
        seen: list[Tensor] = []
        for begin, end, count in _runs(batch.spans):
            q, k, v = (self._by_head(array[begin:end], count) for array in (query, key, value))
            bias = self._bias(q, k, distances)
            if trace.attentions:
                probabilities = self._probabilities(q, k, bias)
                seen.extend(probabilities)
                result = self.dropped(probabilities, self.leaf.dropout) @ v
            else:
                rate = self.leaf.dropout if self.drops else 0.0
                result = functional.scaled_dot_product_attention(q, k, v, bias, rate, scale=self.leaf.scale)
            mixed.append(result.transpose(1, 2).reshape(end - begin, -1))
        if trace.attentions:
            trace.attention(seen)
        return torch.cat(mixed) if mixed else query

    def _by_head(self, array: Tensor, count: int) -> Tensor:
        """(count * S, H * D) to (count, H, S, D)."""
        return array.view(count, -1, self.leaf.heads, self.leaf.head_size).transpose(1, 2)

    def _probabilities(self, query: Tensor, key: Tensor, bias: Tensor | None) -> Tensor:
        scores = query @ key.transpose(2, 3) * self.leaf.scale
        return torch.softmax(scores if bias is None else scores + bias, dim=-1)

    def _bias(self, query: Tensor, key: Tensor, distances: Any) -> Tensor | None:
        """What is added to scaled scores, (1 or count, H, S, S)."""
        count, heads, length, _ = query.shape
        if self.leaf.relative is None:
            return None
        if isinstance(self.leaf.relative, RelativeBias):
            bias: Tensor = distances[None, :, :length, :length]
            return bias
        rows = _rows(self.leaf.relative, length, query.device).expand(count, heads, -1, -1)
        position_query, position_key = (None if d is None else self._by_head(d, 1) for d in distances)
        bias = query.new_zeros(())
        if position_key is not None:
            bias = bias + torch.gather(query @ position_key.transpose(2, 3), 3, rows)
        if position_query is not None:
            towards = torch.gather(key @ position_query.transpose(2, 3), 3, rows.transpose(2, 3))
            bias = bias + towards.transpose(2, 3)
        return (bias * self.leaf.scale).expand(count, heads, length, length)


def _runs(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Neighbours of equal length, to be attended in one call: where they begin and end, and how many they are."""
    for _, group in groupby(spans, key=lambda span: span[1] - span[0]):
        run = list(group)
        yield run[0][0], run[-1][1], len(run)


@lru_cache(maxsize=32)
def _rows(relative: Any, length: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # kept for passes with gradients too
        return torch.tensor(relative_rows(relative, length), device=device)
