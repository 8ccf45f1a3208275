"""The CPU engine's leaves: numpy arrays and the kernels over them. No torch.

Each class takes the layout's leaf (or the leaves fused at one place) and its tensors by name; calling it is its
forward pass. Activations are float32; leaves write into arrays that they made themselves, never into their inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from enfold import leaves as kinds
from enfold.engines.cpu import kernels
from enfold.engines.cpu.matrices import Matrix
from enfold.engines.cpu.native_module import empty, native
from enfold.positions import sinusoidal_table

__all__ = ["Floats", "Node", "Weights", "make_linear_leaf"]

Floats = NDArray[np.float32]
Node = SimpleNamespace


class Weights(Protocol):
    """Where leaves find what they hold."""

    def __getitem__(self, name: str) -> Floats:
        """A tensor in float32, by its full name."""

    def matrix(self, leaf: kinds.Leaf) -> Matrix:
        """The leaf's matrix, as this model computes with it."""

    def fused(self, leaves: list[kinds.Linear]) -> list[tuple[Matrix, list[kinds.Linear]]]:
        """Matrices of leaves with the same input, some of them perhaps one below the other in one matrix."""


def make_linear_leaf(leaves: list[kinds.Leaf], weights: Weights) -> Any:
    """The engine's leaf for the layout's leaves of one place; all but attention's."""
    match leaves:
        case [kinds.Embedding() as leaf]:
            return Embedding(leaf, weights)
        case [kinds.Sinusoid() as leaf]:
            return Sinusoid(leaf, weights)
        case [kinds.Join() as leaf]:
            return Join([leaf], weights)
        case [kinds.Join(), *_]:
            return Join([leaf for leaf in leaves if isinstance(leaf, kinds.Join)], weights)
        case [kinds.Norm() as leaf]:
            return Norm(leaf, weights)
        case [kinds.Norm(), *_]:
            return Norms([leaf for leaf in leaves if isinstance(leaf, kinds.Norm)], weights)
        case [kinds.Output() as leaf]:
            return Output(leaf, weights)
        case [kinds.Gate() as leaf, kinds.Linear() as expand]:
            return GatedLinear(leaf, expand, weights)
        case [kinds.Linear() as leaf]:
            return Linear(leaf, weights)
        case _:
            return FusedLinear([leaf for leaf in leaves if isinstance(leaf, kinds.Linear)], weights)


class Embedding:
    """ids (T,) → (T, D)."""

    def __init__(self, leaf: kinds.Embedding, weights: Weights) -> None:
        self.table = weights.matrix(leaf)
        self.scale = np.float32(leaf.scale)

    def __call__(self, ids: NDArray[np.int64]) -> Floats:
        rows = self.table.rows(ids)
        return rows if self.scale == 1 else rows * self.scale


class Sinusoid:
    """Positions (T,) → (T, D): a table that a formula fills, or the file."""

    def __init__(self, leaf: kinds.Sinusoid, weights: Weights) -> None:
        stored = leaf.positions.stored
        self.weight = weights[f"{leaf.name}.weight"] if stored else sinusoidal_table(leaf.positions, leaf.width)

    def __call__(self, positions: NDArray[np.int64]) -> Floats:
        return self.weight[positions]


class Linear:
    """(T, inputs) → activation(x Wᵀ + b), (T, outputs)."""

    def __init__(self, leaf: kinds.Linear, weights: Weights) -> None:
        self.matrix = weights.matrix(leaf)
        self.bias = weights[f"{leaf.name}.bias"] if leaf.bias else None
        self.activation = leaf.activation

    def __call__(self, hidden: Floats) -> Floats:
        return self.matrix.product(hidden, self.bias, self.activation)


class GatedLinear:
    """(T, inputs) → activation(gate(x)) · expand(x), (T, outputs)."""

    def __init__(self, gate: kinds.Gate, expand: kinds.Linear, weights: Weights) -> None:
        self.gate, self.expand = Linear(gate, weights), Linear(expand, weights)

    def __call__(self, hidden: Floats) -> Floats:
        return self.expand.matrix.product(hidden, self.expand.bias, None, self.gate(hidden))


class FusedLinear:
    """Several linear leaves of one input: (T, D) → a list of (T, outputs)."""

    def __init__(self, leaves: list[kinds.Linear], weights: Weights) -> None:
        self.products: list[tuple[Matrix, Floats | None, list[slice]]] = []
        for matrix, together in weights.fused(leaves):
            bias = np.concatenate([weights[f"{leaf.name}.bias"] for leaf in together]) if leaves[0].bias else None
            edges = np.cumsum([0, *(leaf.outputs for leaf in together)]).tolist()
            self.products.append((matrix, bias, [slice(begin, end) for begin, end in pairwise(edges)]))

    def __call__(self, hidden: Floats) -> list[Floats]:
        results = []
        for matrix, bias, columns in self.products:
            product = matrix.product(hidden, bias)
            results += [product] if len(columns) == 1 else [product[:, each] for each in columns]
        return results


class Norm:
    """Layer norm (https://arxiv.org/abs/1607.06450), RMS norm (https://arxiv.org/abs/1910.07467) or none.

    Of (T, n · width), each ``width`` numbers on their own. A batch norm that learns no more is a scale and a shift of
    each number: ``affine`` says that ``weight`` and ``bias`` are these, which no kernel has.
    """

    def __init__(self, leaf: kinds.Norm, weights: Weights) -> None:
        self.kind, self.width, self.eps = leaf.kind, leaf.width, leaf.eps
        tensors = {suffix: weights[f"{leaf.name}.{suffix}"] for suffix in leaf.tensors()}
        self.weight, self.bias = tensors.get("weight"), tensors.get("bias")
        self.affine = leaf.kind == "batch"
        if self.affine:
            self.weight, self.bias = _folded(tensors, leaf.eps)

    @property
    def compiled(self) -> bool:
        """Whether it is a norm that the compiled kernels have."""
        return self.weight is not None and not self.affine

    def normed(self, hidden: Floats) -> Floats:
        """The norm of each row of (N, width), in place."""
        if self.weight is None:
            return hidden
        if self.affine:
            assert self.bias is not None
            hidden *= self.weight
            hidden += self.bias
            return hidden
        if native is not None:
            native.join([hidden], None, [(self.weight, self.bias, self.eps, hidden)])
            return hidden
        if self.bias is None:
            return kernels.rms_norm(hidden, self.weight, self.eps)
        return kernels.layer_norm(hidden, self.weight, self.bias, self.eps)

    def __call__(self, hidden: Floats) -> Floats:
        return self.normed(hidden.reshape(-1, self.width).copy()).reshape(hidden.shape)


def _folded(tensors: Mapping[str, Floats], eps: float) -> tuple[Floats, Floats]:
    """The scale and shift (D,) that a batch norm is once its statistics stand still."""
    wide = {suffix: tensor.astype(np.float64) for suffix, tensor in tensors.items()}
    scale = wide["weight"] / np.sqrt(wide["running_var"] + eps)
    shift = wide["bias"] - wide["running_mean"] * scale
    return scale.astype(np.float32), shift.astype(np.float32)


class Norms:
    """Several norms of one input: (T, D) → a tuple of (T, D)."""

    def __init__(self, leaves: list[kinds.Norm], weights: Weights) -> None:
        self.norms = [Norm(leaf, weights) for leaf in leaves]

    def __call__(self, hidden: Floats) -> tuple[Floats, ...]:
        return tuple(norm(hidden) for norm in self.norms)


class Join:
    """``residual, hidden = join(residual, *deltas)``; see :mod:`enfold.wiring`.

    With several norms ``hidden`` is a tuple.
    """

    def __init__(self, leaves: list[kinds.Join], weights: Weights) -> None:
        self.norms = [Norm(leaf, weights) for leaf in leaves]
        self.post = leaves[0].placement == "after"
        self.compiled = all(norm.compiled for norm in self.norms)

    def __call__(self, residual: Floats, *deltas: Floats) -> tuple[Floats, Any]:
        if native is not None and self.compiled and len(deltas) < 3:
            return self._natively(residual, deltas)
        total = residual + deltas[0]
        for delta in deltas[1:]:
            total += delta
        if self.post:
            hidden = self.norms[0].normed(total)
            return hidden, hidden
        normed = tuple(norm(total) for norm in self.norms)
        return total, normed if len(normed) > 1 else normed[0]

    def _natively(self, residual: Floats, deltas: tuple[Floats, ...]) -> tuple[Floats, Any]:
        """Sum and norms in one pass."""
        added = [delta for delta in deltas if np.ndim(delta)]  # a bare 0 where there is nothing to add
        terms = [residual, *(np.ascontiguousarray(np.broadcast_to(delta, residual.shape)) for delta in added)]
        outs = [empty(*residual.shape) for _ in self.norms]
        given = [(norm.weight, norm.bias, norm.eps, out) for norm, out in zip(self.norms, outs, strict=True)]
        if self.post:
            native.join(terms, None, given)
            return outs[0], outs[0]
        total = empty(*residual.shape)
        native.join(terms, total, given)
        return total, tuple(outs) if len(outs) > 1 else outs[0]


class Output:
    """The last layer of a head branch: (N, D) → (N, outputs), or (N,) where it is squeezed."""

    def __init__(self, leaf: kinds.Output, weights: Weights) -> None:
        self.matrix = weights.matrix(leaf)
        self.bias = weights[f"{leaf.name}.bias"] if leaf.bias else None
        self.scale, self.squeeze = np.float32(leaf.scale), leaf.squeeze

    def __call__(self, hidden: Floats) -> Floats:
        result = self.matrix.product(hidden if self.scale == 1 else hidden * self.scale, self.bias)
        return result[:, 0] if self.squeeze else result

    def only(self, ids: NDArray[np.int64]) -> Output:
        """What computes these outputs alone."""
        chosen = copy(self)
        chosen.matrix, chosen.bias = self.matrix.only(ids), None if self.bias is None else self.bias[ids]
        return chosen
