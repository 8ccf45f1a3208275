"""What a model can be trained for: how a row becomes an example, what the model says of it, and how wrong that is.

::

    table ──encode──▶ examples ──batch──▶ batch ──model──▶ fields ──logits──▶ logits ──losses──▶ a loss for each target
                                                                        └──▶ meter: metrics, in a stream

A goal knows nothing of optimizers, schedules or files. That its logits are rows of scores, and that its losses are one
for each target, is what label smoothing, R-Drop, distillation and exact accumulation need to know.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from enfold.arch import Architecture
from enfold.config import Config
from enfold.errors import InputError, TextTooLongError
from enfold.heads import HeadKind
from enfold.model import PreTrainedModel
from enfold.tokenization import Encoded, Tokenizer
from enfold.tokenization.encoded import Strategy
from enfold.training.data import Table
from enfold.training.examples import Batch, Examples, Ragged, packed_batch
from enfold.training.settings import Long, Settings

__all__ = [
    "IGNORED",
    "Goal",
    "Judged",
    "LossAlone",
    "Meter",
    "Reading",
    "checked_text",
    "class_losses",
    "encoded_ids",
    "examples_of",
    "ragged_types",
]

logger = logging.getLogger("enfold")

IGNORED = -100
"""A token's label that is none."""


@dataclass(frozen=True)
class Reading:
    """How texts are read: the tokenizer, the model's architecture, and what becomes of long texts."""

    tokenizer: Tokenizer
    arch: Architecture
    max_length: int
    long: Long

    @property
    def source_arch(self) -> Architecture:
        """The stack that reads: the encoder, where there is one."""
        return self.arch.encoder or self.arch


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
        return torch.ones(len(targets))

    def logits(self, fields: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """(N, C) scores, of the model's outputs."""
        return fields["logits"]

    @abstractmethod
    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        """(N,) the loss of each target, times its weight."""

    def meter(self) -> Meter:
        """Metrics, empty."""
        return LossAlone()

    def judged(self, logits: Tensor, losses: Tensor, batch: Batch) -> list[Judged]:
        """What is said of each example, for a report; nothing where that says nothing."""
        return []

    def examine(self, model: PreTrainedModel, reading: Reading, table: Table) -> dict[str, float]:
        """Metrics of what the model answers when it is asked as users will ask it; none where the meter says all."""
        return {}

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels, where there are such."""
        return ()


class LossAlone:
    """The meter of a goal that :meth:`Goal.examine` or the loss itself says all of."""

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Nothing is counted."""

    def result(self) -> dict[str, float]:
        """No metrics."""
        return {}


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


def encoded_ids(
    reading: Reading,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    table: Table,
    *,
    strategy: Strategy | None = None,
) -> list[list[Encoded]]:
    """The windows of each text or pair, one where it fits, as the reading's ``long`` says.

    Raises:
        TextTooLongError: a text over the limit, where that is to be an error.
    """
    encoded = reading.tokenizer.encode_many(texts, pairs)
    limit = reading.max_length
    over = [index for index, each in enumerate(encoded) if len(each) > limit]
    windows = [[each] for each in encoded]
    if not over:
        return windows
    if reading.long == "error":
        raise TextTooLongError(
            f"{len(over)} of {len(encoded)} texts are over the limit of {limit} tokens, the first at "
            f"{table.place(over[0])} ({len(encoded[over[0]])} tokens): long='window' reads them whole, "
            "long='truncate' cuts them"
        )
    if strategy is None:
        strategy = "only_first" if pairs is None else "longest_first"
    for index in over:
        found = reading.tokenizer.windows(encoded[index], max_length=limit, strategy=strategy)
        windows[index] = found[:1] if reading.long == "truncate" else found
    if reading.long == "truncate":
        lost = sum(len(encoded[index]) - limit for index in over)
        logger.warning(
            "%s: %d of %d texts were cut at %d tokens; %d tokens are not read",
            table.name,
            len(over),
            len(encoded),
            limit,
            lost,
        )
    return windows


def examples_of(windows: Sequence[Sequence[Encoded]], targets: Sequence[Any], dtype: Any) -> Examples:
    """An example for each window, with its row's target."""
    flat = [each for row in windows for each in row]
    counts = [len(row) for row in windows]
    rows = np.repeat(np.arange(len(windows)), counts)
    return Examples(
        ids=Ragged.of([each.ids for each in flat]),
        types=ragged_types(flat),
        targets=np.repeat(np.asarray(targets, dtype), counts, axis=0),
        rows=rows,
    )


def ragged_types(encoded: Sequence[Encoded]) -> Ragged | None:
    """Token types, or None where all are 0."""
    types = Ragged.of([each.type_ids for each in encoded])
    return types if types.flat.any() else None


def checked_text(table: Table, column: str) -> list[str]:
    """A column's texts.

    Raises:
        InputError: values that are no text, or blank; their places are named.
    """
    values = table.column(column)
    wrong = [index for index, value in enumerate(values) if not isinstance(value, str) or not value.strip()]
    if wrong:
        shown = "; ".join(f"{table.place(index)}: {values[index]!r:.40}" for index in wrong[:10])
        more = f" and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise InputError(f"{len(wrong)} rows have no text in {column!r}: {shown}{more}. Mend them or leave them out")
    return list(values)
