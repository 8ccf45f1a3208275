"""Sentence embeddings: texts that mean the same lie close together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import normalizers
from torch import Tensor
from torch.nn import functional

from enfold.checkpoint.modules import Dense, Modules, Pooling, PoolingMode, read_modules
from enfold.config import Config
from enfold.errors import InputError
from enfold.heads import HeadKind
from enfold.model import PreTrainedModel
from enfold.training import metrics
from enfold.training.data import Table, numbers
from enfold.training.examples import Batch, Examples, Ragged, packed_batch
from enfold.training.goals.base import Goal, Measured, Meter
from enfold.training.goals.texts import Reading, checked_text, one_window, ragged_types
from enfold.training.settings import Settings

__all__ = ["Embeddings", "pooled"]

_SCALE = 20.0
"""What cosines are multiplied by before a softmax, as all-MiniLM-L6-v2 was trained with."""
_MARGIN = 0.5
_POOLINGS: tuple[PoolingMode, ...] = ("mean", "cls")

Kind = Literal["pairs", "triplets", "scores"]


class Embeddings(Goal):
    """Vectors of texts, learnt from what the rows have.

    * ``anchor``, ``positive`` (and ``negative``): each anchor's own positive must be nearest among all texts of the
      batch (in-batch negatives, https://arxiv.org/abs/1705.00652); its negative, where it has one, is among them.
    * ``anchor``, ``positive``, ``score``: the cosine of the two texts must be the score (from -1 to 1).
    * with ``triplet=True``: the positive must be nearer than the negative, by a margin (https://arxiv.org/abs/1503.03832).

    With ``dims`` (Matryoshka, https://arxiv.org/abs/2205.13147) the first numbers of each vector must do alone as well.
    """

    name = "embed"
    head: ClassVar[HeadKind] = "encoder"
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "anchor": ("anchor", "text", "sentence1", "query", "question", "text_a"),
        "positive": ("positive", "pair", "sentence2", "answer", "passage", "text_b"),
        "negative": ("negative", "hard_negative"),
        "score": ("score", "similarity", "label"),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"negative", "score"})
    fields: ClassVar[tuple[str, ...]] = ("last_hidden_state",)
    rate = 2e-5
    together = ("anchor",)

    def __init__(
        self, kind: Kind, *, pooling: PoolingMode | None = None, dims: tuple[int, ...] = (), triplet: bool = False
    ) -> None:
        super().__init__()
        if triplet and kind != "triplets":
            raise InputError(f"triplet=True learns from an anchor, a positive and a negative, and the rows are {kind}")
        if pooling not in (None, *_POOLINGS):
            raise InputError(f"pooling is {pooling!r}, expected {' or '.join(map(repr, _POOLINGS))}")
        self.kind, self.dims, self.triplet = kind, dims, triplet
        self.modules = Modules() if pooling is None else Modules(Pooling((pooling,)))
        self._as_folder = pooling is None

    @property
    def pooling(self) -> PoolingMode:
        """How a text's tokens become its vector."""
        return self.modules.pooling.modes[0]

    def adopt(self, model: PreTrainedModel) -> None:
        if model.source is not None:
            found = read_modules(model.source)
            self.modules = found if self._as_folder else replace(found, pooling=self.modules.pooling)
        modes = self.modules.pooling.modes
        if len(modes) != 1 or modes[0] not in _POOLINGS or any(isinstance(each, Dense) for each in self.modules.after):
            layers = " and a dense layer" if any(isinstance(each, Dense) for each in self.modules.after) else ""
            raise InputError(
                f"training pools by {' or '.join(_POOLINGS)} and has no layer after it; {model.source} pools by "
                f"{' and '.join(modes)}{layers}"
            )
        width = model.arch.hidden_size
        wrong = [dim for dim in self.dims if isinstance(dim, bool) or not isinstance(dim, int) or not 1 <= dim <= width]
        if wrong:
            raise InputError(f"dims has {wrong}, expected whole numbers from 1 to {width}, the model's width")

    @property
    def whole(self) -> bool:  # type: ignore[override]
        """In-batch negatives are those of the whole batch."""
        return self.kind != "scores" and not self.triplet

    @classmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> Embeddings:
        if "score" in table.columns:
            return cls("scores")
        return cls("triplets" if "negative" in table.columns else "pairs")

    def encode(self, table: Table, reading: Reading) -> Examples:
        columns = ["anchor", "positive", *(["negative"] if self.kind == "triplets" else [])]
        texts = [checked_text(table, column) for column in columns]
        count = len(columns)
        flat = [each[index] for index in range(len(table)) for each in texts]
        if self.modules.do_lower_case:
            flat = [normalizers.Lowercase().normalize_str(text) for text in flat]
        limit = min(reading.max_length, self.modules.max_seq_length or reading.max_length)
        windows = one_window(replace(reading, max_length=limit), flat, None, table)
        targets: NDArray[Any] = np.arange(len(table))
        if self.kind == "scores":
            targets = np.asarray(numbers(table, "score"), np.float32)
            if np.abs(targets).max(initial=0) > 1:
                raise InputError(
                    f"the scores of {table.name} go from {targets.min():g} to {targets.max():g}, and a cosine from -1 "
                    "to 1: divide them by the largest that is possible"
                )
        ids = Ragged.of([each.ids for each in windows])
        return Examples(ids, ragged_types(windows), targets, np.arange(len(table)), count)

    def batch(
        self, reading: Reading, examples: Examples, chosen: NDArray[np.int64], draw: np.random.Generator
    ) -> Batch:
        targets = torch.from_numpy(np.asarray(examples.targets)[chosen])
        if self.kind != "scores":
            targets = torch.arange(len(chosen))
        return Batch(
            packed=packed_batch(reading.source_arch, examples, chosen),
            targets=targets,
            owners=torch.arange(len(chosen)),
            rows=examples.rows[chosen],
            chosen=chosen,
            weight=float(len(chosen)),
            extra=examples.count,
        )

    def logits(self, fields: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """(B, count, D): the vectors of each example's texts."""
        vectors = pooled(fields["last_hidden_state"].float(), batch, self.pooling)
        return vectors.view(-1, batch.extra, vectors.shape[-1])

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        widths = [*self.dims, logits.shape[-1]] if self.dims else [logits.shape[-1]]
        each = [
            self._losses(functional.normalize(logits[..., :width], dim=-1), batch) for width in dict.fromkeys(widths)
        ]
        return torch.stack(each).sum(0)

    def _losses(self, vectors: Tensor, batch: Batch) -> Tensor:
        anchors, positives = vectors[:, 0], vectors[:, 1]
        if self.kind == "scores":
            wrong: Tensor = (anchors * positives).sum(-1) - batch.targets
            return wrong.square()
        if self.triplet:
            near, far = ((anchors - vectors[:, place]).norm(dim=-1) for place in (1, 2))
            apart: Tensor = (near - far + _MARGIN).clamp(min=0)
            return apart
        others = vectors[:, 1:].transpose(0, 1).reshape(-1, vectors.shape[-1])  # the positives first
        return functional.cross_entropy(anchors @ others.T * _SCALE, batch.targets, reduction="none")

    def meter(self) -> Meter:
        if self.kind == "scores":
            return Measured(metrics.Regression(), _cosines, ("pearson", "spearman"))
        return Measured(metrics.InBatch(), _likenesses)


def _cosines(vectors: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """(B,) of each example's two texts, and what they should be."""
    return functional.cosine_similarity(vectors[:, 0], vectors[:, 1]), batch.targets


def _likenesses(vectors: Tensor, batch: Batch) -> tuple[Tensor]:
    """(B, B): each anchor with the positives of all examples of a batch."""
    normal = functional.normalize(vectors, dim=-1)
    return (normal[:, 0] @ normal[:, 1].T,)


def pooled(hidden: Tensor, batch: Batch, mode: PoolingMode) -> Tensor:
    """(B, D): each sequence's vector, of packed hidden states (T, D)."""
    starts = batch.packed.starts
    if mode == "cls":
        return hidden[starts[:-1]]
    lengths = starts.diff()
    owners = torch.repeat_interleave(torch.arange(len(lengths), device=hidden.device), lengths)
    sums = hidden.new_zeros(len(lengths), hidden.shape[-1]).index_add(0, owners, hidden)
    mean: Tensor = sums / lengths[:, None]
    return mean
