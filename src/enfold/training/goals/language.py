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
from enfold.tokenization import Encoded
from enfold.training import metrics
from enfold.training.data import Table
from enfold.training.data.problems import beginning
from enfold.training.examples import Batch, Examples, Ragged, as_tensors
from enfold.training.goals.base import IGNORED, TEXT, Goal, Meter, class_losses
from enfold.training.goals.texts import CJK, Reading, check_rows
from enfold.training.settings import Long, Settings

__all__ = ["CausalLM", "LanguageMeter", "MaskedLM", "blocks"]


class _Language(Goal):
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {"text": TEXT}
    default_long: ClassVar[Long] = "window"
    repeats: ClassVar[bool] = False

    @classmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> Any:
        return cls(smoothing=settings.label_smoothing)

    def meter(self) -> Meter:
        return LanguageMeter()


class MaskedLM(_Language):
    """Words hidden from a text, to be found from what is around them (BERT, https://arxiv.org/abs/1810.04805).

    Of 15 % of the words, chosen anew each time, all pieces are learnt (whole-word masking): 80 % become the mask, 10 %
    another token, 10 % stay. Chinese characters begin a word each, whatever the tokenizer. The head is computed where
    something is learnt, and nowhere else.
    """

    name = "masked-lm"
    head: ClassVar[HeadKind] = "masked-lm"

    def __init__(self, smoothing: float = 0.0, share: float = 0.15, whole_words: bool = True) -> None:
        super().__init__(smoothing=smoothing)
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
        others = draw.integers(0, len(reading.tokenizer), len(ids), dtype=np.int32)
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
    short; the block at the end is as long as it is. Blank texts are left out. ``targets`` are the word that each token
    is of, -1 for special tokens and where ``words`` is not wanted; a block's row is the one that it begins in.

    Raises:
        InputError: values that are no text, or nothing to learn from.
    """
    _check_texts(table, reading)
    texts = table.column("text")
    chosen = [index for index, text in enumerate(texts) if text.strip()]
    encoded = reading.tokenizer.encode_many([texts[index] for index in chosen], add_special_tokens=False)
    opening, closing, separator = _around(reading)
    ids = _joined([each.ids for each in encoded], separator)
    owners = np.full(len(ids), -1, np.int32)
    if words:
        special = np.array(reading.tokenizer.all_special_ids, np.int32)  # written in a text, or [UNK]
        numbers = [np.where(np.isin(each.ids, special), -1, _numbers(each)) for each in encoded]
        firsts = np.cumsum([0, *(int(each.max(initial=-1)) + 1 for each in numbers)])
        own = [np.where(each >= 0, each + first, -1) for each, first in zip(numbers, firsts.tolist(), strict=False)]
        owners = _joined(own, np.full(len(separator), -1))
    places = np.cumsum([0, *(len(each) + len(separator) for each in encoded)])
    room = reading.max_length - len(opening) - len(closing)
    begins = np.arange(0, len(ids), room)
    ends = np.minimum(begins + room, len(ids))
    if not words and len(begins) > 1 and ends[-1] - begins[-1] == 1:  # one token alone has none to be learnt from
        begins[-1] -= 1
        ends[-2] -= 1
    spans = list(zip(begins.tolist(), ends.tolist(), strict=True))
    useful = [bool((owners[begin:end] >= 0).any()) if words else end - begin > 1 for begin, end in spans]
    if not any(useful):
        raise InputError(f"{table.name} has too little text to learn from")
    kept = [span for span, enough in zip(spans, useful, strict=True) if enough]
    nothing = [np.full(len(part), -1) for part in (opening, closing)]
    return Examples(
        ids=Ragged.of([np.concatenate([opening, ids[begin:end], closing]) for begin, end in kept]),
        types=None,
        targets=Ragged.of([np.concatenate([nothing[0], owners[begin:end], nothing[1]]) for begin, end in kept]),
        rows=np.array(chosen, np.int64)[np.searchsorted(places, [begin for begin, _ in kept], side="right") - 1],
    )


def _check_texts(table: Table, reading: Reading) -> None:
    if reading.long != "window":
        raise InputError(
            f"long={reading.long!r}, and language models learn from texts as a whole, in blocks: leave long away"
        )
    texts = table.column("text")
    check_rows(
        table, lambda row, _: None if isinstance(texts[row], str) else f"{beginning(texts[row])} where a text should be"
    )
    if not any(text.strip() for text in texts):
        raise InputError(f"{table.name} has no text: all of its {len(table)} rows are blank")


def _joined(parts: list[NDArray[Any]], separator: NDArray[Any]) -> NDArray[np.int32]:
    """Arrays one after another, with a separator between them."""
    flat = [each for part in parts for each in (separator, part)][1:]
    return np.concatenate(flat).astype(np.int32, copy=False)


def _numbers(encoded: Encoded) -> NDArray[np.int32]:
    """(T,) the number of each token's word, -1 where it is of none; a Chinese character begins a word of its own."""
    text = encoded.item if isinstance(encoded.item, str) else ""
    found = np.full(len(encoded), -1, np.int32)
    number, before, at = -1, None, -1
    for place, (word, (begin, _)) in enumerate(zip(encoded.word_ids, encoded.offsets.tolist(), strict=True)):
        if word is None:
            before = None
            continue
        apart = begin != at and CJK.match(text, begin) is not None  # not the bytes of one character
        after = begin != at and place > 0 and CJK.match(text, max(0, at)) is not None
        if word != before or apart or after:
            number += 1
        found[place] = number
        before, at = word, begin
    return found


def _around(reading: Reading) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """The special tokens that begin and end a text ([CLS] and [SEP]), and what stands between two texts."""
    tokenizer = reading.tokenizer
    (letter,) = tokenizer.encode_many(["a"])
    own = np.flatnonzero(~letter.special_mask)
    opening, closing = letter.ids[: own[0]], letter.ids[own[-1] + 1 :]
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return opening, closing, closing if len(closing) else np.array(end or opening, np.int32)


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
