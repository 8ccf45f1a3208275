"""Answers: the reference's records, exact places, and long contexts read whole."""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from enfold.errors import InputError, TextTooLongError
from enfold.tasks.spans import best_spans
from tests.tasks.oracle import ENGINES, assert_equal, golden, tiny_pipeline
from tests.tasks.tiny import LIMIT, Tiny

UNCASED = Tiny(family="bert", head="question-answering", vocabulary="uncased")
ROBERTA = Tiny(family="roberta", head="question-answering", vocabulary="roberta")
CHINESE = Tiny(family="bert", head="question-answering", vocabulary="chinese")
QUESTION = "When was it?"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("tiny", "call", "records"), golden("question-answering"))
def test_records_are_those_of_the_reference(tiny: Tiny, call: Any, records: Any, engine: str) -> None:
    assert_equal(tiny_pipeline("question-answering", tiny, engine)(*call["args"], **call["kwargs"]), records)


def told(monkeypatch: pytest.MonkeyPatch, tiny: Tiny, starts: set[str], ends: set[str], **options: Any) -> Any:
    """A task whose model finds answers by their tokens' text alone."""
    task = tiny_pipeline("question-answering", tiny, **options)
    columns = [{task.tokenizer.convert_tokens_to_ids(token) for token in tokens} for tokens in (starts, ends)]

    def run(batch: Any, *, fields: Any = (), tokens: Any = None) -> dict[str, Any]:
        hits = [[10.0 * (int(number) in ids) for number in batch.ids] for ids in columns]
        return {"logits": np.array(hits, np.float32).T}

    monkeypatch.setattr(task.model, "run", run)
    return task


def test_an_answer_anywhere_in_a_long_context_is_found_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    qa = told(monkeypatch, UNCASED, {"june"}, {"1932"})
    for place in range(0, 2998, 111):
        words = ["river"] * 3000
        words[place : place + 3] = ["June", "of", "1932"]
        context = " ".join(words)
        record = qa(question=QUESTION, context=context)
        assert record["answer"] == "June of 1932" == context[record["start"] : record["end"]]
        assert record["start"] == place * 6
        assert 0.9 < record["score"] <= 1


@pytest.mark.parametrize("stride", [0, 1, 40, 90])
def test_equal_answers_of_several_windows_are_no_likelier_than_certain(
    monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    qa = told(monkeypatch, UNCASED, {"1932"}, {"1932"})
    record = qa(question=QUESTION, context="river in 1932 " * 500, doc_stride=stride, max_answer_len=1)
    assert record["answer"] == "1932" and record["score"] <= 1


def test_a_word_that_a_window_cuts_is_still_answered_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    qa = told(monkeypatch, UNCASED, {"##bel"}, {"##bel"})
    for before in range(20, 140):
        context = "river " * before + "unbelievably " + "river " * 60
        assert qa(question=QUESTION, context=context, doc_stride=1)["answer"] == "unbelievably"


@pytest.mark.parametrize(
    ("tiny", "context", "token", "expected"),
    [
        (UNCASED, "In the Cafe\u0301 of old", "cafe", "Cafe\u0301"),
        (UNCASED, "In the\u00a0 Café, of old", "cafe", "Café"),
        (ROBERTA, "👩‍👩‍👧 went  to Paris!", "ĠParis", "Paris"),
        (CHINESE, "𠮷野家在上海。", "海", "海"),
    ],
)
def test_places_are_exact(monkeypatch: pytest.MonkeyPatch, tiny: Tiny, context: str, token: str, expected: str) -> None:
    record = told(monkeypatch, tiny, {token}, {token})(question=QUESTION, context=context)
    assert record["answer"] == expected == context[record["start"] : record["end"]]


def test_each_way_of_asking_gives_the_same() -> None:
    qa = tiny_pipeline("question-answering", UNCASED)
    context, other = "It was in June 1932, they say.", "It was never."
    record, second = qa(question=QUESTION, context=context), qa(question=QUESTION, context=other)
    pair = {"question": QUESTION, "context": context}
    for one in (qa(QUESTION, context), qa(pair), qa({**pair, "id": 7})):
        assert_equal(one, record, 1e-6)
    for alone in (qa([pair]), qa(question=[QUESTION], context=context)):
        assert_equal(alone, [record], 1e-6)
    for both in (
        qa([pair, {"question": QUESTION, "context": other}]),
        qa(question=[QUESTION] * 2, context=[context, other]),
        qa(question=QUESTION, context=[context, other]),
    ):
        assert_equal(both, [record, second], 1e-6)
    stream = qa(pair for _ in range(3))
    assert isinstance(stream, Iterator)
    assert_equal(list(stream), [record] * 3, 1e-6)


def test_top_k_gives_a_list_however_few_answers_there_are() -> None:
    qa = tiny_pipeline("question-answering", UNCASED)
    assert [record["answer"] for record in qa(question=QUESTION, context="Yes", top_k=5)] == ["Yes"]
    ranked = qa(question=QUESTION, context="It was in June of 1932, in the old town.", top_k=20)
    scores = [record["score"] for record in ranked]
    assert scores == sorted(scores, reverse=True) and len(scores) == 20


def test_a_context_without_tokens_has_no_answer() -> None:
    qa = tiny_pipeline("question-answering", UNCASED)
    assert qa(question=QUESTION, context="\u200b\u200b") == {"score": 0.0, "start": 0, "end": 0, "answer": ""}


def test_a_long_question_is_refused_or_cut_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    question, context = "why " * 100, "Because of the river. " * 40
    with pytest.raises(TextTooLongError, match="more than 64 tokens"):
        tiny_pipeline("question-answering", UNCASED)(question=question, context=context)
    qa = tiny_pipeline("question-answering", UNCASED, long="truncate")
    with caplog.at_level(logging.WARNING, logger="enfold"):
        cut = qa(question=question, context=context)
    assert "36 tokens were not read" in caplog.text
    assert cut == qa(question="why " * 64, context=context)


def test_options_bound_windows_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    qa = told(monkeypatch, UNCASED, {"june"}, {"1932"})
    seen = []
    run = qa.model.run
    monkeypatch.setattr(qa.model, "run", lambda batch, **options: seen.append(batch) or run(batch, **options))
    context = "river " * 300 + "June of the year 1932"
    assert qa(question=QUESTION, context=context, max_seq_len=50)["answer"] == "June of the year 1932"
    lengths = [end - begin for batch in seen for begin, end in batch.spans]
    assert max(lengths) == 50 < LIMIT and len(lengths) > 6
    assert qa(question=QUESTION, context=context, max_answer_len=4)["answer"] != "June of the year 1932"


def test_best_spans_are_those_of_every_pair() -> None:
    generator = np.random.default_rng(0)
    start, end = (generator.random(40).astype(np.float32) for _ in range(2))
    allowed = generator.random(40) < 0.7
    places = np.flatnonzero(allowed).tolist()
    every = [
        (first, last, start[first] * end[last]) for first in places for last in places if first <= last < first + 6
    ]
    every.sort(key=lambda span: -span[2])
    for count in (1, 5, 1000):
        found = best_spans(start, end, allowed, count=count, longest=6)
        assert [span[:2] for span in found] == [span[:2] for span in every[:count]]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((), {}, "question and context missing"),
        ((), {"question": QUESTION}, "context missing"),
        ((None,), {"context": "x"}, "question missing"),
        ((3,), {}, "int"),
        (([3],), {}, "int"),
        (({"question": QUESTION},), {}, "context missing"),
        (([{"context": "x", "q": 1}],), {}, "keys .*'q'.*question missing"),
        (({"question": QUESTION, "context": ""},), {}, "context: the text is empty"),
        (({"question": None, "context": "x"},), {}, "question: got NoneType"),
        (({"question": QUESTION, "context": "x"},), {"question": QUESTION}, "not both"),
        ((), {"question": ["a", "b"], "context": ["x"]}, "2 questions and 1 contexts"),
        ((QUESTION, "x"), {"top_k": 0}, "top_k is 0"),
        ((QUESTION, "x"), {"max_answer_len": 0}, "max_answer_len is 0"),
        ((QUESTION, "x"), {"max_seq_len": -1}, "max_seq_len is -1"),
        ((QUESTION, "x"), {"max_question_len": 1.5}, "max_question_len is 1.5"),
        ((QUESTION, "river " * 500), {"doc_stride": 500}, "stride=500"),
    ],
)
def test_what_can_not_be_asked_is_refused(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_pipeline("question-answering", UNCASED)(*arguments, **options)
