"""What a head is trained for, from padded outputs and labels."""

from __future__ import annotations

from typing import Any

from enfold.adapter.inputs import CallInputs
from enfold.adapter.ops import Array, Callee, Ops
from enfold.errors import InputError

__all__ = ["loss_of"]


def loss_of(model: Callee, ops: Ops, fields: dict[str, Array], mask: Array, given: CallInputs) -> Array | None:
    """The loss of a call, or None where no labels were given.

    Args:
        model: whose head's meaning decides.
        ops: its engine's.
        fields: what the head gave, padded.
        mask: (B, S) of the tokens that the head saw.
        given: the call's arguments.

    Raises:
        InputError: labels that don't fit the outputs, or a head that has no loss.
    """
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
        case "seq2seq-lm":
            return _token_loss(ops, fields["logits"], given.labels)
        case "causal-lm":
            labels = ops.integers(given.labels, "labels")
            return _token_loss(ops, fields["logits"][:, :-1], labels[:, 1:])
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
