"""The kinds of leaves that every model is made of, as data: what an engine implements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from enfold.arch import (
    Activation,
    Disentangled,
    NormKind,
    NormPlacement,
    Relative,
    RelativeBias,
    Rotary,
    SinusoidalPositions,
)

__all__ = [
    "Angles",
    "Attend",
    "Embedding",
    "Gate",
    "Join",
    "Leaf",
    "Linear",
    "Norm",
    "Output",
    "RelativeTable",
    "Shape",
    "Sinusoid",
    "computed_tensors",
    "parameter_count",
    "tensor_shapes",
]

Shape = tuple[int, ...]

_VOCABULARY = 1000
"""Outputs from which on a head's last layer is a vocabulary's, and costs as much as many others."""


@dataclass(frozen=True, kw_only=True)
class _Leaf:
    name: str
    place: str = ""

    def __post_init__(self) -> None:
        if not self.place:
            object.__setattr__(self, "place", self.name)

    @property
    def quantizable(self) -> bool:
        """Whether its matrix may be rounded to a few bits. Norms, tables and small heads stay as they are."""
        return False

    def tensors(self) -> Mapping[str, Shape]:
        """Suffix → shape of the tensors that the leaf owns."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Embedding(_Leaf):
    """A table: ids (T,) → scale · vectors (T, width); ``tied_to`` names the embedding whose table it uses."""

    rows: int
    width: int
    padding_row: int | None = None
    scale: float = 1.0
    tied_to: str | None = None

    def tensors(self) -> Mapping[str, Shape]:
        return {} if self.tied_to else {"weight": (self.rows, self.width)}


@dataclass(frozen=True, kw_only=True)
class Sinusoid(_Leaf):
    """A table of positions that a formula fills; files may hold it where ``stored``."""

    positions: SinusoidalPositions
    width: int

    def tensors(self) -> Mapping[str, Shape]:
        return {"weight": (self.positions.rows, self.width)} if self.positions.stored else {}


@dataclass(frozen=True, kw_only=True)
class Linear(_Leaf):
    """(T, inputs) → activation of (T, outputs); ``dropout`` falls on the inputs."""

    inputs: int
    outputs: int
    activation: Activation | None = None
    bias: bool = True
    dropout: float = 0.0

    @property
    def quantizable(self) -> bool:
        return not self.name.startswith("head.")

    def tensors(self) -> Mapping[str, Shape]:
        return {"weight": (self.outputs, self.inputs), **({"bias": (self.outputs,)} if self.bias else {})}


@dataclass(frozen=True, kw_only=True)
class Gate(Linear):
    """A linear layer whose activation multiplies what the other linear layer of its place gives."""


_NORM_TENSORS: Mapping[NormKind, tuple[str, ...]] = {
    "layer": ("weight", "bias"),
    "rms": ("weight",),
    "batch": ("weight", "bias", "running_mean", "running_var"),
}


@dataclass(frozen=True, kw_only=True)
class Norm(_Leaf):
    """A norm that stands alone; of kind None it changes nothing. Over the last ``width`` numbers of an array.

    A batch norm is over the tokens instead, and holds what it saw in training: a mean and a variance of each number.
    """

    width: int
    eps: float
    kind: NormKind | None

    def tensors(self) -> Mapping[str, Shape]:
        suffixes = () if self.kind is None else _NORM_TENSORS[self.kind]
        return dict.fromkeys(suffixes, (self.width,))

    @property
    def buffers(self) -> tuple[str, ...]:
        """Suffixes of the tensors that no gradient changes, but training does."""
        return tuple(suffix for suffix in self.tensors() if suffix.startswith("running_"))


@dataclass(frozen=True, kw_only=True)
class Join(Norm):
    """Where a sublayer's result meets the residual stream; see :mod:`enfold.wiring`.

    ``dropout`` falls on the delta before it is added, ``dropout_after`` on what comes out of the norm.
    """

    placement: NormPlacement
    dropout: float = 0.0
    dropout_after: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RelativeTable(_Leaf):
    """What attention knows of distances; see :mod:`enfold.relative`."""

    rows: int
    width: int
    relative: RelativeBias | Disentangled

    def tensors(self) -> Mapping[str, Shape]:
        return {"weight": (self.rows, self.width)}


@dataclass(frozen=True, kw_only=True)
class Angles(_Leaf):
    """Positions (T,) → the cosines and sines that turn queries and keys; see :mod:`enfold.positions`."""

    rotary: Rotary
    max_length: int


@dataclass(frozen=True, kw_only=True)
class Attend(_Leaf):
    """Attention of each sequence to its keys: query (T, heads * head_size), key and value (T', kv_heads * head_size)
    → (T, heads * head_size). ``scale`` is what scores are multiplied by; ``window`` how many keys back it sees.
    """

    heads: int
    kv_heads: int
    head_size: int
    relative: Relative | None
    scale: float
    causal: bool
    window: int | None
    dropout: float


@dataclass(frozen=True, kw_only=True)
class Output(_Leaf):
    """The last layer of a branch; ``tied_to`` names the embedding whose weight it uses, ``scale`` is on its input.

    A ``constant_bias`` is not learnt, and files may lack it.
    """

    inputs: int
    outputs: int
    tied_to: str | None = None
    bias: bool = True
    constant_bias: bool = False
    scale: float = 1.0
    squeeze: bool = False
    dropout: float = 0.0

    @property
    def quantizable(self) -> bool:
        return self.outputs >= _VOCABULARY

    def tensors(self) -> Mapping[str, Shape]:
        bias = {"bias": (self.outputs,)} if self.bias else {}
        return bias if self.tied_to else {"weight": (self.outputs, self.inputs), **bias}


Leaf = Embedding | Sinusoid | Linear | Norm | Join | RelativeTable | Angles | Attend | Output


def tensor_shapes(leaves: tuple[Leaf, ...]) -> dict[str, Shape]:
    """Full tensor name → shape, in order; tied tensors are named once."""
    return {f"{leaf.name}.{suffix}": shape for leaf in leaves for suffix, shape in leaf.tensors().items()}


def computed_tensors(leaves: tuple[Leaf, ...]) -> dict[str, Literal["sinusoidal", "zeros"]]:
    """Tensors that checkpoints may lack, because what they hold at first is what they stay, and what that is."""
    tables = {f"{leaf.name}.weight": "sinusoidal" for leaf in leaves if isinstance(leaf, Sinusoid)}
    biases = {f"{leaf.name}.bias": "zeros" for leaf in leaves if isinstance(leaf, Output) and leaf.constant_bias}
    return {**tables, **biases}  # type: ignore[dict-item]


def parameter_count(leaves: tuple[Leaf, ...]) -> int:
    """Numbers that the leaves own; tied ones count once."""
    total = 0
    for shape in tensor_shapes(leaves).values():
        size = 1
        for extent in shape:
            size *= extent
        total += size
    return total
