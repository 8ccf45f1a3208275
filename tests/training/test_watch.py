"""What is seen of a run: how fast it is, what is said of it and where."""

import io
import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, Literal

import pytest

from enfold.training.evaluation import Evaluation
from enfold.training.fit import fit
from enfold.training.loop import State
from enfold.training.settings import Settings
from enfold.training.watch import Watch
from tests.training.support import reviews, tiny

VALUES = {"epoch": 1.0, "loss": 0.5, "learning_rate": 1e-3, "grad_norm": 1.0}


def rates(watch: Watch) -> list[float]:
    return [line["tokens_per_second"] for line in watch.history if "tokens_per_second" in line]


def steps(state: State, count: int, seconds: float) -> None:
    """So many steps of 100 tokens."""
    for _ in range(count):
        state.count(loss=0.5, weight=1.0, tokens=100, seconds=seconds)


def test_the_speed_is_that_of_steps_alone(tmp_path: Path) -> None:
    watch, state = Watch(tmp_path / "metrics.jsonl", False), State()
    with watch.shown(30):
        for _ in range(3):
            steps(state, 7, 0.25)
            watch.evaluation(state, Evaluation({"loss": 0.5}), "loss", 1.0)
            time.sleep(0.01)  # an evaluation's time is not that of steps
            steps(state, 3, 0.25)
            watch.line(state, VALUES)
    assert rates(watch) == [400.0] * 3
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["tokens_per_second"] for line in written if "loss" in line] == [400.0] * 3


def test_a_run_that_goes_on_counts_from_there(tmp_path: Path) -> None:
    state = State()
    steps(state, 15, 10.0)
    watch = Watch(tmp_path / "metrics.jsonl", False)
    watch.rewind(state)
    with watch.shown(20):
        steps(state, 5, 0.5)
        watch.line(state, VALUES)
    assert rates(watch) == [200.0]


class Terminal(io.StringIO):
    """Takes what is written as a terminal would."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 80 columns."""
    for name, value in {"COLUMNS": "80", "LINES": "24", "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    return Terminal()


@pytest.fixture
def log(screen: Terminal) -> Iterator[logging.Handler]:
    """The log is shown on the terminal, as the command line has it."""
    handler, logger = logging.StreamHandler(screen), logging.getLogger("enfold")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def lines_of(screen: Terminal) -> list[str]:
    """What stays on the screen: of what was written over, the last."""
    return [line.rstrip("\r").rpartition("\x1b[2K")[2] for line in screen.getvalue().split("\n")]


def evaluate(screen: Terminal, show: bool | Literal["auto"] = "auto") -> None:
    with redirect_stderr(screen):
        watch = Watch(None, show)
        state = State()
        with watch.shown(20):
            steps(state, 10, 0.25)
            watch.begin(["two labels"])
            watch.line(state, VALUES)
            watch.evaluation(state, Evaluation({"loss": 0.25, "accuracy": 0.5}), "accuracy", 1.0)


def test_an_evaluation_is_one_line_above_the_bar_where_the_log_is_shown(screen: Terminal, log: Any) -> None:
    evaluate(screen)
    shown = screen.getvalue()
    assert shown.count("loss 0.2500  accuracy 0.5000") == 1 and shown.count("two labels") == 1
    assert "step 10 of 20: evaluation: loss 0.2500  accuracy 0.5000" in shown
    assert "tokens/s" not in next(line for line in lines_of(screen) if "evaluation:" in line)
    assert log.stream is screen


def test_an_evaluation_is_one_line_above_the_bar_where_nobody_reads_the_log(screen: Terminal) -> None:
    evaluate(screen)
    assert screen.getvalue().count("step 10 of 20: evaluation: loss 0.2500  accuracy 0.5000") == 1
    assert screen.getvalue().count("two labels") == 1


def test_nothing_is_shown_where_progress_is_off(screen: Terminal) -> None:
    evaluate(screen, False)
    assert screen.getvalue() == ""


@pytest.mark.parametrize(("columns", "rate"), [(80, False), (120, True)])
def test_the_bar_has_room_on_a_narrow_terminal(
    screen: Terminal, monkeypatch: pytest.MonkeyPatch, columns: int, rate: bool
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    evaluate(screen)
    bar = [line for line in screen.getvalue().replace("\r", "\n").split("\n") if "tokens/s" in line][-1]
    bar = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", bar)
    assert "…" not in bar and len(re.findall(r"\d:\d\d:\d\d|-:--:--", bar)) == 2
    assert len(re.findall("[━╸╺ ]", re.sub(r"training (.*) 0/20.*", r"\1", bar))) >= 15
    assert ("rate 1.00e-03" in bar) is rate and "loss 0.5000" in bar


def test_before_the_first_step_it_is_said_what_is_learnt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="enfold")
    fitted = fit(tiny(tmp_path), reviews(60), settings=Settings(max_steps=2), progress=False)
    assert "BertForSequenceClassification" not in repr(fitted) and "accuracy" in repr(fitted)
    about, how, *_ = (line for line in caplog.messages if "fresh" not in line)
    assert about == "text-classification: 54 rows to learn from, 6 to judge by; labels no, yes"
    assert re.fullmatch(r"2 steps of up to 16 examples, learning rate 5e-05, longest text \d+ tokens", how)
