"""Sequence to sequence: a text from a text, and the filling of gaps that T5 is pretrained with."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from enfold.config import Config
from enfold.errors import InputError, TextTooLongError
from enfold.heads import HeadKind
from enfold.model import PreTrainedModel
from enfold.packing import pack
from enfold.training import metrics
from enfold.training.data import Table
from enfold.training.examples import Batch, Examples, Ragged, as_tensors
from enfold.training.goals.base import TEXT, Goal, Meter
from enfold.training.goals.language import LanguageMeter, blocks
from enfold.training.goals.texts import Cut, Reading, checked_text, one_window
from enfold.training.settings import Long, Settings

__all__ = ["Seq2Seq", "SpanCorruption"]

logger = logging.getLogger("enfold")

_SENTINELS = 100
"""That T5 has: one for each span, and one after the last."""


class Seq2Seq(Goal):
    """A text to be written for a text that is read: a translation, a summary.

    The decoder reads what it should write, one token to the right, after what the head says that it starts with.
    """

    name = "text2text-generation"
    head: ClassVar[HeadKind] = "seq2seq-lm"
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "source": ("source", "text", "input", "inputs", "document", "article", "question", "原文"),
        "target": ("target", "summary", "output", "translation", "answer", "labels", "译文", "摘要"),
    }
    rate = 1e-4
    together = ("source",)
    written_tokens: ClassVar[int] = 128
    """That an evaluation lets the model write, of a text."""

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__(smoothing=smoothing)
        self.start: int | None = None

    @classmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> Seq2Seq:
        return cls(settings.label_smoothing)

    def adopt(self, model: PreTrainedModel) -> None:
        wraps = model.head.starts_with == "last"
        start = model.config.get("decoder_start_token_id", model.config.get("pad_token_id"))
        self.start = None if wraps else start
        if not wraps and start is None:
            raise InputError("the configuration has no decoder_start_token_id, which is what a decoder reads first")

    def encode(self, table: Table, reading: Reading) -> Examples:
        sources, targets = checked_text(table, "source"), checked_text(table, "target")
        read = one_window(reading, sources, None, table)
        written = reading.tokenizer(text_target=targets)["input_ids"]
        return Examples(
            ids=Ragged.of([each.ids for each in read]),
            types=None,
            targets=Ragged.of([np.array(ids, np.int64) for ids in _cut(written, reading, table)], np.int64),
            rows=np.arange(len(sources)),
        )

    def ids(self, examples: Examples) -> NDArray[Any]:
        assert isinstance(examples.targets, Ragged)
        start = [] if self.start is None else [self.start]
        return np.concatenate([examples.ids.flat, examples.targets.flat, start])

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

    def meter(self) -> Meter:
        return LanguageMeter()

    def examine(self, model: PreTrainedModel, reading: Reading, table: Table) -> dict[str, float]:
        tokenizer, metric = reading.tokenizer, metrics.Generation()

        def prompts() -> Iterator[list[int]]:
            for source in table.column("source"):
                yield tokenizer(source, truncation=True, max_length=reading.max_length)["input_ids"]

        targets = table.column("target")
        longest = min(self.written_tokens, model.arch.max_length - 1)
        written = model.generate_many(prompts(), tokenizer=tokenizer, max_new_tokens=longest, num_beams=1)
        for index, (result, *_) in written:
            metric.update([tokenizer.decode(result.tokens, skip_special_tokens=True)], [targets[index]])
        return metric.result()


def _cut(written: Sequence[list[int]], reading: Reading, table: Table) -> list[list[int]]:
    """Targets that are over the limit, cut and counted, with the special tokens that end them, or refused.

    Raises:
        TextTooLongError: as for what is read.
    """
    limit = reading.max_length
    over = [index for index, ids in enumerate(written) if len(ids) > limit]
    if not over:
        return list(written)
    if reading.long == "error":
        raise TextTooLongError(
            f"{len(over)} of {len(written)} targets are over the limit of {limit} tokens, the first at "
            f"{table.place(over[0])} ({len(written[over[0]])} tokens): long='truncate' cuts them"
        )
    lost = sum(len(written[index]) - limit for index in over)
    message = "%s: %d of %d targets were cut at %d tokens; %d tokens are not learnt"
    logger.warning(message, table.name, len(over), len(written), limit, lost)
    reading.cuts.append(Cut(table.name, len(over), len(written), limit, lost))
    targets = [table.column("target")[index] for index in over]
    shorter = reading.tokenizer(text_target=targets, truncation=True, max_length=limit)["input_ids"]
    cut = dict(zip(over, shorter, strict=True))
    return [cut.get(index, ids) for index, ids in enumerate(written)]


class SpanCorruption(Seq2Seq):
    """Gaps in a text, to be filled (T5, https://arxiv.org/abs/1910.10683).

    15 % of the tokens, in spans of three on average, chosen anew each time: each span becomes a sentinel, and what is
    to be written is each sentinel with what it stands for.
    """

    name = "span-corruption"
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {"text": TEXT}
    default_long: ClassVar[Long] = "window"
    share, mean_length = 0.15, 3.0
    together = ("text",)
    repeats = False

    def encode(self, table: Table, reading: Reading) -> Examples:
        if reading.tokenizer.convert_tokens_to_ids("<extra_id_0>") in (None, reading.tokenizer.unk_token_id):
            raise InputError("span corruption needs a tokenizer with sentinels <extra_id_0>, <extra_id_1> …, as T5 has")
        return blocks(table, reading, words=False)

    def ids(self, examples: Examples) -> NDArray[Any]:
        return examples.ids.flat

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
        return {}  # nobody asks for gaps that chance made


def _spans(length: int, share: float, mean: float, draw: np.random.Generator) -> tuple[list[int], list[int]]:
    """Where spans begin and end: ``share`` of the tokens, never two side by side, never the first token."""
    hidden = max(1, min(length - 1, round(length * share)))
    count = max(1, min(round(hidden / mean), hidden, length - hidden, _SENTINELS - 1))
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
