"""SQuAD's JSON: every question, and answers that stand where they say."""

import json
from typing import Any

import pytest

from enfold.errors import InputError
from enfold.training.data import read_table
from tests.support import shared
from tests.training.data.conftest import Write

CONTEXT = "狮子在 Paris 看见 😀 了。"


def question(**changes: Any) -> dict[str, Any]:
    return {"id": "q1", "question": "Where?", "answers": [{"text": "Paris", "answer_start": 4}]} | changes


def document(*questions: Any, context: Any = CONTEXT) -> str:
    return json.dumps({"data": [{"title": "Lions", "paragraphs": [{"context": context, "qas": list(questions)}]}]})


@pytest.mark.parametrize(("name", "format"), [("a.json", None), ("a.squad", "squad"), ("a.json", "squad")])
def test_both_versions(name: str, format: Any, write: Write) -> None:
    none = question(id="q2", answers=[], is_impossible=True, plausible_answers=[{"text": "x", "answer_start": 0}])
    emoji = question(id=3, answers=[{"text": "😀 了", "answer_start": 13}, {"text": "Paris", "answer_start": 4}])
    path = write(name, document(question(), none, emoji))
    table = read_table(path, format=format)
    assert table.columns == ("id", "question", "context", "answers", "is_impossible")
    assert table.column("answers") == [
        {"text": ["Paris"], "answer_start": [4]},
        {"text": [], "answer_start": []},
        {"text": ["😀 了", "Paris"], "answer_start": [13, 4]},
    ]
    assert table.column("is_impossible") == [False, True, False]
    assert table.column("id") == ["q1", "q2", "3"]
    assert table.place(1) == f"{path}, question q2"
    assert table.take([2]).place(0) == f"{path}, question 3"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"answers": [{"text": "Paris", "answer_start": 5}]}, "'Paris' isn't at 5, where 'aris ' is; it begins at 4"),
        ({"answers": [{"text": "Rome", "answer_start": 4}]}, "it isn't in the context at all"),
        ({"answers": [{"text": "。", "answer_start": -1}]}, "isn't at -1, where '' is; it begins at 16"),
        ({"answers": [{"text": "", "answer_start": 0}]}, "expected an answer with a 'text'"),
        ({"answers": [{"text": "Paris"}]}, "an integer 'answer_start'"),
        ({"answers": ["Paris"]}, "expected an answer with a 'text'.*got 'Paris'"),
        ({"answers": {}}, "'answers' is {}, expected a list"),
        ({"answers": []}, "no answers, and it isn't impossible"),
        ({"is_impossible": True}, "it is impossible and has answers"),
        ({"is_impossible": "no"}, "'is_impossible' is 'no', expected true or false"),
        ({"question": " "}, "expected an 'id' and a text 'question'"),
        ({"id": None}, "expected an 'id'"),
    ],
)
def test_a_broken_question_is_named_with_its_paragraph(wrong: dict[str, Any], message: str, write: Write) -> None:
    path = write("a.json", document(question(), question(**wrong)))
    name = wrong.get("id", "q1")
    with pytest.raises(
        InputError, match=rf"(?s)1 problem in 2 .*paragraph 1 \('Lions'\), question {name}: .*{message}"
    ):
        read_table(path)


def test_all_problems_are_listed(write: Write) -> None:
    articles = [
        {"title": "A", "paragraphs": [{"context": "x", "qas": ["no"]}, {"context": 3, "qas": []}, {"context": "x"}]},
        {"title": "B"},
        7,
    ]
    with pytest.raises(InputError, match=r"has 5 problems in 1 question:") as caught:
        read_table(write("a.json", json.dumps({"data": articles})))
    for line in ("paragraph 1 ('A'), question 1: expected an object, got 'no'", "paragraph 2 ('A'): expected a text"):
        assert line in str(caught.value)
    assert str(caught.value).count("after paragraph 3: an article without a list 'paragraphs'") == 2


def test_what_is_no_squad(write: Write) -> None:
    with pytest.raises(InputError, match="has no questions"):
        read_table(write("a.json", document()))
    with pytest.raises(InputError, match="lacks SQuAD's shape"):
        read_table(write("a.json", "[]"), format="squad")
    with pytest.raises(InputError, match="can't be read as JSON"):
        read_table(write("a.json", "{"), format="squad")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_real_file(language: str) -> None:
    table = read_table(shared("data", f"xquad.{language}.json"))
    assert len(table) == 880
    assert len(set(table.column("context"))) == 180
    for row in table.rows:
        text, start = row["answers"]["text"][0], row["answers"]["answer_start"][0]
        assert row["context"][start : start + len(text)] == text
