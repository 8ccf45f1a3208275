"""Collators: features of several texts to one padded batch, by the names that the field knows.

The Trainer takes padding away again and learns from packed batches; these are for loops of one's own, and tell the
Trainer what is wanted (masks that are chosen anew each time, say).
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from enfold.errors import InputError
from enfold.training.goals.base import IGNORED

__all__ = [
    "DataCollatorForLanguageModeling",
    "DataCollatorForMultipleChoice",
    "DataCollatorForSeq2Seq",
    "DataCollatorForTokenClassification",
    "DataCollatorWithPadding",
    "DefaultDataCollator",
    "default_data_collator",
    "padded",
]

Features = Sequence[Mapping[str, Any]]
Kind = Literal["pt", "np"]
Padding = bool | Literal["longest", "max_length", "do_not_pad"]


def default_data_collator(features: Features, return_tensors: Kind = "pt") -> dict[str, Any]:
    """Features of equal lengths as one batch: ``label`` and ``label_ids`` become ``labels``, texts are left out.

    Raises:
        InputError: features of different lengths.
    """
    batch = {}
    for name, first in _checked(features)[0].items():
        if first is None or isinstance(first, str):
            continue
        values = [_plain(feature[name]) for feature in features]
        if len({np.shape(value) for value in values}) > 1:
            raise InputError(
                f"{name} have different lengths, and this collator pads nothing: "
                "take DataCollatorWithPadding(tokenizer), or pad when you tokenize"
            )
        batch["labels" if name in ("label", "label_ids") else name] = _made(values, return_tensors)
    return batch


@dataclass
class DefaultDataCollator:
    """:func:`default_data_collator` as an object.

    Attributes:
        return_tensors: ``"pt"`` or ``"np"``.
    """

    return_tensors: Kind = "pt"

    def __call__(self, features: Features, return_tensors: Kind | None = None) -> dict[str, Any]:
        return default_data_collator(features, return_tensors or self.return_tensors)


@dataclass
class DataCollatorWithPadding:
    """Pads what a tokenizer made to the longest of a batch.

    Attributes:
        tokenizer: says with what and on which side.
        padding: True or ``"longest"``, ``"max_length"``, False.
        max_length: of ``"max_length"``.
        pad_to_multiple_of: lengths are multiples of it.
        return_tensors: ``"pt"`` or ``"np"``.
    """

    tokenizer: Any
    padding: Padding = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    return_tensors: Kind = "pt"

    def __call__(self, features: Features) -> MutableMapping[str, Any]:
        _checked(features)
        batch: MutableMapping[str, Any] = self.tokenizer.pad(
            list(features),
            padding=self.padding,
            max_length=self.max_length,
            pad_to_multiple_of=self.pad_to_multiple_of,
            return_tensors=self.return_tensors,
        )
        for name in ("label", "label_ids"):
            if name in batch:
                batch["labels"] = batch.pop(name)
        return batch


@dataclass
class DataCollatorForTokenClassification:
    """Pads texts, and the labels of their tokens with them.

    Attributes:
        tokenizer: says with what and on which side.
        padding: as for :class:`DataCollatorWithPadding`.
        max_length: likewise.
        pad_to_multiple_of: likewise.
        label_pad_token_id: what labels are padded with; -100 is ignored by every loss.
        return_tensors: ``"pt"`` or ``"np"``.
    """

    tokenizer: Any
    padding: Padding = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    label_pad_token_id: int = IGNORED
    return_tensors: Kind = "pt"

    def __call__(self, features: Features, return_tensors: Kind | None = None) -> MutableMapping[str, Any]:
        kind = return_tensors or self.return_tensors
        name, labels, rest = _without_labels(features)
        batch: MutableMapping[str, Any] = self.tokenizer.pad(
            rest,
            padding=self.padding,
            max_length=self.max_length,
            pad_to_multiple_of=self.pad_to_multiple_of,
            return_tensors=kind,
        )
        if labels is not None:
            length = batch["input_ids"].shape[1]
            batch[name] = _padded(labels, length, self.label_pad_token_id, self.tokenizer.padding_side, kind)
        return batch


@dataclass
class DataCollatorForSeq2Seq:
    """Pads texts that are read, and texts that are to be written.

    Attributes:
        tokenizer: says with what and on which side.
        model: makes ``decoder_input_ids`` where it has ``prepare_decoder_input_ids_from_labels``. Models of this
            library make them in their call.
        padding: as for :class:`DataCollatorWithPadding`; of both.
        max_length: likewise.
        pad_to_multiple_of: likewise.
        label_pad_token_id: what labels are padded with; -100 is ignored by every loss.
        return_tensors: ``"pt"`` or ``"np"``.
    """

    tokenizer: Any
    model: Any = None
    padding: Padding = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    label_pad_token_id: int = IGNORED
    return_tensors: Kind = "pt"

    def __call__(self, features: Features, return_tensors: Kind | None = None) -> MutableMapping[str, Any]:
        kind = return_tensors or self.return_tensors
        _, labels, rest = _without_labels(features)
        batch: MutableMapping[str, Any] = self.tokenizer.pad(
            rest,
            padding=self.padding,
            max_length=self.max_length,
            pad_to_multiple_of=self.pad_to_multiple_of,
            return_tensors=kind,
        )
        if labels is None:
            batch["labels"] = None
            return batch
        length = max(len(label) for label in labels)
        if self.padding == "max_length" and self.max_length is not None:
            length = self.max_length
        if self.pad_to_multiple_of:
            length = -(-length // self.pad_to_multiple_of) * self.pad_to_multiple_of
        side = self.tokenizer.padding_side
        batch["labels"] = _padded(labels, length, self.label_pad_token_id, side, kind)
        if hasattr(self.model, "prepare_decoder_input_ids_from_labels"):
            batch["decoder_input_ids"] = self.model.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
        return batch


@dataclass
class DataCollatorForMultipleChoice:
    """Pads the choices of several examples: (B, C, S).

    Attributes:
        tokenizer: says with what and on which side.
        padding: as for :class:`DataCollatorWithPadding`.
        max_length: likewise.
        pad_to_multiple_of: likewise.
        return_tensors: ``"pt"`` alone.
    """

    tokenizer: Any
    padding: Padding = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    return_tensors: Kind = "pt"

    def __call__(self, features: Features) -> dict[str, Any]:
        _, labels, rest = _without_labels(features)
        choices = len(rest[0]["input_ids"])
        flat = [{name: values[at] for name, values in each.items()} for each in rest for at in range(choices)]
        padded = self.tokenizer.pad(
            flat,
            padding=self.padding,
            max_length=self.max_length,
            pad_to_multiple_of=self.pad_to_multiple_of,
            return_tensors="pt",
        )
        batch = {name: values.reshape(len(rest), choices, -1) for name, values in padded.items()}
        if labels is not None:
            batch["labels"] = torch.tensor([int(label) for label in labels])
        return batch


@dataclass
class DataCollatorForLanguageModeling:
    """Pads texts and makes labels of them: tokens that were hidden, or all.

    Attributes:
        tokenizer: has the mask and knows the special tokens, which are never hidden.
        mlm: hides tokens; False: labels are the ids, those of padding -100.
        mlm_probability: of a token to be hidden.
        mask_replace_prob: of those, to become the mask.
        random_replace_prob: of those, to become another token; the others stay as they are.
        pad_to_multiple_of: lengths are multiples of it.
        return_tensors: ``"pt"`` or ``"np"``.
        seed: of what is hidden; None: torch's generator.
    """

    tokenizer: Any
    mlm: bool = True
    whole_word_mask: bool = False
    mlm_probability: float | None = 0.15
    mask_replace_prob: float = 0.8
    random_replace_prob: float = 0.1
    pad_to_multiple_of: int | None = None
    return_tensors: Kind = "pt"
    seed: int | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.whole_word_mask:
            problems.append("whole_word_mask=True is not to be had: enfold.fit(…, task='masked-lm') hides whole words")
        if self.mlm and self.tokenizer.mask_token is None:
            problems.append("the tokenizer has no mask token: pass mlm=False to learn the token that comes next")
        shares = {name: getattr(self, name) for name in ("mlm_probability", "mask_replace_prob", "random_replace_prob")}
        for name, value in shares.items():
            if (self.mlm or name != "mlm_probability") and not (isinstance(value, int | float) and 0 <= value <= 1):
                problems.append(f"{name} is {value!r}, expected a share from 0 to 1")
        if not problems and self.mask_replace_prob + self.random_replace_prob > 1 + 1e-9:
            problems.append("mask_replace_prob and random_replace_prob are more than 1 together")
        if problems:
            raise InputError("; ".join(problems))
        self._generator = None if self.seed is None else torch.Generator().manual_seed(self.seed)

    def __call__(self, features: Sequence[Any], return_tensors: Kind | None = None) -> MutableMapping[str, Any]:
        whole = features if isinstance(features[0], Mapping) else [{"input_ids": _plain(each)} for each in features]
        batch: MutableMapping[str, Any] = self.tokenizer.pad(
            list(whole), pad_to_multiple_of=self.pad_to_multiple_of, return_tensors="pt"
        )
        special = batch.pop("special_tokens_mask", None)
        batch.pop("offset_mapping", None)
        ids = batch["input_ids"]
        if self.mlm:
            known = torch.tensor(self.tokenizer.all_special_ids)
            batch["input_ids"], batch["labels"] = self._masked(
                ids, torch.isin(ids, known) if special is None else special.bool()
            )
        else:
            pad = self.tokenizer.pad_token_id
            batch["labels"] = ids.clone() if pad is None else ids.masked_fill(ids == pad, IGNORED)
        if (return_tensors or self.return_tensors) == "np":
            for name in list(batch):
                batch[name] = batch[name].numpy()
        return batch

    def _masked(self, ids: torch.Tensor, special: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The ids with tokens hidden, and what they were."""
        assert self.mlm_probability is not None
        hidden = self._chosen(torch.full(ids.shape, self.mlm_probability).masked_fill(special, 0.0))
        labels = ids.masked_fill(~hidden, IGNORED)
        masked = hidden & self._chosen(torch.full(ids.shape, float(self.mask_replace_prob)))
        changed = ids.masked_fill(masked, self.tokenizer.mask_token_id)
        if self.mask_replace_prob < 1 and self.random_replace_prob > 0:
            share = self.random_replace_prob / (1 - self.mask_replace_prob)
            other = hidden & ~masked & self._chosen(torch.full(ids.shape, share))
            words = torch.randint(len(self.tokenizer), ids.shape, generator=self._generator)
            changed = torch.where(other, words, changed)
        return changed, labels

    def _chosen(self, chances: torch.Tensor) -> torch.Tensor:
        return torch.bernoulli(chances, generator=self._generator).bool()


def _checked(features: Features) -> Features:
    if not features or not isinstance(features[0], Mapping):
        what = "nothing" if not features else f"a {type(features[0]).__name__}"
        raise InputError(f"a collator takes features that a tokenizer made, a list of dictionaries; got {what}")
    return features


def _without_labels(features: Features) -> tuple[str, list[Any] | None, list[dict[str, Any]]]:
    """What labels are called, they themselves, and the features without them."""
    name = "label" if "label" in _checked(features)[0] else "labels"
    rest = [{key: value for key, value in feature.items() if key != name} for feature in features]
    labels = [_plain(feature.get(name)) for feature in features]
    return name, None if any(label is None for label in labels) else labels, rest


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _made(values: Any, kind: Kind) -> Any:
    if kind == "pt":
        return torch.tensor(values)
    array: NDArray[Any] = np.array(values)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _padded(rows: list[Any], length: int, filler: int, side: str, kind: Kind) -> Any:
    filled = [[filler] * max(0, length - len(row)) for row in rows]
    pairs = zip(rows, filled, strict=True)
    return _made([[*row, *more] if side == "right" else [*more, *row] for row, more in pairs], kind)


_FILLERS = {"attention_mask": 0, "decoder_attention_mask": 0, "token_type_ids": 0, "special_tokens_mask": 1}


def padded(features: Features, pad: int) -> dict[str, Any]:
    """Features of any lengths as one batch, padded at their ends: labels with -100, ids with ``pad``."""
    batch: dict[str, Any] = {}
    if "input_ids" in _checked(features)[0] and features[0].get("attention_mask") is None:
        features = [{**feature, "attention_mask": _ones(_plain(feature["input_ids"]))} for feature in features]
    for name, first in features[0].items():
        if first is None or isinstance(first, str) or any(feature.get(name) is None for feature in features):
            continue
        filler = IGNORED if name in ("labels", "label", "label_ids") else _FILLERS.get(name, pad)
        rows = [_array(feature[name]) for feature in features]
        shape = [max(sizes) for sizes in zip(*(row.shape for row in rows), strict=True)]
        whole = np.full((len(rows), *shape), filler, rows[0].dtype)
        for at, row in enumerate(rows):
            place: tuple[Any, ...] = (at, *map(slice, row.shape))
            whole[place] = row
        batch["labels" if name in ("label", "label_ids") else name] = torch.from_numpy(whole)
    return batch


def _ones(ids: Any) -> Any:
    return [_ones(each) for each in ids] if isinstance(ids, list) else 1


def _array(value: Any) -> NDArray[Any]:
    """An array of whole numbers or of float32; rows of different lengths, as choices are, are padded with zeros."""
    value = _plain(value)
    if isinstance(value, list) and value and isinstance(value[0], list) and len({len(row) for row in value}) > 1:
        longest = max(map(len, value))
        value = [row + [0] * (longest - len(row)) for row in value]
    array: NDArray[Any] = np.asarray(value)
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
