"""The forward pass of every model, written once, over leaves that an engine supplies.

The residual stream meets each sublayer's result in a **join**, ``residual, hidden = join(residual, delta)``::

    post-norm:  residual = hidden = norm(residual + delta)
    pre-norm:   residual = residual + delta;  hidden = norm(residual)   (the norm of the sublayer that follows)

so that both are the same chain of sublayers and joins::

    words + positions + types ─▶ join ─▶ project ─▶ enter ─┐
    ┌──────────────────────────────────────────────────────┘
    │  residual ───────────┬──────────────┐  residual ─────┬───────────────┐
    └▶ hidden ─▶ attention ┴▶ delta ─▶ join ─▶ hidden ─▶ feed-forward ─▶ join ─▶ … layers ─▶ hidden states
                                                                                     └─▶ head branches

A decoder of an encoder has one sublayer more, ``cross``: the same attention, its keys and values made of what the
encoder gave. A parallel block is one step of two sublayers: its join adds both deltas and gives both norms of the next.

Letters of shapes: T packed tokens, B sequences, D hidden width, H heads. Nothing here knows an engine or a family;
arrays are whatever the leaves return. Choices are made in :func:`assemble`, not in the forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from enfold.arch import Architecture, Disentangled, RelativeBias, Rotary
from enfold.cache import Cache, Turn
from enfold.heads import Head
from enfold.leaves import Leaf
from enfold.packing import Packed

__all__ = [
    "NO_TRACE",
    "Flow",
    "Memory",
    "Plan",
    "Trace",
    "assemble",
    "build_tree",
    "encode",
    "narrowed",
    "remember",
    "run_head",
    "run_layer",
    "run_layers",
]

Array = Any
"""A numpy array or a torch tensor: whatever the engine's leaves take and return."""


class Trace:
    """Collects what a caller wants to see of a forward pass; this one collects nothing."""

    attentions: bool = False

    def hidden(self, states: Array) -> None:
        """Told the hidden states (T, D) that enter each layer, and the last."""

    def attention(self, probabilities: list[Array] | None, *, cross: bool) -> None:
        """Told each sublayer's attention, (H, S, S') per sequence, where ``attentions`` is true; otherwise None."""


NO_TRACE = Trace()


@dataclass(frozen=True)
class Memory:
    """What a decoder attends to: hidden states of the encoder (T', D), packed, and where each sequence is."""

    hidden: Array
    spans: list[tuple[int, int]]


@dataclass(frozen=True)
class Flow:
    """What every sublayer of one forward pass may need."""

    batch: Packed
    relative: Any
    memory: Memory | None
    turn: Turn | None
    trace: Trace


Sublayer = Callable[[Array, Flow], Array]
"""Hidden states (T, D) to what is added to the residual stream (T, D), or both of a parallel block's."""

Step = tuple[tuple[Sublayer, ...], Any]
"""Sublayers that read the same residual stream, and the join that follows them."""


@dataclass(frozen=True)
class Plan:
    """The leaves of one model in the order in which they run, with every choice made."""

    embeddings: Any
    extras: tuple[tuple[Any, str], ...]
    project: Callable[[Array], Array]
    enter: Callable[[Array], tuple[Array, Any]]
    relative: Callable[[Packed], Array]
    layers: tuple[tuple[Step, ...], ...]
    memories: tuple[Any, ...]
    branches: tuple[tuple[str, str, tuple[Callable[[Array], Array], ...]], ...]
    encoder: Plan | None
    at_once: Callable[[Array, Array, Flow], Array | None] | None = None
    """An engine's way to run all layers in one step; it gives None where it has none for this pass."""


def narrowed(plan: Plan, narrow: Callable[[Any], Callable[[Array], Array]]) -> Plan:
    """The plan with a head that computes some of its last layers' outputs alone: ``narrow`` makes such layers."""
    branches = tuple((field, select, (*steps[:-1], narrow(steps[-1]))) for field, select, steps in plan.branches)
    return replace(plan, branches=branches)


def build_tree(leaves: Sequence[Leaf], node: Callable[[], Any], make: Callable[[list[Leaf]], Any]) -> Any:
    """A node per level of the leaves' places: ``tree.layers.0.attention.project``.

    Args:
        leaves: from :func:`enfold.layout.layout`.
        node: makes an empty node of the engine's kind.
        make: makes the engine's leaf from the leaves that share one place.
    """
    places: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        places.setdefault(leaf.place, []).append(leaf)
    root = node()
    for place, sharing in places.items():
        *parents, last = place.split(".")
        at = root
        for name in parents:
            if not hasattr(at, name):
                setattr(at, name, node())
            at = getattr(at, name)
        setattr(at, last, make(sharing))
    return root


def assemble(tree: Any, arch: Architecture, head: Head | None) -> Plan:
    """Makes the choices that the forward pass would otherwise make each time.

    Args:
        tree: a node per level of the leaves' places, as an engine built it from the layout.
        arch: what the tree was built for.
        head: its head, or None.
    """
    extras = (("positions", arch.positions), ("types", arch.type_vocab_size))
    order = [getattr(tree.layers, str(index)) for index in arch.layer_order]
    return Plan(
        embeddings=tree.embeddings,
        extras=tuple((getattr(tree.embeddings, name), name) for name, present in extras if present),
        project=getattr(tree.embeddings, "project", _same),
        enter=_enter if arch.norm_placement == "after" else _enter_normed(tree.enter),
        relative=_relative(tree, arch),
        layers=tuple(_steps_of(layer, depth, arch) for depth, layer in enumerate(order)),
        memories=tuple(layer.cross.memory for layer in order) if arch.encoder else (),
        branches=tuple(
            (branch.field, branch.select, _leaves_of(getattr(tree.head, str(index))))
            for index, branch in enumerate(head.branches if head else ())
        ),
        encoder=assemble(tree.encoder, arch.encoder, None) if arch.encoder else None,
    )


def encode(
    plan: Plan, batch: Packed, trace: Trace = NO_TRACE, *, memory: Memory | None = None, turn: Turn | None = None
) -> Array:
    """Packed ids to the last hidden states (T, D).

    Args:
        plan: of the stack that runs.
        batch: its tokens; with a cache those that come next.
        trace: is shown what passes.
        memory: what a decoder attends to, unless the cache remembers it.
        turn: this pass's dealings with the cache that holds keys and values of the tokens before.
    """
    flow = Flow(batch, plan.relative(batch), memory, turn, trace)
    residual, hidden = _embed(plan, batch)
    if plan.at_once is not None and trace is NO_TRACE:
        last = plan.at_once(residual, hidden, flow)
        if last is not None:
            return last
    return run_layers(plan.layers, residual, hidden, flow)


def run_layers(layers: tuple[tuple[Step, ...], ...], residual: Array, hidden: Array, flow: Flow) -> Array:
    """The residual stream and what enters the first layer, (T, D) each, to the last hidden states."""
    for layer in layers:
        flow.trace.hidden(residual)
        residual, hidden = run_layer(layer, residual, hidden, flow)
    flow.trace.hidden(hidden)
    return hidden


def run_layer(layer: tuple[Step, ...], residual: Array, hidden: Array, flow: Flow) -> tuple[Array, Array]:
    """One layer: what enters it, (T, D) each, to what enters the next."""
    for sublayers, join in layer:
        if len(sublayers) == 1:
            residual, hidden = join(residual, sublayers[0](hidden, flow))
        else:
            deltas = [run(normed, flow) for run, normed in zip(sublayers, hidden, strict=True)]
            residual, hidden = join(residual, *deltas)
    return residual, hidden


def remember(plan: Plan, memory: Memory, cache: Cache) -> None:
    """Makes each layer's keys and values of an encoder's states, once, and keeps them in the cache."""
    cache.remember([project(memory.hidden) for project in plan.memories], memory.spans)


def run_head(plan: Plan, hidden: Array, batch: Packed, tokens: Array | None = None) -> dict[str, Array]:
    """Each branch's field: (B, …) where it selects one token of each sequence, (T, …) otherwise.

    ``tokens`` (N,) restricts the latter to some of the batch's tokens, (N, …): a masked-LM head costs as much as
    several layers.
    """
    outputs = {}
    for name, select, steps in plan.branches:
        if select == "first":
            branch = hidden[batch.starts[:-1]]
        elif select == "last":
            branch = hidden[batch.starts[1:] - 1 if batch.last is None else batch.last]
        else:
            branch = hidden if tokens is None else hidden[tokens]
        for step in steps:
            branch = step(branch)
        outputs[name] = branch
    return outputs


def _embed(plan: Plan, batch: Packed) -> tuple[Array, Array]:
    """Words, positions and types summed in the first join."""
    words = plan.embeddings.words(batch.ids) if batch.embeds is None else batch.embeds
    added = 0
    for table, index in plan.extras:
        added = added + table(getattr(batch, index))
    _, hidden = plan.embeddings.join(words, added)
    return plan.enter(plan.project(hidden))


def _steps_of(layer: Any, depth: int, arch: Architecture) -> tuple[Step, ...]:
    """The sublayers of one layer in their order, each with its join."""
    attention, feed_forward = _attention(layer.attention, depth, arch), _feed_forward(layer.feed_forward)
    if arch.norm_placement == "parallel":
        return (((attention, feed_forward), layer.join),)
    steps: list[Step] = [((attention,), layer.attention.join)]
    if arch.encoder:
        steps.append(((_cross_attention(layer.cross, depth),), layer.cross.join))
    return (*steps, ((feed_forward,), layer.feed_forward.join))


def _attention(leaf: Any, depth: int, arch: Architecture) -> Sublayer:
    distances = _distances(arch)
    query_norm, key_norm = getattr(leaf, "query_norm", _same), getattr(leaf, "key_norm", _same)

    def run(hidden: Array, flow: Flow) -> Array:
        query, key, value = leaf.project(hidden)
        spans, near = flow.batch.spans, distances(leaf, flow.relative)
        kept = None if flow.turn is None else flow.turn.own(depth)
        seen: list[Array] | None = [] if flow.trace.attentions else None
        mixed = leaf.attend(query_norm(query), key_norm(key), value, spans, spans, kept, near, seen)
        flow.trace.attention(seen, cross=False)
        return leaf.output(mixed)

    return run


def _cross_attention(leaf: Any, depth: int) -> Sublayer:
    def run(hidden: Array, flow: Flow) -> Array:
        query, spans = leaf.query(hidden), flow.batch.spans
        seen: list[Array] | None = [] if flow.trace.attentions else None
        if flow.memory is None:
            assert flow.turn is not None
            mixed = leaf.attend(query, None, None, spans, spans, flow.turn.memory(depth), None, seen)
        else:
            key, value = leaf.memory(flow.memory.hidden)
            mixed = leaf.attend(query, key, value, spans, flow.memory.spans, None, None, seen)
        flow.trace.attention(seen, cross=True)
        return leaf.output(mixed)

    return run


def _feed_forward(leaf: Any) -> Sublayer:
    return lambda hidden, flow: leaf.shrink(leaf.expand(hidden))


def _same(hidden: Array) -> Array:
    return hidden


def _enter(hidden: Array) -> tuple[Array, Array]:
    return hidden, hidden


def _enter_normed(norm: Callable[[Array], Array]) -> Callable[[Array], tuple[Array, Array]]:
    return lambda hidden: (hidden, norm(hidden))


def _leaves_of(branch: Any) -> tuple[Callable[[Array], Array], ...]:
    return tuple(getattr(branch, name) for name in ("dense", "norm", "output") if hasattr(branch, name))


def _relative(tree: Any, arch: Architecture) -> Callable[[Packed], Array]:
    """Computed once per forward pass: None, a bias, vectors of distances (rows, D), or angles of positions."""
    match arch.relative:
        case None:
            return lambda batch: None
        case RelativeBias():
            bias: Callable[[Packed], Array] = tree.relative.table
            return bias
        case Rotary():
            angles: Callable[[Packed], Array] = tree.relative.angles
            return angles
    norm = getattr(tree.relative, "norm", _same)
    return lambda batch: norm(tree.relative.table(batch))


def _distances(arch: Architecture) -> Callable[[Any, Array], Any]:
    """What one layer's attention gets of it: the same for all, or (query, key) projections of the vectors."""
    if not isinstance(arch.relative, Disentangled):
        return lambda attention, relative: relative
    wanted = (arch.relative.position_to_content, arch.relative.content_to_position)
    if arch.relative.shared:

        def project(attention: Any, relative: Array) -> Any:
            query, key, _ = attention.project(relative)
            return query if wanted[0] else None, key if wanted[1] else None
    else:

        def project(attention: Any, relative: Array) -> Any:
            query = attention.position_query(relative) if wanted[0] else None
            return query, attention.position_key(relative) if wanted[1] else None

    return project
