"""Models on the CPU engine: numpy in, numpy out, no torch."""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from enfold import wiring
from enfold.adapter import Ops
from enfold.blueprint import Blueprint
from enfold.cache import Cache, Turn
from enfold.checkpoint.load import Loaded
from enfold.checkpoint.packed import PackedMatrices
from enfold.engines.cpu import byte_cache, ops
from enfold.engines.cpu.attention import Edges, make_leaf
from enfold.engines.cpu.leaves import Node
from enfold.engines.cpu.native_module import native
from enfold.engines.cpu.program import at_once
from enfold.engines.cpu.weights import Compute, ModelWeights, release
from enfold.leaves import tensor_shapes
from enfold.model import PreTrainedModel, initial_values, table_of
from enfold.packing import Packed, pack, share_out
from enfold.threads import available_cores, side_by_side

__all__ = ["CpuModel"]


_TRIED, _TRIED_LENGTH = 8, 32
"""Sequences and tokens of the pass that shows which columns are large."""


class CpuModel(PreTrainedModel):
    """A model of numpy arrays, often straight from the mapped file. It can't be trained.

    Attributes:
        compute: how it holds its matrices; see :data:`enfold.engines.cpu.weights.Compute`.
    """

    engine: ClassVar[str] = "cpu"
    ops: ClassVar[Ops] = ops

    def __init__(
        self,
        blueprint: Blueprint,
        loaded: Loaded | None = None,
        source: Path | None = None,
        compute: Compute = "float32",
    ) -> None:
        stored: Any = loaded.tensors if loaded else {}
        fresh = _fresh_tensors(blueprint, loaded)
        self._tensors: Mapping[str, NDArray[np.float32]]
        # what has to be made of a file is made once, unless the model computes with what the file holds
        self._tensors = ChainMap(fresh, stored) if compute == "blocks" else {**stored, **fresh}
        self._blocks = loaded.tensors.blocks if loaded else _no_blocks
        self._packed = loaded.packed if loaded else {}
        self.compute: Compute = compute
        self._adopt(blueprint, loaded, source)
        self._plan = self._wire()

    def _wire(self) -> wiring.Plan:
        rounds = self.compute == "int8" and not self._packed
        peaks = ModelWeights.watched(self._tensors, self._try_out) if rounds else None
        if rounds:
            for tensor in self._tensors.values():
                release(tensor)  # all of the file was read
        shapes = tensor_shapes(self.blueprint.leaves)
        self._weights = ModelWeights(self._tensors, self.compute, self._blocks, peaks, self._packed, shapes)
        tree = self._tree(self._weights)
        plan, encoder = wiring.assemble(tree, self.arch, self.head), None
        if plan.encoder and self.arch.encoder:
            encoder = replace(plan.encoder, at_once=at_once(tree.encoder, self.arch.encoder))
        return replace(plan, at_once=at_once(tree, self.arch), encoder=encoder)

    def _tree(self, weights: ModelWeights) -> Node:
        tree: Node = wiring.build_tree(self.blueprint.leaves, Node, partial(make_leaf, weights=weights))
        return tree

    def _try_out(self, weights: ModelWeights) -> None:
        """A pass over random tokens: columns that are large for those are so for all."""
        draw = np.random.default_rng(0)
        arch = self.arch.encoder or self.arch
        length = min(_TRIED_LENGTH, arch.max_length)
        rows = [draw.integers(0, arch.vocab_size, length) for _ in range(_TRIED)]
        with np.errstate(all="ignore"):
            plan = wiring.assemble(self._tree(weights), self.arch, self.head)
            self._run(plan, pack(arch, rows), (), np.arange(length), None, None)

    def __getstate__(self) -> dict[str, Any]:
        left = ("_plan", "_blocks", "_weights")
        state = {name: value for name, value in self.__dict__.items() if name not in left}
        grown = self.compute == "blocks" and not self._packed  # what is copied holds values, not a file
        compute = "float32" if grown else self.compute
        return {**state, "_tensors": dict(self._tensors), "compute": compute}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._blocks = _no_blocks
        self._plan = self._wire()

    @property
    def plan(self) -> wiring.Plan:
        return self._plan

    def quick_plan(self, shortlist: NDArray[np.int64] | None = None) -> wiring.Plan:
        return self.plan if shortlist is None else wiring.narrowed(self.plan, lambda output: output.only(shortlist))

    def tensor(self, name: str) -> NDArray[Any]:
        if name in self._tensors:
            return self._tensors[name]
        names, matrix = self._weights.only_packed()[name]
        shapes = tensor_shapes(self.blueprint.leaves)
        begin = sum(shapes[each][0] for each in names[: names.index(name)])
        return matrix.rows(np.arange(begin, begin + shapes[name][0]))

    def get_memory_footprint(self) -> int:
        shapes, packed = tensor_shapes(self.blueprint.leaves), self._weights.only_packed()
        plain = sum(4 * math.prod(shape) for name, shape in shapes.items() if name not in packed)
        matrices = self._weights.packed().values()
        return plain + sum(array.nbytes for arrays in matrices for array in arrays.values())

    def _packed_matrices(self) -> tuple[str, PackedMatrices, Collection[str]]:
        packed = self._weights.packed() if self.compute != "float32" else {}
        return self.compute, packed, self._weights.only_packed() if packed else ()

    def run(
        self,
        batch: Packed,
        *,
        fields: Sequence[str] = (),
        tokens: NDArray[np.int64] | None = None,
        source: Packed | None = None,
        turn: Turn | None = None,
        plan: wiring.Plan | None = None,
    ) -> dict[str, NDArray[np.float32]]:
        plan = plan or self.plan
        if native is not None:  # its kernels share out their own work
            batch = replace(batch, spans=Edges(batch.spans))
            return self._run(plan, batch, fields, tokens, source, turn)
        shares = [] if turn or source else share_out(batch, tokens, available_cores())
        if len(shares) < 2:
            return self._run(plan, batch, fields, tokens, source, turn)
        works = [partial(self._run, plan, part, fields, chosen, None, None) for part, chosen, _ in shares]
        results = side_by_side(works)
        joined = {name: np.concatenate([result[name] for result in results]) for name in results[0]}
        if tokens is None:
            return joined
        order = np.argsort(np.concatenate([places for _, _, places in shares]), kind="stable")
        of_texts = {*self.head.of_texts, "last_hidden_state"}
        return {name: array if name in of_texts else array[order] for name, array in joined.items()}

    def remember(self, source: Packed, cache: Cache, *, plan: wiring.Plan | None = None) -> None:
        self._remember(plan or self.plan, source, cache)

    def new_cache(self, *, quantized: bool = False) -> Cache:
        if quantized:
            return Cache(self.arch, byte_cache.allocate, byte_cache.encode)
        return Cache(self.arch, lambda shape: np.zeros(shape, np.float32))

    def eval(self) -> CpuModel:
        """Nothing changes: this engine never trains."""
        return self

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """One forward pass; arrays in and out are numpy's."""
        return self.forward(*inputs, **options)

    def __repr__(self) -> str:
        return f"{self.blueprint.class_name} on the CPU engine, {self.num_parameters():,} parameters"


def _no_blocks(name: str) -> None:
    return None


def _fresh_tensors(blueprint: Blueprint, loaded: Loaded | None) -> dict[str, NDArray[np.float32]]:
    """What the checkpoint lacks: tables that a formula fills, and random numbers."""
    packed = {name for names in loaded.packed for name in names} if loaded else ()
    fresh = {}
    for leaf in blueprint.leaves:
        for name, shape in tensor_shapes((leaf,)).items():
            if loaded is None or (name not in loaded.tensors and name not in packed):
                table = table_of(leaf)
                scale = blueprint.arch.initializer_range
                fresh[name] = _fresh(name, shape, scale) if table is None else table
    return fresh


def _fresh(name: str, shape: tuple[int, ...], scale: float) -> NDArray[np.float32]:
    match initial_values(name.rpartition(".")[2], len(shape)):
        case "normal":
            values = np.random.default_rng().standard_normal(shape, np.float32)  # importing numpy.random is slow
            return (values * np.float32(scale)).astype(np.float32, copy=False)
        case "ones":
            return np.ones(shape, np.float32)
        case _:
            return np.zeros(shape, np.float32)
