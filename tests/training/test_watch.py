"""What is seen of a run: how fast it is, what is said of it and where."""

import json
import time
from pathlib import Path

from enfold.training.evaluation import Evaluation
from enfold.training.loop import State
from enfold.training.watch import Watch

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
