"""Language modelling: words that were masked, or the word that comes next."""

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
from enfold.packing import pack
from enfold.training import metrics
from enfold.training.data import Table
from enfold.training.examples import Batch, Examples, Ragged, as_tensors
from enfold.training.goals.base import IGNORED, Goal, Meter, Reading, class_losses
from enfold.training.settings import Long, Settings

__all__ = ["CausalLM", "LanguageMeter", "MaskedLM", "blocks"]


class _Language(Goal):
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {"text": ("text", "content", "sentence", "document")}
    default_long: ClassVar[Long] = "window"
    repeats: ClassVar[bool] = False

    def __init__(self, smoothing: float = 0.0) -> None:
        self._smoothing = smoothing

    @classmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> Any:
        return cls(settings.label_smoothing)

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        return class_losses(logits, batch.targets, None, self._smoothing)

    def meter(self) -> Meter:
        return LanguageMeter()


class MaskedLM(_Language):
    """Words hidden from a text, to be found from what is around them (BERT, https://arxiv.org/abs/1810.04805).

    Of 15 % of the words, chosen anew each time, all pieces are learnt (whole-word masking): 80 % become the mask, 10 %
    another token, 10 % stay. Chinese characters are words of one character, as BERT's tokenizer has them. The head is
    computed where something is learnt, and nowhere else.
    """

    name = "masked-lm"
    head: ClassVar[HeadKind] = "masked-lm"

    def __init__(self, smoothing: float = 0.0, share: float = 0.15, whole_words: bool = True) -> None:
        super().__init__(smoothing)
        self.share, self.whole_words = share, whole_words

    def encode(self, table: Table, reading: Reading) -> Examples:
        if reading.tokenizer.mask_token_id is None:
            raise InputError("masked language modelling needs a tokenizer with a mask token, and this one has none")
        return blocks(table, reading, words=True)

    def batch(
        self, reading: Reading, examples: Examples, chosen: NDArray[np.int64], draw: np.random.Generator
    ) -> Batch:
        assert isinstance(examples.targets, Ragged)
        texts, words = examples.ids.take(chosen), examples.targets.take(chosen)
        masked, labels = [], []
        for ids, word in zip(texts, words, strict=True):
            changed, learnt = self._masked(ids, word if self.whole_words else _each(word), reading, draw)
            masked.append(changed)
            labels.append(learnt)
        flat = np.concatenate(labels)
        wanted = np.flatnonzero(flat != IGNORED)
        owners = np.repeat(np.arange(len(chosen)), [len(each) for each in labels])[wanted]
        return Batch(
            packed=as_tensors(pack(reading.arch, masked)),
            targets=torch.from_numpy(flat[wanted]),
            owners=torch.from_numpy(owners),
            rows=examples.rows[chosen],
            chosen=chosen,
            weight=float(len(wanted)),
            tokens=torch.from_numpy(wanted),
        )

    def _masked(
        self, ids: NDArray[np.int32], words: NDArray[np.int32], reading: Reading, draw: np.random.Generator
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The ids with words hidden, and the ids that are learnt, ``IGNORED`` elsewhere."""
        present = np.unique(words[words >= 0])
        count = max(1, round(self.share * len(present))) if len(present) else 0
        hidden = np.isin(words, draw.permutation(present)[:count])
        labels = np.where(hidden, ids, IGNORED).astype(np.int64)
        chance = draw.random(len(ids))
        mask = reading.tokenizer.mask_token_id
        assert mask is not None
        changed = np.where(hidden & (chance < 0.8), np.int32(mask), ids)
        others = draw.integers(0, reading.arch.vocab_size, len(ids), dtype=np.int32)
        return np.where(hidden & (chance >= 0.9), others, changed), labels


class CausalLM(_Language):
    """The token that comes next, at every place (GPT-2)."""

    name = "causal-lm"
    head: ClassVar[HeadKind] = "causal-lm"

    def encode(self, table: Table, reading: Reading) -> Examples:
        return blocks(table, reading, words=False)

    def batch(
        self, reading: Reading, examples: Examples, chosen: NDArray[np.int64], draw: np.random.Generator
    ) -> Batch:
        texts = examples.ids.take(chosen)
        inputs = [ids[:-1] for ids in texts]
        targets = np.concatenate([ids[1:] for ids in texts]).astype(np.int64)
        return Batch(
            packed=as_tensors(pack(reading.arch, inputs)),
            targets=torch.from_numpy(targets),
            owners=torch.from_numpy(np.repeat(np.arange(len(chosen)), [len(each) for each in inputs])),
            rows=examples.rows[chosen],
            chosen=chosen,
            weight=float(len(targets)),
        )


def blocks(table: Table, reading: Reading, *, words: bool) -> Examples:
    """A table's texts joined and cut into blocks as long as the model reads.

    Texts are joined in their order with a token between them, so that short ones fill blocks too and none is cut
    short; the block at the end is as long as it is. ``targets`` are the word that each token is of, -1 for special
    tokens and where ``words`` is not wanted.

    Raises:
        InputError: there is no text.
    """
    tokenizer = reading.tokenizer
    texts = [text for text in table.column("text") if isinstance(text, str) and text.strip()]
    if not texts:
        raise InputError(f"{table.name} has no text")
    opening, closing = _around(reading)
    separator = closing or opening
    encoded = tokenizer.encode_many(texts, add_special_tokens=False)
    flat: list[NDArray[np.int32]] = []
    numbers: list[NDArray[np.int32]] = []
    before = 0
    for each in encoded:
        flat += [each.ids, np.array(separator, np.int32)]
        if words:
            own = np.fromiter((-1 if word is None else word for word in each.word_ids), np.int32, len(each))
            numbers += [np.where(own >= 0, own + before, -1).astype(np.int32), np.full(len(separator), -1, np.int32)]
            before += int(own.max(initial=-1)) + 1
    ids = np.concatenate(flat)[: -len(separator) or None]
    owned = np.concatenate(numbers)[: -len(separator) or None] if words else np.full(len(ids), -1, np.int32)
    room = reading.max_length - len(opening) - len(closing)
    begins = range(0, len(ids), room)
    around = [np.array(opening, np.int32), np.array(closing, np.int32)]
    nothing = [np.full(len(part), -1, np.int32) for part in around]
    pieces = [np.concatenate([around[0], ids[begin : begin + room], around[1]]) for begin in begins]
    owners = [np.concatenate([nothing[0], owned[begin : begin + room], nothing[1]]) for begin in begins]
    kept = [index for index, piece in enumerate(pieces) if len(piece) > len(opening) + len(closing) + 1] or [0]
    return Examples(
        ids=Ragged.of([pieces[index] for index in kept]),
        types=None,
        targets=Ragged.of([owners[index] for index in kept], np.int32),
        rows=np.array(kept, np.int64),
    )


def _around(reading: Reading) -> tuple[list[int], list[int]]:
    """The special tokens that begin and end a text: [CLS] and [SEP], or <|endoftext|> where there is but that."""
    tokenizer = reading.tokenizer
    empty = tokenizer.encode_many([""])[0].ids.tolist()
    if empty:
        return empty[:1] if len(empty) > 1 else [], empty[-1:]
    end = tokenizer.eos_token_id
    return ([], []) if end is None else ([], [end])


def _each(words: NDArray[np.int32]) -> NDArray[np.int32]:
    """Every token a word of its own."""
    return np.where(words >= 0, np.arange(len(words), dtype=np.int32), -1)


class LanguageMeter:
    """Perplexity, and how often the likeliest token is the right one."""

    def __init__(self) -> None:
        self.perplexity = metrics.Perplexity()
        self.right = metrics.TokenAccuracy()

    def update(self, logits: Tensor, batch: Batch) -> None:
        losses = class_losses(logits, batch.targets, None, 0.0)
        count = len(batch.targets)
        self.perplexity.update(float(losses.double().sum()), count)
        self.right.update(int((logits.argmax(-1) == batch.targets).sum()), count)

    def result(self) -> dict[str, float]:
        return {"perplexity": self.perplexity.result()["perplexity"], **self.right.result()}
