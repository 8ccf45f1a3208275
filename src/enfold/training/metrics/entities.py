"""Named entities: right where span and type are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from enfold.errors import InputError
from enfold.training.metrics.base import Metric, Sums
from enfold.training.metrics.checks import check_lengths
from enfold.training.metrics.counts import Rates, share

__all__ = ["Entities", "find_spans"]

Span = tuple[str, int, int]
"""Type, first token, token after the last."""

_BEGINS, _ENDS = frozenset("BSU"), frozenset("ESUL")
"""Prefixes with which an entity begins in any case, and those after which it is over: BIO, BIOES, BILOU, BMES."""
_PREFIXES = _BEGINS | _ENDS | frozenset("IM")


class Entities(Metric):
    """Entity-level ``precision``, ``recall`` and ``f1`` over all entities, ``f1_macro`` and the tags' ``accuracy``.

    An entity is right when its type, its first and its last token are. Tags are read as conlleval and seqeval's default
    do: an entity also begins with ``I-`` after ``O`` or after another type. Tags without prefix (``PER``) are
    joined while they are equal. ``f1_macro`` is the mean over types.
    """

    unit = "tags"

    def __init__(self) -> None:
        """Starts a stream."""
        self._tags = Sums({"right": np.zeros((), np.int64)})
        # of each type: entities that are right, predicted, true
        self._types = Sums({}, others=np.zeros(3, np.int64))
        super().__init__({"tags": self._tags, "types": self._types})

    def update(self, predictions: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> None:
        """Counts a batch of sentences.

        Args:
            predictions: each sentence's tags.
            truth: each sentence's true tags, as many.

        Raises:
            InputError: other numbers of sentences or of tags, or tags that are no texts.
        """
        check_lengths("sentences of predictions", len(predictions), "true ones", len(truth))
        _check(predictions, truth)
        counts: dict[str, list[int]] = {}
        for guessed, true in zip(predictions, truth, strict=True):
            guesses, spans = set(find_spans(guessed)), set(find_spans(true))
            for column, found in enumerate((guesses & spans, guesses, spans)):
                for kind, _, _ in found:
                    counts.setdefault(kind, [0, 0, 0])[column] += 1
            self._tags.add("right", sum(one == other for one, other in zip(guessed, true, strict=True)))
            self.examples += len(true)
        for kind, amounts in counts.items():
            self._types.add(kind, amounts)

    def by_label(self) -> list[dict[str, Any]]:
        """A row for each type: its name, precision, recall, f1, how often it is true and how often predicted.

        Raises:
            InputError: nothing was seen.
        """
        self._require_examples()
        return self._rates().rows(sorted(self._types))

    def _rates(self) -> Rates:
        counts = np.array([self._types[kind] for kind in sorted(self._types)], np.int64).reshape(-1, 3)
        return Rates(*counts.T)

    def _figures(self) -> dict[str, float]:
        rates = self._rates()
        return {
            "precision": rates.micro.precision.item(),
            "recall": rates.micro.recall.item(),
            "f1": rates.micro.f1.item(),
            "f1_macro": share(rates.f1.sum(), len(rates.f1)),
            "accuracy": float(self._tags["right"]) / self.examples,
        }


def find_spans(tags: Sequence[str]) -> Iterator[Span]:
    """The entities of one sentence.

    >>> list(find_spans(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"]))
    [('PER', 0, 2), ('LOC', 3, 4), ('LOC', 4, 5)]
    """
    begin, kind, prefix = 0, "", "O"
    for place, tag in enumerate([*tags, "O"]):
        now, now_kind = _split(tag)
        begins = now != "O" and (now in _BEGINS or prefix == "O" or prefix in _ENDS or now_kind != kind)
        if prefix != "O" and (begins or now == "O"):
            yield kind, begin, place
        if begins:
            begin = place
        prefix, kind = now, now_kind


def _split(tag: str) -> tuple[str, str]:
    """Prefix and type: ``B-PER`` → B, PER; ``PER`` → I, PER; a prefix alone, as in word segmentation: B, _."""
    if tag == "O" or tag in _PREFIXES:
        return tag, "_"
    prefix, hyphen, kind = tag.partition("-")
    return (prefix, kind or "_") if hyphen and prefix in _PREFIXES else ("I", tag)


def _check(predictions: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> None:
    """Every sentence needs a list of tags on both sides, equally many."""
    uneven = []
    for row, (guessed, true) in enumerate(zip(predictions, truth, strict=True)):
        for side in (guessed, true):
            if isinstance(side, str) or not all(isinstance(tag, str) and tag for tag in side):
                raise InputError(f"sentence {row} is {str(side)[:60]}, expected a list of tags such as 'B-PER' and 'O'")
        if len(guessed) != len(true):
            uneven.append(f"{row} ({len(guessed)} and {len(true)})")
    if uneven:
        raise InputError(
            f"{len(uneven)} of {len(truth)} sentences have other numbers of tags in predictions than in truth: "
            f"sentence {', '.join(uneven[:5])}{' …' if len(uneven) > 5 else ''}; "
            "leave subwords and special tokens out on both sides"
        )
