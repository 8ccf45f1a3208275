"""Sentence similarity: how near the embeddings of texts are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.checkpoint.modules import Similarity
from enfold.errors import InputError
from enfold.tasks.base import respond
from enfold.tasks.embed import EmbeddingTask
from enfold.tasks.pooling import normalized

__all__ = ["SentenceSimilarity", "similarities"]

Floats = NDArray[np.float32]


class SentenceSimilarity(EmbeddingTask):
    """Similarities of texts, by the function that the model's folder names (cosine where it names none).

    >>> similarity = pipeline("sentence-similarity")                                      # doctest: +SKIP
    >>> similarity({"source_sentence": "A dog.", "sentences": ["A puppy.", "A tax."]})    # doctest: +SKIP
    [0.80, 0.27]
    """

    name = "sentence-similarity"

    def __call__(self, inputs: Any, texts: Sequence[str] | None = None) -> Any:
        """Compares texts.

        Args:
            inputs: ``{"source_sentence": …, "sentences": […]}`` as the hub's inference API takes it, or many of them;
                or a list of texts.
            texts: a second list, to which ``inputs`` is compared; by default ``inputs`` itself.

        Returns:
            For a record a list of numbers, one a sentence; for many records one such list each, a generator where a
            generator was given; for lists of texts float32 (N, M). Higher is more alike, distances are negative.

        Raises:
            InputError: something else, or a text that is empty.
        """
        records = not isinstance(inputs, list | tuple) or bool(inputs and isinstance(inputs[0], Mapping))
        if not records:
            first = self.embed(inputs)
            second = first if texts is None else self.embed(_as_list("the second argument", texts))
            return similarities(self.embed.modules.similarity, first, second)
        if texts is not None:
            raise InputError(f"with a second list of texts the first has to be a list, got {type(inputs).__name__}")
        single = not isinstance(inputs, Iterable) or isinstance(inputs, Mapping | str | bytes)
        return respond(inputs, self._compare, single=single)

    def _compare(self, items: Iterable[Any], total: int | None) -> Iterator[list[float]]:
        for item in items:
            source, sentences = _as_record(item)
            vectors = self.embed([source, *sentences])
            scores: list[float] = similarities(self.embed.modules.similarity, vectors[:1], vectors[1:])[0].tolist()
            yield scores


def similarities(kind: Similarity, first: Floats, second: Floats) -> Floats:
    """The similarity of each row of (N, D) to each of (M, D), as (N, M); distances are negated."""
    match kind:
        case "cosine":
            return normalized(first) @ normalized(second).T
        case "dot":
            return first @ second.T
        case "euclidean":
            rows = [-np.linalg.norm(second - row, axis=1) for row in first]
        case "manhattan":
            rows = [-np.abs(second - row).sum(axis=1) for row in first]
    return np.array(rows, np.float32).reshape(len(first), len(second))


def _as_list(name: str, texts: object) -> Sequence[str]:
    if isinstance(texts, list | tuple):
        return texts
    raise InputError(f"{name} is {type(texts).__name__} ({texts!r:.40}), expected a list of texts")


def _as_record(item: object) -> tuple[str, Sequence[str]]:
    if isinstance(item, Mapping) and set(item) == {"source_sentence", "sentences"}:
        return item["source_sentence"], _as_list("sentences", item["sentences"])
    got = f"the keys {sorted(map(str, item))}" if isinstance(item, Mapping) else f"{type(item).__name__} ({item!r:.40})"
    raise InputError(
        f"got {got}, expected {{'source_sentence': …, 'sentences': […]}}, or a list of texts (two to compare lists)"
    )
