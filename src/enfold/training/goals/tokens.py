"""Token classification: a label for each word, learnt at the word's first piece."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from enfold.config import Config
from enfold.heads import HeadKind
from enfold.tokenization import Encoded
from enfold.training import metrics
from enfold.training.data import Table, check_known
from enfold.training.data.problems import beginning, counted
from enfold.training.data.table import Row
from enfold.training.examples import Batch, Examples, Ragged, packed_batch
from enfold.training.goals.base import IGNORED, Goal, Meter
from enfold.training.goals.classification import class_weights
from enfold.training.goals.texts import CJK, Reading, check_rows, encoded_ids, ragged_types
from enfold.training.settings import Long, Settings

__all__ = ["TokenClassification", "joined_words", "per_token_batch"]

logger = logging.getLogger("enfold")

Integers = NDArray[np.int64]


class TokenClassification(Goal):
    """Labels of words, as named entities have them.

    Words are read as the text that they make, with spaces except between Chinese and Japanese characters, so that a
    model learns from the same tokens that it will meet. Of a word's pieces the first alone has the label and the others
    none, so that a long word counts once. A tokenizer that makes one token of several words (SentencePiece of Chinese
    characters) leaves all but the first of them unlearnt; they are counted. Sentences over the limit are read in
    windows that share nothing: each word is learnt once.
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

    @classmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> TokenClassification:
        flat = [tag for _, tags in _sentences(table) for tag in tags]
        # "O" first, then by entity, its beginning before its inside
        labels = tuple(sorted(set(flat), key=lambda tag: (tag != "O", tag.partition("-")[2], tag)))
        if config is not None and set(labels) <= set(config.label2id):
            labels = tuple(config.id2label.values())
        return cls(labels, class_weights(settings, labels, flat), settings.label_smoothing)

    def configure(self) -> dict[str, Any]:
        return {"id2label": dict(enumerate(self.labels))}

    def encode(self, table: Table, reading: Reading) -> Examples:
        sentences = _sentences(table)
        places = [index for index, (_, tags) in enumerate(sentences) for _ in tags]
        check_known([tag for _, tags in sentences for tag in tags], self.labels, table, places)
        ids = {label: index for index, label in enumerate(self.labels)}
        joined = [joined_words(words) for words, _ in sentences]
        windows = encoded_ids(reading, [text for text, _ in joined], None, table)
        encoded: list[Encoded] = []
        targets: list[Integers] = []
        rows: list[int] = []
        lost = 0
        for row, ((_, tags), (_, owners)) in enumerate(zip(sentences, joined, strict=True)):
            labels, unlearnt = _aligned(windows[row], owners, np.array([ids[tag] for tag in tags], np.int64))
            lost += unlearnt
            kept = [index for index, each in enumerate(labels) if (each != IGNORED).any()]
            encoded += [windows[row][index] for index in kept]
            targets += [labels[index] for index in kept]
            rows += [row] * len(kept)
        if lost:
            message = "%s: %d of %d words share a token with the word before and are not learnt"
            logger.warning(message, table.name, lost, len(places))
        return Examples(
            ids=Ragged.of([each.ids for each in encoded]),
            types=ragged_types(encoded),
            targets=Ragged.of(targets, np.int64),
            rows=np.array(rows, np.int64),
        )

    def batch(self, reading: Reading, examples: Examples, chosen: Integers, draw: np.random.Generator) -> Batch:
        return per_token_batch(self, reading, examples, chosen)

    def meter(self) -> Meter:
        return _Entities(self.labels)


def per_token_batch(goal: Goal, reading: Reading, examples: Examples, chosen: Integers) -> Batch:
    """A batch whose targets are the labels of tokens; the head is computed where there is one."""
    assert isinstance(examples.targets, Ragged)
    labels = examples.targets.take(chosen)
    flat = np.concatenate(labels)
    owners = np.repeat(np.arange(len(chosen)), [len(each) for each in labels])
    wanted = np.flatnonzero(flat != IGNORED)
    targets = torch.from_numpy(flat[wanted])
    return Batch(
        packed=packed_batch(reading.source_arch, examples, chosen),
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


def joined_words(words: Sequence[str]) -> tuple[str, Integers]:
    """A sentence as it is written, and the word of each of its characters; a space is of the word after it."""
    parts: list[str] = []
    for word in words:
        apart = bool(parts) and not (CJK.match(parts[-1][-1:]) and CJK.match(word))
        parts.append(f" {word}" if apart else word)
    return "".join(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def _aligned(windows: Sequence[Encoded], owners: Integers, tags: Integers) -> tuple[list[Integers], int]:
    """(T,) for each window each word's label at the word's first piece; and how many words have no first piece.

    A word that vanished, as a tokenizer's normalization has it, is not among these: nothing stands for it.

    Args:
        windows: of one sentence, in their order.
        owners: the word of each character.
        tags: the label of each word.
    """
    found = []
    before = -1
    touched, learnt = np.zeros(len(tags), bool), np.zeros(len(tags), bool)
    for window in windows:
        labels = np.full(len(window), IGNORED, np.int64)
        for place in np.flatnonzero(~window.special_mask).tolist():
            begin, end = window.offsets[place].tolist()
            first, last = int(owners[min(begin, len(owners) - 1)]), int(owners[max(begin, end - 1)])
            touched[first : last + 1] = True
            if last > before:
                before = max(first, before + 1)
                labels[place] = tags[before]
                learnt[before] = True
        found.append(labels)
    return found, int((touched & ~learnt).sum())


def _sentences(table: Table) -> list[tuple[list[str], list[str]]]:
    """Each row's words and their labels.

    Raises:
        InputError: rows that have none, or not one label for each word; their places are named.
    """
    found: list[tuple[list[str], list[str]]] = []

    def problem(index: int, row: Row) -> str | None:
        words, tags = _listed(row["tokens"]), _listed(row["tags"])
        if words is None or not any(word.strip() for word in words):
            return f"'tokens' is {beginning(row['tokens'])}, expected a list of words"
        if tags is None or not all(tag.strip() for tag in tags):
            return f"'tags' is {beginning(row['tags'])}, expected a list of labels"
        if len(words) != len(tags):
            return f"{counted(len(words), 'word')} and {counted(len(tags), 'label')}"
        found.append((words, tags))
        return None

    check_rows(table, problem)
    return found


def _listed(values: Any) -> list[str] | None:
    """A row's words or labels, of a list or of a text with spaces; None where it is neither."""
    if isinstance(values, str):
        return values.split()
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, list | tuple):
        return None
    whole = all(isinstance(each, str | int) and not isinstance(each, bool) for each in values)
    return [str(each) for each in values] if whole else None
