"""Leaves bound for answering: the arithmetic of the modules as plain functions over their tensors as they are now.

A step of one token is small, and what a module does around its arithmetic (hooks, parameter lookup, dropout) would
cost more than the arithmetic. A bound leaf has no dropout and needs no gradients; it doesn't see parameters that are
replaced later. What has no faster form here, or comes from elsewhere, stays the module that it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from enfold.cache import Kept, Reading
from enfold.engines.torch.attention import Attend, Spans
from enfold.engines.torch.leaves import (
    Embedding,
    FusedLinear,
    GatedLinear,
    Join,
    Joins,
    Linear,
    Node,
    Norm,
    Output,
    SharedInput,
    rms_norm,
)

__all__ = ["bind", "few_rows", "some_outputs"]

Function = Callable[..., Any]


def bind(module: nn.Module) -> Any:
    """A tree of modules as a tree of functions."""
    if type(module) is Node:
        return SimpleNamespace(**{name: bind(child) for name, child in module.named_children()})
    maker = _MAKERS.get(type(module))
    return module if maker is None or _is_hooked(module) else maker(module)


def _is_hooked(module: nn.Module) -> bool:
    """Whether someone listens to this module or one inside it."""
    return any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())


def _embedding(module: Embedding) -> Function:
    weight, scale = module.weight.data, module.leaf.scale
    if scale == 1:
        return lambda ids: functional.embedding(ids, weight)
    return lambda ids: functional.embedding(ids, weight) * scale


_FEW_ROWS, _SMALL = 16, 1 << 18
_few = threading.local()
_lock = threading.Lock()
_lent: list[int] = []
"""torch's own number of threads, for each pass of a few tokens that runs now."""


@contextmanager
def few_rows(tokens: int, device: torch.device) -> Iterator[None]:
    """For a pass of a few tokens on a processor, leaves the cores to numpy's matrix products.

    For one row its OpenBLAS reads weights at twice the speed of torch's MKL. The two libraries' threads must not wait
    for each other's cores, so torch itself takes one thread meanwhile.
    """
    if tokens > _FEW_ROWS or device.type != "cpu":
        yield
        return
    with _lock:
        # while another thread's pass runs, what torch says is that pass's number
        threads = _lent[0] if _lent else torch.get_num_threads()
        _lent.append(threads)
    torch.set_num_threads(1)
    _few.now = True
    try:
        yield
    finally:
        _few.now = False
        torch.set_num_threads(threads)
        with _lock:
            _lent.pop()


def _product(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    """x Wᵀ + b; by numpy inside :func:`few_rows`, but for matrices that are in the cache anyway."""
    linear = functional.linear
    if weight.device.type != "cpu" or weight.dtype is not torch.float32 or weight.numel() < _SMALL:
        return lambda hidden: linear(hidden, weight, bias)
    columns = weight.numpy().T

    def run(hidden: Tensor) -> Tensor:
        if not getattr(_few, "now", False):
            return linear(hidden, weight, bias)
        result = torch.from_numpy(hidden.numpy() @ columns)
        return result if bias is None else result.add_(bias)

    return run


def _linear(module: Linear) -> Function:
    product, activation = _product(module.weight.data, _data(module.bias)), module.activation
    if activation is None:
        return product
    act = activation
    return lambda hidden: act(product(hidden))


def _fused(module: SharedInput) -> Function:
    packed = module.packed()
    if packed is None:
        return module
    product, sizes = _product(*packed), module.sizes
    if isinstance(module, GatedLinear):
        act = module.activation

        def gated(hidden: Tensor) -> Tensor:
            gate, up = product(hidden).split_with_sizes(sizes, -1)
            return act(gate).mul_(up)

        return gated
    return lambda hidden: product(hidden).split_with_sizes(sizes, -1)


def _normed(module: Norm) -> Function:
    """The norm of the last ``width`` numbers."""
    shape, eps = (module.leaf.width,), module.leaf.eps
    if module.leaf.kind == "layer":
        weight, bias = module.weight.data, module.bias.data
        return lambda hidden: torch.layer_norm(hidden, shape, weight, bias, eps)
    if module.leaf.kind == "rms":
        weight = module.weight.data
        return lambda hidden: rms_norm(hidden, weight, eps)
    return lambda hidden: hidden


def _norm(module: Norm) -> Function:
    normed, width = _normed(module), module.leaf.width

    def run(hidden: Tensor) -> Tensor:
        if hidden.shape[-1] == width:
            return normed(hidden)
        return normed(hidden.reshape(hidden.shape[0], -1, width)).view(hidden.shape)

    return run


def _join(module: Join) -> Function:
    normed = _normed(module)
    if module.leaf.placement == "after":

        def after(residual: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
            hidden = normed(residual + delta)
            return hidden, hidden

        return after

    def before(residual: Tensor, *deltas: Tensor) -> tuple[Tensor, Tensor]:
        for delta in deltas:
            residual = residual + delta
        return residual, normed(residual)

    return before


def _joins(module: Joins) -> Function:
    first = _join(module.first)
    others = [_normed(join) for join in module.others]  # type: ignore[arg-type]

    def run(residual: Tensor, *deltas: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        residual, hidden = first(residual, *deltas)
        return residual, (hidden, *(normed(residual) for normed in others))

    return run


def _output(module: Output) -> Function:
    if module.leaf.squeeze or module.leaf.scale != 1:
        return module
    return _product(module.weight.data, _data(module.bias))


def some_outputs(module: Any, ids: NDArray[np.int64]) -> Function:
    """The last layer of a head, computing the outputs ``ids`` alone; a layer of another kind computes all of them."""
    places = torch.from_numpy(ids)
    if type(module) is not Output or module.leaf.squeeze or _is_hooked(module):
        return lambda hidden: module(hidden)[:, places]
    weight, bias, scale = module.weight.data, _data(module.bias), module.leaf.scale
    product = _product(weight[places], None if bias is None else bias[places])
    return product if scale == 1 else lambda hidden: product(hidden * scale)


def _attend(module: Attend) -> Function:
    """The step of one token for each row; everything else is the module's."""
    leaf, turned, rotary = module.leaf, module.turned, module.is_rotary
    kv_heads, groups, size = leaf.kv_heads, leaf.heads // leaf.kv_heads, leaf.head_size
    scale, window = leaf.scale, leaf.window
    attention = functional.scaled_dot_product_attention

    def run(
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        spans: Spans,
        key_spans: Spans,
        kept: Kept | None,
        distances: Any,
        seen: list[Tensor] | None,
    ) -> Tensor:
        if kept is None or seen is not None:
            return module(query, key, value, spans, key_spans, kept, distances, seen)
        store, reading = kept
        step = reading.memo.get(window)
        if step is None:
            step = reading.memo[window] = _Step(query, reading, window, kv_heads * size)
        if not step.fits:
            return module(query, key, value, spans, key_spans, kept, distances, seen)
        rows, repeats = step.rows, step.repeats
        if key is not None and value is not None:
            if rotary:
                query, key, distances = turned(query, distances), turned(key, distances), None
            store.keys[step.place] = key.view(rows, kv_heads, size)
            store.values[step.place] = value.view(rows, kv_heads, size)
        if repeats == 1:
            stacked = query.view(rows, kv_heads, groups, size)
        else:  # rows that share a source are several queries of one row of keys
            stacked = query.view(rows, repeats, kv_heads, groups, size).transpose(1, 2)
            stacked = stacked.reshape(rows, kv_heads, repeats * groups, size)
        if distances is not None:
            read = (slice(0, rows), slice(None), slice(0, distances.shape[-1]))
            mixed = attention(stacked, store.keys[read], store.values[read], distances, scale=scale)
        elif len(step.groups) == 1:
            _, read, mask = step.groups[0]
            mixed = attention(stacked, store.keys[read], store.values[read], mask, scale=scale)
        else:
            mixed = torch.cat(
                [
                    attention(stacked[chosen], store.keys[read], store.values[read], mask, scale=scale)
                    for chosen, read, mask in step.groups
                ]
            )
        if repeats == 1:
            return mixed.reshape(rows, -1)
        return mixed.view(rows, kv_heads, repeats, groups, size).transpose(1, 2).reshape(query.shape)

    return run


_CALL_BYTES = 1 << 18
"""Bytes of memory that are read in the time that one more call of attention takes."""


class _Step:
    """What all layers of one pass have in common when every row gets one token.

    Rows differ in length. Neighbours are read together, up to the longest of them, as long as what is read for nothing
    costs less than another call.

    Attributes:
        fits: whether it is such a pass, after a first one.
        rows: rows of the store; ``repeats`` sequences read each.
        place: where new keys and values go.
        groups: neighbours: their rows, the keys that they read, and a mask (rows, 1, 1, keys) where they differ.
    """

    def __init__(self, query: Tensor, reading: Reading, window: int | None, width: int) -> None:
        count, pasts = query.shape[0], reading.pasts
        self.fits = count == len(reading.lengths) and reading.repeats > 0 and (pasts is None or any(pasts))
        if not self.fits:
            return
        self.repeats = reading.repeats
        self.rows = count // self.repeats
        lengths = reading.lengths[:: self.repeats]
        bytes_of_key = 2 * width * query.element_size()
        self.groups = [
            _read(lengths, first, last, window, query.device)
            for first, last in _neighbours(lengths, _CALL_BYTES // bytes_of_key)
        ]
        self.place: tuple[Any, ...] = ()
        if pasts is not None and reading.ragged:
            device = query.device
            self.place = (torch.arange(self.rows, device=device), slice(None), torch.tensor(pasts, device=device))
        elif pasts is not None:
            self.place = (slice(0, self.rows), slice(None), pasts[0])


def _neighbours(lengths: list[int], tolerated: int) -> Iterator[tuple[int, int]]:
    """Cuts rows into groups in which at most about ``tolerated`` keys are read for nothing."""
    first, longest, total = 0, 0, 0
    for row, length in enumerate(lengths):
        longest_with = max(longest, length)
        if row > first and longest_with * (row + 1 - first) - total - length > tolerated:
            yield first, row
            first, longest_with, total = row, length, 0
        longest, total = longest_with, total + length
    yield first, len(lengths)


def _read(
    lengths: list[int], first: int, last: int, window: int | None, device: torch.device
) -> tuple[slice, tuple[slice, slice, slice], Tensor | None]:
    own = lengths[first:last]
    longest, mask, begin = max(own), None, 0
    if min(own) < longest:
        ends = torch.tensor(own, device=device)[:, None, None, None]
        keys = torch.arange(longest, device=device)
        mask = keys < ends if window is None else (keys < ends) & (keys >= ends - window)
    elif window is not None:
        begin = max(0, longest - window)
    rows = slice(first, last)
    return rows, (rows, slice(None), slice(begin, longest)), mask


def _data(parameter: nn.Parameter | None) -> Tensor | None:
    return None if parameter is None else parameter.data


_MAKERS: dict[type[nn.Module], Callable[[Any], Function]] = {
    Embedding: _embedding,
    Linear: _linear,
    FusedLinear: _fused,
    GatedLinear: _fused,
    Norm: _norm,
    Join: _join,
    Joins: _joins,
    Output: _output,
    Attend: _attend,
}
