"""The page of a search: what it says of its trials, in both languages, and that it is one harmless page."""

from pathlib import Path
from typing import Any

import pytest

from enfold.errors import InputError
from enfold.training.search_report import SearchSummary, write_search_report
from enfold.training.settings import Settings
from enfold.training.space import Range, check_space
from enfold.training.trials import Trial
from tests.training.test_report import HOSTILE, Page, spaced_chinese

SPACE = check_space(
    {"learning_rate": Range(1e-5, 1e-3, log=True), "optimizer": ["adamw", "lion"], "batch_size": [8, 16]},
    Settings(),
    None,
)


def trial(number: int, state: Any = "complete", metric: float | None = 0.5, **changes: Any) -> Trial:
    values = {"learning_rate": number * 2e-5, "optimizer": "lion" if number % 2 else "adamw", "batch_size": 8}
    given = {"evaluations": ((1.0, 0.25), (2.0, metric or 0.0)), "seconds": 30.0, **changes}
    return Trial(number, values, state, metric, **given)


def summary(**changes: Any) -> SearchSummary:
    trials = (
        trial(1),
        trial(2, metric=0.75),
        trial(3, "pruned", 0.25, evaluations=((1.0, 0.25),)),
        trial(4, "failed", None, evaluations=(), error="the loss is nan at step 3"),
    )
    values: dict[str, Any] = {
        "task": "text-classification",
        "base": "bert-base-cased",
        "metric": "accuracy",
        "space": SPACE,
        "trials": trials,
        "command": "enfold tune --data 'my news.csv'",
        "environment": {"optuna": "5"},
    }
    return SearchSummary(**{**values, **changes})


def written(given: SearchSummary, folder: Path, language: Any = "en") -> Page:
    write_search_report(given, folder / "search.html", language=language)
    return Page((folder / "search.html").read_text(encoding="utf-8"))


def test_the_page_says_what_was_tried_and_what_is_best(tmp_path: Path) -> None:
    page = written(summary(importances={"optimizer": 0.9, "learning_rate": 0.1, "batch_size": 0.0}), tmp_path)
    for part in (
        "Accuracy 0.7500 Best trial 2 of 4 Given up early 1 Failed 1 Training time 2 min 00 s",
        "Trials are compared by Accuracy: more is better.",
        "optimizer adamw, lion adamw 90.0 % learning_rate 1e-05 to 0.001 (log) 4e-05 10.0 %",
        "From left to right: adamw, lion.",
        "1 0.5000 complete 2e-05 lion 8 2 30.0",
        "● 2 0.7500 complete",
        "3 0.2500 given up 6e-05 lion 8 1 30.0",
        "4 – failed",
        "Trial 4: the loss is nan at step 3",
        "enfold tune --data 'my news.csv'",
    ):
        assert part in page.text, part
    assert len(page.all("figure")) == 4
    assert "Best so far: 2, from 0.5000 to 0.7500." in str(page.all("svg"))


def test_less_may_be_better(tmp_path: Path) -> None:
    page = written(summary(metric="-loss"), tmp_path)
    assert "Loss 0.5000 Best trial 1 of 4" in page.text and "by Loss: less is better" in page.text
    assert "from ten complete trials on" in page.text


def test_a_search_without_a_complete_trial_has_a_page(tmp_path: Path) -> None:
    page = written(summary(trials=(trial(1, "failed", None, evaluations=(), error="why"),)), tmp_path)
    assert "No trial came to a metric." in page.text and not page.all("figure")


def test_the_page_speaks_chinese(tmp_path: Path) -> None:
    page = written(summary(), tmp_path, "zh")
    assert "learning_rate 1e-05 到 0.001（对数）" in page.text
    assert not [text for text in page.words if spaced_chinese(text)]
    assert "超参数搜索" in page.text and "越大越好" in page.text and page.all("html")[0]["lang"] == "zh-Hans"
    with pytest.raises(InputError, match="expected 'en'"):
        write_search_report(summary(), tmp_path / "x.html", language="fr")  # type: ignore[arg-type]


def test_choices_that_find_no_room_below_a_chart_are_numbered(tmp_path: Path) -> None:
    rates = [round(1e-5 * 1.1**step, 9) for step in range(8)]
    space = check_space({"learning_rate": rates}, Settings(), None)
    found = Trial(1, {"learning_rate": rates[3]}, "complete", 0.5, evaluations=((1.0, 0.5),))
    page = written(summary(space=space, trials=(found,)), tmp_path)
    assert "From left to right: 1e-05, 1.1e-05, " in page.text


def test_texts_of_others_stay_texts(tmp_path: Path) -> None:
    space = check_space({"optimizer": ["adamw"]}, Settings(), None)
    hostile = Trial(1, {"optimizer": "adamw"}, "failed", error=HOSTILE)
    page = written(summary(task=HOSTILE, base=HOSTILE, command=HOSTILE, trials=(hostile,), space=space), tmp_path, "zh")
    assert not page.all("script") and page.text.count("{{ 71 * 83 }}") >= 4
