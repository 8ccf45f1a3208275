"""The report of a run: what it says, that it is one whole and harmless page, and what its numbers look like."""

import json
import math
import random
import re
import string
import subprocess
import sys
import threading
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enfold.errors import InputError
from enfold.training.plots import Chart, Line, charts, draw, smooth, thin
from enfold.training.report import RunSummary, write_report
from enfold.training.summary import timeline
from enfold.training.templates import Words
from enfold.training.templates.formats import clean, duration, figure, one_line, rate, share

TEMPLATES = Path(sys.modules["enfold.training.templates"].__path__[0])
VOID = {"meta", "br", "hr", "img", "link"}
HOSTILE = "<script>alert(1)</script> & \"quoted\" 'too' {{ 71 * 83 }} | `x` </style></title> 全角，标点。"


class Page(HTMLParser):
    """A page's elements and text; asserts that elements are closed in order and names are unique."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)
        assert not self.open
        ids = [values["id"] for _, values in self.elements if "id" in values]
        assert len(ids) == len(set(ids))

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.part(tag)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.part(tag)
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def part(self, tag: str) -> None:
        """What stands in different cells, lines or paragraphs is apart."""
        if tag not in ("code", "span", "em", "strong"):
            self.words.append(" ")

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [values for name, values in self.elements if name == tag]


def run(**changes: Any) -> RunSummary:
    """A run of 60 steps with everything that a run may say."""
    history: list[dict[str, Any]] = []
    for step in range(1, 61):
        falling = 5e-5 * (60 - step) / 60
        history.append({"step": step, "epoch": step / 20, "loss": 1 + 1 / step, "learning_rate": falling})
        if step % 20 == 0:
            history.append({"step": step, "evaluation": {"loss": 2 / step, "accuracy": step / 100, "perplexity": 9.5}})
    values: dict[str, Any] = {
        "task": "text-classification",
        "model": "BertForSequenceClassification",
        "base": "google-bert/bert-base-uncased",
        "labels": ("sport", "财经"),
        "settings": {"epochs": 3.0, "learning_rate": 5e-5, "seed": 7},
        "defaults": {"epochs": 3.0, "learning_rate": None, "seed": 0},
        "command": "enfold train text-classification --data 'my news.csv'",
        "environment": {"enfold": "0.1.0", "torch": "2.13.0"},
        "data": [
            {
                "name": "news.csv",
                "rows": 6400,
                "role": "train",
                "sha256": "ab" * 32,
                "labels": {"sport": 6000, "财经": 400},
            },
            {
                "name": "dev.csv",
                "rows": 480,
                "role": "evaluation",
                "sha256": "cd" * 32,
                "columns": {"text": "headline"},
            },
        ],
        "licence": "apache-2.0",
        "languages": ("en", "zh"),
        "max_tokens": 128,
        "seconds": 3725.0,
        "samples_per_second": 5.154,
        "tokens_per_second": 5123.4,
        "parameters": (1538, 109485316),
        "best_step": 40,
        "best_by": "accuracy",
        "history": history,
        "evaluation": {"loss": 0.3912, "accuracy": 0.9437},
        "by_label": [{"label": "sport", "f1": 0.95, "support": 400}, {"label": "财经", "f1": 0.9, "support": 80}],
        "confusion": np.array([[390, 10], [17, 63]]),
        "worst": [
            {"text": "A text.", "label": "sport", "predicted": "财经", "loss": 7.3412, "place": "dev.csv, line 17"}
        ],
    }
    return RunSummary(**{**values, **changes})


def written(summary: RunSummary, folder: Path, language: Any = "en") -> Page:
    path = folder / "report.html"
    write_report(summary, path, language=language)
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_says_what_the_run_was(tmp_path: Path) -> None:
    text = written(run(), tmp_path).text
    for part in (
        "text-classification · BertForSequenceClassification · finished",
        "Accuracy 0.9437",
        "Training time 1 h 02 min",
        "109,485,316, of which 1,538 trained (0.0 %)",
        "5.154 samples/s, 5,123 tokens/s",
        "Best step 40, by Accuracy",
        "Measured on dev.csv",
        "sport 6,000 (93.8 %)",
        "text ← headline",
        "learning_rate ● 5e-05 None",
        "epochs 3.0 3.0",
        "enfold train text-classification --data 'my news.csv'",
        "A text. true label sport predicted 财经 loss 7.341 dev.csv, line 17",
        "ab" * 32,
    ):
        assert part in text, part


def test_the_same_in_chinese(tmp_path: Path) -> None:
    page = written(run(), tmp_path, "zh")
    assert page.all("html") == [{"lang": "zh-Hans"}]
    for part in ("训练报告", "准确率 0.9437", "1 小时 02 分", "第 40 步（按准确率）", "标签 sport、财经", "学习率"):
        assert part in page.text, part
    english = {both[0] for both in words_table().values() if len(both[0]) > 20 and "{" not in both[0]}
    assert not [phrase for phrase in english if phrase in page.text]


def spaced_chinese(text: str) -> bool:
    """Whether a space stands between two Chinese characters, or beside Chinese punctuation."""
    mark, character = "[\u3001\u3002\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f]", "[\u4e00-\u9fff]"
    return bool(re.search(f"{mark} | {mark}|{character} +{character}", text))


def test_chinese_is_not_set_apart_from_chinese(tmp_path: Path) -> None:
    history = [*({"step": at, "loss": 0.25**at} for at in range(20)), {"step": 20, "evaluation": {"f1": 0.5}}]
    for changes in ({"best_by": "f1"}, {"best_by": "accuracy", "history": history}):
        worst = [{"text": "好", "label": "财经", "loss": 1.0}] * 60
        page = written(run(**changes, worst=worst), tmp_path, "zh")
        assert not [text for text in page.words if spaced_chinese(text)]
        assert not [each["aria-label"] for each in page.all("svg") if spaced_chinese(each["aria-label"])]
    assert "（对数刻度）" in page.text
    assert "第 40 步（按 F1）" in written(run(best_by="f1"), tmp_path, "zh").text


def test_the_header_of_each_column_is_translated(tmp_path: Path) -> None:
    rows = [{"label": "财经", "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 9, "predicted": 9}]
    text = written(run(by_label=rows, worst=[]), tmp_path, "zh").text
    assert "行数 预测为该标签" in text and "predicted" not in text


def test_the_page_is_one_file_that_asks_nobody_and_runs_nothing(tmp_path: Path) -> None:
    page = written(run(), tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert "http:" not in html and "https:" not in html and "@import" not in html
    assert re.findall(r"url\((?!#)", html) == []
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object", "form"}
    assert not [name for _, values in page.elements for name in values if name.startswith("on") or name == "src"]
    assert {values["href"][0] for _, values in page.elements if "href" in values} == {"#"}
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_it_can_be_heard(tmp_path: Path) -> None:
    page = written(run(), tmp_path)
    pictures = page.all("svg")
    assert len(pictures) == 4 and all(each["role"] == "img" for each in pictures)
    assert pictures[0]["aria-label"].startswith("Loss: Training loss: 2.000 at step 1, ")
    assert (
        "Evaluation loss: 0.1000 at step 20, 0.03333 at step 60, lowest 0.03333 at step 60" in pictures[0]["aria-label"]
    )
    assert all(each["scope"] in ("row", "col") for each in page.all("th"))
    assert len(page.all("h1")) == 1 and page.all("html") == [{"lang": "en"}]
    targets = {values["id"] for _, values in page.elements if "id" in values}
    assert {each["href"][1:] for each in page.all("a")} <= targets


def test_the_matrix_has_counts_and_shares_of_its_rows(tmp_path: Path) -> None:
    text = written(run(), tmp_path).text
    assert "sport 390 97.5 % 10 2.5 % 400 财经 17 21.2 % 63 78.8 % 80" in text


def test_a_large_matrix_becomes_the_pairs_that_are_confused_most(tmp_path: Path) -> None:
    count, draws = 40, random.Random(3)
    counts = [[draws.randrange(1000) for _ in range(count)] for _ in range(count)]
    labels = tuple(f"l{number}" for number in range(count))
    page = written(run(labels=labels, confusion=counts, by_label=[]), tmp_path)
    pairs = [(counts[true][other], true, other) for true in range(count) for other in range(count) if true != other]
    expected = sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2]))[:20]
    rows = [f"l{true} l{other} {many} {100 * many / sum(counts[true]):.1f} %" for many, true, other in expected]
    assert " ".join(rows) in page.text
    assert not [table for table in page.all("table") if table.get("class") == "matrix"]


def test_a_large_matrix_without_mistakes_says_so(tmp_path: Path) -> None:
    labels = tuple(map(str, range(31)))
    page = written(run(labels=labels, confusion=np.diag(range(31)), by_label=[]), tmp_path)
    assert "No label was taken for another." in page.text


def test_a_bare_run_claims_nothing(tmp_path: Path) -> None:
    text = written(RunSummary(task="fill-mask", model="BertForMaskedLM"), tmp_path).text
    for part in ("Not evaluated", "No steps were recorded", "random weights", "Licence not stated", "not recorded"):
        assert part in text, part
    assert "highest loss" not in text and "Confusion" not in text


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"stopped": "interrupted"}, "Training was interrupted (last step recorded: 60)"),
        ({"stopped": "failed"}, "Training was ended by an error (last step recorded: 60)"),
        ({"stopped": "early"}, "stopped early: no better evaluation came"),
        ({"notes": ("213 texts were cut.",)}, "213 texts were cut."),
        (
            {
                "data": [
                    {"name": n, "rows": 2, "role": r, "sha256": "00"} for n, r in (("a", "train"), ("b", "evaluation"))
                ]
            },
            "b: the evaluation data are the training data",
        ),
        (
            {"history": [{"step": 1, "loss": 1.0}, {"step": 2, "loss": math.nan}, {"step": 3, "loss": math.inf}]},
            "not a number at 2 of 3 recorded steps, first at step 2",
        ),
    ],
)
def test_what_must_be_known_stands_before_the_figures(changes: Any, part: str, tmp_path: Path) -> None:
    text = written(run(**changes), tmp_path).text
    assert part in text.partition("Started from")[0]


def test_hostile_texts_are_shown_as_texts(tmp_path: Path) -> None:
    table = {"name": HOSTILE, "rows": 1, "role": "evaluation", "columns": [HOSTILE], "labels": {HOSTILE: 1}}
    page = written(
        run(
            **dict.fromkeys(("task", "model", "base", "command", "licence", "best_by"), HOSTILE),
            labels=(HOSTILE, "b"),
            settings={HOSTILE: HOSTILE},
            environment={HOSTILE: HOSTILE},
            data=[table],
            evaluation={HOSTILE: 1.0},
            notes=(HOSTILE,),
            history=[{"step": 1, HOSTILE: 3.0}, {"step": 1, "evaluation": {HOSTILE: 0.5}}],
            worst=[{"text": HOSTILE, "label": HOSTILE, "predicted": HOSTILE, "place": HOSTILE}],
        ),
        tmp_path,
    )
    assert page.text.count(HOSTILE) >= 10
    assert not page.all("script") and len(page.all("style")) == len(page.all("title")) == 1
    assert "5893" not in page.text


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_text_anywhere_makes_a_whole_page(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    text = st.text(st.characters(), min_size=1, max_size=30)
    labels = tuple(data.draw(st.lists(text, min_size=1, max_size=3)))
    number = st.floats() | st.integers(-(10**20), 10**20)
    summary = run(
        labels=labels,
        confusion=None,
        notes=(data.draw(text),),
        settings={
            data.draw(text): data.draw(st.none() | text | number | st.lists(number) | st.dictionaries(text, text))
        },
        evaluation={data.draw(text): data.draw(number)},
        history=[],
        worst=[{"text": data.draw(text), "label": labels[0], "loss": data.draw(number)}],
        seconds=data.draw(st.floats(0, 1e9)),
    )
    page = written(summary, tmp_path_factory.mktemp("run"), data.draw(st.sampled_from(["en", "zh"])))
    assert not page.all("script")
    seen = "".join(page.words)
    assert not [each for each in seen if each not in "\n\t" and (ord(each) < 32 or 0x7F <= ord(each) < 0xA0)]


def test_examples_that_are_right_are_marked(tmp_path: Path) -> None:
    examples = [
        {"text": "A", "label": "sport", "predicted": "sport", "loss": 0.5},
        {"text": "B", "label": "sport", "predicted": "财经", "loss": 0.25},
    ]
    text = written(run(worst=examples), tmp_path).text
    assert "Examples with the highest loss" in text and "those marked ✓ are predicted rightly" in text
    assert "A true label sport predicted sport ✓ loss 0.5000" in text
    assert "B true label sport predicted 财经 loss 0.2500" in text


def test_figures_of_one_label_name_it(tmp_path: Path) -> None:
    measured = {"f1": 0.5, "f1_macro": 0.75, "recall": 0.25}
    history = [{"step": 1, "evaluation": measured}]
    page = written(run(positive="财经", evaluation=measured, history=history, best_by="f1"), tmp_path)
    assert page.text.count("F1, label 财经") == 4 and "F1, mean of labels 0.7500" in page.text
    assert "F1（标签财经）" in written(run(positive="财经", best_by="f1"), tmp_path, "zh").text


def test_a_line_of_a_megabyte_is_cut_with_a_count(tmp_path: Path) -> None:
    long = "好" * 1_000_000
    page = written(run(worst=[{"text": long}], labels=(long, "b"), notes=(long,)), tmp_path)
    assert "… (+999,400 characters)" in page.text
    assert (tmp_path / "report.html").stat().st_size < 300_000


def test_examples_have_a_limit_that_is_said(tmp_path: Path) -> None:
    page = written(run(worst=[{"text": f"text {number}"} for number in range(70)]), tmp_path)
    assert "The first 50 of 70." in page.text and "text 49" in page.text and "text 50" not in page.text


def test_the_same_run_makes_the_same_bytes(tmp_path: Path) -> None:
    write_report(run(), tmp_path / "a.html")
    write_report(run(), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_curves_do_not_depend_on_or_change_the_settings_of_matplotlib(tmp_path: Path) -> None:
    import matplotlib

    write_report(run(), tmp_path / "plain.html")
    with matplotlib.rc_context({"svg.fonttype": "path", "axes.grid": True, "font.size": 30, "lines.color": "red"}):
        before = dict(matplotlib.rcParams)
        write_report(run(), tmp_path / "styled.html")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "plain.html").read_bytes() == (tmp_path / "styled.html").read_bytes()


def test_drawing_leaves_pyplot_alone_and_writing_needs_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from enfold.training.report import *; from enfold.training.card import *;"
        "run = RunSummary(task='ner', model='X', history=[{'step': 1, 'loss': 1.0}]); folder = sys.argv[1];"
        "write_report(run, folder + '/report.html'); write_card(run, folder);"
        "print(sorted({'matplotlib', 'matplotlib.pyplot', 'torch', 'huggingface_hub', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['matplotlib']"


def test_threads_draw_the_same(tmp_path: Path) -> None:
    chart = charts(run().history)[0]
    once = draw(chart, label="x", identifier="a")
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(draw(chart, label="x", identifier="a"))) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [once] * 4


def test_without_matplotlib_the_page_says_how_to_get_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = written(run(), tmp_path)
    assert not page.all("svg") and "pip install 'enfold[train]'" in page.text
    assert page.all("details") == [{"open": None}, {"open": None}]
    assert "60 3.000 1.017 0" in page.text


def test_a_run_of_many_steps_stays_a_page(tmp_path: Path) -> None:
    history = [{"step": step, "loss": 1.0 + (step == 77_777)} for step in range(100_000)]
    page = written(run(history=history, best_step=None), tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 150_000
    assert "50 of 100,000 rows" in page.text


@pytest.mark.parametrize("history", [[], [{"step": 1, "loss": math.nan}], [{"step": 5, "loss": 1e308}]])
def test_nothing_to_draw_is_no_chart(history: Any) -> None:
    assert charts(history) == []


@pytest.mark.parametrize(
    "history",
    [
        [{"step": 5, "loss": 0.5}],
        [{"step": 5, "loss": 0.0}, {"step": 6, "loss": 0.0}],
        [{"step": 1, "loss": 1e-9}, {"step": 2, "loss": 1e9}, {"step": 3, "loss": math.inf}],
        [{"step": 1, "loss": -3.0}, {"step": 2, "loss": 3}],
        [{"step": 0, "learning_rate": 0.0}, {"step": 9, "learning_rate": 0.0}],
    ],
)
def test_odd_curves_are_drawn_without_a_warning(history: Any) -> None:
    (chart,) = charts(history)
    assert draw(chart, label='a <b> & "c"', identifier="x").startswith("<svg ")


def test_metrics_share_a_chart_where_they_share_a_scale() -> None:
    evaluation = {f"m{number}": 0.1 for number in range(8)} | {f"big{number}": 7.0 for number in range(6)}
    history = [{"step": 1, "evaluation": {**evaluation, "samples_per_second": 3.0, "name": "text", "flag": True}}]
    scores, *others = charts(history, "m7")
    assert [line.name for line in scores.lines] == ["m7", "m0", "m1", "m2", "m3", "m4"] and scores.left_out == (
        "m5",
        "m6",
    )
    assert [chart.lines[0].name for chart in others] == ["big0", "big1", "big2", "big3"]
    assert others[0].left_out == ("big4", "big5")


def ticks_of(chart: Chart) -> list[str]:
    """What is written below a chart."""
    drawn = draw(chart, label="x", identifier="a", best_step=chart.lines[0].steps[0])
    axis = drawn[drawn.index('id="a-matplotlib.axis_1"') : drawn.index('id="a-matplotlib.axis_2"')]
    return re.findall("<text[^>]*>([^<]+)</text>", axis)


def test_one_evaluation_has_whole_steps_below_it() -> None:
    (chart,) = charts([{"step": 17, "evaluation": {"accuracy": 0.5}}])
    assert ticks_of(chart) == ["16", "17", "18"]


@pytest.mark.parametrize(
    ("across", "places"),
    [
        ("sizes", (2.134e-5, 2.789e-5)), ("sizes", (1.2e-5, 3.4e-5, 5.9e-5)), ("sizes", (1e-5, 4.9e-4)),
        ("sizes", (1e-6, 1e-2)), ("sizes", (3e-5,)), ("numbers", (1.25e-5, 2.47e-5)), ("numbers", (0.0, 0.2)),
        ("numbers", (0.1,)), ("steps", (100_000, 170_000)), ("steps", (3,)),
    ],
)  # fmt: skip
def test_what_is_below_a_chart_finds_room_there(across: Any, places: tuple[float, ...]) -> None:
    ticks = ticks_of(Chart("trials", (Line("complete", places, places, marked=True, join="none"),), across=across))
    assert len(ticks) == len(set(ticks)) >= 2
    assert sum(map(len, ticks)) + len(ticks) <= 50, ticks


def test_smoothing_is_a_mean_of_what_was_seen() -> None:
    assert smooth([3.0] * 200) == pytest.approx([3.0] * 200)
    assert smooth([]) == [] and smooth([5.0]) == [5.0]
    values = [random.Random(1).gauss(0, 1) for _ in range(500)]
    decay = 0.5 ** (1 / 10)
    weights = [decay**back for back in range(500)]
    for at in (0, 1, 37, 499):
        expected = sum(weights[at - i] * values[i] for i in range(at + 1)) / sum(weights[: at + 1])
        assert smooth(values)[at] == pytest.approx(expected)
    gap = smooth([1.0, math.nan, 3.0])
    assert math.isnan(gap[1]) and 1 < gap[2] < 3


@given(st.lists(st.floats(), max_size=300), st.integers(4, 50))
def test_thinning_keeps_the_ends_and_every_extreme(values: list[float], most: int) -> None:
    pairs = list(enumerate(values))
    kept = thin(pairs, most)
    assert len(kept) <= max(most, 0) or len(kept) == len(pairs)
    assert [pair[0] for pair in kept] == sorted({pair[0] for pair in kept})
    finite = [value for value in values if math.isfinite(value)]
    if finite:
        left = [value for _, value in kept if math.isfinite(value)]
        assert max(left) == max(finite) and min(left) == min(finite)
        assert kept[0][0] == 0 and kept[-1][0] == len(values) - 1


def test_steps_that_were_computed_twice_count_once() -> None:
    rows: list[dict[str, Any]] = [{"step": 10, "loss": 1}, {"step": 10, "evaluation": {}}, {"step": 20, "loss": 2}]
    again: list[dict[str, Any]] = [{"step": 15, "loss": 3}, {"step": 20, "loss": 4}, {"step": 20, "loss": 5}]
    assert timeline([*rows, *again]) == [*rows[:2], again[0], again[2]]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.93, "0.9300"), (1.0, "1.000"), (12.3456, "12.35"), (123.0, "123.0"), (999.96, "1,000"), (12345.6, "12,346"),
        (0, "0"), (0.0, "0"), (-0.5, "-0.5000"), (1234567, "1,234,567"), (1.23456e-5, "1.235e-05"), (1e20, "1.000e+20"),
        (math.nan, "NaN"), (math.inf, "∞"), (-math.inf, "-∞"), (np.float32(0.25), "0.2500"), (np.int64(1000), "1,000"),
        (True, "True"), ("a  b\n", "a b"),
    ],
)  # fmt: skip
def test_figures_have_four_digits(value: Any, expected: str) -> None:
    assert figure(value) == expected


@given(st.floats(1e-300, 1e300))
def test_a_figure_is_the_number(value: float) -> None:
    assert float(figure(value).replace(",", "")) == pytest.approx(value, rel=6e-4)
    assert float(rate(value)) == pytest.approx(value, rel=6e-4)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.00 s"), (0.42, "0.42 s"), (9.996, "10.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"),
        (3599.4, "59 min 59 s"), (3599.6, "1 h 00 min"), (3725, "1 h 02 min"), (86399, "1 d 00 h"), (90000, "1 d 01 h"),
        (math.nan, "NaN"),
    ],
)  # fmt: skip
def test_durations_have_two_units(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_shares_of_nothing_are_none() -> None:
    assert share(0, 0) == "–" and share(1, 8) == "12.5 %"


def test_what_can_not_be_seen_is_shown() -> None:
    assert clean("a\x00b\x1b[31m\u202ec\ud800\r\nd\re\u2028f") == "a\ufffdb\ufffd[31m\ufffdc\ufffd\nd\ne\nf"
    assert one_line("  a\n b  ") == "a b" and one_line("x" * 300, 10) == "xxxxxxxxxx … (+290)"


def words_table() -> dict[str, list[str]]:
    table: dict[str, list[str]] = json.loads((TEMPLATES / "words.json").read_text(encoding="utf-8"))
    return table


def test_both_languages_have_the_same_words_and_places() -> None:
    for key, both in words_table().items():
        assert len(both) == 2 and all(both), key
        english, chinese = ({name for _, name, _, _ in string.Formatter().parse(text) if name} for text in both)
        assert english == chinese, key
    assert not [key for key, both in words_table().items() if re.search("[\u4e00-\u9fff]", both[0])]


def test_every_word_is_used_and_every_used_word_is_there() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in [*TEMPLATES.iterdir(), *TEMPLATES.parent.glob("*.py")]
                   if path.suffix in (".py", ".html", ".md"))  # fmt: skip
    table = words_table()
    built = ("column.", "stopped.", "unfinished.", "role.", "chart.", "worst.", "data.", "rows.", "speed.")
    built += ("search.range",)
    unused = [key for key in table if f'"{key}"' not in code and f"'{key}'" not in code]
    assert [key for key in unused if not key.startswith(built)] == []
    used = re.findall(r'(?:say\(|words\[)["\']([\w.]+)["\'][],)]', code)
    assert len(used) > 50 and not set(used) - set(table)


def test_words_of_another_language_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"language is 'fr'; expected 'en' \(English\) or 'zh'"):
        write_report(run(), tmp_path / "report.html", language="fr")  # type: ignore[arg-type]
    assert Words("zh").name("unheard_of") == "unheard_of"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; expected a file"):
        write_report(run(), tmp_path)


def test_an_old_report_stays_where_a_new_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "report.html"
    write_report(run(), path)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        write_report(replace(run(), task="fill-mask"), path)
    assert path.read_bytes() == before and [each.name for each in path.parent.iterdir()] == ["report.html"]


def test_all_that_is_wrong_with_a_run_is_said_at_once() -> None:
    with pytest.raises(InputError) as caught:
        RunSummary(
            task=" ",
            model="",
            labels="ab",  # type: ignore[arg-type]
            stopped="done",  # type: ignore[arg-type]
            data=[{"name": "a"}, {"name": "b", "rows": -1, "role": "test"}],
            history=[{"loss": 1.0}, {"step": 1, "evaluation": 3}, 7],  # type: ignore[list-item]
            evaluation={"accuracy": "high"},  # type: ignore[dict-item]
            confusion=[[1, 2, 3]],
        )
    for part in (
        "task is ' ', expected a name",
        "model is '', expected a name",
        "labels is 'ab', expected a tuple of texts",
        "stopped is 'done', expected one of finished, early, interrupted, failed",
        r"data[0] has no rows and no role",
        "data[1] has the role 'test', expected train or evaluation",
        "data[1] has -1 rows, expected a count",
        "history[0] has the step None, expected a whole number",
        "history[1] has the evaluation 3, expected metrics by name",
        "history[2] is 7, expected values by name",
        "evaluation has accuracy = 'high', expected a number",
        "confusion has 1 row of 3 counts, expected 2 × 2 for 2 labels",
    ):
        assert part in str(caught.value), part


def test_axes_say_small_numbers_whole() -> None:
    history = [{"step": step, "loss": 0.5, "learning_rate": 0.00125 * step / 40} for step in range(1, 41)]
    chart = next(each for each in charts(history) if each.kind == "learning_rate")
    drawn = draw(chart, label="rate", identifier="a")
    assert "0.0012<" in drawn and "0.00<" not in drawn
