"""Expands an architecture and a head into named leaves: the one source for shapes, counts and names.

A leaf is what an engine implements: an embedding, a linear layer with its activation, a join, attention. ``name``
says what its tensors are called; ``place`` says where the wiring finds it. They differ in two cases: leaves that
share a place are fused (query, key and value are one matrix product), and in a pre-norm model the join that ends a
sublayer carries the norm of the sublayer that follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from enfold.arch import Activation, Architecture, Disentangled, NormPlacement, Relative, RelativeBias
from enfold.heads import Branch, Head

__all__ = [
    "Attend",
    "Embedding",
    "Join",
    "Leaf",
    "Linear",
    "Norm",
    "Output",
    "RelativeTable",
    "layout",
    "parameter_count",
    "tensor_shapes",
]

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class _Leaf:
    name: str
    place: str = ""

    def __post_init__(self) -> None:
        if not self.place:
            object.__setattr__(self, "place", self.name)

    def tensors(self) -> Mapping[str, Shape]:
        """Suffix → shape of the tensors that the leaf owns."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Embedding(_Leaf):
    """A table: ids (T,) → vectors (T, width)."""

    rows: int
    width: int
    padding_row: int | None = None

    def tensors(self) -> Mapping[str, Shape]:
        return {"weight": (self.rows, self.width)}


@dataclass(frozen=True, kw_only=True)
class Linear(_Leaf):
    """(T, inputs) → activation of (T, outputs)."""

    inputs: int
    outputs: int
    activation: Activation | None = None
    dropout: float = 0.0

    def tensors(self) -> Mapping[str, Shape]:
        return {"weight": (self.outputs, self.inputs), "bias": (self.outputs,)}


@dataclass(frozen=True, kw_only=True)
class Norm(_Leaf):
    """A layer norm that stands alone (in a head, on relative positions)."""

    width: int
    eps: float

    def tensors(self) -> Mapping[str, Shape]:
        return {"weight": (self.width,), "bias": (self.width,)}


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
    relative: Relative

    def tensors(self) -> Mapping[str, Shape]:
        return {"weight": (self.rows, self.width)}


@dataclass(frozen=True, kw_only=True)
class Attend(_Leaf):
    """Attention within each sequence: query, key, value (T, heads * head_size) → (T, heads * head_size)."""

    heads: int
    head_size: int
    relative: Relative | None
    dropout: float

    @property
    def scale(self) -> float:
        """What scores are multiplied by: 1 / √(head_size · kinds of scores that are added)."""
        kinds = 1
        if isinstance(self.relative, Disentangled):
            kinds += self.relative.content_to_position + self.relative.position_to_content
        return float((self.head_size * kinds) ** -0.5)


@dataclass(frozen=True, kw_only=True)
class Output(_Leaf):
    """The last layer of a branch; ``tied_to`` names the embedding whose weight it uses."""

    inputs: int
    outputs: int
    tied_to: str | None = None
    squeeze: bool = False
    dropout: float = 0.0

    def tensors(self) -> Mapping[str, Shape]:
        bias = {"bias": (self.outputs,)}
        return bias if self.tied_to else {"weight": (self.outputs, self.inputs), **bias}


Leaf = Embedding | Linear | Norm | Join | RelativeTable | Attend | Output


def layout(arch: Architecture, head: Head | None = None, *, num_labels: int = 2) -> tuple[Leaf, ...]:
    """The leaves of a model, in the order of its forward pass.

    Args:
        arch: the encoder.
        head: what stands on top, or None for the bare encoder.
        num_labels: width of outputs that depend on the labels.
    """
    leaves = [*_embeddings(arch), *_relative(arch)]
    for index in range(arch.stored_layers):
        leaves += _layer(arch, f"layers.{index}")
    leaves += _joins(arch)
    for index, branch in enumerate(head.branches if head else ()):
        leaves += _branch(arch, branch, f"head.{index}", num_labels)
    return tuple(leaves)


def tensor_shapes(leaves: tuple[Leaf, ...]) -> dict[str, Shape]:
    """Full tensor name → shape, in order; tied tensors are named once."""
    return {f"{leaf.name}.{suffix}": shape for leaf in leaves for suffix, shape in leaf.tensors().items()}


def parameter_count(leaves: tuple[Leaf, ...]) -> int:
    """Numbers that the leaves own; tied ones count once."""
    total = 0
    for shape in tensor_shapes(leaves).values():
        size = 1
        for extent in shape:
            size *= extent
        total += size
    return total


def _embeddings(arch: Architecture) -> Iterator[Leaf]:
    width = arch.embedding_size
    yield Embedding(name="embeddings.words", rows=arch.vocab_size, width=width, padding_row=arch.pad_token_id)
    if arch.positions:
        rows = arch.positions.rows
        yield Embedding(name="embeddings.positions", rows=rows, width=width, padding_row=arch.positions.counted_from)
    if arch.type_vocab_size:
        yield Embedding(name="embeddings.types", rows=arch.type_vocab_size, width=width)
    yield Join(
        name="embeddings.norm",
        place="embeddings.join",
        width=width,
        eps=arch.norm_eps,
        placement="after",
        dropout_after=arch.dropout.embeddings,
    )
    if width != arch.hidden_size:
        yield Linear(name="embeddings.project", inputs=width, outputs=arch.hidden_size)


def _relative(arch: Architecture) -> Iterator[Leaf]:
    match arch.relative:
        case None:
            return
        case RelativeBias(buckets=buckets):
            yield RelativeTable(name="relative.table", rows=buckets, width=arch.num_heads, relative=arch.relative)
        case Disentangled(span=span, normed=normed):
            yield RelativeTable(name="relative.table", rows=2 * span, width=arch.hidden_size, relative=arch.relative)
            if normed:
                yield Norm(name="relative.norm", width=arch.hidden_size, eps=arch.norm_eps)


def _layer(arch: Architecture, layer: str) -> Iterator[Leaf]:
    width, inner = arch.hidden_size, arch.intermediate_size
    attention, feed_forward = f"{layer}.attention", f"{layer}.feed_forward"
    for part in ("query", "key", "value"):
        yield Linear(name=f"{attention}.{part}", place=f"{attention}.project", inputs=width, outputs=width)
    for part in _own_position_projections(arch):
        yield Linear(name=f"{attention}.{part}", inputs=width, outputs=width)
    yield Attend(
        name=f"{attention}.attend",
        heads=arch.num_heads,
        head_size=arch.head_size,
        relative=arch.relative,
        dropout=arch.dropout.attention,
    )
    yield Linear(name=f"{attention}.output", inputs=width, outputs=width)
    yield Linear(name=f"{feed_forward}.expand", inputs=width, outputs=inner, activation=arch.activation)
    yield Linear(name=f"{feed_forward}.shrink", inputs=inner, outputs=width)


def _own_position_projections(arch: Architecture) -> Iterator[str]:
    if not isinstance(arch.relative, Disentangled) or arch.relative.shared:
        return
    if arch.relative.content_to_position:
        yield "position_key"
    if arch.relative.position_to_content:
        yield "position_query"


def _joins(arch: Architecture) -> Iterator[Leaf]:
    """Post-norm: a sublayer's own norm follows it. Pre-norm: the next one's does, and a final norm ends the chain."""
    sublayers = [f"layers.{i}.{part}" for i in range(arch.stored_layers) for part in ("attention", "feed_forward")]
    before = arch.norm_placement == "before"
    owners = [*sublayers, "final"] if before else sublayers
    if before:
        yield Norm(name=f"{owners[0]}.norm", place="enter", width=arch.hidden_size, eps=arch.norm_eps)
    for index, sublayer in enumerate(sublayers):
        yield Join(
            name=f"{owners[index + before]}.norm",
            place=f"{sublayer}.join",
            width=arch.hidden_size,
            eps=arch.norm_eps,
            placement=arch.norm_placement,
            dropout=arch.dropout.attention_output if sublayer.endswith("attention") else arch.dropout.feed_forward,
        )


def _branch(arch: Architecture, branch: Branch, place: str, num_labels: int) -> Iterator[Leaf]:
    width = arch.hidden_size
    if branch.dense:
        inner = arch.embedding_size if branch.dense_width == "embedding" else width
        drop = arch.dropout.head if branch.dropout_before_dense else 0.0
        activation = arch.activation if branch.dense == "own" else branch.dense
        yield Linear(name=f"{place}.dense", inputs=width, outputs=inner, activation=activation, dropout=drop)
        width = inner
    if branch.norm:
        yield Norm(name=f"{place}.norm", width=width, eps=arch.norm_eps)
    match branch.outputs:
        case None:
            return
        case "vocabulary":
            tied = "embeddings.words" if arch.tied_output else None
            yield Output(name=f"{place}.output", inputs=width, outputs=arch.vocab_size, tied_to=tied)
        case outputs:
            count = num_labels if outputs == "labels" else outputs
            yield Output(
                name=f"{place}.output",
                inputs=width,
                outputs=count,
                squeeze=branch.squeeze,
                dropout=arch.dropout.head if branch.dropout else 0.0,
            )
