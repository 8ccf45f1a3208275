"""What card and report say of a run that was made: its data as they are, and what was chosen for it."""

from pathlib import Path
from typing import Any

import pytest

from enfold.training.fit import fit
from enfold.training.settings import Settings
from tests.training.support import reviews, tiny
from tests.training.test_card import rendered
from tests.training.test_report import Page


def told(folder: Path, rows: list[dict[str, Any]], **options: Any) -> tuple[str, str]:
    """The texts of card and report of a short run."""
    settings = Settings(max_steps=2, **options.pop("settings", {}))
    fit(tiny(folder), rows, out=folder / "out", settings=settings, progress=False, **options)
    card = rendered((folder / "out" / "README.md").read_text(encoding="utf-8")).text
    return card, Page((folder / "out" / "report.html").read_text(encoding="utf-8")).text


def test_the_longest_text_is_that_of_the_data(tmp_path: Path) -> None:
    rows = [{"text": f"a film {row['label']}", "label": row["label"]} for row in reviews(60)]
    card, report = told(tmp_path, rows, evaluation=None)
    assert "Longest text, in tokens 5 " in report and "trained on texts of up to 5 tokens" in card
    assert "left out" not in card + report


def test_what_was_cut_stands_in_card_and_report(tmp_path: Path) -> None:
    rows = [{"text": "a film ada", "label": "yes"}, {"text": "a book ada", "label": "no"}] * 20
    rows[0] = {"text": "ada " * 28, "label": "yes"}
    card, report = told(tmp_path, rows, max_length=10, evaluation=None)
    said = "the data: 1 of 40 texts were cut at 10 tokens; 20 tokens were left out."
    assert said in card and said in report.partition("Started from")[0]
    assert "up to 10 tokens" in card


@pytest.mark.parametrize(("settings", "marked"), [({}, False), ({"learning_rate": 1e-3}, True)])
def test_a_setting_of_the_task_is_not_one_of_the_user(tmp_path: Path, settings: dict[str, Any], marked: bool) -> None:
    card, report = told(tmp_path, reviews(60), settings=settings)
    assert ("● learning_rate" in card, "learning_rate ● " in report) == (marked, marked)
    assert report.partition("learning_rate")[2].split()[:3][-1 if marked else 1] == "5e-05"


def test_precision_and_recall_say_of_which_label(tmp_path: Path) -> None:
    card, report = told(tmp_path, reviews(60))
    assert all(f"{name}, label yes " in each for name in ("Precision", "Recall", "F1") for each in (card, report))


def test_means_over_labels_are_of_none(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "label": f"{row['label']}{at % 2}"} for at, row in enumerate(reviews(80))]
    card, report = told(tmp_path, rows)
    assert "Precision, label" not in card + report


def test_examples_are_in_the_language_of_the_data(tmp_path: Path) -> None:
    words = ["好书", "坏书"]
    rows = [{"text": f"{words[at % 2]} {at}", "label": str(at % 2)} for at in range(40)]
    assert "货到得晚了" in told(tmp_path, rows)[0]
    (tmp_path / "other").mkdir()
    assert "The goods came late" in told(tmp_path / "other", reviews(60), language="zh")[0]
