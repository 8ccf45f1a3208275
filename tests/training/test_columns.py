"""Columns are found by their usual names, the task by its columns, and what is missing is said."""

from typing import Any

import pytest

from enfold.errors import InputError, TaskError
from enfold.families import FAMILIES
from enfold.training.columns import guess_task, with_roles
from enfold.training.data import read_table
from enfold.training.goals import ALIASES, GOALS, find_goal
from enfold.training.goals.answers import QuestionAnswering
from enfold.training.goals.classification import Classification
from enfold.training.goals.language import CausalLM

BERT, T5, GPT2 = (tuple(FAMILIES[name].heads) for name in ("bert", "t5", "gpt2"))


@pytest.mark.parametrize(
    ("row", "heads", "task"),
    [
        ({"text": "a", "label": "x"}, BERT, "text-classification"),
        ({"Sentence1": "a", "sentence2": "b", "LABEL": 1}, BERT, "text-classification"),
        ({"review": "a", "stars": 4.5}, BERT, "regression"),
        ({"text": "a", "labels": ["x", "y"]}, BERT, "multi-label-classification"),
        ({"tokens": ["a"], "ner_tags": ["O"]}, BERT, "token-classification"),
        (
            {"question": "a", "context": "b", "answers": {"text": ["b"], "answer_start": [0]}},
            BERT,
            "question-answering",
        ),
        ({"question": "a", "choices": ["b", "c"], "answer": 1}, BERT, "multiple-choice"),
        ({"anchor": "a", "positive": "b"}, BERT, "embed"),
        ({"query": "a", "positive": "b", "negative": "c"}, BERT, "embed"),
        ({"question": "a", "answer": "b"}, BERT, "embed"),
        ({"question": "a", "answer": "b"}, T5, "text2text-generation"),
        ({"article": "a", "summary": "b"}, T5, "text2text-generation"),
        ({"source": "a", "target": "b"}, T5, "text2text-generation"),
        ({"text": "a"}, BERT, "masked-lm"),
        ({"anything": "a"}, GPT2, "causal-lm"),
        ({"text": "a"}, T5, "span-corruption"),
    ],
)
def test_the_task_is_found_by_its_columns(row: dict[str, Any], heads: tuple[str, ...], task: str) -> None:
    table = read_table([row, row])
    assert guess_task(table, heads) == task
    find_goal(task)


@pytest.mark.parametrize("row", [{"a": 1, "b": 2}, {"text": "a", "lable": "x"}])
def test_columns_that_say_nothing_are_listed(row: dict[str, Any]) -> None:
    with pytest.raises(
        TaskError, match=rf"has the columns {', '.join(row)}, which don't say .* name a task \(text-class"
    ):
        guess_task(read_table([row]), BERT)


def test_a_roles_own_name_comes_first() -> None:
    table = with_roles(read_table([{"sentence": "no", "Text": "yes", "category": "no", "label": "x"}]), Classification)
    assert dict(table.rows[0]) == {"text": "yes", "label": "x"}


def test_what_is_not_needed_is_left_out() -> None:
    table = with_roles(read_table([{"id": 1, "text": "a", "label": "x", "note": "b"}]), Classification)
    assert table.columns == ("text", "label")
    assert with_roles(read_table([{"line": "a"}]), CausalLM).columns == ("text",)


def test_missing_columns_are_said_with_those_that_are_present() -> None:
    table = read_table([{"review_body": "a", "opinion": "b"}])
    with pytest.raises(
        InputError, match=r"has the columns review_body, opinion, and text-classification needs text \(or"
    ):
        with_roles(table, Classification)
    with pytest.raises(InputError, match=r"columns=\{'question': 'review_body'\}, or --columns question=review_body"):
        with_roles(table, QuestionAnswering)


def test_every_name_is_a_goals() -> None:
    assert {find_goal(name) for name in ALIASES} <= set(GOALS.values())
    with pytest.raises(TaskError, match=r"'text-clasification' \(did you mean .*text-classification"):
        find_goal("text-clasification")
    for goal in GOALS.values():
        assert set(goal.optional) <= set(goal.roles)
        assert goal.strata is None or goal.strata in goal.roles
        assert set(goal.together) <= set(goal.roles)
