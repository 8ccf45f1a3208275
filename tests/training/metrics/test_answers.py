"""Answers are compared as in the evaluation of SQuAD, by characters where they are Chinese."""

import json
import re
import string
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enfold.errors import InputError
from enfold.training.metrics import Answers
from enfold.training.metrics.text import answer_words
from tests.support import shared

PIECES = [
    "the",
    "The",
    "a",
    "an",
    "cat",
    "Cat's",
    "sat",
    "U.S.",
    " ",
    "  ",
    "\n",
    "-",
    "–",
    "“",
    "then",
    "",
    "$5",
    "a-b",
]
ANSWERS = st.lists(st.sampled_from(PIECES), max_size=5).map(" ".join)


def plainly(text: str) -> str:
    """SQuAD's description of its normalization, step by step."""
    kept = "".join(char for char in text.lower() if char not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def plain_f1(guess: str, gold: str) -> float:
    """SQuAD 2.0: an answer against none counts as wrong, none against none as right."""
    guessed, wanted = plainly(guess).split(), plainly(gold).split()
    if not guessed or not wanted:
        return float(guessed == wanted)
    same = sum((Counter(guessed) & Counter(wanted)).values())
    if not same:
        return 0.0
    precision, recall = same / len(guessed), same / len(wanted)
    return 2 * precision * recall / (precision + recall)


@settings(max_examples=200)
@given(rows=st.lists(st.tuples(ANSWERS, st.lists(ANSWERS, max_size=3)), min_size=1, max_size=5))
def test_english_figures_follow_squads_description(rows: list[tuple[str, list[str]]]) -> None:
    exact, f1 = 0.0, 0.0
    for guess, golds in rows:
        wanted = [gold for gold in golds if plainly(gold)] or [""]
        exact += max(plainly(guess) == plainly(gold) for gold in wanted)
        f1 += max(plain_f1(guess, gold) for gold in wanted)
    for language in ("en", "auto"):
        metric = Answers(language)
        for guess, golds in rows:
            metric.update([guess], [golds])
        figures = metric.result()
        assert figures["exact_match"] == pytest.approx(exact / len(rows))
        assert figures["f1"] == pytest.approx(f1 / len(rows))


@pytest.mark.parametrize(
    ("guess", "gold", "exact", "f1"),
    [
        ("长城", "万里长城", 0, 2 * 2 / 6),
        ("《红楼梦》。", "红楼梦", 1, 1),
        ("“长城”，", "长城", 1, 1),
        ("长 城", "长城", 1, 1),
        ("1929年", "1929 年", 1, 1),
        ("苹果公司（Apple）", "苹果公司Apple", 1, 1),
        ("约20～30人", "约20 30人", 0, 2 * 2 / 7),
        ("北京", "上海", 0, 0),
        ("", "上海", 0, 0),
        ("東京タワー", "東京タワー。", 1, 1),
        ("Beijing", "北京", 0, 0),
    ],
)
def test_chinese_answers_are_compared_by_characters(guess: str, gold: str, exact: float, f1: float) -> None:
    for language in ("zh", "auto"):
        metric = Answers(language)
        metric.update([guess], [gold])
        assert metric.result() == pytest.approx({"exact_match": exact, "f1": f1})


def test_in_english_a_chinese_answer_is_one_word() -> None:
    metric = Answers("en")
    metric.update(["长城"], ["万里长城"])
    assert metric.result()["f1"] == 0


def test_full_width_symbols_are_punctuation_as_their_narrow_forms_are() -> None:
    assert answer_words("Ａ＋Ｂ～，。、！？；：“”‘’（）《》【】……——·C+", "zh") == ["ａｂc"]


def test_the_best_of_several_golds_counts() -> None:
    metric = Answers()
    metric.update(["big cat"], [["a dog", "Cat", "the big, big cat"]])
    metric.update(["big cat"], [np.array(["big cat", "cat"])])
    assert metric.result() == pytest.approx({"exact_match": 0.5, "f1": (0.8 + 1) / 2})


def test_questions_without_answer_have_figures_of_their_own() -> None:
    metric = Answers()
    metric.update(["", "something", "", "the cat", "dog"], [[], "", "cat", ["cat"], ["big dog"]])
    figures = metric.result()
    assert figures == pytest.approx(
        {
            "exact_match": 2 / 5,
            "f1": (1 + 0 + 0 + 1 + 2 / 3) / 5,
            "has_answer_exact_match": 1 / 3,
            "has_answer_f1": (0 + 1 + 2 / 3) / 3,
            "no_answer_accuracy": 1 / 2,
        }
    )
    only = Answers()
    only.update(["", ""], [[], ""])
    assert only.result() == {"exact_match": 1, "f1": 1, "no_answer_accuracy": 1}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_gold_answers_of_real_data_are_right_and_cut_ones_nearly(language: Any) -> None:
    data = json.loads(shared("data", f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]
    golds = [
        [answer["text"] for answer in question["answers"]]
        for article in data
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    right, cut = Answers(), Answers()
    right.update([gold[0] for gold in golds], golds)
    cut.update([gold[0][:-1] for gold in golds], golds)
    assert right.result() == {"exact_match": 1, "f1": 1}
    assert 0.4 < cut.result()["f1"] < 0.95
    assert len(golds) > 500


@pytest.mark.parametrize(
    ("guesses", "golds", "message"),
    [
        ("text", ["text"], "predictions is one text"),
        (["text"], "text", "golds is one text"),
        (["a", "b"], ["a"], "got 2 predictions and 1 gold answers"),
        ([None], ["a"], "1 of 1 predictions are no texts, the first is None at 0"),
        (["a"], [None], "gold answers of question 0 are None"),
        (["a"], [[1]], "gold answers of question 0 are no texts"),
    ],
)
def test_what_cannot_be_counted_is_refused_and_changes_nothing(guesses: Any, golds: Any, message: str) -> None:
    metric = Answers()
    with pytest.raises(InputError, match=message):
        metric.update(guesses, golds)
    assert metric.state() == Answers().state()


def test_languages_are_checked() -> None:
    with pytest.raises(InputError, match="language is 'fr', expected one of 'auto', 'en', 'zh'"):
        Answers("fr")  # type: ignore[arg-type]
