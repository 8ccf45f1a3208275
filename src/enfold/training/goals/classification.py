"""Text classification: one label, several labels, or a number."""

from __future__ import annotations

from collections import Counter
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
from enfold.training.goals.base import Goal, Judged, Measured, Meter
from enfold.training.goals.texts import Reading, checked_text, encoded_ids, examples_of
from enfold.training.settings import Settings

__all__ = ["Classification", "MultiLabel", "Regression", "class_weights"]


class _TextGoal(Goal):
    head: ClassVar[HeadKind] = "sequence-classification"
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text": ("text", "sentence", "text_a", "sentence1", "premise", "review", "content", "message", "comment",
                 "文本", "内容", "评论", "句子"),
        "pair": ("pair", "text_pair", "text_b", "sentence2", "hypothesis"),
        "label": ("label", "labels", "category", "class", "sentiment", "target", "score", "rating", "stars",
                  "标签", "类别", "情感", "评分"),
    }  # fmt: skip
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

    def configure(self) -> dict[str, Any]:
        return {"id2label": dict(enumerate(self.labels)), "problem_type": "single_label_classification"}

    def _targets(self, table: Table) -> list[int]:
        given = label_names(table, "label")
        check_known(given, self.labels, table)
        ids = {label: index for index, label in enumerate(self.labels)}
        return [ids[label] for label in given]

    def meter(self) -> Meter:
        metric = metrics.Classification(self.labels)
        return Measured(metric, lambda logits, batch: (logits.softmax(-1), batch.targets))

    def judged(self, logits: Tensor, losses: Tensor, batch: Batch) -> list[Judged]:
        best = logits.argmax(-1).tolist()
        names = self.labels
        found = zip(batch.rows.tolist(), losses.tolist(), batch.targets.tolist(), best, strict=True)
        return [Judged(row, loss, names[target], names[guess]) for row, loss, target, guess in found]


class MultiLabel(_TextGoal):
    """Any number of labels for a text."""

    name = "multi-label-classification"
    metric = "f1_micro"
    dtype = np.float32

    @classmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> MultiLabel:
        lists = label_lists(table, "label")
        labels = tuple(label_order({label for each in lists for label in each}))
        if config is not None and set(labels) <= set(config.label2id):
            labels = tuple(config.id2label.values())
        if not labels:
            raise InputError(f"no row of {table.name} has a label")
        given = [label for each in lists for label in each]
        return cls(labels, class_weights(settings, labels, given), settings.label_smoothing)

    def configure(self) -> dict[str, Any]:
        return {"id2label": dict(enumerate(self.labels)), "problem_type": "multi_label_classification"}

    def _targets(self, table: Table) -> Any:
        lists = label_lists(table, "label")
        flat = [label for each in lists for label in each]
        places = [index for index, each in enumerate(lists) for _ in each]
        check_known(flat, self.labels, table, places)
        ids = {label: index for index, label in enumerate(self.labels)}
        targets = np.zeros((len(lists), len(self.labels)), np.float32)
        targets[places, [ids[label] for label in flat]] = 1.0
        return targets

    def weights(self, targets: Tensor) -> Tensor:
        return torch.ones(len(targets))

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        targets = batch.targets * (1 - self.smoothing) + self.smoothing / 2
        each = functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
        return (each if self.label_weights is None else each * self.label_weights.to(each.device)).mean(-1)

    def meter(self) -> Meter:
        metric = metrics.MultiLabel(self.labels)
        return Measured(metric, lambda logits, batch: (logits.sigmoid(), batch.targets))


class Regression(_TextGoal):
    """A number for a text or a pair."""

    name = "regression"
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
        return Measured(metrics.Regression(), lambda logits, batch: (logits.squeeze(-1), batch.targets))

    def judged(self, logits: Tensor, losses: Tensor, batch: Batch) -> list[Judged]:
        found = zip(
            batch.rows.tolist(), losses.tolist(), batch.targets.tolist(), logits.squeeze(-1).tolist(), strict=True
        )
        return [Judged(row, loss, f"{target:.4g}", f"{guess:.4g}") for row, loss, target, guess in found]


def class_weights(settings: Settings, labels: tuple[str, ...], given: list[str]) -> Tensor | None:
    """(C,) how much each label counts; "balanced": all labels' examples together count alike.

    Raises:
        InputError: weights for labels that there aren't, or a label without one.
    """
    wanted = settings.class_weights
    if wanted is None:
        return None
    if wanted == "balanced":
        counted = Counter(given)
        counts = np.array([max(1, counted[label]) for label in labels], np.float64)
        return torch.tensor(len(given) / (len(labels) * counts), dtype=torch.float32)
    assert isinstance(wanted, Mapping)
    weights = {str(label): float(weight) for label, weight in wanted.items()}
    if set(weights) != set(labels):
        raise InputError(
            f"class_weights names {sorted(weights)}, and the labels are {sorted(labels)}: give a weight for each label"
        )
    return torch.tensor([weights[label] for label in labels], dtype=torch.float32)
