"""SQuAD's JSON, version 1.1 and 2.0: questions on paragraphs, with answers that stand in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from enfold.errors import InputError
from enfold.training.data.problems import Problems, beginning, counted
from enfold.training.data.source import Source
from enfold.training.data.table import Places, Table

__all__ = ["COLUMNS", "is_squad", "read_squad"]

COLUMNS = ("id", "question", "context", "answers", "is_impossible")

Paragraph = tuple[str, str, list[Any]]


def is_squad(value: Any) -> bool:
    """Whether JSON has SQuAD's shape: articles with paragraphs under "data"."""
    articles = value.get("data") if isinstance(value, dict) else None
    return isinstance(articles, list) and any(isinstance(each, dict) and "paragraphs" in each for each in articles)


def read_squad(source: Source, value: Any) -> Table:
    """A row for each question: ``id, question, context, answers, is_impossible``.

    ``answers`` is ``{"text": [...], "answer_start": [...]}``; every answer stands at its start in the context,
    counted in characters.

    Raises:
        InputError: parts that are missing or no texts, answers that stand elsewhere, questions without an answer
            that aren't impossible; all listed with their paragraph and id.
    """
    if not is_squad(value):
        raise InputError(f"{source.name} lacks SQuAD's shape: articles with 'paragraphs' in a list under 'data'")
    problems = Problems()
    records: list[tuple[Any, ...]] = []
    total = 0
    for place, context, questions in _paragraphs(value["data"], problems):
        for number, question in enumerate(questions, 1):
            total += 1
            try:
                records.append(_record(context, question))
            except InputError as error:
                name = question.get("id", number) if isinstance(question, dict) else number
                problems.add(f"{place}, question {name}: {error}")
    problems.check(
        f"{source.name} has {counted(problems.count, 'problem')} in {counted(total, 'question')}",
        "answer_start counts characters of the context from 0; a question without answers has is_impossible: true",
    )
    if not records:
        raise InputError(f"{source.name} has no questions: its lists 'paragraphs' or 'qas' are empty")
    return Table(COLUMNS, records, source.name, Places((f"{source.name}, question",), [row[0] for row in records]))


def _paragraphs(articles: list[Any], problems: Problems) -> Iterator[tuple[str, str, list[Any]]]:
    """Each paragraph's place, context and questions; those that have none go into ``problems``."""
    count = 0
    for article in articles:
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            problems.add(f"after paragraph {count}: an article without a list 'paragraphs': {beginning(article)}")
            continue
        title = article.get("title")
        for paragraph in paragraphs:
            count += 1
            place = f"paragraph {count}" + (f" ({beginning(title, 30)})" if title else "")
            context = paragraph.get("context") if isinstance(paragraph, dict) else None
            questions = paragraph.get("qas") if isinstance(paragraph, dict) else None
            if not isinstance(context, str) or not isinstance(questions, list):
                problems.add(f"{place}: expected a text 'context' and a list 'qas': {beginning(paragraph)}")
                continue
            yield place, context, questions


def _record(context: str, question: Any) -> tuple[Any, ...]:
    """A question's row.

    Raises:
        InputError: it can't be used.
    """
    if not isinstance(question, dict):
        raise InputError(f"expected an object, got {beginning(question)}")
    name, text = question.get("id"), question.get("question")
    if not isinstance(name, str | int) or not isinstance(text, str) or not text.strip():
        raise InputError(f"expected an 'id' and a text 'question', got {beginning(question)}")
    answers, impossible = question.get("answers"), question.get("is_impossible", False)
    if not isinstance(impossible, bool):
        raise InputError(f"'is_impossible' is {beginning(impossible)}, expected true or false")
    if not isinstance(answers, list) and not (answers is None and impossible):
        raise InputError(f"'answers' is {beginning(answers)}, expected a list")
    if bool(answers) == impossible:
        raise InputError("it is impossible and has answers" if answers else "no answers, and it isn't impossible")
    pairs = [_answer(context, answer) for answer in answers or ()]
    found = {"text": [text for text, _ in pairs], "answer_start": [start for _, start in pairs]}
    return str(name), text, context, found, impossible


def _answer(context: str, answer: Any) -> tuple[str, int]:
    text, start = (answer.get("text"), answer.get("answer_start")) if isinstance(answer, dict) else (None, None)
    if not isinstance(text, str) or not text or not isinstance(start, int) or isinstance(start, bool):
        raise InputError(f"expected an answer with a 'text' and an integer 'answer_start', got {beginning(answer)}")
    there = context[start : start + len(text)] if start >= 0 else ""
    if there != text:
        at = context.find(text)
        where = f"it begins at {at}" if at >= 0 else "it isn't in the context at all"
        raise InputError(f"the answer {beginning(text)} isn't at {start}, where {beginning(there)} is; {where}")
    return text, start
