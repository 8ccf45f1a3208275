"""Token classification: the named entities, or the labelled tokens, of a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, get_args

import numpy as np

from enfold.errors import InputError
from enfold.tasks.base import Fields, Task, check_text, respond
from enfold.tasks.entities import Piece, Strategy, find_entities
from enfold.tasks.scores import softmax
from enfold.tokenization import Encoded

__all__ = ["TokenClassification"]


@dataclass(frozen=True)
class _Text:
    """What is read; ``word_starts`` are the characters at which the given words begin, None where none were given."""

    text: str
    word_starts: tuple[int, ...] | None = None


class TokenClassification(Task):
    """Entities of texts, with their exact places.

    >>> ner = pipeline("ner", "folder")                                     # doctest: +SKIP
    >>> ner("Ada lives in London", aggregation_strategy="simple")           # doctest: +SKIP
    [{'entity_group': 'LOC', 'score': 0.99, 'word': 'London', 'start': 13, 'end': 19}]

    Records are those of the reference's last 4.x release, except where it errs: a text over the limit is read whole in
    every strategy, each token in the window where it is farthest from an edge; a word is what the tokenizer splits
    at, so "London." is two words to RoBERTa as to BERT; ``start`` and ``end`` leave no accent out and take no space
    in; entities in the schemes BIOES, BILOU and BMES are joined as those in BIO are; one list of words is one text.
    """

    name = "token-classification"
    head = "token-classification"

    def __call__(
        self,
        inputs: Any,
        *,
        aggregation_strategy: Strategy = "none",
        ignore_labels: Sequence[str] = ("O",),
        stride: int | None = None,
        is_split_into_words: bool = False,
    ) -> Any:
        """Finds entities.

        Args:
            inputs: a text or many; with ``is_split_into_words`` a list of words or many such lists, which are
                joined by spaces.
            aggregation_strategy: ``"none"`` gives a record per token; ``"simple"`` joins neighbours of a kind;
                ``"first"``, ``"average"`` and ``"max"`` label whole words before that, by their first token, their
                mean probabilities or their surest token.
            ignore_labels: kinds (per token: labels) to leave out.
            stride: tokens that neighbouring windows of a long text share; by default the task's own, or a quarter.
            is_split_into_words: the words are given.

        Returns:
            For a text a list of ``{"entity", "score", "index", "word", "start", "end"}``, or, aggregated, of
            ``{"entity_group", "score", "word", "start", "end"}``; ``index`` counts the text's tokens from 1.
        """
        if aggregation_strategy not in get_args(Strategy):
            raise InputError(
                f"aggregation_strategy is {aggregation_strategy!r}, expected one of {', '.join(get_args(Strategy))}"
            )
        ignored = _ignored(ignore_labels)
        shared = self.options.stride if stride is None else stride
        overlap = self.max_length // 4 if shared is None else shared
        labels, join = self.model.config.id2label, self.tokenizer.convert_tokens_to_string

        def encode(items: list[_Text]) -> list[list[Encoded]]:
            return self.encode_texts([item.text for item in items], stride=overlap)

        def finish(item: _Text, windows: list[Encoded], outputs: list[Fields]) -> list[dict[str, Any]]:
            pieces = self._pieces(item, windows, outputs, overlap)
            found = find_entities(item.text, pieces, labels, aggregation_strategy, join)
            return [one for one in found if one.get("entity", one.get("entity_group")) not in ignored]

        def records(items: Iterable[Any], total: int | None) -> Iterator[Any]:
            read = _join_words if is_split_into_words else _read
            return self.stream(map(read, items), encode, finish, total=total)

        return respond(inputs, records, single=_is_single(inputs, is_split_into_words))

    def _pieces(self, item: _Text, windows: list[Encoded], outputs: list[Fields], overlap: int) -> list[Piece]:
        """The text's tokens once each, from the window where a token is farthest from an edge.

        ::

            window 0   ├──────────────┼─────┤
            window 1            ├─────┼──────────────┤
                                 overlap, cut at its centre
        """
        inner = [np.flatnonzero(~window.special_mask) for window in windows]
        step = len(inner[0]) - overlap
        cuts = [index * step + overlap // 2 for index in range(1, len(windows))]
        bounds = zip([0, *cuts], [*cuts, len(windows) * max(1, len(inner[0]))], strict=True)
        pieces: list[Piece] = []
        for number, (begin, end) in enumerate(bounds):
            own = inner[number][max(0, begin - number * step) : end - number * step]
            scores = softmax(outputs[number]["logits"][own])
            pieces += self._window_pieces(item, windows[number], own.tolist(), scores, number * step)
        return pieces

    def _window_pieces(self, item: _Text, window: Encoded, own: list[int], scores: Any, before: int) -> Iterator[Piece]:
        """Pieces of the tokens ``own`` of a window that ``before`` tokens of the text precede."""
        unknown, offsets = self.tokenizer.unk_token_id, window.offsets.tolist()
        for place, row in zip(own, scores, strict=True):
            start, end = offsets[place]
            # As in the reference, a token that the vocabulary lacks is shown as it was written.
            token = item.text[start:end] if window.ids[place] == unknown else window.tokens[place]
            word = window.word_ids[place]
            if item.word_starts is not None:
                word = int(np.searchsorted(item.word_starts, max(start, end - 1), side="right"))
            yield Piece(before + place, token, start, end, word, row)


def _ignored(labels: Sequence[str]) -> frozenset[str]:
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise InputError(f"ignore_labels is {labels!r}, expected a list of labels such as ['O']")
    return frozenset(labels)


def _is_single(inputs: Any, is_split_into_words: bool) -> bool:
    if not is_split_into_words:
        return isinstance(inputs, str)
    if isinstance(inputs, str):
        raise InputError(f"is_split_into_words=True, but one text was given ({inputs[:40]!r}): pass a list of words")
    return isinstance(inputs, list | tuple) and bool(inputs) and isinstance(inputs[0], str)


def _read(item: Any) -> _Text:
    if isinstance(item, list | tuple):
        raise InputError(f"got a {type(item).__name__}, expected a text; for lists of words is_split_into_words=True")
    return _Text(check_text(item))


def _join_words(item: Any) -> _Text:
    if not isinstance(item, list | tuple) or not all(isinstance(word, str) for word in item):
        raise InputError(f"got {item!r:.60}, expected a list of words, since is_split_into_words=True")
    starts = accumulate((len(word) + 1 for word in item[:-1]), initial=0)
    return _Text(check_text(" ".join(item)), tuple(starts))
