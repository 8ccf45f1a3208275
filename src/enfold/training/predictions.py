"""What a model says of a dataset of features: padded arrays, as metrics that users bring expect them.

Batches are of the data's order and padded by the collator; the model itself takes the padding away. A batch's loss is
its mean, and the dataset's is the mean of those, each as often as the batch has rows, or each once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.training.goals.base import IGNORED

__all__ = [
    "EvalPrediction",
    "Gathered",
    "PredictionOutput",
    "Said",
    "as_inputs",
    "gather",
    "named_metrics",
    "outputs_of",
    "speed",
]

Arrays = NDArray[Any] | tuple[Any, ...] | None


class PredictionOutput(NamedTuple):
    """What :meth:`enfold.Trainer.predict` gives: arrays padded with -100, and metrics by name."""

    predictions: Any
    label_ids: Any
    metrics: dict[str, float]


@dataclass
class EvalPrediction:
    """What ``compute_metrics`` is given; can be unpacked into predictions and labels.

    Attributes:
        predictions: an array (B, …), or a tuple of them where the model has several outputs; padded with -100.
        label_ids: likewise.
        inputs: the ids, where ``include_for_metrics`` has ``"inputs"``.
        losses: (B,) each row's batch's loss, where it has ``"loss"``.
    """

    predictions: Any
    label_ids: Any
    inputs: Any = None
    losses: Any = None

    def __iter__(self) -> Iterator[Any]:
        besides = [each for each in (self.inputs, self.losses) if each is not None]
        return iter((self.predictions, self.label_ids, *besides))

    def __getitem__(self, index: int) -> Any:
        return list(self)[index]


@dataclass
class Gathered:
    """All batches of a dataset together.

    Attributes:
        loss: the dataset's, or None where there are no labels.
        losses: (B,) each row's batch's loss; likewise.
        predictions: arrays (B, …), or None where they are not wanted.
        label_ids: likewise.
        inputs: (B, S), or None.
        count: rows.
    """

    loss: float | None
    losses: NDArray[np.float64] | None
    predictions: Arrays
    label_ids: Arrays
    inputs: Arrays
    count: int


def as_inputs(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """A collator's batch as a model's arguments on its device.

    Raises:
        InputError: the collator gave no dictionary.
    """
    if not isinstance(batch, Mapping):
        raise InputError(f"the data_collator gave a {type(batch).__name__}, expected a dictionary of tensors")
    found = {}
    for name, value in batch.items():
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(value)
        if value is not None:
            found[name] = value.to(device) if isinstance(value, Tensor) else value
    return found


@dataclass(frozen=True)
class Said:
    """What a model says of a batch.

    Attributes:
        loss: of the batch, or None where there are no labels.
        predictions: a tensor (B, …) or a tuple of such, or None where they are not wanted.
        label_ids: likewise.
    """

    loss: Tensor | None
    predictions: Any = None
    label_ids: Any = None


def outputs_of(
    model: TorchModel,
    loss_of: Callable[[dict[str, Any]], tuple[Tensor, Any]],
    labels: tuple[str, ...],
    *,
    arrays: bool,
    ignored: tuple[str, ...] = (),
) -> Callable[[dict[str, Any]], Said]:
    """What a model's call says of a batch.

    Args:
        model: is asked.
        loss_of: the loss of a model's arguments, and its outputs.
        labels: which of the arguments are labels.
        arrays: predictions and labels are wanted, and not the loss alone.
        ignored: outputs that are not wanted.
    """

    def say(given: dict[str, Any]) -> Said:
        has_labels = all(given.get(name) is not None for name in labels)
        truth = _single(tuple(given[name] for name in labels)) if has_labels else None
        loss, outputs = loss_of(given) if has_labels else (None, model(**given))
        if not arrays:
            return Said(loss)
        fields = _outputs(outputs, ("loss", "past_key_values", *ignored), skip=int(loss is not None))
        return Said(loss, _single(fields), truth)

    return say


def gather(
    model: TorchModel,
    batches: Iterable[Mapping[str, Any]],
    say: Callable[[dict[str, Any]], Said],
    *,
    inputs: bool = False,
    by: Literal["rows", "batches"] = "rows",
    preprocess: Callable[[Any, Any], Any] | None = None,
    after: Callable[[], None] = lambda: None,
) -> Gathered:
    """Runs a model over batches, without dropout or gradients.

    Args:
        model: is asked.
        batches: as a collator made them.
        say: what the model says of a batch.
        inputs: the ids are wanted, too.
        by: whether a last batch of fewer rows counts less for the dataset's loss, or as much as the others.
        preprocess: makes less of predictions, given them and the labels.
        after: called after each batch.
    """
    losses: list[NDArray[np.float64]] = []
    said: list[Any] = []
    meant: list[Any] = []
    read: list[Any] = []
    count = 0
    learns = model.training
    model.eval()
    try:
        for batch in batches:
            given = as_inputs(batch, model.device)
            rows = len(next(value for value in given.values() if isinstance(value, Tensor)))
            count += rows
            if inputs:
                read.append(_detached(given["input_ids"]))
            with model.inference():
                found = say(given)
            if found.loss is not None:
                losses.append(np.full(rows, float(found.loss.detach().mean())))
            if found.predictions is not None:
                kept = found.predictions if preprocess is None else preprocess(found.predictions, found.label_ids)
                said.append(_detached(kept))
            if found.label_ids is not None:
                meant.append(_detached(found.label_ids))
            after()
    finally:
        model.train(learns)
    every = np.concatenate(losses) if losses else None
    means = every if by == "rows" or every is None else np.array([each[0] for each in losses])
    return Gathered(
        None if means is None else float(means.mean()), every, _joined(said), _joined(meant), _joined(read), count
    )


def _outputs(outputs: Any, ignored: tuple[str, ...], skip: int) -> tuple[Any, ...]:
    if isinstance(outputs, Mapping):
        return tuple(value for name, value in outputs.items() if name not in ignored)
    return tuple(outputs[skip:]) if isinstance(outputs, tuple) else (outputs,)


def _single(values: tuple[Any, ...]) -> Any:
    return values[0] if len(values) == 1 else values


def _detached(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(_detached(each) for each in value)
    if not isinstance(value, Tensor):
        return np.asarray(value)
    tensor = value.detach().cpu()
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()


def _joined(batches: list[Any]) -> Any:
    """Arrays of all batches one after another, their second axes padded with -100; None where there are none."""
    if not batches:
        return None
    if isinstance(batches[0], tuple):
        return tuple(_joined(list(each)) for each in zip(*batches, strict=True))
    if batches[0].ndim < 2 or len({each.shape[1] for each in batches}) == 1:
        return np.concatenate([np.atleast_1d(each) for each in batches])
    longest = max(each.shape[1] for each in batches)
    whole = np.full((sum(map(len, batches)), longest, *batches[0].shape[2:]), IGNORED, batches[0].dtype)
    row = 0
    for each in batches:
        whole[row : row + len(each), : each.shape[1]] = each
        row += len(each)
    return whole


def named_metrics(found: Gathered, own: Mapping[str, Any] | None, prefix: str) -> dict[str, Any]:
    """The metrics of what was gathered, with ``prefix_`` before their names.

    Raises:
        InputError: ``compute_metrics`` gave no dictionary.
    """
    if own is not None and not isinstance(own, Mapping):
        raise InputError(f"compute_metrics gave a {type(own).__name__}, expected a dictionary: {{'accuracy': 0.9}}")
    metrics = {name: _number(value) for name, value in (own or {}).items()}
    if found.loss is not None:
        metrics[f"{prefix}_loss"] = found.loss
    return {name if name.startswith(f"{prefix}_") else f"{prefix}_{name}": value for name, value in metrics.items()}


def _number(value: Any) -> Any:
    if isinstance(value, np.generic) or (isinstance(value, Tensor | np.ndarray) and value.ndim == 0):
        return value.item()
    return value.tolist() if isinstance(value, Tensor | np.ndarray) else value


def speed(prefix: str, began: float, rows: float, steps: int) -> dict[str, float]:
    """How long something took since ``began``, in seconds, and how much of it went through in one."""
    seconds = max(1e-9, time.perf_counter() - began)
    return {
        f"{prefix}_runtime": round(seconds, 4),
        f"{prefix}_samples_per_second": round(rows / seconds, 3),
        f"{prefix}_steps_per_second": round(steps / seconds, 3),
    }
