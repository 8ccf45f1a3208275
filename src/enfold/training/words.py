"""The rows of the word embeddings that the data use, as a parameter of their own.

A batch of a few hundred tokens touches a hundredth of a table of 30,000 words, but gradients, averages and steps of
an optimizer are as large as the parameter: half of a small model's traffic to memory. Most of a vocabulary does not
occur in the data at all. So the rows that do occur are taken out and learnt, the model gets the words' vectors instead
of their ids, and the rows are written back whenever someone else looks at the model.

Words that the data never have stay as they were: weight decay does not fall on them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from enfold.engines.torch.leaves import Embedding
from enfold.engines.torch.model import TorchModel
from enfold.leaves import Output
from enfold.packing import Packed
from enfold.tokenization import Tokenizer

__all__ = ["UsedRows", "used_rows"]

_WORTH = 0.75
"""Share of the table's rows above which there is nothing to gain."""


class UsedRows(nn.Module):
    """``weight`` (U, D): the rows ``used`` of an embedding's table."""

    def __init__(self, table: Embedding, used: NDArray[np.int64]) -> None:
        super().__init__()
        self.table = [table]  # not a module of this one: its parameter must not be found here
        device = table.weight.device
        self.used = torch.from_numpy(used).to(device)
        self.places = torch.full((len(table.weight),), -1, dtype=torch.long, device=device)
        self.places[self.used] = torch.arange(len(used), device=device)
        self.weight = nn.Parameter(table.weight.detach()[self.used].clone())
        padding = table.leaf.padding_row
        place = -1 if padding is None else int(self.places[padding])
        self.padding_place = None if place < 0 else place

    def forward(self, ids: Tensor) -> Tensor:
        """ids (T,) → vectors (T, D), as the table gives them."""
        vectors = functional.embedding(self.places[ids], self.weight, padding_idx=self.padding_place)
        scale = self.table[0].leaf.scale
        return vectors if scale == 1 else vectors * scale

    def within(self, batch: Packed) -> Packed:
        """A batch that brings its words' vectors along."""
        return replace(batch, embeds=self(batch.ids))

    @torch.no_grad()
    def write_back(self) -> None:
        """Puts the rows where they came from."""
        self.table[0].weight[self.used] = self.weight.to(self.table[0].weight)

    def give_back(self) -> None:
        """Puts the rows back for good: the table learns again."""
        self.write_back()
        self.table[0].weight.requires_grad_(True)


def used_rows(model: TorchModel, ids: NDArray[Any], tokenizer: Tokenizer) -> UsedRows | None:
    """The rows of the model's word embeddings that data use, as a parameter; None where that is of no use.

    It isn't where the table is an output's weight too, where it doesn't learn, or where most of it is used.

    Args:
        model: its table stops learning, in favour of what is returned.
        ids: of all the data.
        tokenizer: whose special tokens batches may have besides.
    """
    table = model.tree.embeddings.words
    if type(table) is not Embedding or not table.weight.requires_grad:
        return None
    if any(isinstance(leaf, Output) and leaf.tied_to for leaf in model.blueprint.leaves):
        return None
    encoder = model.arch.encoder
    if encoder is not None and not (encoder.shares_words and model.kind == "seq2seq-lm"):
        return None  # two tables, or a decoder that reads words which no batch brings along
    found = np.unique(np.concatenate([np.unique(ids), np.array(tokenizer.all_special_ids, np.int64)]))
    if len(found) > _WORTH * len(table.weight):
        return None
    rows = UsedRows(table, found.astype(np.int64))
    table.weight.requires_grad_(False)
    return rows
