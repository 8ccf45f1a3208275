"""All layers of a stack as one program of kernels.

A step of one token is so small that what Python does between two kernels costs more than they do. So the wiring is run
once over leaves that compute nothing: each writes down what it would compute, and where its result is to lie. The
kernels then run what was written down, for any number of rows, in one call (``native/bind_program.cpp``).

Results that are no longer needed make room for others: all of them lie in one piece of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from enfold import wiring
from enfold.arch import Architecture, RelativeBias, Rotary
from enfold.cache import Reading, Store
from enfold.engines.cpu import leaves
from enfold.engines.cpu.attention import Attend, arrays_of, begins_with_queries, edges, for_sequences
from enfold.engines.cpu.kernels import ACTIVATION_NUMBERS
from enfold.engines.cpu.leaves import Floats, Node
from enfold.engines.cpu.matrices import Matrix
from enfold.engines.cpu.native_module import empty, native

__all__ = ["at_once"]


class _Unwritten(Exception):
    """Something in these layers has no kernel."""


class _Slot(NamedTuple):
    """A result (T, width) that a step gives, or ``columns`` of it from ``column`` on."""

    result: int
    width: int
    column: int
    columns: int


@dataclass
class _Step:
    """One call of the program's methods: slots among the arguments, however deep, are filled in when all are known."""

    method: str
    arguments: tuple[Any, ...]
    reads: list[_Slot]
    writes: list[_Slot]


class _Writer:
    """Writes steps down."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []
        self._widths: list[int] = []

    def slot(self, width: int) -> _Slot:
        self._widths.append(width)
        return _Slot(len(self._widths) - 1, width, 0, width)

    def add(self, method: str, *arguments: Any, reads: Sequence[_Slot], writes: Sequence[_Slot] = ()) -> None:
        self.steps.append(_Step(method, arguments, list(reads), list(writes)))

    def product(self, matrix: Matrix, bias: Any, activation: Any, x: _Slot, gate: _Slot | None = None) -> _Slot:
        if matrix.handle is None:
            raise _Unwritten
        bias = None if bias is None else np.require(bias, np.float32, ["C", "A"])
        out = self.slot(matrix.shape[0])
        reads = [x] if gate is None else [x, gate]
        number = ACTIVATION_NUMBERS[activation]
        self.add("product", matrix.handle, bias, number, gate, x, out, reads=reads, writes=[out])
        return out

    def alone(self, slot: _Slot) -> _Slot:
        """The slot, or a copy of it where it is some columns of a result."""
        if slot.columns == slot.width:
            return slot
        out = self.slot(slot.columns)
        self.add("copy", slot, out, reads=[slot], writes=[out])
        return out

    def finished(self, inputs: Sequence[_Slot], last: _Slot) -> tuple[Any, Callable[[_Slot], tuple[int, ...]]]:
        """The program, and where its slots are."""
        starts, total = self._places(inputs, last)

        def placed(value: Any) -> Any:
            if isinstance(value, _Slot):
                return (starts[value.result], value.width, value.column, value.columns)
            if isinstance(value, (tuple, list)):
                return type(value)(placed(each) for each in value)
            return value

        program = native.Program(total)
        for step in self.steps:
            getattr(program, step.method)(*(placed(each) for each in step.arguments))
        return program, placed

    def _places(self, inputs: Sequence[_Slot], last: _Slot) -> tuple[list[int], int]:
        """Where each result begins, so that those that are needed at a time don't overlap, and how much that takes."""
        ends = {slot.result: -1 for slot in inputs}
        for number, step in enumerate(self.steps):
            ends |= {slot.result: number for slot in (*step.reads, *step.writes)}
        ends[last.result] = len(self.steps)
        starts, total = [0] * len(self._widths), 0
        held: list[int] = []
        for number, writes in enumerate([inputs, *(step.writes for step in self.steps)], -1):
            for slot in writes:
                if slot.result not in held:
                    starts[slot.result] = self._gap(held, starts, slot.width)
                    held.append(slot.result)
            total = max(total, *(starts[each] + self._widths[each] for each in held))
            held = [each for each in held if ends[each] > number]
        return starts, total

    def _gap(self, held: list[int], starts: list[int], width: int) -> int:
        """The first place where ``width`` numbers are free."""
        at = 0
        for each in sorted(held, key=starts.__getitem__):
            if starts[each] - at >= width:
                break
            at = max(at, starts[each] + self._widths[each])
        return at


# ── leaves that write down what they would compute ───────────────────────────


def _written(node: Any, writer: _Writer) -> Any:
    """A tree of leaves as a tree of functions that write."""
    if isinstance(node, Node):
        return Node(**{name: _written(child, writer) for name, child in vars(node).items()})
    maker = _MAKERS.get(type(node))
    return node if maker is None else maker(node, writer)


def _linear(leaf: leaves.Linear, writer: _Writer) -> Any:
    return lambda hidden: writer.product(leaf.matrix, leaf.bias, leaf.activation, hidden)


def _gated(leaf: leaves.GatedLinear, writer: _Writer) -> Any:
    gate, expand = leaf.gate, leaf.expand

    def run(hidden: _Slot) -> _Slot:
        opened = writer.product(gate.matrix, gate.bias, gate.activation, hidden)
        return writer.product(expand.matrix, expand.bias, None, hidden, opened)

    return run


def _fused(leaf: leaves.FusedLinear, writer: _Writer) -> Any:
    def run(hidden: _Slot) -> list[_Slot]:
        results = []
        for matrix, bias, columns in leaf.products:
            out = writer.product(matrix, bias, None, hidden)
            results += [out._replace(column=each.start, columns=each.stop - each.start) for each in columns]
        return results

    return run


def _norm(leaf: leaves.Norm, writer: _Writer) -> Any:
    def run(hidden: _Slot) -> _Slot:
        if leaf.weight is None:
            return hidden
        if not leaf.compiled:
            raise _Unwritten
        out = writer.slot(hidden.columns)
        writer.add("norm", hidden, leaf.weight, leaf.bias, leaf.eps, out, reads=[hidden], writes=[out])
        return out

    return run


def _join(leaf: leaves.Join, writer: _Writer) -> Any:
    def run(*terms: _Slot) -> tuple[_Slot, Any]:
        if not leaf.compiled or len(terms) > 3:
            raise _Unwritten
        total = None if leaf.post else writer.slot(terms[0].width)
        outs = [writer.slot(terms[0].width) for _ in leaf.norms]
        norms = [(norm.weight, norm.bias, norm.eps, out) for norm, out in zip(leaf.norms, outs, strict=True)]
        writes = outs if total is None else [total, *outs]
        writer.add("join", list(terms), total, norms, reads=terms, writes=writes)
        return total or outs[0], tuple(outs) if len(outs) > 1 else outs[0]

    return run


def _attend(leaf: Attend, writer: _Writer) -> Any:
    def run(
        query: _Slot,
        key: _Slot | None,
        value: _Slot | None,
        spans: Any,
        key_spans: Any,
        kept: Any,
        near: Any,
        seen: Any,
    ) -> _Slot:
        if key is not None and isinstance(leaf.relative, Rotary):
            for slot in (query, key):
                writer.add("rotate", slot, leaf.head_size, reads=[slot], writes=[slot])
            near = None
        out = writer.slot(query.columns)
        shape = (leaf.kv_heads * leaf.groups, leaf.kv_heads, leaf.head_size, float(leaf.scale))
        rest = (*shape, leaf.causal and near is None, leaf.window or 0, near is not None, out)
        if kept is None:
            assert key is not None and value is not None
            if key.width != value.width:  # rows must be equally far apart
                key, value = writer.alone(key), writer.alone(value)
            writer.add("attend", query, key, value, *rest, reads=[query, key, value], writes=[out])
        else:
            added = None if key is None or value is None else (key, value)
            writer.add("attend_cached", kept, query, added, *rest, reads=[query, *(added or ())], writes=[out])
        return out

    return run


_MAKERS: dict[type, Callable[[Any, _Writer], Any]] = {
    leaves.Linear: _linear,
    leaves.GatedLinear: _gated,
    leaves.FusedLinear: _fused,
    leaves.Norm: _norm,
    leaves.Join: _join,
    Attend: _attend,
}


# ── running ──────────────────────────────────────────────────────────────────


class _Layers:
    """The program of a stack, for passes with or without a cache; made when such a pass first comes."""

    def __init__(self, tree: Node, arch: Architecture) -> None:
        self._tree, self._arch = tree, arch
        self._programs: dict[bool, Any] = {}

    def __call__(self, residual: Floats, hidden: Any, flow: wiring.Flow) -> Floats | None:
        normed = hidden if isinstance(hidden, tuple) else (hidden,)  # one for each sublayer of a parallel block
        bias = flow.relative if isinstance(self._arch.relative, RelativeBias) else None
        if not len(residual) or not self._fits(flow, bias):
            return None
        cached = flow.turn is not None
        if cached not in self._programs:
            self._programs[cached] = self._written(cached, len(normed))
        found = self._programs[cached]
        if found is None:
            return None
        program, slots, last = found
        given = normed if self._arch.norm_placement == "after" else (residual, *normed)
        inputs = [(np.ascontiguousarray(each), slot) for each, slot in zip(given, slots, strict=True)]
        angles = flow.relative if isinstance(self._arch.relative, Rotary) else None
        own = memory = None
        if flow.turn is not None:
            own = _stored(flow.turn.own_stores, flow.turn.own_reading)
            if flow.turn.memory_reading is not None:
                memory = _stored(flow.turn.memory_stores, flow.turn.memory_reading)
        out = empty(*residual.shape)
        program.run(inputs, last, out, *edges(flow.batch.spans), angles, for_sequences(bias), own, memory)
        return out

    def _fits(self, flow: wiring.Flow, bias: Floats | None) -> bool:
        """Whether a program may do this pass: what it attends to is its own rows or in the cache."""
        if flow.memory is not None or (self._arch.encoder and flow.turn is None):
            return False
        if flow.turn is None:
            return True
        reading = flow.turn.own_reading
        return reading.pasts is not None and (bias is None or begins_with_queries(bias, reading))

    def _written(self, cached: bool, count: int) -> Any:
        """The program, the slots of its inputs and that of its result; None where something has no kernel."""
        writer = _Writer()
        plan = wiring.assemble(_written(self._tree, writer), self._arch, None)
        normed = tuple(writer.slot(self._arch.hidden_size) for _ in range(count))
        residual = normed[0] if self._arch.norm_placement == "after" else writer.slot(self._arch.hidden_size)
        relative = None if self._arch.relative is None else object()
        turn: Any = SimpleNamespace(own=lambda depth: depth, memory=lambda depth: depth) if cached else None
        flow = wiring.Flow(SimpleNamespace(spans=None), relative, None, turn, wiring.NO_TRACE)  # type: ignore[arg-type]
        try:
            last = wiring.run_layers(plan.layers, residual, normed if count > 1 else normed[0], flow)
            inputs = [*normed] if residual is normed[0] else [residual, *normed]
            program, placed = writer.finished(inputs, last)
        except _Unwritten:
            return None
        return program, [placed(slot) for slot in inputs], placed(last)


def at_once(tree: Node, arch: Architecture) -> Callable[[Floats, Floats, wiring.Flow], Floats | None] | None:
    """What runs all layers of a tree of leaves in one call; see :class:`enfold.wiring.Plan`."""
    if native is None or not isinstance(arch.relative, (Rotary, RelativeBias, type(None))):
        return None
    return _Layers(tree, arch)


def _stored(stores: list[Store], reading: Reading) -> Any:
    return [store.keys for store in stores], [store.values for store in stores], *arrays_of(reading)
