"""Zero-shot classification by embeddings: the labels that lie nearest to a text."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from enfold.errors import InputError
from enfold.tasks.base import respond
from enfold.tasks.embed import EmbeddingTask, check_texts
from enfold.tasks.labels import split_labels
from enfold.tasks.pooling import normalized
from enfold.tasks.scores import softmax

__all__ = ["ZeroShotByEmbedding"]

TEMPERATURE = 0.05
"""all-MiniLM-L6-v2 and its relatives were trained with a softmax over cosines times 20 (their model cards)."""


class ZeroShotByEmbedding(EmbeddingTask):
    """Labels that a model was never trained on, by the cosine between a text and a sentence with each label.

    The records are those of zero-shot-classification, their meaning is not. A model of inference (NLI) judges whether
    a text *entails* a sentence, understands negation, and reads every pair of text and label. Here texts and labels
    are embedded once each, which is as many times faster as there are labels, and only *likeness of topic* counts:
    good for subjects, poor for sentiment or "is not about". The scores compare the labels given, and sum to 1;
    there is no multi-label form, since a cosine says nothing about a label alone.

    >>> classify = pipeline("zero-shot-by-embedding")                               # doctest: +SKIP
    >>> classify("The goalkeeper saved it.", ["sport", "cooking"])["labels"][0]     # doctest: +SKIP
    'sport'
    """

    name = "zero-shot-by-embedding"

    def __call__(
        self,
        sequences: Any,
        candidate_labels: str | Sequence[str],
        *,
        hypothesis_template: str = "This example is {}.",
        temperature: float = TEMPERATURE,
        multi_label: bool = False,
    ) -> Any:
        """Ranks labels for texts.

        Args:
            sequences: a text or many of them.
            candidate_labels: a list, or a text with commas between the labels.
            hypothesis_template: what a label is read in; ``{}`` stands for it.
            temperature: what cosines are divided by before the softmax; lower is more decided.
            multi_label: False; a cosine says nothing about a label alone.

        Returns:
            ``{"sequence", "labels", "scores"}``, best label first; one such record a text of a list.

        Raises:
            InputError: a text or label that is none, labels twice, a template without ``{}``, or ``multi_label``.
        """
        if multi_label:
            raise InputError(
                "multi_label=True asks whether each label holds by itself, and likeness says only which is nearest: "
                "name a model of inference, pipeline('zero-shot-classification', "
                "'MoritzLaurer/deberta-v3-base-zeroshot-v2.0')"
            )
        labels = _labels(candidate_labels)
        if not isinstance(hypothesis_template, str) or "{}" not in hypothesis_template:
            raise InputError(f"hypothesis_template is {hypothesis_template!r}, expected a text with {{}} for the label")
        if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not temperature > 0:
            raise InputError(f"temperature is {temperature!r}, expected a number above 0")
        if isinstance(sequences, list | tuple):
            check_texts(sequences)
        anchors = normalized(self.embed([hypothesis_template.replace("{}", label) for label in labels]))

        def records(items: Iterable[Any], total: int | None) -> Iterator[dict[str, Any]]:
            for text, vector in self.embed.pairs(items, total=total):
                scores = softmax(anchors @ normalized(vector) / np.float32(temperature))
                order = np.argsort(-scores, kind="stable")
                yield {
                    "sequence": text,
                    "labels": [labels[index] for index in order],
                    "scores": [float(scores[index]) for index in order],
                }

        return respond(sequences, records, single=isinstance(sequences, str | bytes | os.PathLike | Mapping))


def _labels(given: str | Sequence[str]) -> list[str]:
    labels = split_labels(given) if isinstance(given, str) else list(given)
    wrong = [label for label in labels if not isinstance(label, str) or not label.strip()]
    twice = [label for label in dict.fromkeys(labels) if labels.count(label) > 1]
    if not labels or wrong or twice:
        reason = f"{wrong} are no labels" if wrong else f"{twice} are there twice" if twice else "there is none"
        raise InputError(f"candidate_labels is {given!r:.80}: {reason}; expected different texts")
    return labels
