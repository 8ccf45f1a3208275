"""How good a model is on examples that it did not learn from: loss, metrics in a stream, and what it got worst."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from enfold.engines.torch.model import TorchModel
from enfold.packing import token_budget_batches
from enfold.training.data import Table
from enfold.training.examples import Batch, Examples
from enfold.training.goals import Goal, Judged, Meter, Reading

__all__ = ["Evaluation", "EvaluationSet", "evaluate"]

_WORST = 20


@dataclass(frozen=True)
class EvaluationSet:
    """Rows that are judged, and what the goal made of them."""

    table: Table
    examples: Examples


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        metrics: by name; ``loss`` is the mean over targets, without what R-Drop and a teacher add.
        worst: the examples with the highest loss, the highest first.
        meter: the goal's, for what a report shows of it.
    """

    metrics: dict[str, float]
    worst: list[Judged] = field(default_factory=list)
    meter: Meter | None = None


def evaluate(
    model: TorchModel,
    goal: Goal,
    reading: Reading,
    held_out: EvaluationSet,
    *,
    budget: int,
    seed: int = 0,
    few: int | None = None,
    run: Callable[[Batch], Mapping[str, Tensor]] | None = None,
    advance: Callable[[float], None] = lambda done: None,
) -> Evaluation:
    """Runs a model over examples, without dropout.

    What is masked is drawn from ``seed``, so that evaluations of one run are of the same words.

    Args:
        model: is judged.
        goal: says what its outputs mean.
        reading: as the examples were made.
        held_out: the examples.
        budget: tokens of a batch.
        seed: for goals that draw.
        few: so many of the shortest examples alone; None: all.
        run: the model over a batch; None: as it is.
        advance: told how many examples are done.
    """
    meter, worst = goal.meter(), _Worst(_WORST)
    total = weight = 0.0
    device = model.device
    draw = np.random.default_rng((seed, 1))
    with model.inference():
        for chosen in _batches(held_out.examples, budget, few):
            batch = goal.batch(reading, held_out.examples, chosen, draw).to(device)
            fields = (
                run(batch)
                if run
                else model.outputs(batch.packed, fields=goal.fields, tokens=batch.tokens, source=batch.source)
            )
            logits = goal.logits(fields, batch)
            losses = goal.losses(logits, batch).double()
            total += float(losses.sum())
            weight += batch.weight
            meter.update(logits, batch)
            worst.add(goal.judged(logits, losses, batch))
            advance(len(chosen))
    metrics = {"loss": total / weight if weight else float("nan"), **meter.result()}
    table = held_out.table if few is None else held_out.table.take(range(min(few, len(held_out.table))))
    metrics |= goal.examine(model, reading, table)
    return Evaluation(metrics, worst.found(), meter)


def _batches(examples: Examples, budget: int, few: int | None) -> list[NDArray[np.int64]]:
    """All examples, or the few shortest, those of like length together; chance has no part in it."""
    order = np.argsort(examples.lengths, kind="stable")[:few]
    lengths = examples.lengths[order].tolist()
    return [order[batch] for batch in token_budget_batches(lengths, budget)]


class _Worst:
    """The examples with the highest loss, in constant memory."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._heap: list[tuple[float, int, Judged]] = []

    def add(self, judged: list[Judged]) -> None:
        for each in judged:
            entry = (each.loss, -each.row, each)
            if len(self._heap) < self.count:
                heapq.heappush(self._heap, entry)
            elif entry[:2] > self._heap[0][:2]:
                heapq.heapreplace(self._heap, entry)

    def found(self) -> list[Judged]:
        return [each for _, _, each in sorted(self._heap, key=lambda entry: (-entry[0], -entry[1]))]
