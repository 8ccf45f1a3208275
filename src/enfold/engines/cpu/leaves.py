"""The CPU engine's leaves: numpy arrays and the kernels over them. No torch.

Each class takes the layout's leaf (or the leaves fused at one place) and its tensors by name; calling it is its
forward pass. Activations are float32; leaves write into arrays that they made themselves, never into their inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold import layout
from enfold.arch import RelativeBias
from enfold.engines.cpu import kernels
from enfold.engines.cpu.threads import in_parallel
from enfold.packing import Packed
from enfold.relative import relative_rows
from enfold.wiring import Trace

__all__ = ["Node", "make_leaf"]

Floats = NDArray[np.float32]
Weights = Mapping[str, Floats]
Node = SimpleNamespace


def make_leaf(leaves: list[layout.Leaf], weights: Weights) -> Any:
    """The engine's leaf for the layout's leaves of one place."""
    match leaves:
        case [layout.Embedding() as leaf]:
            return Embedding(leaf, weights)
        case [layout.Join() as leaf]:
            return Join(leaf, weights)
        case [layout.Norm() as leaf]:
            return Norm(leaf, weights)
        case [layout.RelativeTable() as leaf]:
            return RelativeTable(leaf, weights)
        case [layout.Attend() as leaf]:
            return Attend(leaf)
        case [layout.Output() as leaf]:
            return Output(leaf, weights)
        case [layout.Linear() as leaf]:
            return Linear(leaf, weights)
        case _:
            return FusedLinear([leaf for leaf in leaves if isinstance(leaf, layout.Linear)], weights)


class Embedding:
    """ids (T,) → (T, D)."""

    def __init__(self, leaf: layout.Embedding, weights: Weights) -> None:
        self.weight = weights[f"{leaf.name}.weight"]

    def __call__(self, ids: NDArray[np.int64]) -> Floats:
        return self.weight[ids]


class Linear:
    """(T, inputs) → activation(x Wᵀ + b), (T, outputs)."""

    def __init__(self, leaf: layout.Linear, weights: Weights) -> None:
        self.weight = weights[f"{leaf.name}.weight"]
        self.bias = weights[f"{leaf.name}.bias"]
        self.activation = kernels.ACTIVATIONS[leaf.activation] if leaf.activation else None

    def __call__(self, hidden: Floats) -> Floats:
        result = hidden @ self.weight.T
        result += self.bias
        return self.activation(result) if self.activation else result


class FusedLinear:
    """Several linear leaves of one input as one matrix product: (T, D) → a tuple of (T, outputs)."""

    def __init__(self, leaves: list[layout.Linear], weights: Weights) -> None:
        self.weight = np.concatenate([weights[f"{leaf.name}.weight"] for leaf in leaves])
        self.bias = np.concatenate([weights[f"{leaf.name}.bias"] for leaf in leaves])
        self.edges = np.cumsum([leaf.outputs for leaf in leaves])[:-1].tolist()

    def __call__(self, hidden: Floats) -> list[Floats]:
        result = hidden @ self.weight.T
        result += self.bias
        return np.split(result, self.edges, axis=1)


class Norm:
    """Layer norm of (T, D)."""

    def __init__(self, leaf: layout.Norm, weights: Weights) -> None:
        self.weight = weights[f"{leaf.name}.weight"]
        self.bias = weights[f"{leaf.name}.bias"]
        self.eps = leaf.eps

    def __call__(self, hidden: Floats) -> Floats:
        return kernels.layer_norm(hidden.copy(), self.weight, self.bias, self.eps)


class Join:
    """``residual, hidden = join(residual, delta)``; see :mod:`enfold.wiring`."""

    def __init__(self, leaf: layout.Join, weights: Weights) -> None:
        self.weight = weights[f"{leaf.name}.weight"]
        self.bias = weights[f"{leaf.name}.bias"]
        self.eps = leaf.eps
        self.post = leaf.placement == "after"

    def __call__(self, residual: Floats, delta: Floats) -> tuple[Floats, Floats]:
        total = residual + delta
        hidden = kernels.layer_norm(total if self.post else total.copy(), self.weight, self.bias, self.eps)
        return (hidden if self.post else total), hidden


class RelativeTable:
    """A bias (H, S, S) for the batch's longest sequence, or the table itself where positions are vectors."""

    def __init__(self, leaf: layout.RelativeTable, weights: Weights) -> None:
        self.weight = weights[f"{leaf.name}.weight"]
        self.relative = leaf.relative

    def __call__(self, batch: Packed) -> Floats:
        if not isinstance(self.relative, RelativeBias):
            return self.weight
        longest = max((end - begin for begin, end in batch.spans), default=0)
        return np.ascontiguousarray(self.weight[relative_rows(self.relative, longest)].transpose(2, 0, 1))


class Output:
    """The last layer of a head branch: (N, D) → (N, outputs), or (N,) where it is squeezed."""

    def __init__(self, leaf: layout.Output, weights: Weights) -> None:
        self.weight = weights[f"{leaf.tied_to or leaf.name}.weight"]
        self.bias = weights[f"{leaf.name}.bias"]
        self.squeeze = leaf.squeeze

    def __call__(self, hidden: Floats) -> Floats:
        result = hidden @ self.weight.T
        result += self.bias
        return result[:, 0] if self.squeeze else result


class Attend:
    """softmax(Q Kᵀ / √d) V within each sequence, with what distances add to the scores."""

    def __init__(self, leaf: layout.Attend) -> None:
        self.heads, self.head_size = leaf.heads, leaf.head_size
        self.relative = leaf.relative
        self.scale = np.float32(leaf.scale)

    def __call__(
        self, query: Floats, key: Floats, value: Floats, batch: Packed, distances: Any, trace: Trace
    ) -> Floats:
        query, key, value = (self._by_head(array) for array in (query, key, value))
        mixed = np.empty((query.shape[1], self.heads, self.head_size), np.float32)
        seen: list[Floats] = [query[:0, :0]] * (len(batch.spans) if trace.attentions else 0)

        def part(first: int, last: int) -> None:
            for index in range(first, last):
                begin, end = batch.spans[index]
                scores = self._scores(query[:, begin:end], key[:, begin:end], distances)
                probabilities = kernels.softmax(scores)
                if trace.attentions:
                    seen[index] = probabilities
                mixed[begin:end] = (probabilities @ value[:, begin:end]).transpose(1, 0, 2)

        in_parallel(part, len(batch.spans), grain=2)
        if trace.attentions:
            trace.attention(seen)
        return mixed.reshape(len(mixed), self.heads * self.head_size)

    def _by_head(self, array: Floats) -> Floats:
        return array.reshape(len(array), self.heads, self.head_size).transpose(1, 0, 2)

    def _scores(self, query: Floats, key: Floats, distances: Any) -> Floats:
        scores: Floats = query @ key.transpose(0, 2, 1)
        length = query.shape[1]
        if isinstance(self.relative, RelativeBias):
            scores *= self.scale
            scores += distances[:, :length, :length]
            return scores
        if self.relative is not None:
            rows = relative_rows(self.relative, length)[None]
            position_query, position_key = (None if d is None else self._by_head(d) for d in distances)
            if position_key is not None:
                scores += np.take_along_axis(query @ position_key.transpose(0, 2, 1), rows, axis=2)
            if position_query is not None:
                towards = np.take_along_axis(key @ position_query.transpose(0, 2, 1), rows.transpose(0, 2, 1), axis=2)
                scores += towards.transpose(0, 2, 1)
        scores *= self.scale
        return scores
