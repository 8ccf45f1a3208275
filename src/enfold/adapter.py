"""The call that the field knows, over packed batches: padded ids in, padded fields out, a loss where labels are given.

It is the same for every engine; :class:`Ops` is what differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from enfold import wiring
from enfold.arch import Architecture
from enfold.config import Config
from enfold.errors import InputError
from enfold.heads import Head, HeadKind
from enfold.outputs import ModelOutput
from enfold.packing import Packed, position_ids, spans_of

__all__ = ["CallInputs", "Callee", "Ops", "call"]

Array = Any


class Ops(Protocol):
    """An engine's array operations; arrays are its own kind."""

    def integers(self, values: Any, name: str) -> Array:
        """``values`` as an integer array; InputError where they are not whole numbers."""

    def mask(self, values: Any, ids: Array) -> Array:
        """``values`` as booleans of the shape of ``ids``; None is all true."""

    def zeros_like(self, ids: Array) -> Array: ...

    def lengths(self, mask: Array) -> list[int]:
        """True values of each row."""

    def rows(self, mask: Array) -> Array:
        """(B,) 0, 1, 2 …"""

    def starts(self, lengths: list[int], like: Array) -> Array:
        """(B + 1,) cumulated lengths."""

    def scatter(self, flat: Array, mask: Array, fill: float) -> Array:
        """(T, …) to (B, S, …), ``fill`` where the mask is false."""

    def pad_attentions(self, rows: list[Array], mask: Array) -> Array:
        """(H, s, s) per sequence to (B, H, S, S), zero where the mask is false."""

    def cross_entropy(self, logits: Array, labels: Array) -> Array:
        """Mean over the labels that are not -100; logits (N, C)."""

    def squared_error(self, logits: Array, labels: Array) -> Array: ...

    def binary_cross_entropy(self, logits: Array, labels: Array) -> Array: ...

    def is_floating(self, labels: Array) -> bool: ...

    def bounds(self, values: Array) -> tuple[int, int]:
        """Smallest and largest value."""

    def lowest(self, values: Array) -> float:
        """The smallest number of its type."""


class Callee(Protocol):
    """What of a model a call needs."""

    config: Config
    arch: Architecture
    kind: HeadKind
    head: Head

    @property
    def plan(self) -> wiring.Plan: ...


@dataclass(frozen=True, kw_only=True)
class CallInputs:
    """Arguments of a model call, as given."""

    input_ids: Any = None
    attention_mask: Any = None
    token_type_ids: Any = None
    position_ids: Any = None
    inputs_embeds: Any = None
    labels: Any = None
    next_sentence_label: Any = None
    start_positions: Any = None
    end_positions: Any = None
    output_attentions: bool = False
    output_hidden_states: bool = False


class _Collecting(wiring.Trace):
    def __init__(self, attentions: bool) -> None:
        self.attentions = attentions
        self.states: list[Array] = []
        self.probabilities: list[list[Array]] = []

    def hidden(self, states: Array) -> None:
        self.states.append(states)

    def attention(self, probabilities: list[Array]) -> None:
        self.probabilities.append(probabilities)


def call(model: Callee, ops: Ops, given: CallInputs) -> ModelOutput:
    """One forward pass of padded inputs.

    Args:
        model: whose plan is run.
        ops: its engine's.
        given: ids (B, S), or (B, C, S) for multiple choice, and what goes with them.

    Returns:
        ``loss`` where labels were given, the head's fields, ``hidden_states`` and ``attentions`` where asked for.

    Raises:
        InputError: shapes, ids, positions or labels that don't fit; the message says which.
    """
    choices = 0
    if model.kind == "multiple-choice":
        given, choices = _flatten_choices(ops, given)
    batch, mask = _packed(model.arch, ops, given)
    collect = given.output_attentions or given.output_hidden_states
    trace = _Collecting(given.output_attentions) if collect else wiring.NO_TRACE
    plan = model.plan
    hidden = wiring.encode(plan, batch, trace)
    fields = wiring.run_head(plan, hidden, batch)
    outputs = _fields(model, ops, hidden, fields, mask, choices)
    result = ModelOutput()
    loss = _loss(model, ops, outputs, mask, given)
    if loss is not None:
        result["loss"] = loss
    result.update(outputs)
    if isinstance(trace, _Collecting):
        if given.output_hidden_states:
            result["hidden_states"] = tuple(ops.scatter(states, mask, 0.0) for states in trace.states)
        if given.output_attentions:
            result["attentions"] = tuple(ops.pad_attentions(rows, mask) for rows in trace.probabilities)
    return result


def _flatten_choices(ops: Ops, given: CallInputs) -> tuple[CallInputs, int]:
    """(B, C, S) to (B * C, S)."""
    ids = ops.integers(given.input_ids, "input_ids")
    if ids.ndim != 3:
        raise InputError(f"multiple choice takes input_ids of shape (batch, choices, length), got {tuple(ids.shape)}")
    flat = {}
    for name in ("input_ids", "attention_mask", "token_type_ids", "position_ids"):
        value = getattr(given, name)
        if value is not None:
            array = ops.integers(value, name)
            flat[name] = array.reshape(-1, array.shape[-1])
    return CallInputs(**{**vars(given), **flat}), ids.shape[1]


def _packed(arch: Architecture, ops: Ops, given: CallInputs) -> tuple[Packed, Array]:
    embeds = given.inputs_embeds
    if (given.input_ids is None) == (embeds is None):
        raise InputError("give either input_ids or inputs_embeds, as in model(**tokenizer(text, return_tensors='pt'))")
    if embeds is None:
        ids = ops.integers(given.input_ids, "input_ids")
    else:
        ids = ops.integers(ops.zeros_like(embeds[..., 0]), "inputs_embeds")
    if ids.ndim != 2:
        raise InputError(f"input_ids have the shape {tuple(ids.shape)}, expected (batch, length)")
    mask = ops.mask(given.attention_mask, ids)
    lengths = ops.lengths(mask)
    if not lengths or not all(lengths):
        empty = [index for index, length in enumerate(lengths) if not length]
        where = f"rows {empty} of the batch have no token (attention_mask all 0)" if empty else "the batch has no rows"
        raise InputError(f"nothing to read: {where}")
    if arch.relative is not None and _has_holes(mask):
        raise InputError(
            "attention_mask has zeros between ones, which a model of relative distances can't read: "
            "leave those tokens out of input_ids"
        )
    types = (
        ops.zeros_like(ids) if given.token_type_ids is None else ops.integers(given.token_type_ids, "token_type_ids")
    )
    if given.position_ids is not None:
        positions = ops.zeros_like(ids) + ops.integers(given.position_ids, "position_ids")
    elif embeds is not None and arch.positions and arch.positions.counted_from is not None:
        positions = position_ids(arch, ids + arch.positions.counted_from + 1)
    else:
        positions = position_ids(arch, ids)
    if types.shape != ids.shape:
        raise InputError(f"token_type_ids have the shape {tuple(types.shape)}, input_ids {tuple(ids.shape)}")
    batch = Packed(
        ids=ids[mask],
        positions=positions[mask],
        types=types[mask],
        starts=ops.starts(lengths, ids),
        spans=spans_of(lengths),
        embeds=None if embeds is None else embeds[mask],
    )
    _check_bounds(arch, ops, batch, max(lengths))
    return batch, mask


def _has_holes(mask: Array) -> bool:
    """Whether a row's ones are in more than one piece."""
    begins = mask[:, 1:] & ~mask[:, :-1]
    return bool((begins.sum(1) + mask[:, 0] > 1).any())


def _check_bounds(arch: Architecture, ops: Ops, batch: Packed, longest: int) -> None:
    rows = arch.positions.rows if arch.positions else 0
    lowest, highest = ops.bounds(batch.positions)
    if lowest < 0:
        raise InputError(f"position_ids go down to {lowest}, expected 0 or more")
    if rows and (longest > arch.max_length or highest >= rows):
        raise InputError(
            f"a sequence of {max(longest, arch.max_length + 1)} tokens (padding included) is over this model's limit "
            f"of {arch.max_length}: call the tokenizer with truncation=True, max_length={arch.max_length}, or use a "
            "pipeline, which reads long texts in windows"
        )
    for name, values, size in (
        ("input_ids", batch.ids, arch.vocab_size),
        ("token_type_ids", batch.types, arch.type_vocab_size),
    ):
        low, high = ops.bounds(values)
        if low < 0 or (size and high >= size):
            raise InputError(
                f"{name} range from {low} to {high}, and this model knows 0 to {size - 1}: "
                "is the tokenizer the model's own?"
            )


def _fields(
    model: Callee, ops: Ops, hidden: Array, fields: dict[str, Array], mask: Array, choices: int
) -> dict[str, Array]:
    padded: dict[str, Array] = {}
    if model.kind in ("base", "encoder"):
        padded["last_hidden_state"] = ops.scatter(hidden, mask, 0.0)
    for branch in model.head.branches:
        values = fields[branch.field]
        if branch.select == "first":
            padded[branch.field] = values.reshape(-1, choices) if choices else values
        elif model.kind == "question-answering":
            padded["start_logits"] = ops.scatter(values[:, 0], mask, ops.lowest(values))
            padded["end_logits"] = ops.scatter(values[:, 1], mask, ops.lowest(values))
        else:
            padded[branch.field] = ops.scatter(values, mask, 0.0)
    return padded


def _loss(model: Callee, ops: Ops, fields: dict[str, Array], mask: Array, given: CallInputs) -> Array | None:
    match model.kind:
        case "question-answering":
            if given.start_positions is None or given.end_positions is None:
                return None
            pairs = (("start_logits", given.start_positions), ("end_logits", given.end_positions))
            parts = [ops.cross_entropy(fields[name], _span_labels(ops, values, mask)) for name, values in pairs]
            return (parts[0] + parts[1]) / 2
        case "pretraining":
            names = [branch.field for branch in model.head.branches]
            sentence = given.next_sentence_label
            if given.labels is None or sentence is None:
                return None
            return _token_loss(ops, fields[names[0]], given.labels) + _row_loss(ops, fields[names[1]], sentence)
        case _ if given.labels is None:
            return None
        case "sequence-classification":
            return _classification_loss(model, ops, fields["logits"], given.labels)
        case "discriminator":
            labels = ops.integers(given.labels, "labels")
            return ops.binary_cross_entropy(fields["logits"][mask], labels[mask])
        case "masked-lm" | "token-classification":
            return _token_loss(ops, fields["logits"], given.labels)
        case "next-sentence" | "multiple-choice":
            return _row_loss(ops, fields["logits"], given.labels)
        case _:
            raise InputError(f"a {model.kind} model has no loss: it takes no labels")


def _span_labels(ops: Ops, values: Any, mask: Array) -> Array:
    """Positions outside the row, or on its padding, are ignored, as for answers that were cut off."""
    labels = ops.integers(values, "start_positions and end_positions").reshape(-1)
    if len(labels) != len(mask):
        raise InputError(f"there are {len(labels)} start or end positions for {len(mask)} rows")
    outside = (labels < 0) | (labels >= mask.shape[1])
    outside = outside | ~mask[ops.rows(mask), labels * ~outside]
    return labels * ~outside + outside * -100


def _token_loss(ops: Ops, logits: Array, labels: Any) -> Array:
    labels = ops.integers(labels, "labels")
    if tuple(labels.shape) != tuple(logits.shape[:2]):
        raise InputError(
            f"labels have the shape {tuple(labels.shape)}, expected one a token: {tuple(logits.shape[:2])}"
        )
    _check_labels(ops, labels, logits.shape[-1])
    return ops.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))


def _row_loss(ops: Ops, logits: Array, labels: Any) -> Array:
    labels = ops.integers(labels, "labels").reshape(-1)
    if len(labels) != len(logits):
        raise InputError(f"there are {len(labels)} labels for {len(logits)} rows")
    _check_labels(ops, labels, logits.shape[-1])
    return ops.cross_entropy(logits, labels)


def _check_labels(ops: Ops, labels: Array, count: int) -> None:
    low, high = ops.bounds(labels)
    if high >= count or bool(((labels < 0) & (labels != -100)).any()):
        raise InputError(
            f"labels range from {low} to {high}, and the head has {count}: expected 0 to {count - 1} "
            f"(-100 is ignored); load the model with num_labels={max(high + 1, count)} if there are more"
        )


def _classification_loss(model: Callee, ops: Ops, logits: Array, labels: Any) -> Array:
    """The kind of problem is the configuration's ``problem_type``, or inferred as the reference does."""
    count = logits.shape[-1]
    floating = ops.is_floating(labels)
    problem = model.config.problem_type or (
        "regression" if count == 1 else "multi_label_classification" if floating else "single_label_classification"
    )
    match problem:
        case "regression":
            return ops.squared_error(logits, labels)
        case "single_label_classification":
            return _row_loss(ops, logits, labels)
        case "multi_label_classification":
            return ops.binary_cross_entropy(logits, labels)
        case _:
            raise InputError(
                f"problem_type is {problem!r}, expected regression, single_label_classification or "
                "multi_label_classification"
            )
