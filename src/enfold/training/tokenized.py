"""Features that a tokenizer made, as the Trainer takes them: read once, without their padding, into one packed whole.

::

    {"input_ids": [101, …, 0, 0], "attention_mask": [1, …, 0, 0], "labels": 1}
        ──mask──▶ ids (S,), types (S,), what is learnt ──▶ Examples

What is learnt is given with each token, with each text, as a span, or as a text of its own, by the model's head.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from enfold.arch import Architecture
from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.heads import HeadKind
from enfold.training.data.problems import counted
from enfold.training.examples import Examples, Ragged
from enfold.training.goals.base import IGNORED

__all__ = [
    "FORMS",
    "Form",
    "as_array",
    "check_dataset",
    "feature_at",
    "label_columns",
    "label_of",
    "problem_of",
    "read_examples",
    "rows_of",
]

logger = logging.getLogger("enfold")

Form = Literal["labels", "numbers", "tokens", "spans", "texts", "none"]
Array = NDArray[Any]

FORMS: Mapping[HeadKind, Form] = {
    "sequence-classification": "labels",
    "next-sentence": "labels",
    "multiple-choice": "labels",
    "token-classification": "tokens",
    "discriminator": "tokens",
    "masked-lm": "tokens",
    "causal-lm": "tokens",
    "question-answering": "spans",
    "seq2seq-lm": "texts",
}
"""What a head learns from."""

_MOST = 10


def label_columns(kind: HeadKind) -> tuple[str, ...]:
    """The columns that are a head's labels."""
    return ("start_positions", "end_positions") if kind == "question-answering" else ("labels",)


def problem_of(model: TorchModel, example: Array | None) -> str:
    """What a classifier learns: the configuration's ``problem_type``, or as its width and the labels have it."""
    if model.config.problem_type:
        return str(model.config.problem_type)
    if model.num_labels == 1:
        return "regression"
    floating = example is not None and example.dtype.kind == "f"
    return "multi_label_classification" if floating else "single_label_classification"


def as_array(value: Any) -> Array:
    """A list, an array or a tensor as an array."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def check_dataset(dataset: Any, name: str) -> None:
    """Refuses what features can't be taken from.

    Raises:
        InputError: columns rather than rows, no rows, or something without ``len`` and ``[]``.
    """
    if isinstance(dataset, Mapping):
        raise InputError(
            f"{name} is a {type(dataset).__name__} of columns ({', '.join(map(str, dataset))}), expected rows: "
            "[dict(zip(columns, row)) for row in zip(*columns.values())]"
        )
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise InputError(f"{name} is a {type(dataset).__name__}, expected a list of features, or what has len and []")
    if not len(dataset):
        raise InputError(f"{name} has no rows")


def feature_at(dataset: Any, index: int) -> Mapping[str, Any]:
    """A feature of a dataset.

    Raises:
        InputError: it is no dictionary.
    """
    row = dataset[index]
    if not isinstance(row, Mapping):
        raise InputError(
            f"row {index} of the dataset is a {type(row).__name__}, expected a dictionary that a tokenizer made, "
            "as {'input_ids': […], 'labels': 1}"
        )
    return row


def label_of(row: Mapping[str, Any]) -> Any:
    """What a feature has under one of the names of labels; None where it has none."""
    return next((row[name] for name in ("labels", "label", "label_ids") if row.get(name) is not None), None)


@dataclass(frozen=True)
class _Row:
    """One feature: the ids of its sequences and their types, and which places of the padded rows those are."""

    ids: list[Array]
    types: list[Array]
    kept: list[Array]


class _Problems:
    """What is wrong with rows: the first ones, and how many more."""

    def __init__(self) -> None:
        self.first: list[str] = []
        self.count = 0

    def add(self, index: int, problem: str) -> None:
        self.count += 1
        if len(self.first) < _MOST:
            self.first.append(f"row {index}: {problem}")

    def check(self) -> None:
        if self.count:
            more = f"\n  and {self.count - len(self.first)} more" if self.count > len(self.first) else ""
            shown = "\n  ".join(self.first)
            raise InputError(f"{self.count} features can't be learnt from:\n  {shown}{more}")


def read_examples(
    dataset: Any, model: TorchModel, form: Form, *, from_ids: Callable[[Array], Array] | None = None
) -> Examples:
    """The examples of a dataset of features.

    Args:
        dataset: anything with ``len`` and ``[]``, whose items are dictionaries.
        model: whose limits and labels hold.
        form: what is learnt.
        from_ids: makes the labels of tokens (S,) from their ids, where the features have none.

    Raises:
        InputError: features that can't be learnt from; the rows are named.
    """
    problems = _Problems()
    flat: list[Array] = []
    types: list[Array] = []
    targets: list[Any] = []
    count, dropped = 0, 0
    for index in range(len(dataset)):
        feature = feature_at(dataset, index)
        read = _read(feature, model, form, from_ids, count)
        if isinstance(read, str):
            problems.add(index, read)
            continue
        row, target = read
        count = len(row.ids)
        flat += row.ids
        types += row.types
        targets.append(target)
        dropped += form == "tokens" and from_ids is None and _labels_on_padding(feature, row)
    problems.check()
    if not flat:
        raise InputError("the dataset is empty: there is nothing to learn from")
    if dropped:
        logger.warning("%d features have labels on their padding: they are left out, with the padding", dropped)
    return _examples(flat, types, targets, form, count or 1, model)


def _read(
    feature: Mapping[str, Any], model: TorchModel, form: Form, from_ids: Callable[[Array], Array] | None, count: int
) -> tuple[_Row, Any] | str:
    """A feature's sequences and what is learnt from it, or what is wrong with it."""
    row = _sequences(feature, choices=model.kind == "multiple-choice")
    if isinstance(row, str):
        return row
    if problem := _limits(row, model.arch.encoder or model.arch):
        return problem
    if count and len(row.ids) != count:
        return f"{counted(len(row.ids), 'choice')}, and the first has {count}"
    target = _target(feature, row, model, form) if from_ids is None else from_ids(row.ids[0])
    return target if isinstance(target, str) else (row, target)


def _examples(
    flat: list[Array], types: list[Array], targets: list[Any], form: Form, count: int, model: TorchModel
) -> Examples:
    kinds = Ragged.of(types, np.int32)
    learnt: Array | Ragged
    if form in ("tokens", "texts"):
        learnt = Ragged.of(targets, np.int64)
        if model.kind == "causal-lm" and form == "tokens":
            learnt = _shifted(learnt)
        if not (learnt.flat != IGNORED).any():
            raise InputError(f"no token of the {len(targets)} features has a label: all are {IGNORED}")
    else:
        learnt = np.stack(targets) if targets else np.zeros(0)
    return Examples(
        ids=Ragged.of(flat, np.int32),
        types=kinds if kinds.flat.any() else None,
        targets=learnt,
        rows=np.arange(len(flat) // count),
        count=count,
    )


def _shifted(labels: Ragged) -> Ragged:
    """Each token's successor's label: that is what a causal model says there."""
    moved = np.append(labels.flat[1:], IGNORED)
    moved[labels.starts[1:] - 1] = IGNORED
    return Ragged(moved, labels.starts)


def _sequences(feature: Mapping[str, Any], *, choices: bool) -> _Row | str:
    """The sequences of a feature without their padding, or what is wrong with it."""
    if feature.get("input_ids") is None:
        has = ", ".join(map(str, feature)) or "nothing"
        return (
            f"there are no input_ids, only {has}: tokenize the texts before, tokenizer(text, truncation=True), "
            "or hand the texts to enfold.fit"
        )
    rows = list(feature["input_ids"]) if choices else [feature["input_ids"]]
    ids = [as_array(each) for each in rows]
    for each in ids:
        if each.ndim != 1:
            return f"input_ids have the shape {each.shape}, expected one row of ids: tokenize without return_tensors"
        if each.dtype.kind not in "iu":
            return f"input_ids are {each.dtype}, expected whole numbers"
    masks, types = _beside(feature, "attention_mask", ids, 1), _beside(feature, "token_type_ids", ids, 0)
    if isinstance(masks, str) or isinstance(types, str):
        return masks if isinstance(masks, str) else str(types)
    kept = [np.flatnonzero(mask) for mask in masks]
    if not all(len(each) for each in kept):
        return "there are no tokens but padding"
    pairs = list(zip(ids, types, kept, strict=True))
    return _Row([each[at] for each, _, at in pairs], [each[at] for _, each, at in pairs], kept)


def _beside(feature: Mapping[str, Any], name: str, ids: list[Array], default: int) -> list[Array] | str:
    """What stands beside each sequence's ids, or what is wrong with it."""
    given = feature.get(name)
    if given is None:
        return [np.full(len(each), default) for each in ids]
    found = [as_array(each) for each in given] if len(ids) > 1 or _is_nested(given) else [as_array(given)]
    if [each.shape for each in found] != [each.shape for each in ids]:
        return f"{name} has {_sizes(found)} values for {_sizes(ids)} ids"
    return found


def _is_nested(value: Any) -> bool:
    first = value[0] if len(value) else None
    return getattr(first, "ndim", 0) > 0 or isinstance(first, list | tuple)


def _sizes(arrays: list[Array]) -> str:
    return " + ".join(str(each.size) for each in arrays)


def _limits(row: _Row, arch: Architecture) -> str | None:
    longest, vocabulary, kinds = arch.max_length, arch.vocab_size, arch.type_vocab_size
    for ids, types in zip(row.ids, row.types, strict=True):
        if len(ids) > longest:
            return (
                f"{len(ids)} tokens, and the model reads {longest}: tokenizer(…, truncation=True, max_length={longest})"
            )
        if ids.min() < 0 or ids.max() >= vocabulary:
            wrong = ids[(ids < 0) | (ids >= vocabulary)][0]
            return f"the id {wrong}, and the model has 0 to {vocabulary - 1}: is it this model's tokenizer?"
        if kinds and types.max() >= kinds:
            return f"the token type {types.max()}, and the model has 0 to {kinds - 1}: is it this model's tokenizer?"
    return None


def _target(feature: Mapping[str, Any], row: _Row, model: TorchModel, form: Form) -> Any:
    """What is learnt from a feature, or, as a text, what is wrong with it."""
    if form == "none":
        return np.int64(0)
    if form == "spans":
        return _span(feature, row)
    given = label_of(feature)
    if given is None:
        return f"there are no labels, only {', '.join(map(str, feature))}"
    try:
        labels = as_array(given)
    except ValueError:
        return f"labels are {given!r:.60}, expected numbers"
    if labels.dtype.kind not in "iuf" + "b":
        return f"labels are {given!r:.60}, expected numbers: name them 0, 1, … in the order of the model's labels"
    if form == "tokens":
        return _token_labels(labels, row, model)
    if form == "texts":
        if labels.ndim != 1 or not (labels != IGNORED).any():
            return "labels hold no token"
        real = np.flatnonzero(labels != IGNORED)
        return _checked(labels[real[0] : real[-1] + 1], model.arch.vocab_size)
    return _row_label(labels, model)


def _row_label(labels: Array, model: TorchModel) -> Any:
    problem = problem_of(model, labels) if model.kind == "sequence-classification" else "single_label_classification"
    if problem == "single_label_classification":
        if labels.size != 1:
            return (
                f"labels are {labels.size} numbers, expected one. For several labels a text load the model with "
                "problem_type='multi_label_classification'"
            )
        many = None if model.kind == "multiple-choice" else 2 if model.kind == "next-sentence" else model.num_labels
        return _checked(labels.reshape(()), many)
    if labels.size != model.num_labels:
        return f"labels are {labels.size} numbers, and the model has {model.num_labels}"
    return labels.reshape(-1).astype(np.float32)


def _token_labels(labels: Array, row: _Row, model: TorchModel) -> Any:
    if labels.ndim != 1 or len(labels) <= int(row.kept[0][-1]):
        return f"labels have the shape {labels.shape}, expected one for each of {int(row.kept[0][-1]) + 1} tokens"
    by_kind = {"token-classification": model.num_labels, "discriminator": 2}
    return _checked(labels[row.kept[0]], by_kind.get(model.kind, model.arch.vocab_size))


def _checked(labels: Array, count: int | None) -> Any:
    """Whole numbers from 0 to below ``count``, or what is wrong with them."""
    whole = labels.astype(np.int64)
    if labels.dtype.kind == "f" and (whole != labels).any():
        return f"the label {labels.reshape(-1)[0]}, expected whole numbers"
    wrong = (whole != IGNORED) & ((whole < 0) | (whole >= (count or 2**31)))
    if wrong.any():
        return f"the label {whole[wrong].reshape(-1)[0]}, and the model has 0 to {(count or 2**31) - 1}"
    return whole


def _span(feature: Mapping[str, Any], row: _Row) -> Any:
    """(2,) the first and last token of an answer among those that are kept; ignored where it is none of them."""
    places = []
    for name in ("start_positions", "end_positions"):
        if feature.get(name) is None:
            return f"there are no {name}, only {', '.join(map(str, feature))}"
        place = as_array(feature[name])
        if place.size != 1 or place.dtype.kind not in "iu":
            return f"{name} is {feature[name]!r:.60}, expected a whole number"
        found = np.flatnonzero(row.kept[0] == int(place.reshape(())))
        places.append(int(found[0]) if len(found) else IGNORED)
    return np.array(places, np.int64)


def _labels_on_padding(feature: Mapping[str, Any], row: _Row) -> bool:
    """Whether a label stands where the mask says that there is no token."""
    labels = as_array(label_of(feature))
    if len(labels) == len(row.kept[0]):
        return False
    rest = np.delete(labels, row.kept[0])
    return bool((rest != IGNORED).any())


def rows_of(dataset: Any, batch_size: int) -> Iterator[list[Mapping[str, Any]]]:
    """The features of a dataset in its order, so many at a time."""
    for begin in range(0, len(dataset), batch_size):
        yield [feature_at(dataset, index) for index in range(begin, min(len(dataset), begin + batch_size))]
