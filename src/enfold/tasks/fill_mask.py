"""Filling masks: the likeliest tokens where a text has the mask token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError, TaskError
from enfold.model import PreTrainedModel
from enfold.tasks.base import Fields, Options, Task, check_count, check_text, respond
from enfold.tasks.scores import softmax
from enfold.tokenization import Encoded, Tokenizer

__all__ = ["FillMask"]

Record = dict[str, Any]


class FillMask(Task):
    """What a masked token may be.

    >>> fill = pipeline("fill-mask", "folder")                                          # doctest: +SKIP
    >>> fill("Paris is the [MASK] of France.", top_k=1)                                 # doctest: +SKIP
    [{'score': 0.99, 'token': 3007, 'token_str': 'capital', 'sequence': 'paris is the capital of france.'}]

    Records are those of the reference's last 4.x release, except where it errs: a list gives a list, however short;
    a target that is not one token is refused, where the reference scores its beginning; a text over the limit is
    read around each mask.
    """

    name = "fill-mask"
    head = "masked-lm"

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, options: Options | None = None) -> None:
        super().__init__(model, tokenizer, options)
        if tokenizer.mask_token_id is None:
            raise TaskError("the tokenizer has no mask token: fill-mask needs one. Set tokenizer.mask_token")
        self._mask_id: int = tokenizer.mask_token_id

    def __call__(self, inputs: Any, *, top_k: int = 5, targets: str | Sequence[str] | None = None) -> Any:
        """Fills masks.

        Args:
            inputs: a text with the tokenizer's mask token, or many.
            top_k: tokens to return for a mask, best first.
            targets: tokens to choose from, by default the whole vocabulary; their scores stay probabilities among
                all of it.

        Returns:
            For a text a list of ``{"score", "token", "token_str", "sequence"}``; one such list a mask where it has
            several, whose probabilities are each mask's own.
        """
        check_count("top_k", top_k)
        wanted = None if targets is None else self._target_ids(targets)

        def keep(window: Encoded, fields: Fields) -> Fields:
            return _best(softmax(fields["logits"]), top_k, wanted)

        def records(items: Iterable[Any], total: int | None) -> Iterator[Any]:
            return self.stream(
                map(self._read, items), self._encode, self._finish, total=total, tokens=self._masks, keep=keep
            )

        return respond(inputs, records, single=isinstance(inputs, str))

    def _read(self, item: Any) -> Encoded:
        """The whole text, encoded."""
        text = check_text(item)
        (encoded,) = self.tokenizer.encode_many([text])
        if not len(self._masks(encoded)):
            raise InputError(
                f"the text has no mask token: write {self.tokenizer.mask_token} where a token is to be found in "
                f"{text[:60]!r}"
            )
        return encoded

    def _masks(self, encoded: Encoded) -> NDArray[np.int64]:
        """Where the masks are."""
        return np.flatnonzero(encoded.ids == self._mask_id)

    def _encode(self, items: list[Encoded]) -> list[list[Encoded]]:
        """The windows around the masks."""
        stride = self.max_length // 2 if self.options.stride is None else self.options.stride
        result = []
        for whole, windows in zip(items, self.fit(items, stride=stride), strict=True):
            chosen = {index for index, _ in self._choose(whole, windows)}
            result.append([windows[index] for index in sorted(chosen)])
        return result

    def _finish(self, whole: Encoded, windows: list[Encoded], outputs: list[Fields]) -> Any:
        places = self._masks(whole).tolist()
        single = len(places) == 1
        found = []
        for place, (index, number) in zip(places, self._choose(whole, windows), strict=True):
            best = zip(
                outputs[index]["scores"][number].tolist(), outputs[index]["tokens"][number].tolist(), strict=True
            )
            found.append([self._record(whole.ids, place, token, score, single) for score, token in best])
        return found[0] if single else found

    def _record(self, ids: NDArray[np.int32], place: int, token: int, score: float, single: bool) -> Record:
        """As in the reference, the sequence keeps its special tokens where there are other masks to show."""
        filled = ids.copy()
        filled[place] = token
        filled = filled[filled != self.tokenizer.pad_token_id]
        return {
            "score": score,
            "token": token,
            "token_str": self.tokenizer.decode([token]),
            "sequence": self.tokenizer.decode(filled, skip_special_tokens=single),
        }

    def _choose(self, whole: Encoded, windows: list[Encoded]) -> list[tuple[int, int]]:
        """For each mask of the text the window where it is farthest from an edge, and its number among the masks there.

        Raises:
            InputError: the text was cut and the mask is in what was lost.
        """
        found: dict[int, tuple[int, int, int]] = {}
        for index, window in enumerate(windows):
            for number, place in enumerate(self._masks(window).tolist()):
                begin = int(window.offsets[place][0])
                distance = min(place, len(window) - 1 - place)
                found[begin] = max(found.get(begin, (-1, 0, 0)), (distance, -index, number))
        begins = [int(whole.offsets[place][0]) for place in self._masks(whole)]
        lost = [begin for begin in begins if begin not in found]
        if lost:
            raise InputError(
                f"{len(lost)} of {len(begins)} masks are behind the limit of {self.max_length} tokens, where the text "
                "was cut: pass long='window' to read around each mask"
            )
        return [(-found[begin][1], found[begin][2]) for begin in begins]

    def _target_ids(self, targets: str | Sequence[str]) -> NDArray[np.int64]:
        """The ids of targets: tokens of the vocabulary, or texts that are one token.

        Raises:
            InputError: targets that are not, all listed.
        """
        names = [targets] if isinstance(targets, str) else list(targets)
        if not names or not all(isinstance(name, str) and name for name in names):
            raise InputError(f"targets is {targets!r:.80}, expected a word or a list of words")
        unknown = self.tokenizer.unk_token_id
        ids, problems = set(), []
        for name in names:
            found = self.tokenizer.convert_tokens_to_ids(name)
            if found not in (unknown, None) or name == self.tokenizer.unk_token:
                ids.add(found)
                continue
            (encoded,) = self.tokenizer.encode_many([name], add_special_tokens=False)
            if len(encoded) == 1 and encoded.ids[0] != unknown:
                ids.add(int(encoded.ids[0]))
            else:
                problems.append(f"{name!r} is {' + '.join(encoded.tokens) or 'nothing'}")
        if problems:
            raise InputError(f"a mask stands for one token, and of the targets {'; '.join(problems)}")
        return np.array(sorted(ids), np.int64)


def _best(probabilities: NDArray[np.float32], count: int, wanted: NDArray[np.int64] | None) -> Fields:
    """The likeliest tokens of each row (M, V), all or the wanted, and their scores: (M, K) each, best first."""
    among = probabilities if wanted is None else probabilities[:, wanted]
    count = min(count, among.shape[1])
    found = np.argpartition(-among, count - 1, axis=1)[:, :count]
    found = np.take_along_axis(
        found, np.argsort(-np.take_along_axis(among, found, axis=1), axis=1, kind="stable"), axis=1
    )
    return {"scores": np.take_along_axis(among, found, axis=1), "tokens": found if wanted is None else wanted[found]}
