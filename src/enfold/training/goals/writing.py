"""Sequence to sequence: a text from a text, and the filling of gaps that T5 is pretrained with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from enfold.config import Config
from enfold.errors import InputError
from enfold.heads import HeadKind
from enfold.model import PreTrainedModel
from enfold.packing import pack
from enfold.training import metrics
from enfold.training.data import Table
from enfold.training.examples import Batch, Examples, Ragged, as_tensors
from enfold.training.goals.base import Goal, Meter, Reading, checked_text, class_losses, encoded_ids
from enfold.training.goals.language import LanguageMeter, blocks
from enfold.training.settings import Long, Settings

__all__ = ["Seq2Seq", "SpanCorruption"]

_WRITTEN = 128
"""Tokens that an evaluation lets the model write."""


class Seq2Seq(Goal):
    """A text to be written for a text that is read: a translation, a summary.

    The decoder reads what it should write, one token to the right, after what the head says that it starts with.
    """

    name = "text2text-generation"
    head: ClassVar[HeadKind] = "seq2seq-lm"
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "source": ("source", "text", "input", "inputs", "document", "article", "question"),
        "target": ("target", "summary", "output", "translation", "answer", "labels"),
    }
    rate = 1e-4
    together = ("source",)

    def __init__(self, smoothing: float = 0.0) -> None:
        self._smoothing = smoothing
        self.start: int | None = None

    @classmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> Seq2Seq:
        return cls(settings.label_smoothing)

    def adopt(self, model: PreTrainedModel) -> None:
        if model.head.starts_with == "configured":
            self.start = model.config.get("decoder_start_token_id", model.config.get("pad_token_id"))

    def encode(self, table: Table, reading: Reading) -> Examples:
        sources, targets = checked_text(table, "source"), checked_text(table, "target")
        windows = encoded_ids(reading, sources, None, table)
        written = reading.tokenizer(text_target=targets, truncation=True, max_length=reading.max_length)["input_ids"]
        return Examples(
            ids=Ragged.of([each[0].ids for each in windows]),
            types=None,
            targets=Ragged.of([np.array(ids, np.int64) for ids in written], np.int64),
            rows=np.arange(len(sources)),
        )

    def batch(
        self, reading: Reading, examples: Examples, chosen: NDArray[np.int64], draw: np.random.Generator
    ) -> Batch:
        assert isinstance(examples.targets, Ragged)
        return self.written(reading, examples.ids.take(chosen), examples.targets.take(chosen), examples, chosen)

    def written(
        self,
        reading: Reading,
        sources: list[NDArray[Any]],
        targets: list[NDArray[Any]],
        examples: Examples,
        chosen: NDArray[np.int64],
    ) -> Batch:
        """The batch of texts that are read, and of those that should be written."""
        shifted = [np.concatenate([[ids[-1] if self.start is None else self.start], ids[:-1]]) for ids in targets]
        flat = torch.from_numpy(np.concatenate(targets).astype(np.int64))
        return Batch(
            packed=as_tensors(pack(reading.arch, shifted)),
            targets=flat,
            owners=torch.from_numpy(np.repeat(np.arange(len(targets)), [len(ids) for ids in targets])),
            rows=examples.rows[chosen],
            chosen=chosen,
            weight=float(len(flat)),
            source=as_tensors(pack(reading.source_arch, sources)),
        )

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        return class_losses(logits, batch.targets, None, self._smoothing)

    def meter(self) -> Meter:
        return LanguageMeter()

    def examine(self, model: PreTrainedModel, reading: Reading, table: Table) -> dict[str, float]:
        sources, targets = checked_text(table, "source"), checked_text(table, "target")
        metric = metrics.Generation()
        prompts = [reading.tokenizer(source, truncation=True, max_length=reading.max_length) for source in sources]
        written = model.generate_many([prompt["input_ids"] for prompt in prompts], max_new_tokens=_WRITTEN)
        for ids, target in zip(written, targets, strict=True):
            metric.update([reading.tokenizer.decode(ids, skip_special_tokens=True)], [target])
        return metric.result()


class SpanCorruption(Seq2Seq):
    """Gaps in a text, to be filled (T5, https://arxiv.org/abs/1910.10683).

    15 % of the tokens, in spans of three on average, chosen anew each time: each span becomes a sentinel, and what is
    to be written is each sentinel with what it stands for.
    """

    name = "span-corruption"
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {"text": ("text", "content", "sentence", "document")}
    default_long: ClassVar[Long] = "window"
    share, mean_length = 0.15, 3.0
    together = ("text",)
    repeats = False

    def encode(self, table: Table, reading: Reading) -> Examples:
        if reading.tokenizer.convert_tokens_to_ids("<extra_id_0>") in (None, reading.tokenizer.unk_token_id):
            raise InputError("span corruption needs a tokenizer with sentinels <extra_id_0>, <extra_id_1> …, as T5 has")
        return blocks(table, reading, words=False)

    def batch(
        self, reading: Reading, examples: Examples, chosen: NDArray[np.int64], draw: np.random.Generator
    ) -> Batch:
        tokenizer = reading.tokenizer
        end = np.array([tokenizer.eos_token_id], np.int64)
        sources, targets = [], []
        for ids in examples.ids.take(chosen):
            body = ids[:-1] if ids[-1] == end[0] else ids
            starts, ends = _spans(len(body), self.share, self.mean_length, draw)
            sentinels = tokenizer.convert_tokens_to_ids([f"<extra_id_{index}>" for index in range(len(starts) + 1)])
            source, target, place = [], [], 0
            for sentinel, start, stop in zip(sentinels, starts, ends, strict=False):
                source += [body[place:start], [sentinel]]
                target += [[sentinel], body[start:stop]]
                place = stop
            sources.append(np.concatenate([*source, body[place:], end]).astype(np.int64))
            targets.append(np.concatenate([*target, [sentinels[-1]], end]).astype(np.int64))
        return self.written(reading, sources, targets, examples, chosen)

    def examine(self, model: PreTrainedModel, reading: Reading, table: Table) -> dict[str, float]:
        return {}


def _spans(length: int, share: float, mean: float, draw: np.random.Generator) -> tuple[list[int], list[int]]:
    """Where spans begin and end: ``share`` of the tokens, never two side by side, never the first token."""
    hidden = max(1, min(length - 1, round(length * share)))
    count = max(1, min(round(hidden / mean), hidden, length - hidden, 100))
    sizes, gaps = _parted(hidden, count, draw), _parted(length - hidden, count, draw)
    starts, ends, place = [], [], 0
    for size, gap in zip(sizes, gaps, strict=True):
        starts.append(place + gap)
        place += gap + size
        ends.append(place)
    return starts, ends


def _parted(total: int, count: int, draw: np.random.Generator) -> list[int]:
    """A number as a random sum of ``count`` positive ones."""
    cuts = np.sort(draw.permutation(total - 1)[: count - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [total]])).tolist()  # type: ignore[no-any-return]
