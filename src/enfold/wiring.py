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

Letters of shapes: T packed tokens, B sequences, D hidden width, H heads. Nothing here knows an engine or a family;
arrays are whatever the leaves return. Choices are made in :func:`assemble`, not in the forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from enfold.arch import Architecture, Disentangled, RelativeBias
from enfold.heads import Head
from enfold.layout import Leaf
from enfold.packing import Packed

__all__ = ["NO_TRACE", "Plan", "Trace", "assemble", "build_tree", "encode", "run_head"]

Array = Any
"""A numpy array or a torch tensor: whatever the engine's leaves take and return."""


class Trace:
    """Collects what a caller wants to see of a forward pass; this one collects nothing."""

    attentions: bool = False

    def hidden(self, states: Array) -> None:
        """Told the hidden states (T, D) that enter each layer, and the last."""

    def attention(self, probabilities: list[Array]) -> None:
        """Told each layer's attention, (H, S, S) per sequence, where ``attentions`` is true."""


NO_TRACE = Trace()


@dataclass(frozen=True)
class Plan:
    """The leaves of one model in the order in which they run, with every choice made."""

    embeddings: Any
    extras: tuple[tuple[Any, str], ...]
    project: Callable[[Array], Array]
    enter: Callable[[Array], tuple[Array, Array]]
    relative: Callable[[Packed], Array]
    layers: tuple[tuple[Any, Any], ...]
    distances: Callable[[Any, Array], Any]
    branches: tuple[tuple[str, bool, tuple[Callable[[Array], Array], ...]], ...]


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
        enter=_enter_normed(tree.enter) if arch.norm_placement == "before" else _enter,
        relative=_relative(tree, arch),
        layers=tuple((layer.attention, layer.feed_forward) for layer in order),
        distances=_distances(arch),
        branches=tuple(
            (branch.field, branch.select == "first", _steps(getattr(tree.head, str(index))))
            for index, branch in enumerate(head.branches if head else ())
        ),
    )


def encode(plan: Plan, batch: Packed, trace: Trace = NO_TRACE) -> Array:
    """Packed ids to the last hidden states (T, D)."""
    residual, hidden = embed(plan, batch)
    relative = plan.relative(batch)
    for attention, feed_forward in plan.layers:
        trace.hidden(residual)
        residual, hidden = attention.join(residual, attend(plan, attention, hidden, batch, relative, trace))
        residual, hidden = feed_forward.join(residual, feed_forward.shrink(feed_forward.expand(hidden)))
    trace.hidden(hidden)
    return hidden


def embed(plan: Plan, batch: Packed) -> tuple[Array, Array]:
    """Words, positions and types summed in the first join."""
    words = plan.embeddings.words(batch.ids) if batch.embeds is None else batch.embeds
    added = 0
    for table, index in plan.extras:
        added = added + table(getattr(batch, index))
    _, hidden = plan.embeddings.join(words, added)
    return plan.enter(plan.project(hidden))


def attend(plan: Plan, attention: Any, hidden: Array, batch: Packed, relative: Array, trace: Trace) -> Array:
    """One attention sublayer: (T, D) to its delta (T, D)."""
    query, key, value = attention.project(hidden)
    distances = plan.distances(attention, relative)
    return attention.output(attention.attend(query, key, value, batch, distances, trace))


def run_head(plan: Plan, hidden: Array, batch: Packed, tokens: Array | None = None) -> dict[str, Array]:
    """Each branch's field: (B, …) where it selects first tokens, (T, …) otherwise.

    ``tokens`` (N,) restricts the latter to some of the batch's tokens, (N, …): a masked-LM head costs as much as
    several layers.
    """
    outputs = {}
    for name, first, steps in plan.branches:
        branch = hidden[batch.starts[:-1]] if first else hidden if tokens is None else hidden[tokens]
        for step in steps:
            branch = step(branch)
        outputs[name] = branch
    return outputs


def _same(hidden: Array) -> Array:
    return hidden


def _enter(hidden: Array) -> tuple[Array, Array]:
    return hidden, hidden


def _enter_normed(norm: Callable[[Array], Array]) -> Callable[[Array], tuple[Array, Array]]:
    return lambda hidden: (hidden, norm(hidden))


def _steps(branch: Any) -> tuple[Callable[[Array], Array], ...]:
    return tuple(getattr(branch, name) for name in ("dense", "norm", "output") if hasattr(branch, name))


def _relative(tree: Any, arch: Architecture) -> Callable[[Packed], Array]:
    """Computed once per forward pass: None, a bias (H, S, S) for the longest sequence, or vectors (rows, D)."""
    if arch.relative is None:
        return lambda batch: None
    if isinstance(arch.relative, RelativeBias):
        bias: Callable[[Packed], Array] = tree.relative.table
        return bias
    norm = getattr(tree.relative, "norm", _same)
    return lambda batch: norm(tree.relative.table(batch))


def _distances(arch: Architecture) -> Callable[[Any, Array], Any]:
    """What one layer's attention gets of it: the bias as it is, or (query, key) projections of the vectors."""
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
