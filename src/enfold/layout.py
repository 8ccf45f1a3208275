"""Expands an architecture and a head into named leaves: the one source for shapes, counts and names.

A leaf is what an engine implements: an embedding, a linear layer with its activation, a join, attention. ``name``
says what its tensors are called; ``place`` says where the wiring finds it. They differ where leaves share a place and
are fused (query, key and value are one matrix product), and in a pre-norm model, where the join that ends a sublayer
carries the norm of the sublayer that follows.

An encoder that a decoder attends to has the same leaves under ``encoder.``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from enfold.arch import (
    Architecture,
    Disentangled,
    LearnedPositions,
    NormKind,
    Positions,
    Relative,
    RelativeBias,
    Rotary,
)
from enfold.errors import ConfigError
from enfold.heads import Branch, Head
from enfold.leaves import (
    Angles,
    Attend,
    Embedding,
    Gate,
    Join,
    Leaf,
    Linear,
    Norm,
    Output,
    RelativeTable,
    Sinusoid,
)

__all__ = ["layout"]

SHARED_WORDS = "shared.words"


def layout(arch: Architecture, head: Head | None = None, *, num_labels: int = 2) -> tuple[Leaf, ...]:
    """The leaves of a model, in the order of its forward pass.

    Args:
        arch: the stack, and the encoder that it attends to where it has one.
        head: what stands on top, or None for the bare stack.
        num_labels: width of outputs that depend on the labels.

    Raises:
        ConfigError: a head that predicts the next token on a stack that sees it, or one for masked tokens on one that
            sees only what is before them.
    """
    leaves = [*_stack(arch.encoder, "encoder."), *_stack(arch)] if arch.encoder else [*_stack(arch)]
    _check_sight(arch, head)
    for index, branch in enumerate(head.branches if head else ()):
        leaves += _branch(arch, branch, f"head.{index}", num_labels)
    return tuple(leaves)


def _check_sight(arch: Architecture, head: Head | None) -> None:
    """A vocabulary's scores alone are the next token's; with a layer of their own before them, a masked token's."""
    for branch in head.branches if head else ():
        if branch.outputs == "vocabulary" and bool(branch.dense) == arch.causal:
            raise ConfigError(
                "a masked-language-model head needs a stack that sees both sides, and this one is causal: leave "
                "causal out, or use the causal-lm head"
                if arch.causal
                else "a causal-lm head predicts the next token, and this stack would see it: set causal to true, or "
                "use the masked-lm head"
            )


def _stack(arch: Architecture, at: str = "") -> Iterator[Leaf]:
    """``at`` goes before the name and place of every leaf: nothing, or ``encoder.``."""
    yield from _embeddings(arch, at)
    yield from _relative(arch, at)
    for index in range(arch.stored_layers):
        yield from _attention(arch, f"{at}layers.{index}.attention", arch.windows[arch.layer_order.index(index)])
        if arch.encoder:
            yield from _cross_attention(arch, arch.encoder, f"{at}layers.{index}.cross")
        yield from _feed_forward(arch, f"{at}layers.{index}.feed_forward")
    yield from _joins(arch, at)


def _embeddings(arch: Architecture, at: str) -> Iterator[Leaf]:
    width = arch.embedding_size
    yield Embedding(
        name=_words(arch, at),
        place=f"{at}embeddings.words",
        rows=arch.vocab_size,
        width=width,
        padding_row=arch.pad_token_id,
        scale=arch.scales.embeddings,
        tied_to=SHARED_WORDS if arch.shares_words else None,
    )
    if arch.positions:
        yield _position_table(arch.positions, f"{at}embeddings.positions", width)
    if arch.type_vocab_size:
        yield Embedding(name=f"{at}embeddings.types", rows=arch.type_vocab_size, width=width)
    yield Join(
        name=f"{at}embeddings.norm",
        place=f"{at}embeddings.join",
        width=width,
        eps=arch.norm_eps,
        kind=arch.norm if arch.embedding_norm else None,
        placement="after",
        dropout_after=arch.dropout.embeddings,
    )
    if width != arch.hidden_size:
        yield Linear(name=f"{at}embeddings.project", inputs=width, outputs=arch.hidden_size)


def _words(arch: Architecture, at: str) -> str:
    """The name of a stack's word embeddings, or of the table that a decoder and its encoder share."""
    return SHARED_WORDS if arch.encoder and arch.encoder.shares_words else f"{at}embeddings.words"


def _position_table(positions: Positions, name: str, width: int) -> Leaf:
    if isinstance(positions, LearnedPositions):
        return Embedding(name=name, rows=positions.rows, width=width, padding_row=positions.counted_from)
    return Sinusoid(name=name, positions=positions, width=width)


def _relative(arch: Architecture, at: str) -> Iterator[Leaf]:
    name = f"{at}relative.table"
    match arch.relative:
        case RelativeBias(buckets=buckets):
            yield RelativeTable(name=name, rows=buckets, width=arch.num_heads, relative=arch.relative)
        case Disentangled(span=span, normed=normed):
            yield RelativeTable(name=name, rows=2 * span, width=arch.hidden_size, relative=arch.relative)
            if normed:
                yield Norm(name=f"{at}relative.norm", width=arch.hidden_size, eps=arch.norm_eps, kind=arch.norm)
        case Rotary():
            yield Angles(name=f"{at}relative.angles", rotary=arch.relative, max_length=arch.max_length)
        case None:
            return


def _attention(arch: Architecture, at: str, window: int | None) -> Iterator[Leaf]:
    width, queries, keys = arch.hidden_size, arch.num_heads * arch.head_size, arch.kv_heads * arch.head_size
    for part, size in (("query", queries), ("key", keys), ("value", keys)):
        yield Linear(name=f"{at}.{part}", place=f"{at}.project", inputs=width, outputs=size, bias=arch.biases.project)
    for part in _own_position_projections(arch):
        yield Linear(name=f"{at}.{part}", inputs=width, outputs=queries)
    if arch.head_norm:
        for part in ("query_norm", "key_norm"):
            yield Norm(name=f"{at}.{part}", width=arch.head_size, eps=arch.norm_eps, kind=arch.norm)
    yield _attend(arch, f"{at}.attend", relative=arch.relative, causal=arch.causal, window=window)
    yield Linear(name=f"{at}.output", inputs=queries, outputs=width, bias=arch.biases.output)


def _cross_attention(arch: Architecture, encoder: Architecture, at: str) -> Iterator[Leaf]:
    """Queries from the decoder; keys and values from what the encoder made, once for each source."""
    width, queries, keys = arch.hidden_size, arch.num_heads * arch.head_size, arch.kv_heads * arch.head_size
    yield Linear(name=f"{at}.query", inputs=width, outputs=queries, bias=arch.biases.project)
    for part in ("key", "value"):
        name, place = f"{at}.{part}", f"{at}.memory"
        yield Linear(name=name, place=place, inputs=encoder.hidden_size, outputs=keys, bias=arch.biases.project)
    yield _attend(arch, f"{at}.attend", relative=None, causal=False, window=None)
    yield Linear(name=f"{at}.output", inputs=queries, outputs=width, bias=arch.biases.output)


def _attend(arch: Architecture, name: str, *, relative: Relative | None, causal: bool, window: int | None) -> Attend:
    kinds = 1  # of scores that are added
    if isinstance(relative, Disentangled):
        kinds += relative.content_to_position + relative.position_to_content
    given = arch.scales.attention
    return Attend(
        name=name,
        heads=arch.num_heads,
        kv_heads=arch.kv_heads,
        head_size=arch.head_size,
        relative=relative,
        scale=float((arch.head_size * kinds) ** -0.5) if given is None else given,
        causal=causal,
        window=window,
        dropout=arch.dropout.attention,
    )


def _feed_forward(arch: Architecture, at: str) -> Iterator[Leaf]:
    width, inner, bias = arch.hidden_size, arch.intermediate_size, arch.biases.feed_forward
    expand, activation = f"{at}.expand", arch.activation
    if arch.gated:
        yield Gate(name=f"{at}.gate", place=expand, inputs=width, outputs=inner, activation=activation, bias=bias)
        yield Linear(name=f"{at}.up", place=expand, inputs=width, outputs=inner, bias=bias)
    else:
        yield Linear(name=expand, inputs=width, outputs=inner, activation=activation, bias=bias)
    yield Linear(name=f"{at}.shrink", inputs=inner, outputs=width, bias=bias, dropout=arch.dropout.activation)


def _own_position_projections(arch: Architecture) -> Iterator[str]:
    if not isinstance(arch.relative, Disentangled) or arch.relative.shared:
        return
    if arch.relative.content_to_position:
        yield "position_key"
    if arch.relative.position_to_content:
        yield "position_query"


def _joins(arch: Architecture, at: str) -> Iterator[Leaf]:
    """Post-norm: a sublayer's own norm follows it. Pre-norm: the next one's does, and a final norm ends the chain.

    In a parallel block attention and feed-forward are one step, with two norms of the same residual stream.
    """
    parts = ("attention", "cross", "feed_forward") if arch.encoder else ("attention", "feed_forward")
    layers = [f"{at}layers.{index}" for index in range(arch.stored_layers)]
    if arch.norm_placement == "parallel":
        steps = [(layer, tuple(f"{layer}.{part}" for part in parts)) for layer in layers]
    else:
        steps = [(f"{layer}.{part}", (f"{layer}.{part}",)) for layer in layers for part in parts]
    after = arch.norm_placement == "after"
    if not after:
        for owner in steps[0][1] if steps else ():
            name, place = f"{owner}.norm", f"{at}enter"
            yield Norm(name=name, place=place, width=arch.hidden_size, eps=arch.norm_eps, kind=arch.norm)
    for (step, own), (_, following) in pairwise([*steps, ("", (f"{at}final",))]):
        for owner in own if after else following:
            yield Join(
                name=f"{owner}.norm",
                place=f"{step}.join",
                width=arch.hidden_size,
                eps=arch.norm_eps,
                kind=arch.norm,
                placement=arch.norm_placement,
                dropout=arch.dropout.feed_forward if step.endswith("feed_forward") else arch.dropout.attention_output,
                dropout_after=arch.dropout.final if following == (f"{at}final",) else 0.0,
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
        kind: NormKind = "layer" if arch.norm == "batch" else arch.norm  # a head may be asked for one token
        yield Norm(name=f"{place}.norm", width=width, eps=arch.norm_eps, kind=kind)
    match branch.outputs:
        case None:
            return
        case "vocabulary":
            yield Output(
                name=f"{place}.output",
                inputs=width,
                outputs=arch.vocab_size,
                tied_to=_words(arch, "") if arch.tied_output else None,
                bias=branch.bias != "none",
                constant_bias=branch.bias == "buffer",
                scale=arch.scales.output,
            )
        case outputs:
            count = num_labels if outputs == "labels" else outputs
            yield Output(
                name=f"{place}.output",
                inputs=width,
                outputs=count,
                bias=branch.bias != "none",
                squeeze=branch.squeeze,
                dropout=arch.dropout.head if branch.dropout else 0.0,
            )
