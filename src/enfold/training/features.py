"""What a frozen encoder makes of each example, computed once: training a head alone then costs next to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from enfold import wiring
from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.packing import spans_of, token_budget_batches
from enfold.training.examples import Batch, Examples
from enfold.training.goals import Goal, Reading

__all__ = ["Features"]


class Features:
    """The last hidden states that a head reads, of each example.

    A head that reads the first or the last token of each sequence needs one vector of it, others one for each token.
    Memory: 4 · D bytes for each of these.

    Args:
        model: frozen but for its head.
        goal: whose batches always read the same tokens.
        reading: as the examples were made.
        examples: to learn from.
        budget: tokens of a batch.
    """

    def __init__(self, model: TorchModel, goal: Goal, reading: Reading, examples: Examples, budget: int) -> None:
        selects = {branch.select for branch in model.head.branches}
        if not goal.repeats or len(selects) != 1 or model.arch.encoder is not None:
            raise InputError(
                f"freeze='encoder' computes features once, and {goal.name} on a {model.blueprint.class_name} has "
                "other inputs each time: use freeze='embeddings', or an adapter"
            )
        self.model, self.plan, self.single = model, model.plan, selects != {"tokens"}
        self.count = examples.count
        self.starts = np.arange(len(examples.ids) + 1) if self.single else examples.ids.starts
        self.states = torch.empty(int(self.starts[-1]), model.arch.hidden_size, dtype=model.dtype)
        self._fill(goal, reading, examples, budget)

    def _fill(self, goal: Goal, reading: Reading, examples: Examples, budget: int) -> None:
        draw = np.random.default_rng(0)
        order = np.argsort(examples.lengths, kind="stable")
        lengths = examples.lengths[order].tolist()
        with self.model.inference():
            for part in token_budget_batches(lengths, budget):
                chosen = order[part]
                batch = goal.batch(reading, examples, chosen, draw).to(self.model.device)
                hidden = wiring.encode(self.plan, batch.packed)
                if self.single:
                    last = self.model.head.branches[0].select == "last"
                    starts = batch.packed.starts
                    hidden = hidden[starts[1:] - 1 if last else starts[:-1]]
                self.states[self._places(examples.sequences(chosen))] = hidden.cpu()

    def _places(self, sequences: np.ndarray) -> Tensor:
        ranges = [np.arange(self.starts[index], self.starts[index + 1]) for index in sequences]
        return torch.from_numpy(np.concatenate(ranges))

    def __call__(self, batch: Batch) -> Mapping[str, Tensor]:
        """The head's outputs for a batch of the examples."""
        sequences = (batch.chosen[:, None] * self.count + np.arange(self.count)).reshape(-1)
        hidden = self.states[self._places(sequences)].to(self.model.device)
        spans = spans_of([int(self.starts[index + 1] - self.starts[index]) for index in sequences])
        starts = torch.tensor([0, *(end for _, end in spans)], device=hidden.device)
        packed = replace(batch.packed, starts=starts, spans=spans)
        return wiring.run_head(self.plan, hidden, packed, None if self.single else batch.tokens)
