"""Checks of a batch before any of it is counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.errors import EnfoldError, InputError, NumericalError
from enfold.training.data.problems import counted

__all__ = [
    "Floats",
    "check_labels",
    "check_lengths",
    "distribution",
    "floats",
    "label_ids",
    "numbers",
    "shares",
    "truths",
]

Floats = NDArray[np.float64]
_SUM_TOLERANCE = 0.01
"""How far from 1 a row of probabilities may add up: bfloat16 has 8 bits."""


def floats(name: str, values: Any, shape: str) -> Floats:
    """Predictions as float64, all of them finite.

    Args:
        name: what they are, for messages.
        values: an array or lists.
        shape: as ``"(B, C)"``; the number of letters is the number of dimensions.

    Raises:
        InputError: not numbers, or of another shape.
        NumericalError: NaN or infinite.
    """
    return _finite(name, numbers(name, values, shape), NumericalError, "a model computed them")


def shares(name: str, values: Any, shape: str) -> Floats:
    """Probabilities, as :func:`floats` and between 0 and 1.

    Raises:
        InputError: not numbers, of another shape, or outside of 0 to 1.
        NumericalError: NaN or infinite.
    """
    array = floats(name, values, shape)
    if array.size and (array.min() < 0 or array.max() > 1 + _SUM_TOLERANCE):
        raise InputError(
            f"{name} lie between {array.min():.4g} and {array.max():.4g}, expected 0 to 1: "
            "these look like logits, so apply softmax or sigmoid first"
        )
    return array


def distribution(name: str, values: Any, shape: str) -> Floats:
    """Rows of probabilities, as :func:`shares`, each of which adds up to 1."""
    array = shares(name, values, shape)
    totals = array.sum(axis=-1)
    wrong = np.flatnonzero(np.abs(totals - 1) > _SUM_TOLERANCE)
    if wrong.size:
        raise InputError(
            f"{wrong.size} of {len(array)} rows of {name} don't add up to 1, the first is row {wrong[0]} with "
            f"{totals[wrong[0]]:.4g}: apply softmax, or use MultiLabel where several labels may hold"
        )
    return array


def truths(name: str, values: Any, shape: str) -> Floats:
    """What is true as float64, all of it finite.

    Raises:
        InputError: not numbers, of another shape, NaN or infinite.
    """
    return _finite(name, numbers(name, values, shape), InputError, "mend or drop these rows of the data")


def numbers(name: str, values: Any, shape: str) -> Floats:
    """Numbers as float64, NaN included.

    Raises:
        InputError: not numbers, or of another shape.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"{name} are no array of shape {shape}: {error}") from error
    dimensions = len(shape.strip("()").rstrip(",").split(","))
    if array.size == 0 and array.ndim < dimensions:  # an empty list says nothing of its shape
        array = np.zeros((0,) * dimensions)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} are {array.dtype}, expected numbers of shape {shape}")
    if array.ndim != dimensions:
        raise InputError(f"{name} have shape {array.shape}, expected {shape}")
    result: Floats = array.astype(np.float64, copy=False)
    return result


def label_ids(values: Any, count: int, labels: Sequence[str]) -> NDArray[np.int64]:
    """True labels (B,) as numbers of labels.

    Raises:
        InputError: not whole numbers, not as many as predictions, or no labels of these numbers.
    """
    array = np.asarray(values)
    if array.size == 0:
        array = np.zeros(0, np.int64)
    if array.dtype.kind not in "iub" or array.ndim != 1:
        raise InputError(
            f"the true labels are {array.dtype} of shape {array.shape}, expected label numbers of shape (B,): "
            "a label is given by its place in labels, from 0"
        )
    check_lengths("predictions", count, "true labels", len(array))
    wrong = np.flatnonzero((array < 0) | (array >= len(labels)))
    if wrong.size:
        raise InputError(
            f"{wrong.size} of {len(array)} true labels are no label numbers, the first is {array[wrong[0]]} in row "
            f"{wrong[0]}: expected 0 to {len(labels) - 1} for {len(labels)} labels"
        )
    return array.astype(np.int64, copy=False)


def check_lengths(name: str, count: int, other: str, others: int) -> None:
    """Both sides of a batch have to be equally long."""
    if count != others:
        raise InputError(f"got {count} {name} and {others} {other}, expected as many of both")


def check_labels(labels: Sequence[str], at_least: int) -> tuple[str, ...]:
    """The names of labels, each of them once.

    Raises:
        InputError: no list of texts, too few, or one twice.
    """
    if not isinstance(labels, str):
        labels = list(labels)
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise InputError(f"labels is {labels!r}, expected a list of names in the order of the model's outputs")
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if len(labels) < at_least or twice:
        raise InputError(
            f"got {counted(len(labels), 'label')}, expected {at_least} or more, each of them once"
            + (f"; {', '.join(map(repr, twice))} occur more often" if twice else "")
        )
    return tuple(labels)


def _finite(name: str, array: Floats, error: type[EnfoldError], advice: str) -> Floats:
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        place = tuple(int(index) for index in wrong[0])
        raise error(
            f"{len(wrong)} of {array.size} {name} are not finite numbers, "
            f"the first is {array[place]} at {place}: {advice}"
        )
    return array
