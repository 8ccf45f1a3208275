"""``enfold tune``: from a file to the best of many models, and options that are told apart."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import enfold
from enfold.cli.tune import command
from enfold.training import tune as tuning
from enfold.training.settings import Settings
from enfold.training.space import Range
from tests.cli.conftest import Invoke
from tests.cli.test_train import written
from tests.training.support import reviews, tiny

SEARCH = ("--search", "learning-rate=1e-4..1e-2,log", "--search", "batch_size=8,16")
QUICK = ("--trials", "2", "--epochs", "1", "--precision", "float32")


def test_the_best_model_answers_and_the_command_can_be_repeated(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data, out = written(tmp_path / "rows.csv", reviews(60)), tmp_path / "out"
    arguments = ("tune", "--data", str(data), "--base", tiny(tmp_path), "--out", str(out), *SEARCH, *QUICK)
    monkeypatch.setattr("sys.argv", ["enfold", *arguments])
    caplog.set_level("INFO", logger="enfold")
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["trials"] == 2 and set(said["values"]) == {"learning_rate", "batch_size"}
    assert said["metric"] == "accuracy" and said["metrics"]["accuracy"] >= 0
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("trial ")]
    assert [line[:10] for line in lines] == ["trial 1 of", "trial 2 of"] and "batch_size 16" in lines[0]
    assert "enfold tune --data" in (out / "README.md").read_text()
    assert "enfold tune --data" in (out / "search.html").read_text()
    classify = enfold.pipeline("text-classification", str(out), engine="cpu")
    assert classify("a good film")[0]["label"] in ("yes", "no")

    table = invoke(*arguments)  # again: nothing is left to do, and the outcome is shown
    assert table.exit_code == 0, table.stderr
    heading, row = (line.split("\t") for line in table.stdout.splitlines())
    assert heading[:2] == ["best", "loss"] and {"learning_rate", "batch_size"} < {*heading} and len(row) == len(heading)
    assert f"{out}/search.html shows all trials" in table.stderr


def test_what_is_searched_is_read_from_the_command_line(monkeypatch: pytest.MonkeyPatch, invoke: Invoke) -> None:
    seen: dict[str, Any] = {}

    def tune(**given: Any) -> None:
        seen.update(given)
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "tune", tune)
    searched = ["learning_rate=1e-5..1e-3,log", "warmup=0..0.2,step=0.05", "max-steps=10..40", "dropout=none,0, 0.2"]
    searched += ["compile=true,false", "optimizer=adamw,lion", "adapter.rank=4,8"]
    options = [part for each in searched for part in ("--search", each)]
    result = invoke("tune", "ner", "--data", "a.csv", "--out", "x", *options, "--no-prune", "--epochs", "2")
    assert result.exit_code == 130
    assert seen["space"] == {
        "learning_rate": Range(1e-5, 1e-3, log=True),
        "warmup": Range(0, 0.2, step=0.05),
        "max_steps": Range(10, 40),
        "dropout": [None, 0, 0.2],
        "compile": [True, False],
        "optimizer": ["adamw", "lion"],
        "adapter.rank": [4, 8],
    }
    assert (seen["task"], seen["prune"], seen["trials"]) == ("ner", False, 20)
    assert seen["settings"] == Settings(epochs=2)
    assert seen["command"].startswith("enfold ")


def test_settings_are_options_of_the_same_name() -> None:
    options = {option.name for option in command.params}
    assert {field.name for field in dataclasses.fields(Settings)} | {"trials", "searched", "prune"} <= options
    assert all(option.help for option in command.params if option.param_type_name == "option")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--search", "batch_size"), 2, "'batch_size': expected learning_rate=1e-5..1e-3,log"),
        (("--search", "warmup=0..x"), 2, "'warmup=0..x': expected"),
        (("--search", "warmup=0..1,logarithmic"), 2, "'warmup=0..1,logarithmic': expected"),
        (("--search", "seed=1,2", "--search", "seed=3"), 2, "seed is given twice"),
        (("--search", "sead=1,2"), 1, "sead is no setting of a Settings: did you mean seed?"),
        (("--search", "optimizer=adamw,adam"), 1, "optimizer is 'adam', expected one of"),
        (("--trials", "0"), 1, "trials is 0"),
        (("--evaluation", "0"), 1, "pass evaluation=FILE"),
        (("--base", "m", "--architecture", "bert"), 2, "exclude each other"),
    ],
)
def test_errors_say_what_is_wrong(
    tmp_path: Path, invoke: Invoke, arguments: tuple[str, ...], status: int, message: str
) -> None:
    data = written(tmp_path / "rows.jsonl", reviews(40))
    base = ("--base", tiny(tmp_path), "--out", str(tmp_path / "out"))
    result = invoke("tune", "--data", str(data), *base, *arguments)
    assert result.exit_code == status and message in " ".join(result.stderr.split()), result.stderr
    assert not (tmp_path / "out").exists()
