"""A run that is killed at any moment goes on to the same weights, to the last bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from enfold.checkpoint.safetensors import open_safetensors
from enfold.errors import CheckpointError, InputError, NumericalError
from enfold.training import checkpoints
from enfold.training.fit import fit
from enfold.training.settings import Settings
from tests.training.support import reviews, tiny

KILLS = 20

SCRIPT = """
import os, sys, time
import torch
torch.set_num_threads(1)
from enfold.training import loop
from enfold.training.fit import fit
from enfold.training.settings import Settings
from tests.training.support import reviews

plain = loop._after
settings = Settings(max_steps=60, batch_size=8, learning_rate=1e-3, save_every=3, evaluate_every=14, log_every=4,
                    dropout=0.1, seed=7)
for order in sys.stdin:
    model, out, pause = order.split()
    child = os.fork()
    if child:
        print("child", child, flush=True)
        os.waitpid(child, 0)
        print("ended", flush=True)
        continue
    def slowly(*given):
        print("step", flush=True)
        time.sleep(float(pause))
        plain(*given)
    loop._after = slowly
    fit(model, reviews(150), out=out, settings=settings)
    os._exit(0)
"""


class Nursery:
    """Starts training runs as processes of their own, without importing everything for each."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, model: str, out: Path, pause: float) -> int:
        """A run's process id."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{model} {out} {pause}\n")
        self.process.stdin.flush()
        name, child = self.read().split()
        assert name == "child"
        return int(child)

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> None:
        """Until the run is over, by itself or not."""
        while self.read().strip() != "ended":
            pass

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == 0
        self.process.stdout.close()


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


def weights(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {name: view.numpy() for name, view in open_safetensors(folder / "model.safetensors").items()}


def lines(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "tokens_per_second"} for line in found]


def test_a_run_that_is_killed_ends_with_the_same_weights(tmp_path: Path, nursery: Nursery) -> None:
    model, whole = tiny(tmp_path), tmp_path / "whole"
    nursery.start(model, whole, 0.0)
    nursery.end()
    expected, curve = weights(whole), lines(whole)
    draw = random.Random(0)
    out, kills = tmp_path / "killed", 0
    while kills < KILLS:
        child = nursery.start(model, out, 0.005)
        ended = any(nursery.read().strip() == "ended" for _ in range(draw.randint(1, 12)))
        if ended:  # by itself: once more from the start
            assert_same(weights(out), expected)
            out = tmp_path / f"killed-{kills}"
            continue
        time.sleep(draw.random() * 0.03)
        os.kill(child, signal.SIGKILL)
        nursery.end()
        kills += 1
        kept = list((out / "checkpoints").glob("step-*"))
        assert all((path / "state.json").exists() for path in kept)
    nursery.start(model, out, 0.0)
    nursery.end()
    assert_same(weights(out), expected)
    assert lines(out) == curve
    assert not list(out.rglob(".*")), "nothing half-written stays"


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def run(model: str, out: Path | None, *, rows: Any = None, **changes: Any) -> Any:
    values = {"max_steps": 20, "batch_size": 8, "learning_rate": 1e-3, "save_every": 5, "log_every": 5, **changes}
    return fit(model, rows or reviews(100), out=out, settings=Settings(**values))


def test_other_data_or_settings_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, out = tiny(tmp_path), tmp_path / "out"
    _interrupted_at(9, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(model, out)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"other settings \(learning_rate was 0.001 and is 0.002\).*--no-resume"):
        run(model, out, learning_rate=2e-3)
    with pytest.raises(InputError, match="other data, model or optimizer"):
        run(model, out, rows=reviews(99))
    assert run(model, out).steps == 20
    with pytest.raises(InputError, match="holds a model already"):
        run(model, out)
    again = fit(model, reviews(100), out=out, resume=False, settings=Settings(max_steps=5))
    assert again.steps == 5


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, out = tiny(tmp_path), tmp_path / "out"
    whole = run(model, tmp_path / "whole")
    plain, calls = checkpoints.write_safetensors, 0

    def fails(path: Path, tensors: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:  # the third checkpoint's optimizer
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        plain(path, tensors)

    monkeypatch.setattr(checkpoints, "write_safetensors", fails)
    with pytest.raises(CheckpointError, match=r"step 12 .* No space left on device.*step 10 is whole"):
        run(model, out)
    monkeypatch.undo()
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-00000010"]
    resumed = run(model, out)
    for name, parameter in whole.model.named_parameters():
        assert torch.equal(dict(resumed.model.named_parameters())[name], parameter), name


def test_a_loss_that_is_no_number_stops_before_the_step(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "label": 0.5} for row in reviews(40)]
    rows[20]["label"] = 1e30
    settings = Settings(batch_size=4, order="sequential", warmup=0)
    with pytest.raises(
        NumericalError, match=r"the loss is inf at step 6, of the rows .*row 21.*learning_rate"
    ) as caught:
        fit(tiny(tmp_path), rows, task="regression", evaluation=None, settings=settings)
    assert "row 20," not in str(caught.value)


def test_damaged_checkpoints_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, out = tiny(tmp_path), tmp_path / "out"
    _interrupted_at(9, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(model, out)
    monkeypatch.undo()
    (state,) = out.glob("checkpoints/*/state.json")
    state.write_text("{")
    with pytest.raises(Exception, match=r"state\.json.*JSON"):
        run(model, out)


def test_random_numbers_of_the_caller_go_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    run(tiny(tmp_path), None)
    assert torch.equal(torch.rand(4), expected)


def _interrupted_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from enfold.training import loop

    plain = loop._after

    def after(given: Any, state: Any, *rest: Any) -> None:
        plain(given, state, *rest)
        if state.step == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_after", after)


def test_checkpoints_hold_no_pickle(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(tiny(tmp_path), out)
    names = {path.suffix for path in out.rglob("*") if path.is_file()}
    assert names <= {".json", ".jsonl", ".safetensors", ".txt", ".md", ".html"}
    assert (out / "metrics.jsonl").stat().st_size


def test_stopping_says_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, out = tiny(tmp_path), tmp_path / "out"
    for step, words in ((2, "from the beginning"), (9, "from step 5")):
        _interrupted_at(step, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            run(model, out)
        monkeypatch.undo()
        assert f"the same call goes on {words}" in caplog.text


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(InputError, match=r"has a README\.md, and no model"):
        run(tiny(tmp_path), tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine" and not (tmp_path / "metrics.jsonl").exists()
    with pytest.raises(InputError, match=r"README\.md is a file"):
        run(tiny(tmp_path), tmp_path / "README.md" / "out")


def test_of_evaluations_alike_the_one_with_less_loss_is_kept(tmp_path: Path) -> None:
    rows = [{"text": "a good film", "label": "yes"}, {"text": "bad", "label": "no"}]
    settings = Settings(max_steps=30, batch_size=8, learning_rate=1e-2, evaluate_every=10, dropout=0.0)
    fitted = fit(tiny(tmp_path), reviews(64), out=tmp_path / "out", evaluation=rows, settings=settings)
    found = [line["evaluation"] for line in fitted.history if "evaluation" in line]
    best = min(found, key=lambda each: (-each["accuracy"], each["loss"]))
    assert fitted.metrics["loss"] == pytest.approx(best["loss"]) and len({each["accuracy"] for each in found}) < 3


def test_a_metric_that_no_evaluation_has_is_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enfold.training.loop._step", lambda *given: pytest.fail("a step was made"))
    for name in ("acc", "-acc"):
        with pytest.raises(InputError, match="metric is 'acc', and evaluations have loss, accuracy"):
            run(tiny(tmp_path), tmp_path / "out", metric=name)


def test_a_language_that_the_tokenizer_does_not_know_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"text": text, "label": text[0]} for text in ("好书值得一看再看", "差极了真后悔买")] * 10
    rows = [{**row, "text": f"{row['text']}{'好' * index}"} for index, row in enumerate(rows)]
    run(tiny(tmp_path), None, rows=rows, max_steps=1)
    assert "% of the tokens are [UNK]: the tokenizer doesn't know" in caplog.text
    caplog.clear()
    run(tiny(tmp_path), None, max_steps=1)
    assert "[UNK]" not in caplog.text
