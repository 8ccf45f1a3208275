"""Question answering: the passage of a context that answers a question."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError, TextTooLongError
from enfold.tasks.base import Fields, Task, check_count, check_text, respond
from enfold.tasks.scores import softmax
from enfold.tasks.spans import best_spans, exact_span
from enfold.tokenization import Encoded

__all__ = ["QuestionAnswering"]

logger = logging.getLogger("enfold")

Record = dict[str, Any]
Spans = Mapping[int, tuple[int, int]]

_WINDOW = 384
"""Tokens of question and context together, where nothing else is asked: what models are tuned with on SQuAD."""


@dataclass(frozen=True)
class _Example:
    question: str
    context: str


@dataclass(frozen=True)
class _Choice:
    """What counts as an answer, and how many are wanted."""

    top_k: int
    longest: int
    impossible: bool
    whole_words: bool


class QuestionAnswering(Task):
    """Answers that stand in a context.

    >>> answer = pipeline("question-answering", "folder")                                         # doctest: +SKIP
    >>> answer(question="Where does Ada live?", context="Ada lives in London.")                   # doctest: +SKIP
    {'score': 0.97, 'start': 13, 'end': 19, 'answer': 'London'}

    Records are those of the reference's last 4.x release, except where it errs: one answer is a record and
    ``top_k`` above 1 a list, however many were found; an answer that two windows share counts once, so that no
    score exceeds 1; ``start`` and ``end`` leave no accent out and take no space in; a question is never cut silently.
    """

    name = "question-answering"
    head = "question-answering"

    def __call__(
        self,
        inputs: Any = None,
        context: str | Sequence[str] | None = None,
        *,
        question: str | Sequence[str] | None = None,
        top_k: int = 1,
        max_answer_len: int = 15,
        max_seq_len: int | None = None,
        doc_stride: int | None = None,
        max_question_len: int | None = None,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
    ) -> Any:
        """Answers questions.

        Args:
            inputs: ``{"question": …, "context": …}`` or many of them; or a question, with its ``context``.
            context: what to look in; a list has one for each question.
            question: one or a list, instead of ``inputs``.
            top_k: how many answers to return, best first.
            max_answer_len: tokens that an answer may have.
            max_seq_len: tokens of one window, question and special tokens included; by default 384, or the model's
                limit.
            doc_stride: tokens of context that neighbouring windows share; by default the task's own, or a quarter of
                a window.
            max_question_len: tokens that a question may have, by default half a window. A longer one is refused, or
                cut with a count where the task has ``long="truncate"``.
            handle_impossible_answer: an empty answer competes too.
            align_to_words: answers begin and end with whole words; to be switched off for text without spaces whose
                tokenizer takes it for one word.

        Returns:
            ``{"score", "start", "end", "answer"}``, or a list of these with ``top_k`` above 1; for a list of questions
            a list. The score is the probability of the first times that of the last token among the window's; answers
            of equal text in one window are added up, of different windows the best counts.
        """
        choice = _Choice(
            check_count("top_k", top_k),
            check_count("max_answer_len", max_answer_len),
            handle_impossible_answer,
            align_to_words,
        )
        limit = min(_WINDOW if max_seq_len is None else check_count("max_seq_len", max_seq_len), self.max_length)
        longest = limit // 2 if max_question_len is None else check_count("max_question_len", max_question_len)
        given = _gather(inputs, question, context)

        def encode(items: list[_Example]) -> list[list[Encoded]]:
            questions = self._fit_questions([item.question for item in items], longest)
            contexts = [item.context for item in items]
            return self.encode_texts(questions, contexts, cut="second", limit=limit, stride=doc_stride)

        def finish(item: _Example, windows: list[Encoded], outputs: list[Fields]) -> Any:
            answers = _answers(item.context, windows, outputs, choice)
            return answers if top_k > 1 else answers[0]

        def records(items: Iterable[Any], total: int | None) -> Iterator[Any]:
            return self.stream(map(_read, items), encode, finish, total=total)

        return respond(given, records, single=isinstance(given, Mapping))

    def _fit_questions(self, questions: list[str], longest: int) -> list[str]:
        """The questions, those of more than ``longest`` tokens cut or refused."""
        encoded = self.tokenizer.encode_many(questions, add_special_tokens=False)
        over = [index for index, one in enumerate(encoded) if len(one) > longest]
        if not over:
            return questions
        if self.options.long != "truncate":
            raise TextTooLongError(
                f"{len(over)} of {len(questions)} questions have more than {longest} tokens, one has "
                f"{len(encoded[over[0]])} and begins {questions[over[0]][:40]!r}: shorten it, raise max_question_len "
                "or max_seq_len, or pass long='truncate' to the pipeline to cut it"
            )
        logger.warning(
            "cut %d of %d questions at %d tokens: %d tokens were not read",
            len(over),
            len(questions),
            longest,
            sum(len(encoded[index]) - longest for index in over),
        )
        fitted = list(questions)
        for index in over:
            fitted[index] = questions[index][: encoded[index].offsets[longest - 1][1]]
        return fitted


def _gather(inputs: Any, question: Any, context: Any) -> Any:
    """What was asked, as one record or many."""
    if isinstance(inputs, str) and question is None:
        inputs, question = None, inputs
    if inputs is not None:
        if question is not None or context is not None:
            raise InputError(
                "got both records and question or context: pass records, or question= and context=, not both"
            )
        return inputs
    absent = [name for name, value in (("question", question), ("context", context)) if value is None]
    if absent:
        raise InputError(f"{' and '.join(absent)} missing: pass question= and context=, or records with both")
    if isinstance(question, str) and isinstance(context, str):
        return {"question": question, "context": context}
    if isinstance(question, str):
        question = [question] * len(context)
    contexts = [context] * len(question) if isinstance(context, str) else context
    if len(question) != len(contexts):
        raise InputError(f"got {len(question)} questions and {len(contexts)} contexts: each question needs its context")
    return [{"question": one, "context": other} for one, other in zip(question, contexts, strict=True)]


def _read(item: Any) -> _Example:
    if not isinstance(item, Mapping):
        raise InputError(f"got {type(item).__name__} ({item!r:.60}), expected {{'question': …, 'context': …}}")
    absent = [key for key in ("question", "context") if key not in item]
    if absent:
        raise InputError(f"a record has the keys {sorted(map(str, item))}: {' and '.join(absent)} missing")
    values = []
    for key in ("question", "context"):
        try:
            values.append(check_text(item[key]))
        except InputError as error:
            raise InputError(f"{key}: {error}") from None
    return _Example(*values)


def _answers(context: str, windows: list[Encoded], outputs: list[Fields], choice: _Choice) -> list[Record]:
    """The best answers of all windows, at least one."""
    words = _word_spans(windows) if choice.whole_words else {}
    found: dict[str, Record] = {}
    impossible = 1.0
    for window, output in zip(windows, outputs, strict=True):
        start, end, allowed = _probabilities(window, output["logits"])
        impossible = min(impossible, float(start[0] * end[0]))
        # Aligned to words, several spans may become one answer.
        count = choice.top_k * 2 + 10 if choice.whole_words else choice.top_k
        spans = best_spans(start, end, allowed, count=count, longest=choice.longest)
        for key, record in _merged(context, window, spans, words).items():
            if key not in found or record["score"] > found[key]["score"]:
                found[key] = record
    answers = list(found.values())
    if choice.impossible or not answers:
        score = impossible if choice.impossible else 0.0
        answers.append({"score": score, "start": 0, "end": 0, "answer": ""})
    return sorted(answers, key=lambda record: -record["score"])[: choice.top_k]


def _merged(context: str, window: Encoded, spans: list[tuple[int, int, float]], words: Spans) -> dict[str, Record]:
    """One window's answers by their text without case, equal ones added up at the place of the best."""
    records: dict[str, Record] = {}
    for first, last, score in spans:
        begin, end = _characters(window, first, words)[0], _characters(window, last, words)[1]
        begin, end = exact_span(context, begin, end)
        answer = context[begin:end]
        if answer.lower() in records:
            records[answer.lower()]["score"] += score
        elif answer:
            records[answer.lower()] = {"score": score, "start": begin, "end": end, "answer": answer}
    return records


def _characters(window: Encoded, token: int, words: Spans) -> tuple[int, int]:
    """Where a token, or its word where ``words`` has it, begins and ends."""
    word = window.word_ids[token]
    begin, end = window.offsets[token]
    return (int(begin), int(end)) if word is None else words.get(word, (int(begin), int(end)))


def _word_spans(windows: list[Encoded]) -> Spans:
    """Where each word of the context begins and ends, also where a window's edge cuts it."""
    spans: dict[int, tuple[int, int]] = {}
    for window in windows:
        tokens = zip(window.word_ids, window.sequence_ids, window.offsets.tolist(), strict=True)
        for word, sequence, (begin, end) in tokens:
            if word is not None and sequence == 1:
                known = spans.get(word, (begin, end))
                spans[word] = min(known[0], begin), max(known[1], end)
    return spans


def _probabilities(
    window: Encoded, logits: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Each token's probability to be an answer's first and last, and where answers may be.

    The first token ([CLS], "no answer") shares in the probabilities without being an answer, as in the reference.
    """
    allowed = np.array([sequence == 1 for sequence in window.sequence_ids])
    shares = allowed.copy()
    shares[0] = True
    first, last = softmax(np.where(shares[:, None], logits, np.float32(-1e4)).T)
    return first, last, allowed
