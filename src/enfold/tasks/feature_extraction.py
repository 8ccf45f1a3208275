"""Feature extraction: a text to a vector for each of its tokens."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.tasks.base import Fields, Task, check_text, respond
from enfold.tokenization import Encoded

__all__ = ["FeatureExtraction"]

Floats = NDArray[np.float32]


class FeatureExtraction(Task):
    """The last hidden states of texts.

    >>> extract = pipeline("feature-extraction", "folder")          # doctest: +SKIP
    >>> extract("A text.", return_tensors=True).shape               # doctest: +SKIP
    (1, 5, 384)
    """

    name = "feature-extraction"
    head = "encoder"

    def __call__(self, inputs: Any, *, return_tensors: bool = False) -> Any:
        """Extracts the vectors of all tokens, special ones included.

        Args:
            inputs: a text or many of them.
            return_tensors: float32 arrays in place of nested lists.

        Returns:
            (1, T, D) for a text, as the reference's last 4.x release gives it; for a list one of them a text. A text
            that needs several windows gives as many tokens as it has: of those that two windows share, each has
            the vector from the window in which more stands around it.

        Raises:
            InputError: something that is not a text, or an empty text.
        """
        stride = self.max_length // 4 if self.options.stride is None else self.options.stride

        def encode(chunk: list[Any]) -> list[list[Encoded]]:
            return self.encode_texts([check_text(item) for item in chunk], stride=stride)

        def finish(item: Any, windows: list[Encoded], outputs: list[Fields]) -> Any:
            hidden = _joined(windows, [output["last_hidden_state"] for output in outputs], stride)[None]
            return hidden if return_tensors else hidden.tolist()

        def records(items: Iterable[Any], total: int | None) -> Iterator[Any]:
            return self.stream(items, encode, finish, fields=("last_hidden_state",), total=total)

        return respond(inputs, records, single=isinstance(inputs, str | bytes | os.PathLike | Mapping))


def _joined(windows: list[Encoded], hidden: list[Floats], shared: int) -> Floats:
    """Hidden states (T, D) of the whole text, cut at the middle of the tokens that neighbouring windows share."""
    parts = []
    begin = 0
    for window, states in zip(windows[:-1], hidden[:-1], strict=True):
        text = np.flatnonzero(~window.special_mask)
        parts.append(states[begin : text[-1] + 1 - shared // 2])
        begin = int(text[0]) + shared - shared // 2
    return np.concatenate([*parts, hidden[-1][begin:]])
