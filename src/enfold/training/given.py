"""Goals whose examples are features that were tokenized already, with their labels: what the Trainer learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from enfold.config import Config
from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.heads import HeadKind
from enfold.packing import Packed, pack
from enfold.training.data import Table
from enfold.training.examples import Batch, Examples, Ragged, as_tensors, packed_batch
from enfold.training.goals.base import IGNORED, Goal, Reading, class_losses
from enfold.training.objective import Objective
from enfold.training.settings import Settings
from enfold.training.tokenized import as_array, problem_of

__all__ = ["Called", "CalledLoss", "GivenLabels", "GivenSpans", "GivenTexts", "GivenTokens", "Masked", "goal_of"]

Integers = NDArray[np.int64]

_LEAST = 1e-9
"""The weight of a batch without any label: its loss is 0, and so is its share of the step's."""
_HIDDEN = -1e9
"""A score that a softmax makes 0 of."""


class _Given(Goal):
    """A goal without tables: its examples are made by :func:`enfold.training.tokenized.read_examples`."""

    name = "features"
    head: ClassVar[HeadKind] = "encoder"
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    @classmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> Goal:
        raise InputError("the Trainer takes features that a tokenizer made; tables of texts are for enfold.fit")

    def encode(self, table: Table, reading: Reading) -> Examples:
        raise InputError("the Trainer takes features that a tokenizer made; tables of texts are for enfold.fit")


class GivenLabels(_Given):
    """A label, several or numbers for each text, or for several choices together.

    Args:
        problem: single_label_classification, multi_label_classification or regression.
        choices: texts of an example, where one of them is to be chosen; 1 otherwise.
        smoothing: see :class:`enfold.training.settings.Settings`.
    """

    def __init__(self, problem: str, choices: int = 1, smoothing: float = 0.0) -> None:
        super().__init__(smoothing=smoothing)
        self.problem, self.choices = problem, choices

    def logits(self, fields: Mapping[str, Tensor], batch: Batch) -> Tensor:
        logits = fields["logits"]
        return logits.reshape(-1, self.choices) if self.choices > 1 else logits

    def weights(self, targets: Tensor) -> Tensor:
        return (targets != IGNORED).float() if targets.ndim == 1 else torch.ones(len(targets))

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        logits, targets = logits.float(), batch.targets
        if self.problem == "single_label_classification":
            return class_losses(logits, targets, None, self.smoothing)
        if self.problem == "regression":
            return (logits - targets.view_as(logits)).square().mean(-1)
        smoothed = targets * (1 - self.smoothing) + self.smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none").mean(-1)


class GivenTokens(_Given):
    """A label for each token, or for some: the head is computed where there is one.

    Args:
        binary: labels say yes or no, as ELECTRA's discriminator learns.
        smoothing: see :class:`enfold.training.settings.Settings`.
    """

    def __init__(self, *, binary: bool = False, smoothing: float = 0.0) -> None:
        super().__init__(smoothing=smoothing)
        self.binary = binary

    def batch(self, reading: Reading, examples: Examples, chosen: Integers, draw: np.random.Generator) -> Batch:
        assert isinstance(examples.targets, Ragged)
        return _of_tokens(packed_batch(reading.arch, examples, chosen), examples.targets.take(chosen), examples, chosen)

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        if not self.binary:
            return class_losses(logits, batch.targets, None, self.smoothing)
        scores = logits.float().reshape(-1)
        return functional.binary_cross_entropy_with_logits(scores, batch.targets.to(scores), reduction="none")


def _of_tokens(
    packed: Packed, labels: Sequence[NDArray[Any]], examples: Examples, chosen: Integers, source: Packed | None = None
) -> Batch:
    """A batch that learns those tokens that have a label."""
    flat = np.concatenate(labels).astype(np.int64)
    wanted = np.flatnonzero(flat != IGNORED)
    owners = np.repeat(np.arange(len(chosen)), [len(each) for each in labels])
    return Batch(
        packed=packed,
        targets=torch.from_numpy(flat[wanted]),
        owners=torch.from_numpy(owners[wanted]),
        rows=examples.rows[chosen],
        chosen=chosen,
        weight=max(_LEAST, float(len(wanted))),
        tokens=torch.from_numpy(wanted),
        source=source,
    )


class Masked(GivenTokens):
    """Tokens hidden from a text, chosen anew each time, to be found: what a masking collator asks for.

    The examples' targets say which tokens may be hidden (1) and which may not (0). Of those that are hidden 80 %
    become the mask, 10 % another token, and 10 % stay.

    Args:
        probability: of each token to be hidden.
        mask: the id of the mask.
        vocabulary: ids that a token may become.
        smoothing: see :class:`enfold.training.settings.Settings`.
    """

    repeats: ClassVar[bool] = False

    def __init__(self, probability: float, mask: int, vocabulary: int, smoothing: float = 0.0) -> None:
        super().__init__(smoothing=smoothing)
        self.probability, self.mask, self.vocabulary = probability, mask, vocabulary

    def batch(self, reading: Reading, examples: Examples, chosen: Integers, draw: np.random.Generator) -> Batch:
        assert isinstance(examples.targets, Ragged)
        masked, labels = [], []
        for ids, may in zip(examples.ids.take(chosen), examples.targets.take(chosen), strict=True):
            hidden = (may > 0) & (draw.random(len(ids)) < self.probability)
            chance = draw.random(len(ids))
            others = draw.integers(0, self.vocabulary, len(ids), dtype=np.int32)
            changed = np.where(hidden & (chance < 0.8), np.int32(self.mask), ids)
            masked.append(np.where(hidden & (chance >= 0.9), others, changed))
            labels.append(np.where(hidden, ids, IGNORED))
        types = None if examples.types is None else examples.types.take(chosen)
        return _of_tokens(as_tensors(pack(reading.arch, masked, types)), labels, examples, chosen)


class GivenSpans(_Given):
    """The first and the last token of an answer; one that is cut off is not learnt."""

    def batch(self, reading: Reading, examples: Examples, chosen: Integers, draw: np.random.Generator) -> Batch:
        spans = np.asarray(examples.targets)[chosen].T.reshape(-1).copy()
        return Batch(
            packed=packed_batch(reading.arch, examples, chosen),
            targets=torch.from_numpy(spans),
            owners=torch.arange(len(chosen)).repeat(2),
            rows=examples.rows[chosen],
            chosen=chosen,
            weight=max(_LEAST, float((spans != IGNORED).sum())),
        )

    def logits(self, fields: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """(2 B, S): each text's tokens as its first ones, then as its last ones."""
        flat, spans = fields["logits"].float(), batch.packed.spans
        padded = flat.new_full((2, len(spans), max(end - begin for begin, end in spans)), _HIDDEN)
        for index, (begin, end) in enumerate(spans):
            padded[:, index, : end - begin] = flat[begin:end].T
        return padded.flatten(0, 1)


class GivenTexts(_Given):
    """A text to be written for a text that is read.

    Args:
        start: what the decoder reads first; None: the text's own last token.
        padding: what it reads for a token that is not to be learnt.
        smoothing: see :class:`enfold.training.settings.Settings`.
    """

    def __init__(self, start: int | None, padding: int = 0, smoothing: float = 0.0) -> None:
        super().__init__(smoothing=smoothing)
        self.start, self.padding = start, padding

    def ids(self, examples: Examples) -> NDArray[Any]:
        assert isinstance(examples.targets, Ragged)
        first = [self.padding] if self.start is None else [self.padding, self.start]
        learnt = examples.targets.flat
        return np.concatenate([examples.ids.flat, learnt[learnt != IGNORED], np.array(first, np.int64)])

    def batch(self, reading: Reading, examples: Examples, chosen: Integers, draw: np.random.Generator) -> Batch:
        assert isinstance(examples.targets, Ragged)
        labels = examples.targets.take(chosen)
        known = [np.where(ids == IGNORED, self.padding, ids) for ids in labels]
        read = [np.concatenate([[ids[-1] if self.start is None else self.start], ids[:-1]]) for ids in known]
        source = packed_batch(reading.source_arch, examples, chosen)
        return _of_tokens(as_tensors(pack(reading.arch, read)), labels, examples, chosen, source)


@dataclass(frozen=True)
class _Inputs:
    """What a model is called with; a batch's ``extra``."""

    values: dict[str, Any]


class Called(_Given):
    """Batches that are a collator's, for a loss that calls the model with them.

    Args:
        collate: the features of some rows, by number, as the model's arguments.
        count: the labels of such a batch: how much it counts.
    """

    repeats: ClassVar[bool] = False

    def __init__(self, collate: Callable[[Integers], dict[str, Any]], count: Callable[[dict[str, Any]], float]) -> None:
        super().__init__()
        self.collate, self.count = collate, count

    def batch(self, reading: Reading, examples: Examples, chosen: Integers, draw: np.random.Generator) -> Batch:
        values = self.collate(chosen)
        return Batch(
            packed=_tokens_read(values),
            targets=torch.zeros(0),
            owners=torch.zeros(0),
            rows=chosen,
            chosen=chosen,
            weight=max(_LEAST, self.count(values)),
            extra=_Inputs(values),
        )

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        raise InputError("this loss is the Trainer's compute_loss, which has no loss for each target")


def _tokens_read(values: Mapping[str, Any]) -> Packed:
    """The ids of a padded batch without their padding, for counting them."""
    ids = as_array(values.get("input_ids", np.zeros(0, np.int64)))
    mask = values.get("attention_mask")
    real = ids if mask is None else ids[as_array(mask) != 0]
    flat = torch.from_numpy(real.reshape(-1).astype(np.int64))
    return Packed(ids=flat, positions=flat, types=flat, starts=flat, spans=[])


@dataclass(frozen=True)
class CalledLoss(Objective):
    """A loss that is the mean over a batch, by whatever calls the model with the batch's arguments.

    Attributes:
        compute: the loss of a model's arguments.
    """

    compute: Callable[[dict[str, Any]], Tensor] = lambda values: torch.zeros(())

    def __call__(self, batch: Batch) -> Tensor:
        return self.compute(batch.extra.values) * batch.weight


def goal_of(model: TorchModel, examples: Examples, smoothing: float) -> Goal:
    """The goal of a model's head and the features that were read for it.

    Raises:
        InputError: label smoothing where there are no labels to be smoothed.
    """
    kind = model.kind
    if kind in ("sequence-classification", "next-sentence", "multiple-choice"):
        assert not isinstance(examples.targets, Ragged)
        single = kind != "sequence-classification"
        problem = "single_label_classification" if single else problem_of(model, examples.targets)
        if smoothing and problem == "regression":
            raise InputError(f"label_smoothing_factor is {smoothing}, and numbers have no labels to be smoothed: set 0")
        return GivenLabels(problem, examples.count, smoothing)
    if kind in ("question-answering", "discriminator") and smoothing:
        raise InputError(f"label_smoothing_factor is {smoothing}, which is not to be had for {kind}: set 0")
    if kind == "question-answering":
        return GivenSpans()
    if kind == "seq2seq-lm":
        start = model.config.get("decoder_start_token_id", model.config.get("pad_token_id"))
        start = None if model.head.starts_with == "last" else start
        return GivenTexts(start, model.config.get("pad_token_id") or 0, smoothing)
    return GivenTokens(binary=kind == "discriminator", smoothing=smoothing)
