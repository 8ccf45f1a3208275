"""Extractive question answering: the first and the last token of an answer, or that there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from enfold.config import Config
from enfold.errors import InputError
from enfold.heads import HeadKind
from enfold.model import PreTrainedModel
from enfold.tasks.question_answering import QuestionAnswering as Task
from enfold.tokenization import Encoded
from enfold.training import metrics
from enfold.training.data import Table
from enfold.training.examples import Batch, Examples, Ragged, packed_batch
from enfold.training.goals.base import Goal, Reading, checked_text, class_losses, ragged_types
from enfold.training.settings import Long, Settings

__all__ = ["QuestionAnswering"]

_HIDDEN = -1e9
"""A score that a softmax makes 0 of, and whose product with 0 is 0."""
_LONGEST = 30
"""Tokens that an answer may have in an evaluation, as SQuAD's own scripts have it."""


class QuestionAnswering(Goal):
    """Answers that stand in a context; a long context is read in windows that share a quarter.

    A window that holds no answer is learnt to have none, at its first token, as SQuAD 2's unanswerable questions are.
    """

    name = "question-answering"
    head: ClassVar[HeadKind] = "question-answering"
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "question": ("question", "query"),
        "context": ("context", "passage", "document"),
        "answers": ("answers", "answer"),
    }
    metric = "f1"
    together = ("context",)
    default_long: ClassVar[Long] = "window"
    rate = 3e-5

    def __init__(self, smoothing: float = 0.0) -> None:
        self._smoothing = smoothing

    @classmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> QuestionAnswering:
        return cls(settings.label_smoothing)

    def encode(self, table: Table, reading: Reading) -> Examples:
        questions, contexts = checked_text(table, "question"), checked_text(table, "context")
        answers = _answers(table, contexts)
        encoded = reading.tokenizer.encode_many(questions, contexts)
        windows: list[Encoded] = []
        spans: list[tuple[int, int]] = []
        rows: list[int] = []
        stride = reading.max_length // 4
        for row, whole in enumerate(encoded):
            around = sum(side != 1 for side in whole.sequence_ids)
            if around + 2 > reading.max_length:
                raise InputError(
                    f"{table.place(row)}: the question takes {around} of {reading.max_length} tokens, "
                    "and leaves no room for its context. Shorten it, or raise max_length"
                )
            shared = min(stride, (reading.max_length - around) // 2)
            for window in reading.tokenizer.windows(
                whole, max_length=reading.max_length, stride=shared, strategy="only_second"
            ):
                windows.append(window)
                spans.append(_token_span(window, answers[row]))
                rows.append(row)
        return Examples(
            ids=Ragged.of([each.ids for each in windows]),
            types=ragged_types(windows),
            targets=np.array(spans, np.int64),
            rows=np.array(rows, np.int64),
        )

    def batch(
        self, reading: Reading, examples: Examples, chosen: NDArray[np.int64], draw: np.random.Generator
    ) -> Batch:
        count = len(chosen)
        spans = np.asarray(examples.targets)[chosen]
        return Batch(
            packed=packed_batch(reading.arch, examples, chosen),
            targets=torch.from_numpy(spans.T.reshape(-1).copy()),
            owners=torch.arange(count).repeat(2),
            rows=examples.rows[chosen],
            chosen=chosen,
            weight=2.0 * count,
        )

    def logits(self, fields: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """(2 B, S): each window's tokens as its first ones, then as its last ones."""
        flat = fields["logits"].float()
        spans = batch.packed.spans
        longest = max(end - begin for begin, end in spans)
        padded = flat.new_full((2, len(spans), longest), _HIDDEN)
        for index, (begin, end) in enumerate(spans):
            padded[:, index, : end - begin] = flat[begin:end].T
        return padded.view(2 * len(spans), longest)

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        if not self._smoothing:
            return class_losses(logits, batch.targets, None, 0.0)
        logs = logits.log_softmax(-1)
        real = logits > _HIDDEN / 2
        own = -logs.gather(1, batch.targets[:, None])[:, 0]
        spread = -(logs * real).sum(-1) / real.sum(-1)
        return own * (1 - self._smoothing) + spread * self._smoothing

    def examine(self, model: PreTrainedModel, reading: Reading, table: Table) -> dict[str, float]:
        task = Task(model, reading.tokenizer)
        golds = [_gold_texts(row["answers"]) for row in table.rows]
        asked = ({"question": row["question"], "context": row["context"]} for row in table.rows)
        options: dict[str, Any] = {"max_seq_len": reading.max_length, "max_answer_len": _LONGEST}
        said = task(asked, handle_impossible_answer=not all(map(any, golds)), align_to_words=False, **options)
        metric = metrics.Answers()
        for gold, record in zip(golds, said, strict=True):
            metric.update([record["answer"]], [gold or [""]])
        return metric.result()


def _gold_texts(given: Any) -> list[str]:
    if isinstance(given, str):
        return [given] if given else []
    return [text for text in (given or {}).get("text", ()) if text]


def _token_span(window: Encoded, answer: tuple[int, int] | None) -> tuple[int, int]:
    """The first and last token of an answer's characters; the first token of all where the window lacks them."""
    if answer is None:
        return 0, 0
    begin, end = answer
    inside = np.array([side == 1 for side in window.sequence_ids])
    starts, ends = window.offsets[:, 0], window.offsets[:, 1]
    touched = np.flatnonzero(inside & (ends > begin) & (starts < end) & (ends > starts))
    whole = np.flatnonzero(inside)
    if not len(touched) or starts[whole[0]] > begin or ends[whole[-1]] < end:
        return 0, 0
    return int(touched[0]), int(touched[-1])


def _answers(table: Table, contexts: list[str]) -> list[tuple[int, int] | None]:
    """Each row's first answer as characters of its context; None where it has none.

    Raises:
        InputError: an answer that does not stand where it should; the places are named.
    """
    found: list[tuple[int, int] | None] = []
    problems = []
    for index, row in enumerate(table.rows):
        given: Any = row["answers"]
        if isinstance(given, str):  # a text alone: its first place in the context
            given = {"text": [given], "answer_start": [contexts[index].find(given)]} if given else None
        texts = list((given or {}).get("text", ()))
        starts = list((given or {}).get("answer_start", ()))
        if not texts or (isinstance(texts[0], str) and not texts[0]):
            found.append(None)
            continue
        start, text = starts[0] if starts else -1, texts[0]
        if not isinstance(start, int) or start < 0 or contexts[index][start : start + len(text)] != text:
            problems.append(f"{table.place(index)}: {text!r:.40} does not stand at {start} of its context")
            continue
        found.append((start, start + len(text)))
    if problems:
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise InputError(f"{len(problems)} answers are not where they should be: {'; '.join(problems[:10])}{more}")
    return found
