"""Models on the CPU engine: numpy in, numpy out, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from enfold.engines.cpu import ops
from enfold.engines.cpu.attention import Edges, make_leaf
from enfold.engines.cpu.leaves import Node
from enfold.engines.cpu.matrices import FloatMatrix, Matrix
from enfold.engines.cpu.native_module import native
from enfold.leaves import tensor_shapes
from enfold.model import PreTrainedModel, initial_values, table_of
from enfold.packing import Packed, share_out
from enfold.threads import available_cores, side_by_side

__all__ = ["CpuModel"]


class CpuModel(PreTrainedModel):
    """A model whose tensors are float32 numpy arrays, often straight from the mapped file. It can't be trained."""

    engine: ClassVar[str] = "cpu"
    ops: ClassVar[Ops] = ops

    def __init__(self, blueprint: Blueprint, loaded: Loaded | None = None, source: Path | None = None) -> None:
        self._tensors = dict(loaded.tensors) if loaded else {}
        generator = np.random.default_rng()
        for leaf in blueprint.leaves:
            for name, shape in tensor_shapes((leaf,)).items():
                if name not in self._tensors:
                    table = table_of(leaf)
                    scale = blueprint.arch.initializer_range
                    self._tensors[name] = _fresh(name, shape, scale, generator) if table is None else table
        self._plan = self._wire(blueprint)
        self._adopt(blueprint, loaded, source)

    def _wire(self, blueprint: Blueprint) -> wiring.Plan:
        tree = wiring.build_tree(blueprint.leaves, Node, partial(make_leaf, weights=_Weights(self._tensors)))
        return wiring.assemble(tree, blueprint.arch, blueprint.head)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_plan"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._plan = self._wire(self.blueprint)

    @property
    def plan(self) -> wiring.Plan:
        return self._plan

    def tensor(self, name: str) -> NDArray[Any]:
        return self._tensors[name]

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
        whole = {branch.field for branch in self.head.branches if branch.select == "tokens"}
        return {name: array[order] if name in whole else array for name, array in joined.items()}

    def remember(self, source: Packed, cache: Cache, *, plan: wiring.Plan | None = None) -> None:
        self._remember(plan or self.plan, source, cache)

    def new_cache(self) -> Cache:
        return Cache(self.arch, lambda shape: np.zeros(shape, np.float32))

    def eval(self) -> CpuModel:
        """Nothing changes: this engine never trains."""
        return self

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """One forward pass; arrays in and out are numpy's."""
        return self.forward(*inputs, **options)

    def __repr__(self) -> str:
        return f"{self.blueprint.class_name} on the CPU engine, {self.num_parameters():,} parameters"


class _Weights:
    """A model's tensors as its leaves ask for them."""

    def __init__(self, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self._tensors[name]

    def matrix(self, *names: str) -> Matrix:
        """See :class:`enfold.engines.cpu.leaves.Weights`."""
        return FloatMatrix([self._tensors[name] for name in names])


def _fresh(name: str, shape: tuple[int, ...], scale: float, generator: np.random.Generator) -> NDArray[np.float32]:
    match initial_values(name.rpartition(".")[2], len(shape)):
        case "normal":
            return (generator.standard_normal(shape, np.float32) * np.float32(scale)).astype(np.float32, copy=False)
        case "ones":
            return np.ones(shape, np.float32)
        case _:
            return np.zeros(shape, np.float32)
