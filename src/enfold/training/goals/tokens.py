"""Token classification: a label for each word, learnt at the word's first piece."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from enfold.config import Config
from enfold.errors import InputError
from enfold.heads import HeadKind
from enfold.tokenization import Encoded
from enfold.training import metrics
from enfold.training.data import Table, check_known
from enfold.training.examples import Batch, Examples, Ragged, packed_batch
from enfold.training.goals.base import IGNORED, Goal, Meter, Reading, class_losses, encoded_ids, ragged_types
from enfold.training.goals.classification import class_weights
from enfold.training.settings import Long, Settings

__all__ = ["TokenClassification", "per_token_batch"]

_CJK = re.compile(r"[\u3000-\u303f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")


class TokenClassification(Goal):
    """Labels of words, as named entities have them.

    Of a word's pieces the first alone has the label and the others none, so that a long word counts once. Sentences
    over the limit are read in windows that share nothing: each word is learnt once.
    """

    name = "token-classification"
    head: ClassVar[HeadKind] = "token-classification"
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "tokens": ("tokens", "words"),
        "tags": ("tags", "ner_tags", "labels", "ner"),
    }
    metric = "f1"
    together = ("tokens",)
    default_long: ClassVar[Long] = "window"

    def __init__(self, labels: tuple[str, ...], weights: Tensor | None = None, smoothing: float = 0.0) -> None:
        self._labels, self._weights, self._smoothing = labels, weights, smoothing
        self._ids = {label: index for index, label in enumerate(labels)}

    @classmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> TokenClassification:
        flat = [tag for _, tags in _words(table) for tag in tags]
        # "O" first, then by entity, its beginning before its inside
        found = sorted(set(flat), key=lambda tag: (tag != "O", tag.partition("-")[2], tag))
        labels = tuple(found)
        if config is not None and set(labels) <= set(config.label2id):
            labels = tuple(config.id2label.values())
        return cls(labels, class_weights(settings, labels, flat), settings.label_smoothing)

    @property
    def labels(self) -> tuple[str, ...]:
        return self._labels

    def configure(self) -> dict[str, Any]:
        return {"id2label": dict(enumerate(self._labels))}

    def encode(self, table: Table, reading: Reading) -> Examples:
        sentences = _words(table)
        places = [index for index, (_, tags) in enumerate(sentences) for _ in tags]
        check_known([tag for _, tags in sentences for tag in tags], self._labels, table, places)
        joined = [_join(words) for words, _ in sentences]
        windows = encoded_ids(reading, [text for text, _ in joined], None, table)
        encoded, targets, rows = [], [], []
        for row, ((_, tags), (_, starts)) in enumerate(zip(sentences, joined, strict=True)):
            ids = np.array([self._ids[tag] for tag in tags], np.int64)
            before = -1
            for window in windows[row]:
                labels, before = _aligned(window, starts, ids, before)
                encoded.append(window)
                targets.append(labels)
                rows.append(row)
        return Examples(
            ids=Ragged.of([each.ids for each in encoded]),
            types=ragged_types(encoded),
            targets=Ragged.of(targets, np.int64),
            rows=np.array(rows, np.int64),
        )

    def batch(
        self, reading: Reading, examples: Examples, chosen: NDArray[np.int64], draw: np.random.Generator
    ) -> Batch:
        return per_token_batch(self, reading, examples, chosen)

    def weights(self, targets: Tensor) -> Tensor:
        return torch.ones(len(targets)) if self._weights is None else self._weights[targets]

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        weights = None if self._weights is None else self._weights.to(logits.device)
        return class_losses(logits, batch.targets, weights, self._smoothing)

    def meter(self) -> Meter:
        return _Entities(self._labels)


def per_token_batch(goal: Goal, reading: Reading, examples: Examples, chosen: NDArray[np.int64]) -> Batch:
    """A batch whose targets are the labels of tokens; the head is computed where there is one."""
    assert isinstance(examples.targets, Ragged)
    labels = examples.targets.take(chosen)
    flat = np.concatenate(labels)
    owners = np.repeat(np.arange(len(chosen)), [len(each) for each in labels])
    wanted = np.flatnonzero(flat != IGNORED)
    targets = torch.from_numpy(flat[wanted])
    return Batch(
        packed=packed_batch(reading.arch, examples, chosen),
        targets=targets,
        owners=torch.from_numpy(owners[wanted]),
        rows=examples.rows[chosen],
        chosen=chosen,
        weight=float(goal.weights(targets).sum()),
        tokens=torch.from_numpy(wanted),
    )


class _Entities:
    """Entities of whole sentences: words in their order, an example each."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels, self.metric = labels, metrics.Entities()
        self.right = self.count = 0

    def update(self, logits: Tensor, batch: Batch) -> None:
        guesses, truths = logits.argmax(-1).tolist(), batch.targets.tolist()
        said: list[list[str]] = [[] for _ in batch.rows]
        meant: list[list[str]] = [[] for _ in batch.rows]
        for owner, guess, truth in zip(batch.owners.tolist(), guesses, truths, strict=True):
            said[owner].append(self.labels[guess])
            meant[owner].append(self.labels[truth])
            self.right += guess == truth
        self.count += len(truths)
        self.metric.update(said, meant)

    def result(self) -> dict[str, float]:
        return {**self.metric.result(), "accuracy": self.right / max(1, self.count)}


def _join(words: list[str]) -> tuple[str, NDArray[np.int64]]:
    """A sentence as it is written, and where each of its words begins: Chinese words have no spaces between them."""
    text, starts = "", []
    for word in words:
        if text and not (_CJK.match(text[-1]) and _CJK.match(word[0])):
            text += " "
        starts.append(len(text))
        text += word
    return text, np.array(starts, np.int64)


def _aligned(
    window: Encoded, starts: NDArray[np.int64], tags: NDArray[np.int64], before: int
) -> tuple[NDArray[np.int64], int]:
    """(T,) each word's label at its first piece, and the window's last word; ``before`` is that of the last window."""
    labels = np.full(len(window), IGNORED, np.int64)
    ends = np.maximum(window.offsets[:, 0], window.offsets[:, 1] - 1)  # some pieces begin with the space before them
    words = np.searchsorted(starts, ends, side="right") - 1
    for place in np.flatnonzero(~window.special_mask).tolist():
        word = int(words[place])
        if word > before:
            labels[place] = tags[word]
            before = word
    return labels, before


def _words(table: Table) -> list[tuple[list[str], list[str]]]:
    """Each row's words and their labels.

    Raises:
        InputError: rows that have none, or not one label for each word; their places are named.
    """
    found, problems = [], []
    for index, row in enumerate(table.rows):
        words, tags = row["tokens"], row["tags"]
        if isinstance(words, str) and isinstance(tags, str):
            words, tags = words.split(" "), tags.split(" ")
        if not _are_texts(words) or not isinstance(tags, list | tuple) or not tags:
            problems.append(f"{table.place(index)}: expected a list of words and a list of labels")
        elif len(words) != len(tags):
            problems.append(f"{table.place(index)}: {len(words)} words and {len(tags)} labels")
        else:
            found.append((list(words), [str(tag) for tag in tags]))
    if problems:
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise InputError(f"{len(problems)} rows can't be learnt from: {'; '.join(problems[:10])}{more}")
    return found


def _are_texts(values: Any) -> bool:
    return (
        isinstance(values, list | tuple) and bool(values) and all(isinstance(value, str) and value for value in values)
    )
