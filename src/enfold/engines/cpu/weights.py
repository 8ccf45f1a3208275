"""What a model computes with: its tensors as they are, rounded, or in the blocks that its file holds."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from enfold import leaves as kinds
from enfold.arch import Activation
from enfold.checkpoint.packed import PackedMatrices
from enfold.engines.cpu.matrices import OUTLIERS, ByteMatrix, FloatMatrix, Matrix, PackedMatrix
from enfold.errors import CorruptFileError
from enfold.leaves import Shape

__all__ = ["Compute", "ModelWeights", "release"]

Floats = NDArray[np.float32]
Compute = Literal["float32", "int8", "int4", "blocks"]
"""How matrices are held: as float32, as bytes, as four bits in groups (bytes where groups don't fit), or in the blocks
of a GGUF file."""
Peaks = Mapping[str, Floats]
"""Matrix → the largest value (K,) of each column of what comes in."""


class _Blocks(Protocol):
    def __call__(self, name: str) -> tuple[NDArray[np.uint8], Any] | None:
        """The blocks of a tensor; see :meth:`enfold.checkpoint.load.Tensors.blocks`."""


class ModelWeights:
    """A model's tensors as its leaves ask for them; each matrix is made once.

    Args:
        tensors: float32, by name.
        compute: how matrices that may be quantized are held.
        blocks: the file's blocks of a tensor.
        peaks: for ``"int8"``, what :meth:`watched` found.
        packed: matrices that the file holds as they are computed with.
        shapes: of all tensors, by name.
    """

    def __init__(
        self,
        tensors: Mapping[str, Floats],
        compute: Compute = "float32",
        blocks: _Blocks = lambda name: None,
        peaks: Peaks | None = None,
        packed: PackedMatrices | None = None,
        shapes: Mapping[str, Shape] | None = None,
    ) -> None:
        self._tensors, self._compute, self._blocks = tensors, compute, blocks
        self._peaks, self._packed, self._shapes = peaks or {}, packed or {}, shapes or {}
        self._group_of = {name: names for names in self._packed for name in names}
        self._made: dict[tuple[str, ...], Matrix] = {}

    def __getitem__(self, name: str) -> Floats:
        return self._tensors[name]

    def matrix(self, leaf: kinds.Leaf) -> Matrix:
        """See :class:`enfold.engines.cpu.leaves.Weights`."""
        return self._matrix([leaf])

    def fused(self, leaves: list[kinds.Linear]) -> list[tuple[Matrix, list[kinds.Linear]]]:
        """See :class:`enfold.engines.cpu.leaves.Weights`."""
        groups = [list(group) for _, group in groupby(leaves, self._fusible)]
        return [(self._matrix(group), group) for group in groups]

    def _fusible(self, leaf: kinds.Linear) -> Any:
        """Neighbours for which this is equal become one matrix."""
        if self._compute == "float32" or not leaf.quantizable:
            return leaf.name  # each as it is in the file, not copied
        if self._packed:
            return self._group_of.get(_name(leaf), leaf.name)
        found = self._blocks(_name(leaf)) if self._compute == "blocks" else None
        return found[1].name if found else self._compute

    def _matrix(self, leaves: list[Any]) -> Matrix:
        names = tuple(_name(leaf) for leaf in leaves)
        quantizable = all(leaf.quantizable for leaf in leaves)
        # a table and the output that is tied to it are one matrix where both may be blocks
        key = names if quantizable or self._compute == "blocks" else (*names, "float32")
        if key not in self._made:
            found = self._packed.get(names) if key == names else None
            self._made[key] = self._unpacked(names, found) if found else self._make(names, quantizable)
        return self._made[key]

    def _make(self, names: tuple[str, ...], quantizable: bool) -> Matrix:
        if self._compute == "blocks":
            found = [self._blocks(name) for name in names]
            if all(found) and len({each[1].name for each in found if each}) == 1:
                from enfold.engines.cpu.blocks import BlockMatrix  # not where nothing is of blocks

                raws = [each[0] for each in found if each]
                return BlockMatrix.from_gguf(np.concatenate(raws) if len(raws) > 1 else raws[0], found[0][1])  # type: ignore[index]
        parts = [self._tensors[name] for name in names]
        if quantizable and self._compute in ("int8", "int4"):
            weights = np.concatenate(parts) if len(parts) > 1 else parts[0]
            if self._compute == "int4" and weights.shape[1] % 32 == 0:
                from enfold.engines.cpu.blocks import BlockMatrix

                made: Matrix = BlockMatrix.quantize(weights, bits=4)
            else:
                made = ByteMatrix.quantize(weights, _largest(self._peaks.get(names[0])))
            for part in parts:
                release(part)
            return made
        return FloatMatrix(parts[0] if len(parts) == 1 else np.concatenate(parts))

    def _unpacked(self, names: tuple[str, ...], parts: Mapping[str, NDArray[Any]]) -> Matrix:
        try:
            if "coding" in parts:
                from enfold.engines.cpu.blocks import BlockMatrix

                matrix: Matrix = BlockMatrix.from_tensors(parts)
            else:
                matrix = ByteMatrix.from_tensors(parts)
        except CorruptFileError as error:
            raise CorruptFileError(f"{' and '.join(names)}: {error}") from None
        shapes = [self._shapes[name] for name in names]
        expected = (sum(shape[0] for shape in shapes), shapes[0][1])
        if matrix.shape != expected:
            raise CorruptFileError(
                f"{' and '.join(names)}: the packed matrix is {matrix.shape}, by the configuration {expected}. "
                "Is config.json the one of these weights?"
            )
        return matrix

    def packed(self) -> PackedMatrices:
        """The matrices that are not of float32, as they are saved."""
        return {names: matrix.tensors() for names, matrix in self._rounded().items()}

    def only_packed(self) -> dict[str, tuple[tuple[str, ...], Matrix]]:
        """Tensors that nothing but such a matrix needs → the tensors below each other in it, and the matrix."""
        rounded = self._rounded()
        plain = {name for names in self._made.keys() - rounded.keys() for name in names}
        return {name: (names, matrix) for names, matrix in rounded.items() for name in names if name not in plain}

    def _rounded(self) -> dict[tuple[str, ...], PackedMatrix]:
        return {names: matrix for names, matrix in self._made.items() if isinstance(matrix, PackedMatrix)}

    @classmethod
    def watched(cls, tensors: Mapping[str, Floats], run: Callable[[ModelWeights], Any]) -> dict[str, Floats]:
        """Runs a model in float32, and says how large the values were that came into each matrix."""
        weights = _Watched(tensors)
        run(weights)
        return weights.peaks


class _Watched(ModelWeights):
    def __init__(self, tensors: Mapping[str, Floats]) -> None:
        super().__init__(tensors)
        self.peaks: dict[str, Floats] = {}

    def _make(self, names: tuple[str, ...], quantizable: bool) -> Matrix:
        return _WatchedMatrix(self._tensors[names[0]], self.peaks, names[0])


class _WatchedMatrix(FloatMatrix):
    def __init__(self, weights: Floats, peaks: dict[str, Floats], name: str) -> None:
        super().__init__(weights)
        self._all_peaks, self._name = peaks, name

    def product(
        self, x: Floats, bias: Floats | None = None, activation: Activation | None = None, gate: Floats | None = None
    ) -> Floats:
        now = np.abs(x).max(axis=0, initial=0)
        self._all_peaks[self._name] = np.maximum(self._all_peaks.get(self._name, np.float32(0)), now)
        return super().product(x, bias, activation, gate)


def _name(leaf: Any) -> str:
    return f"{getattr(leaf, 'tied_to', None) or leaf.name}.weight"


def _largest(peaks: Floats | None) -> list[int]:
    """The columns that are kept apart."""
    if peaks is None or len(peaks) <= OUTLIERS:
        return []
    columns: list[int] = np.argpartition(peaks, -OUTLIERS)[-OUTLIERS:].tolist()
    return columns


def release(array: NDArray[Any]) -> None:
    """Lets go of the memory of a mapped file that an array has read; it can be read again."""
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    if base is not None and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
