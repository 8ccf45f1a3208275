"""The loss of a batch: the goal's own, and what regularisation and a teacher add to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.training.examples import Batch
from enfold.training.goals import Goal

__all__ = ["Objective", "Teacher"]


@dataclass(frozen=True)
class Teacher:
    """A trained model that another learns to agree with (https://arxiv.org/abs/1503.02531).

    Attributes:
        model: with the same tokenizer, head and labels.
        share: of the loss that is agreement; the rest is the labels'.
        temperature: what both models' scores are divided by before they are compared.
    """

    model: TorchModel
    share: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or not self.temperature > 0:
            raise InputError(
                f"a teacher's share is {self.share!r} and its temperature {self.temperature!r}; "
                "expected a share above 0 and up to 1, and a temperature above 0"
            )


@dataclass(frozen=True)
class Objective:
    """What a run makes smaller: the sum over a batch's targets, to be divided by the step's weight.

    Attributes:
        goal: says what the model's outputs mean.
        run: the model over a batch: fields by name, with gradients.
        r_drop: see :class:`enfold.training.settings.Settings`.
        teacher: or None.
    """

    goal: Goal
    run: Callable[[Batch], Mapping[str, Tensor]]
    r_drop: float = 0.0
    teacher: Teacher | None = None

    def __post_init__(self) -> None:
        if self.r_drop and self.goal.fields:
            raise InputError(f"r_drop compares scores of labels, and {self.goal.name} has vectors: leave it at 0")

    def __call__(self, batch: Batch) -> Tensor:
        """The batch's summed loss."""
        goal = self.goal
        logits = goal.logits(self.run(batch), batch)
        total = goal.losses(logits, batch).sum()
        if self.r_drop:
            again = goal.logits(self.run(batch), batch)
            apart = _divergence(logits, again) + _divergence(again, logits)
            total = (total + goal.losses(again, batch).sum() + self.r_drop * apart.sum() / 2) / 2
        if self.teacher is not None:
            total = (1 - self.teacher.share) * total + self.teacher.share * self._disagreement(
                self.teacher, logits, batch
            )
        return total

    def _disagreement(self, teacher: Teacher, logits: Tensor, batch: Batch) -> Tensor:
        with teacher.model.inference():
            fields = teacher.model.outputs(
                batch.packed, fields=self.goal.fields, tokens=batch.tokens, source=batch.source
            )
            wanted = self.goal.logits(fields, batch)
        if self.goal.fields:  # vectors: how alike the batch's texts are to each other
            logits, wanted = _likeness(logits), _likeness(wanted)
        heat = teacher.temperature
        return _divergence(wanted / heat, logits / heat).sum() * heat**2


def _divergence(of: Tensor, to: Tensor) -> Tensor:
    """(N,) Kullback-Leibler divergence of what softmax makes of scores (N, C)."""
    first, second = of.float().log_softmax(-1), to.float().log_softmax(-1)
    return (first.exp() * (first - second)).sum(-1)


def _likeness(vectors: Tensor) -> Tensor:
    """(N, N): cosines of vectors (…, D) with each other, times 20; what is likest is left to the others."""
    flat = functional.normalize(vectors.reshape(-1, vectors.shape[-1]), dim=-1)
    cosines = flat @ flat.T * 20.0
    return cosines.masked_fill(torch.eye(len(flat), dtype=torch.bool, device=flat.device), -1e9)
