"""Text classification: one label, several labels, or a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from enfold.config import Config
from enfold.errors import InputError
from enfold.heads import HeadKind
from enfold.training import metrics
from enfold.training.data import Table, check_known, class_labels, label_lists, label_names, label_order, numbers
from enfold.training.examples import Batch, Examples
from enfold.training.goals.base import (
    Goal,
    Judged,
    Meter,
    Reading,
    checked_text,
    class_losses,
    encoded_ids,
    examples_of,
)
from enfold.training.settings import Settings

__all__ = ["Classification", "MultiLabel", "Regression", "class_weights"]


class _TextGoal(Goal):
    head: ClassVar[HeadKind] = "sequence-classification"
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text": ("text", "sentence", "text_a", "sentence1", "premise", "review", "content", "message", "comment"),
        "pair": ("pair", "text_pair", "text_b", "sentence2", "hypothesis"),
        "label": ("label", "labels", "category", "class", "sentiment", "target", "score", "rating", "stars"),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"pair"})
    dtype: ClassVar[Any] = np.int64

    def encode(self, table: Table, reading: Reading) -> Examples:
        texts = checked_text(table, "text")
        pairs = checked_text(table, "pair") if "pair" in table.columns else None
        targets = self._targets(table)
        return examples_of(encoded_ids(reading, texts, pairs, table), targets, self.dtype)

    def _targets(self, table: Table) -> Any:
        raise NotImplementedError


class Classification(_TextGoal):
    """A label for a text or a pair."""

    name = "text-classification"
    metric = "accuracy"
    strata = "label"

    def __init__(self, labels: tuple[str, ...], weights: Tensor | None = None, smoothing: float = 0.0) -> None:
        self._labels, self._weights, self._smoothing = labels, weights, smoothing
        self._ids = {label: index for index, label in enumerate(labels)}

    @classmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> Classification:
        labels = tuple(class_labels(table, "label"))
        if config is not None and set(labels) <= set(config.label2id):
            labels = tuple(config.id2label.values())  # a trained head's own, in its order
        if len(labels) < 2:
            raise InputError(
                f"every row of {table.name} has the label {labels[0]!r}: a classifier needs two labels or more"
            )
        given = label_names(table, "label")
        return cls(labels, class_weights(settings, labels, given), settings.label_smoothing)

    @property
    def labels(self) -> tuple[str, ...]:
        return self._labels

    def configure(self) -> dict[str, Any]:
        return {"id2label": dict(enumerate(self._labels)), "problem_type": "single_label_classification"}

    def _targets(self, table: Table) -> list[int]:
        given = label_names(table, "label")
        check_known(given, self._labels, table)
        return [self._ids[label] for label in given]

    def weights(self, targets: Tensor) -> Tensor:
        return torch.ones(len(targets)) if self._weights is None else self._weights[targets]

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        weights = None if self._weights is None else self._weights.to(logits.device)
        return class_losses(logits, batch.targets, weights, self._smoothing)

    def meter(self) -> Meter:
        return _Labels(metrics.Classification(self._labels))

    def judged(self, logits: Tensor, losses: Tensor, batch: Batch) -> list[Judged]:
        best = logits.argmax(-1).tolist()
        names = self._labels
        found = zip(batch.rows.tolist(), losses.tolist(), batch.targets.tolist(), best, strict=True)
        return [Judged(row, loss, names[target], names[guess]) for row, loss, target, guess in found]


class _Labels:
    def __init__(self, metric: metrics.Classification) -> None:
        self.metric = metric

    def update(self, logits: Tensor, batch: Batch) -> None:
        self.metric.update(logits.float().softmax(-1).cpu().numpy(), batch.targets.cpu().numpy())

    def result(self) -> dict[str, float]:
        return self.metric.result()


class MultiLabel(_TextGoal):
    """Any number of labels for a text."""

    name = "text-classification"
    metric = "f1_micro"
    dtype = np.float32

    def __init__(self, labels: tuple[str, ...], weights: Tensor | None = None, smoothing: float = 0.0) -> None:
        self._labels, self._weights, self._smoothing = labels, weights, smoothing

    @classmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> MultiLabel:
        lists = label_lists(table, "label")
        labels = tuple(label_order({label for each in lists for label in each}))
        if config is not None and set(labels) <= set(config.label2id):
            labels = tuple(config.id2label.values())
        if not labels:
            raise InputError(f"no row of {table.name} has a label")
        return cls(
            labels,
            class_weights(settings, labels, [label for each in lists for label in each]),
            settings.label_smoothing,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        return self._labels

    def configure(self) -> dict[str, Any]:
        return {"id2label": dict(enumerate(self._labels)), "problem_type": "multi_label_classification"}

    def _targets(self, table: Table) -> Any:
        lists = label_lists(table, "label")
        flat = [label for each in lists for label in each]
        places = [index for index, each in enumerate(lists) for _ in each]
        check_known(flat, self._labels, table, places)
        targets = np.zeros((len(lists), len(self._labels)), np.float32)
        for row, label in zip(places, flat, strict=True):
            targets[row, self._labels.index(label)] = 1.0
        return targets

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        targets = batch.targets * (1 - self._smoothing) + self._smoothing / 2
        each = functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
        return (each if self._weights is None else each * self._weights.to(each.device)).mean(-1)

    def meter(self) -> Meter:
        return _ManyLabels(metrics.MultiLabel(self._labels))


class _ManyLabels:
    def __init__(self, metric: metrics.MultiLabel) -> None:
        self.metric = metric

    def update(self, logits: Tensor, batch: Batch) -> None:
        self.metric.update(logits.float().sigmoid().cpu().numpy(), batch.targets.cpu().numpy())

    def result(self) -> dict[str, float]:
        return self.metric.result()


class Regression(_TextGoal):
    """A number for a text or a pair."""

    name = "text-classification"
    metric = "pearson"
    dtype = np.float32

    @classmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> Regression:
        numbers(table, "label")  # refused here rather than after the model was loaded
        return cls()

    def configure(self) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    def _targets(self, table: Table) -> Any:
        return numbers(table, "label")

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        return (logits.float().squeeze(-1) - batch.targets).square()

    def meter(self) -> Meter:
        return _Numbers(metrics.Regression())

    def judged(self, logits: Tensor, losses: Tensor, batch: Batch) -> list[Judged]:
        found = zip(
            batch.rows.tolist(), losses.tolist(), batch.targets.tolist(), logits.squeeze(-1).tolist(), strict=True
        )
        return [Judged(row, loss, f"{target:.4g}", f"{guess:.4g}") for row, loss, target, guess in found]


class _Numbers:
    def __init__(self, metric: metrics.Regression) -> None:
        self.metric = metric

    def update(self, logits: Tensor, batch: Batch) -> None:
        self.metric.update(logits.float().squeeze(-1).cpu().numpy(), batch.targets.cpu().numpy())

    def result(self) -> dict[str, float]:
        return self.metric.result()


def class_weights(settings: Settings, labels: tuple[str, ...], given: list[str]) -> Tensor | None:
    """(C,) how much each label counts; "balanced": all labels' examples together count alike.

    Raises:
        InputError: weights for labels that there aren't, or a label without one.
    """
    wanted = settings.class_weights
    if wanted is None:
        return None
    if wanted == "balanced":
        counts = np.array([max(1, given.count(label)) for label in labels], np.float64)
        return torch.tensor(len(given) / (len(labels) * counts), dtype=torch.float32)
    assert isinstance(wanted, Mapping)
    unknown, absent = set(map(str, wanted)) - set(labels), set(labels) - set(map(str, wanted))
    if unknown or absent:
        raise InputError(
            f"class_weights names {sorted(map(str, wanted))}, and the labels are {sorted(labels)}: "
            "give a weight for each label"
        )
    return torch.tensor([float(wanted[label]) for label in labels], dtype=torch.float32)
