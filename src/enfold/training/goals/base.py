"""What a model can be trained for: how a row becomes an example, what the model says of it, and how wrong that is.

::

    table ──encode──▶ examples ──batch──▶ batch ──model──▶ fields ──logits──▶ logits ──losses──▶ a loss for each target
                                                                        └──▶ meter: metrics, in a stream

A goal knows nothing of optimizers, schedules or files. That its logits are rows of scores, and that its losses are one
for each target, is what label smoothing, R-Drop, distillation and exact accumulation need to know.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from enfold.config import Config
from enfold.heads import HeadKind
from enfold.model import PreTrainedModel
from enfold.training.data import Table
from enfold.training.examples import Batch, Examples, packed_batch
from enfold.training.goals.texts import Reading
from enfold.training.settings import Long, Settings

__all__ = ["IGNORED", "TEXT", "Goal", "Judged", "LossAlone", "Measured", "Meter", "Reading", "class_losses"]

TEXT = ("text", "content", "sentence", "document", "文本", "内容")
"""Names of a column of texts."""

IGNORED = -100
"""A token's label that is none."""


@dataclass(frozen=True)
class Judged:
    """What an evaluation says of one example: shown among the worst ones of a report."""

    row: int
    loss: float
    label: str
    predicted: str


class Meter(Protocol):
    """Metrics of an evaluation, in constant memory."""

    def update(self, logits: Tensor, batch: Batch) -> None:
        """One batch's logits."""

    def result(self) -> dict[str, float]:
        """The metrics by name."""


class Goal(ABC):
    """One kind of training; made from the training data, which say what its labels are.

    Attributes:
        name: of the task whose models it trains.
        head: that the model needs.
        roles: what a row must hold, and the names under which that is looked for; see :func:`columns_of`.
        optional: roles that a row may lack.
        metric: what tells the best model where nobody says; ``-`` before it: less is better.
        fields: of the model's outputs, those that the goal reads; empty: the head's.
        default_long: what becomes of long texts where nobody says.
        whole: a step can't be computed in parts.
        repeats: an example reads the same whenever it comes, so that what a frozen encoder makes of it can be kept.
        rate: the learning rate where nobody says.
        strata: the role whose values have the same shares on both sides of a split.
        together: roles of which equal values stay on one side of a split.
        labels: names of the labels, where there are such.
        label_weights: (C,) how much each of them counts; None: all alike.
        smoothing: share of a label that is spread over all.
    """

    name: ClassVar[str]
    head: ClassVar[HeadKind]
    roles: ClassVar[Mapping[str, tuple[str, ...]]]
    optional: ClassVar[frozenset[str]] = frozenset()
    metric: ClassVar[str] = "-loss"
    fields: ClassVar[tuple[str, ...]] = ()
    default_long: ClassVar[Long] = "truncate"
    whole: ClassVar[bool] = False
    repeats: ClassVar[bool] = True
    rate: ClassVar[float] = 5e-5
    strata: ClassVar[str | None] = None
    together: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(self, labels: tuple[str, ...] = (), weights: Tensor | None = None, smoothing: float = 0.0) -> None:
        self.labels, self.label_weights, self.smoothing = labels, weights, smoothing

    @classmethod
    @abstractmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> Goal:
        """The goal that these training data have.

        Args:
            table: its columns are called as the roles are.
            settings: of the run.
            config: that of the model to start from, which may already know the labels.

        Raises:
            InputError: labels that can't be learnt.
        """

    def configure(self) -> dict[str, Any]:
        """What the goal changes in the model's configuration."""
        return {}

    def adopt(self, model: PreTrainedModel) -> None:  # noqa: B027 - most goals need nothing
        """Takes what the goal needs to know of the model that learns; called before anything is encoded."""

    @abstractmethod
    def encode(self, table: Table, reading: Reading) -> Examples:
        """The examples of a table.

        Raises:
            InputError: rows that are no examples; their places are named.
        """

    def ids(self, examples: Examples) -> NDArray[Any]:
        """The ids of all tokens that batches of the examples may have, special ones aside."""
        return examples.ids.flat

    def batch(
        self, reading: Reading, examples: Examples, chosen: NDArray[np.int64], draw: np.random.Generator
    ) -> Batch:
        """Some examples as the model reads them; ``draw`` is for goals that mask or cut at random."""
        packed = packed_batch(reading.source_arch, examples, chosen)
        targets = torch.from_numpy(np.asarray(examples.targets)[chosen])
        owners = torch.arange(len(chosen))
        weight = float(self.weights(targets).sum())
        return Batch(packed, targets, owners, examples.rows[chosen], chosen, weight)

    def weights(self, targets: Tensor) -> Tensor:
        """(N,) how much each target counts."""
        return torch.ones(len(targets)) if self.label_weights is None else self.label_weights[targets]

    def logits(self, fields: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """(N, C) scores, of the model's outputs."""
        return fields["logits"]

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        """(N,) the loss of each target, times its weight; cross entropy, unless the goal has another."""
        weights = None if self.label_weights is None else self.label_weights.to(logits.device)
        return class_losses(logits, batch.targets, weights, self.smoothing)

    def meter(self) -> Meter:
        """Metrics, empty."""
        return LossAlone()

    def judged(self, logits: Tensor, losses: Tensor, batch: Batch) -> list[Judged]:
        """What is said of each example, for a report; nothing where that says nothing."""
        return []

    def examine(self, model: PreTrainedModel, reading: Reading, table: Table) -> dict[str, float]:
        """Metrics of what the model answers when it is asked as users will ask it; none where the meter says all."""
        return {}


class LossAlone:
    """The meter of a goal that :meth:`Goal.examine` or the loss itself says all of."""

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Nothing is counted."""

    def result(self) -> dict[str, float]:
        """No metrics."""
        return {}


@dataclass(frozen=True)
class Measured:
    """A metric of :mod:`enfold.training.metrics` as a meter.

    Attributes:
        metric: counts.
        read: logits and a batch to what the metric takes.
        names: of its figures, those that are told; empty: all.
    """

    metric: Any
    read: Callable[[Tensor, Batch], tuple[Any, ...]]
    names: tuple[str, ...] = ()

    def update(self, logits: Tensor, batch: Batch) -> None:
        """One batch's logits."""
        given = self.read(logits.float(), batch)
        self.metric.update(*(each.cpu().numpy() if isinstance(each, Tensor) else each for each in given))

    def result(self) -> dict[str, float]:
        """The figures by name."""
        found = self.metric.result()
        return {name: found[name] for name in self.names or found}


def class_losses(logits: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
    """(N,) cross entropy of logits (N, C) and labels (N,), those that are ignored 0.

    Args:
        logits: scores.
        targets: labels.
        weights: (C,) of the labels, or None.
        smoothing: share of a label that is spread over all; see https://arxiv.org/abs/1512.00567.
    """
    return functional.cross_entropy(
        logits.float(), targets, weights, reduction="none", label_smoothing=smoothing, ignore_index=IGNORED
    )
