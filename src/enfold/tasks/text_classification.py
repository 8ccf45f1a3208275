"""Text classification: a text, or a pair, to labels with scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError
from enfold.tasks.base import Fields, Side, Task, check_count, check_text, respond
from enfold.tasks.scores import sigmoid, softmax
from enfold.tokenization import Encoded

__all__ = ["TextClassification", "weighted_mean"]

Function = Literal["softmax", "sigmoid", "none"]
Pair = tuple[str, str | None]

_FUNCTIONS: Mapping[Function, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "none": lambda logits: logits,
}


class TextClassification(Task):
    """Labels of texts.

    >>> classify = pipeline("text-classification", "folder")            # doctest: +SKIP
    >>> classify("What a film!")                                        # doctest: +SKIP
    [{'label': 'positive', 'score': 0.98}]
    """

    name = "text-classification"
    head = "sequence-classification"

    def __call__(
        self,
        inputs: Any,
        *,
        top_k: int | Literal["best"] | None = "best",
        function_to_apply: Function | None = None,
    ) -> Any:
        """Classifies texts.

        Args:
            inputs: a text, ``{"text": …, "text_pair": …}``, or many of them.
            top_k: labels to return, best first; None returns all, ``"best"`` the best one without a list around it.
            function_to_apply: ``"softmax"``, ``"sigmoid"`` or ``"none"`` on the logits; by default what the
                configuration's ``problem_type`` and number of labels say.

        Returns:
            A list of ``{"label", "score"}`` for each text or pair. With ``top_k="best"`` one such record for each, but
            for a single text, not in a list, still a list of it: as the reference's last 4.x release does.
        """
        function = self._function(function_to_apply)
        count = 1 if top_k == "best" else top_k
        if count is not None:
            check_count("top_k", count)
        bare = top_k == "best" and not isinstance(inputs, str)

        def finish(item: Pair, windows: list[Encoded], outputs: list[Fields]) -> Any:
            records = self._records(weighted_mean(windows, outputs), function, count)
            return records[0] if bare else records

        def records(items: Iterable[Any], total: int | None) -> Iterator[Any]:
            return self.stream(map(_as_pair, items), self._encode, finish, total=total)

        return respond(inputs, records, single=isinstance(inputs, str | Mapping))

    def _encode(self, items: list[Pair]) -> list[list[Encoded]]:
        """Texts and pairs may be mixed; each kind is encoded in one go."""
        windows: list[list[Encoded]] = [[] for _ in items]
        for paired in (False, True):
            chosen = [index for index, (_, second) in enumerate(items) if (second is not None) == paired]
            if chosen:
                firsts = [items[index][0] for index in chosen]
                seconds = [items[index][1] or "" for index in chosen] if paired else None
                cut: Side = "longer" if paired else "first"
                for index, own in zip(chosen, self.encode_texts(firsts, seconds, cut=cut), strict=True):
                    windows[index] = own
        return windows

    def _function(self, asked: Function | None) -> Function:
        if asked is not None:
            if asked not in _FUNCTIONS:
                raise InputError(f"function_to_apply is {asked!r}, expected one of {', '.join(_FUNCTIONS)}")
            return asked
        problem = self.model.config.problem_type
        if problem == "regression":
            return "none"
        if problem == "multi_label_classification" or self.model.num_labels == 1:
            return "sigmoid"
        return "softmax"

    def _records(self, logits: NDArray[np.float32], function: Function, top_k: int | None) -> list[dict[str, Any]]:
        scores = _FUNCTIONS[function](logits)
        best = np.argsort(-scores, kind="stable")[:top_k]
        names = self.model.config.id2label
        return [{"label": names[int(index)], "score": float(scores[index])} for index in best]


def _as_pair(item: Any) -> Pair:
    if isinstance(item, Mapping):
        unknown = set(item) - {"text", "text_pair"}
        if unknown or "text" not in item:
            raise InputError(
                f"a record has the keys {sorted(map(str, item))}, expected 'text' and, for pairs, 'text_pair'"
            )
        pair = item.get("text_pair")
        return check_text(item["text"]), None if pair is None else check_text(pair)
    if isinstance(item, list | tuple):
        raise InputError(f"got {item!r:.60}, expected a text; a pair is {{'text': …, 'text_pair': …}}")
    return check_text(item), None


def weighted_mean(windows: list[Encoded], outputs: list[Fields]) -> NDArray[np.float32]:
    """Logits of one text, its windows weighted by their tokens."""
    if len(outputs) == 1:
        return outputs[0]["logits"]
    weights = np.array([len(window) for window in windows], np.float32)
    return np.average([output["logits"] for output in outputs], axis=0, weights=weights).astype(np.float32)
