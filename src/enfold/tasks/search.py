"""Search: texts embedded once, found again by meaning."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.checkpoint.files import atomic_folder
from enfold.checkpoint.modules import Similarity
from enfold.checkpoint.safetensors import open_safetensors, write_safetensors
from enfold.errors import CorruptFileError, InputError
from enfold.model import PreTrainedModel
from enfold.tasks.base import Options, check_count, respond
from enfold.tasks.embed import EmbeddingTask, check_texts
from enfold.tasks.passages import split_passages
from enfold.tasks.similarity import similarities
from enfold.tokenization import Tokenizer

__all__ = ["Index", "Search", "split_passages"]

Floats = NDArray[np.float32]

_BLOCK = 65_536
_TOGETHER = 32
_PROBE = "What is this text about?"
"""Embedded beside an index, to tell later whether a model is the one that made it."""
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
"""Names of the prompt of what is searched, in the order in which sentence-transformers looks; an empty one is none."""
_VECTORS, _TEXTS = "vectors.safetensors", "texts.jsonl"


@dataclass(frozen=True, eq=False)
class Index:
    """Texts and their embeddings: row i of ``vectors`` (N, D), float32, belongs to ``texts[i]``."""

    texts: tuple[str, ...]
    vectors: Floats

    def top_k(self, queries: Floats, k: int, similarity: Similarity) -> list[list[tuple[int, float]]]:
        """For each query (Q, D) the k nearest rows and their scores, best first; of equal scores the earlier row.

        Rows are compared in blocks, so that the memory does not grow with N · Q, and never sorted as a whole.
        """
        best: list[list[tuple[int, float]]] = [[] for _ in queries]
        for begin in range(0, len(self.vectors), _BLOCK):
            scores = similarities(similarity, queries, self.vectors[begin : begin + _BLOCK])
            for found, row in zip(best, scores, strict=True):
                found += [(begin + int(index), float(row[index])) for index in _largest(row, k)]
        return [sorted(found, key=lambda pair: (-pair[1], pair[0]))[:k] for found in best]


class Search(EmbeddingTask):
    """An index of texts that answers with those nearest to a query.

    >>> search = pipeline("search")                                          # doctest: +SKIP
    >>> search.index(["Cats purr.", "Stars burn hydrogen.", "Dogs bark."])   # doctest: +SKIP
    >>> search("Why do stars shine?", top_k=1)                               # doctest: +SKIP
    [{'index': 1, 'score': 0.66, 'text': 'Stars burn hydrogen.'}]
    """

    name = "search"

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, options: Options | None = None) -> None:
        super().__init__(model, tokenizer, options)
        # A cosine is the dot product of vectors of length 1: better to scale them once than at each search.
        named = self.embed.modules.similarity
        self._similarity: Similarity = "dot" if named == "cosine" else named
        self._normalize = True if named == "cosine" else None
        self._index = self._empty()

    def __len__(self) -> int:
        return len(self._index.texts)

    @property
    def vectors(self) -> Floats:
        """The embeddings of the indexed texts, (N, D), of length 1 where the model's similarity is the cosine."""
        return self._index.vectors

    @property
    def texts(self) -> tuple[str, ...]:
        """The indexed texts."""
        return self._index.texts

    def index(self, texts: Iterable[str]) -> None:
        """Indexes texts in place of what was indexed before; arguments and errors as of :meth:`add`."""
        self._index = self._extended(self._empty(), texts)

    def add(self, texts: Iterable[str]) -> None:
        """Indexes more texts, with the model's prompt for documents where it has one; an error leaves all as it was.

        Args:
            texts: a list, or anything that yields texts; each addition copies the index, so rather few large ones.

        Raises:
            InputError: something that is not a text, or an empty text.
        """
        self._index = self._extended(self._index, texts)

    def __call__(self, queries: Any, *, top_k: int = 5) -> Any:
        """Finds the texts nearest to a query, by the model's similarity and with its prompt for queries.

        Args:
            queries: a text or many of them.
            top_k: texts to return; fewer where the index has fewer.

        Returns:
            A list of ``{"index", "score", "text"}``, best first; for many queries one such list each.

        Raises:
            InputError: nothing is indexed, or a query that is empty or not a text.
        """
        check_count("top_k", top_k)
        if not len(self):
            raise InputError("nothing is indexed yet: call search.index(texts) or search.load(folder) first")
        if isinstance(queries, list | tuple):
            check_texts(queries)
        index = self._index

        def records(items: Iterable[Any], total: int | None) -> Iterator[list[dict[str, Any]]]:
            pairs = self.embed.pairs(items, prompt_name="query", normalize=self._normalize, total=total)
            while vectors := [vector for _, vector in islice(pairs, _TOGETHER)]:
                for found in index.top_k(np.stack(vectors), top_k, self._similarity):
                    yield [{"index": row, "score": score, "text": index.texts[row]} for row, score in found]

        return respond(queries, records, single=isinstance(queries, str | bytes | os.PathLike | Mapping))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the index, not the model, as ``vectors.safetensors`` and ``texts.jsonl``; all of it or nothing."""
        with atomic_folder(folder) as aside:
            tensors = {"vectors": self.vectors, "probe": self._probe()}
            write_safetensors(aside / _VECTORS, {name: (array, "float32") for name, array in tensors.items()})
            with (aside / _TEXTS).open("w", encoding="utf-8") as file:
                file.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in self.texts)

    def load(self, folder: str | os.PathLike[str]) -> None:
        """Takes an index that :meth:`save` wrote, in place of what was indexed before.

        Raises:
            InputError: another model made it.
            CheckpointError: its files are missing, damaged, or don't belong together.
        """
        folder = Path(folder)
        tensors = open_safetensors(folder / _VECTORS)
        texts = _read_texts(folder / _TEXTS)
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        width = shapes.get("probe", ())
        if shapes != {"vectors": (len(texts), *width), "probe": width} or len(width) != 1:
            raise CorruptFileError(
                f"{folder} is no whole index: {_TEXTS} has {len(texts)} texts, so that vectors (N, D) and a probe (D,) "
                f"were expected with N = {len(texts)}, and {_VECTORS} holds {shapes}. Save the index again"
            )
        own, probe = self._probe(), tensors["probe"].numpy()
        if own.shape != probe.shape or not np.allclose(own, probe, atol=1e-3):
            raise InputError(
                f"{folder} was indexed with another model than {self.model.source} (or other modules of it): their "
                "embeddings can't be compared. Load the model that made the index, or index the texts again"
            )
        self._index = Index(texts, tensors["vectors"].numpy())

    def _empty(self) -> Index:
        return Index((), np.zeros((0, self.embed.width), np.float32))

    def _extended(self, index: Index, texts: Iterable[str]) -> Index:
        if not isinstance(texts, Iterable) or isinstance(texts, str | bytes | Mapping):
            raise InputError(f"got {type(texts).__name__} ({texts!r:.40}), expected a list of texts, or a generator")
        total = len(texts) if isinstance(texts, list | tuple) else None
        if isinstance(texts, list | tuple):
            check_texts(texts)
        documents = self.embed.pairs(texts, prompt_name=self._document_prompt(), normalize=self._normalize, total=total)
        pairs = list(documents)
        rows = np.array([vector for _, vector in pairs], np.float32).reshape(len(pairs), self.embed.width)
        return Index((*index.texts, *(text for text, _ in pairs)), np.concatenate([index.vectors, rows]))

    def _document_prompt(self) -> str:
        return next((name for name in _DOCUMENT_PROMPTS if self.embed.prompts.get(name)), "document")

    def _probe(self) -> Floats:
        vector: Floats = self.embed(_PROBE, prompt_name=self._document_prompt(), normalize=self._normalize)
        return vector


def _largest(scores: Floats, k: int) -> NDArray[np.int64]:
    """Indices of the k largest scores, in any order; of those equal to the k-th, the first."""
    if k >= len(scores):
        return np.arange(len(scores))
    least = np.partition(scores, -k)[-k]
    above = np.flatnonzero(scores > least)
    return np.concatenate([above, np.flatnonzero(scores == least)[: k - len(above)]])


def _read_texts(path: Path) -> tuple[str, ...]:
    try:
        with path.open(encoding="utf-8") as file:
            return tuple(str(json.loads(line)["text"]) for line in file)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(
            f'{path} can\'t be read ({type(error).__name__}: {error}); expected a line {{"text": …}} for each text'
        ) from error
