"""Extractive question answering: the first and the last token of an answer, or that there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from enfold.config import Config
from enfold.heads import HeadKind
from enfold.model import PreTrainedModel
from enfold.tasks.base import Options
from enfold.tasks.question_answering import QuestionAnswering as Task
from enfold.tokenization import Encoded
from enfold.training import metrics
from enfold.training.data import Table
from enfold.training.data.problems import beginning
from enfold.training.data.table import Row
from enfold.training.examples import Batch, Examples, Ragged, packed_batch
from enfold.training.goals.base import Goal
from enfold.training.goals.texts import Reading, check_rows, checked_text, encoded_ids, ragged_types
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
        "question": ("question", "query", "问题"),
        "context": ("context", "passage", "document", "上下文"),
        "answers": ("answers", "answer", "答案"),
    }
    metric = "f1"
    together = ("context",)
    default_long: ClassVar[Long] = "window"
    rate = 3e-5

    @classmethod
    def of(cls, table: Table, settings: Settings, config: Config | None) -> QuestionAnswering:
        return cls(smoothing=settings.label_smoothing)

    def encode(self, table: Table, reading: Reading) -> Examples:
        questions, contexts = checked_text(table, "question"), checked_text(table, "context")
        answers = _answers(table, contexts)
        windows = encoded_ids(reading, questions, contexts, table, strategy="only_second")
        flat = [(row, window) for row, found in enumerate(windows) for window in found]
        return Examples(
            ids=Ragged.of([window.ids for _, window in flat]),
            types=ragged_types([window for _, window in flat]),
            targets=np.array([_token_span(window, answers[row]) for row, window in flat], np.int64),
            rows=np.array([row for row, _ in flat], np.int64),
        )

    def batch(
        self, reading: Reading, examples: Examples, chosen: NDArray[np.int64], draw: np.random.Generator
    ) -> Batch:
        count = len(chosen)
        spans = np.asarray(examples.targets)[chosen]
        return Batch(
            packed=packed_batch(reading.source_arch, examples, chosen),
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
        if not self.smoothing:
            return super().losses(logits, batch)
        logs = logits.log_softmax(-1)  # spread over each window's own tokens alone
        real = logits > _HIDDEN / 2
        own = -logs.gather(1, batch.targets[:, None])[:, 0]
        spread = -(logs * real).sum(-1) / real.sum(-1)
        return own * (1 - self.smoothing) + spread * self.smoothing

    def examine(self, model: PreTrainedModel, reading: Reading, table: Table) -> dict[str, float]:
        long: Long = "truncate" if reading.long == "truncate" else "window"
        task = Task(model, reading.tokenizer, Options(long=long, progress=False))
        said = task(
            ({"question": row["question"], "context": row["context"]} for row in table.rows),
            handle_impossible_answer=not all(any(_gold_texts(given)) for given in table.column("answers")),
            align_to_words=False,
            max_seq_len=reading.max_length,
            max_question_len=reading.max_length,
            max_answer_len=_LONGEST,
        )
        metric = metrics.Answers()
        for row, record in zip(table.rows, said, strict=True):
            metric.update([record["answer"]], [_gold_texts(row["answers"]) or [""]])
        return metric.result()


def _gold_texts(given: Any) -> list[str]:
    return [text for text, _ in _listed(given) if text]


def _listed(given: Any) -> list[tuple[Any, Any]]:
    """The answers that a row has, as texts and the places where they begin: None where that isn't said.

    They are written as SQuAD's tables have them ({"text": [...], "answer_start": [...]}), as its files have them (a
    list of {"text", "answer_start"}), as texts alone, or as nothing.
    """
    if given is None or isinstance(given, str):
        return [(given, None)] if given else []
    if isinstance(given, Mapping):
        texts, starts = given.get("text"), given.get("answer_start")
        texts = [texts] if isinstance(texts, str) else list(() if texts is None else texts)
        starts = list(starts) if isinstance(starts, Sequence | np.ndarray) else [starts] * len(texts)
        return [(text, starts[index] if index < len(starts) else None) for index, text in enumerate(texts)]
    if isinstance(given, list | tuple):
        return [pair for each in given for pair in _listed(each)]
    return [(given, None)]


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

    def problem(index: int, row: Row) -> str | None:
        context = contexts[index]
        text, start = next(iter(_listed(row["answers"])), ("", None))
        if not isinstance(text, str):
            return f"an answer is {beginning(text)}, expected a text"
        if not text:
            found.append(None)
            return None
        if start is None:
            start = context.find(text)
        if not isinstance(start, int | np.integer) or start < 0 or context[start : start + len(text)] != text:
            at = context.find(text)
            where = f"it begins at {at}" if at >= 0 else "it isn't in the context at all"
            return f"the answer {beginning(text, 40)} is not at {start} of its context; {where}"
        found.append((int(start), int(start) + len(text)))
        return None

    check_rows(table, problem)
    return found
