"""A search: trials that can be compared, the best of which stays, and that nothing stops for good."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import enfold
from enfold.checkpoint.safetensors import open_safetensors
from enfold.errors import CorruptFileError, InputError, MissingDependencyError, NumericalError
from enfold.training import loop, material, proposals, search
from enfold.training.fit import fit
from enfold.training.settings import Settings
from enfold.training.space import Range, check_space
from enfold.training.trials import Trial
from enfold.training.tune import Tuned, tune
from tests.training.support import reviews, tiny

ROWS = reviews(60)
QUICK = Settings(epochs=2, learning_rate=1e-3, precision="float32")
SPACE = {"learning_rate": Range(1e-4, 1e-2, log=True), "batch_size": [8, 16], "dropout": [None, 0.0]}


def told(trial: Trial) -> Any:
    """A trial without the time it took."""
    return trial.number, dict(trial.values), trial.state, trial.metric, trial.evaluations, trial.steps


def search_of(model: Any, out: Path | None, trials: int = 4, **changes: Any) -> Tuned:
    values: dict[str, Any] = {"settings": QUICK, "space": SPACE, "progress": False, **changes}
    return tune(model, ROWS, out=out, trials=trials, **values)


def weights(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {name: view.numpy() for name, view in open_safetensors(folder / "model.safetensors").items()}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tune")


@pytest.fixture(scope="module")
def model(home: Path) -> str:
    return tiny(home)


@pytest.fixture(scope="module")
def whole(home: Path, model: str) -> Tuned:
    """A search of four trials that nothing stopped."""
    return search_of(model, home / "whole")


def test_the_best_trial_is_left_as_fit_leaves_a_run(whole: Tuned, home: Path, model: str) -> None:
    out = home / "whole"
    best = max(whole.trials, key=lambda trial: (trial.metric or 0, -trial.number))
    assert whole.best == best and whole.settings.learning_rate == best.values["learning_rate"]
    alone = fit(model, ROWS, out=home / "alone", settings=whole.settings, progress=False)
    assert dict(alone.metrics) == dict(whole.metrics)
    assert same(weights(out), weights(home / "alone"))
    expected = {path.name for path in (home / "alone").iterdir()}
    assert {path.name for path in out.iterdir()} == expected | {"search.json", "trials.jsonl", "trials", "search.html"}
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["evaluation"]["accuracy"] for line in lines if "evaluation" in line] == [
        value for _, value in best.evaluations
    ]
    for name, parameter in alone.model.named_parameters():
        assert torch.equal(dict(whole.model.named_parameters())[name], parameter), name
    assert not list(out.rglob("checkpoints"))


def test_the_first_trial_is_the_run_without_a_search(whole: Tuned) -> None:
    assert whole.trials[0].values == {"learning_rate": 1e-3, "batch_size": 16, "dropout": None}


def test_each_trial_has_a_line_with_all_that_is_known_of_it(whole: Tuned, home: Path) -> None:
    lines = [json.loads(line) for line in (home / "whole" / "trials.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3, 4]
    for line, trial in zip(lines, whole.trials, strict=True):
        assert line["values"] == trial.values and line["metric"] == trial.metric
        assert line["seconds"] > 0 and line["steps"] > 0 and len(line["evaluations"]) == 2
        assert (home / "whole" / "trials" / f"{trial.number:04d}" / "metrics.jsonl").exists()


def test_a_search_that_is_complete_trains_nothing_and_finds_the_same(
    whole: Tuned, home: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "make_job", None)
    again = search_of(model, home / "whole")
    assert [told(trial) for trial in again.trials] == [told(trial) for trial in whole.trials]
    assert again.metrics == whole.metrics


SCRIPT = """
import logging, sys
from tests.training.test_tune import search_of
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
from pathlib import Path
search_of(sys.argv[1], Path(sys.argv[2]))
"""


def test_a_search_that_is_killed_goes_on_as_it_would_have_gone(
    whole: Tuned, home: Path, model: str, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-u", "-c", SCRIPT, model, str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("trial 2"):
                os.kill(process.pid, signal.SIGKILL)
                break
    done = (out / "trials.jsonl").read_text().splitlines()
    assert 2 <= len(done) < 4
    resumed = search_of(model, out)
    assert [told(trial) for trial in resumed.trials] == [told(trial) for trial in whole.trials]
    assert same(weights(out), weights(home / "whole"))


@pytest.mark.parametrize("step", [4, 8])
def test_ctrl_c_keeps_what_is_there_and_says_how_to_go_on(
    whole: Tuned,
    model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: int,
) -> None:
    plain, seen = loop._after, 0

    def after(run: Any, state: Any, *rest: Any) -> None:
        nonlocal seen
        plain(run, state, *rest)
        seen += state.step == step
        if seen == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_after", after)
    with pytest.raises(KeyboardInterrupt):
        search_of(model, tmp_path)
    monkeypatch.undo()
    number = len((tmp_path / "trials.jsonl").read_text().splitlines())
    said = f"stopped in trial {number + 1} of 4: {number} trials are in {tmp_path}, and the same call goes on"
    assert said in caplog.text
    assert (tmp_path / "search.html").exists() and (tmp_path / "config.json").exists()
    resumed = search_of(model, tmp_path)
    assert [told(trial) for trial in resumed.trials] == [told(trial) for trial in whole.trials]


def test_a_trial_that_ended_and_was_not_written_down_is_not_lost(
    whole: Tuned, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(search, "write_trials", full)
    with pytest.raises(OSError, match="No space"):
        search_of(model, tmp_path, 1)
    monkeypatch.undo()
    monkeypatch.setattr(loop, "_backward", None)  # nothing is computed again
    (trial,) = search_of(model, tmp_path, 1).trials
    assert told(trial) == told(whole.trials[0])


def test_more_trials_go_on_from_those_there_are(whole: Tuned, model: str, tmp_path: Path) -> None:
    search_of(model, tmp_path, 2)
    more = search_of(model, tmp_path, 3)
    assert [told(trial) for trial in more.trials] == [told(trial) for trial in whole.trials[:3]]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"space": {"batch_size": [8, 16]}}, "other space;"),
        ({"settings": Settings(epochs=1)}, "other settings;"),
        ({"evaluation": 0.3}, "other data;"),
        ({"prune": False, "max_length": 20}, "other data, settings;"),
    ],
)
def test_another_search_is_refused(whole: Tuned, home: Path, model: str, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=rf"holds a search with {named}.*resume=False"):
        search_of(model, home / "whole", **changes)


def test_the_folder_of_a_model_is_refused_and_a_search_begun_anew_forgets(model: str, tmp_path: Path) -> None:
    fit(model, ROWS, out=tmp_path, settings=QUICK, progress=False)
    with pytest.raises(InputError, match="holds a model already"):
        search_of(model, tmp_path, 1)
    search_of(model, tmp_path, 2, resume=False)
    assert len(search_of(model, tmp_path, 1, resume=False).trials) == 1


def test_a_damaged_list_of_trials_is_named_with_its_line(model: str, tmp_path: Path) -> None:
    search_of(model, tmp_path, 1)
    with (tmp_path / "trials.jsonl").open("a") as file:
        file.write('{"number": 2, "values": {"learning_rate"')
    with pytest.raises(CorruptFileError, match=r"trials\.jsonl, line 2, is no trial .* take that line"):
        search_of(model, tmp_path, 2)


def test_a_trial_that_is_behind_is_given_up(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals, "_BEFORE_PRUNING", 1)
    settings = Settings(epochs=3, learning_rate=3e-3, warmup=0, metric="-loss", precision="float32", dropout=0.0)
    space = {"learning_rate": [3e-3, 1e-6]}
    found = search_of(model, tmp_path, 2, settings=settings, space=space)
    first, second = found.trials
    assert (first.state, second.state) == ("complete", "pruned")
    assert first.metric == pytest.approx(min(value for _, value in first.evaluations))
    assert second.steps == first.steps / 3 and found.best is first
    plain = search_of(model, None, 2, settings=settings, space=space, prune=False)
    assert [trial.state for trial in plain.trials] == ["complete", "complete"]


def test_a_loss_that_is_no_number_fails_a_trial_and_not_the_search(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = loop.clip

    def clip(parameters: Any, limit: float | None, *rest: Any) -> float:
        return float("nan") if limit == 7.0 else plain(parameters, limit, *rest)

    monkeypatch.setattr(loop, "clip", clip)
    found = search_of(model, tmp_path, 2, space={"max_grad_norm": [1.0, 7.0]})
    assert [trial.state for trial in found.trials] == ["complete", "failed"]
    assert "gradient's length is nan at step 1" in found.trials[1].error
    assert "gradient" in (tmp_path / "search.html").read_text()
    with pytest.raises(NumericalError, match=r"none of 1 trial came to a metric.*gradient's length is nan"):
        search_of(model, tmp_path / "other", 2, space={"max_grad_norm": [7.0]})


def test_no_combination_is_tried_twice(model: str) -> None:
    found = search_of(model, None, 9, space={"batch_size": [8, 16], "weight_decay": Range(0, 0.1, step=0.1)})
    assert len({tuple(trial.values.items()) for trial in found.trials}) == len(found.trials) == 4
    assert found.folder is None


def test_rows_are_read_split_and_encoded_once(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"read": 0, "encode": 0}
    read = material.read_table

    def counted(*args: Any, **kwargs: Any) -> Any:
        counts["read"] += 1
        return read(*args, **kwargs)

    goal = enfold.training.goals.GOALS["text-classification"]
    encode = goal.encode

    def encoded(self: Any, *args: Any) -> Any:
        counts["encode"] += 1
        return encode(self, *args)

    monkeypatch.setattr(material, "read_table", counted)
    monkeypatch.setattr(goal, "encode", encoded)
    search_of(model, None, 3)
    assert counts == {"read": 1, "encode": 2}  # rows to learn from, and rows to judge by


def test_a_loaded_model_begins_each_trial_as_it_was(whole: Tuned, model: str) -> None:
    loaded: Any = enfold.AutoModelForSequenceClassification.from_pretrained(model)
    before = {name: value.clone() for name, value in loaded.state_dict().items()}
    found = search_of(loaded, None, 3, tokenizer=model)
    assert [told(trial) for trial in found.trials] == [told(trial) for trial in whole.trials[:3]]
    assert all(torch.equal(value, before[name]) for name, value in loaded.state_dict().items())


def test_sizes_of_an_adapter_are_searched_like_settings(model: str, tmp_path: Path) -> None:
    space = {"adapter.rank": [2, 4], "learning_rate": Range(1e-3, 1e-2, log=True)}
    found = search_of(model, tmp_path, 2, space=space, adapter=enfold.LoRA(rank=4))
    assert found.trials[0].values["adapter.rank"] == 4
    assert isinstance(found.adapter, enfold.LoRA) and found.adapter.rank == found.best.values["adapter.rank"]
    assert (tmp_path / "adapter").is_dir()


def test_what_is_searched_by_default_leaves_what_was_chosen(model: str) -> None:
    free = tune(model, ROWS, trials=1, settings=Settings(max_steps=2), progress=False)
    assert set(free.trials[0].values) == {"learning_rate", "batch_size", "weight_decay", "warmup", "dropout"}
    assert free.trials[0].values["learning_rate"] == 5e-5
    frozen = Settings(max_steps=2, freeze="encoder", batch_size=4)
    few = tune(model, ROWS, trials=1, settings=frozen, progress=False)
    assert set(few.trials[0].values) == {"learning_rate", "weight_decay", "warmup"}
    chosen = Settings(learning_rate=1e-4, batch_size=4, weight_decay=0.0, warmup=0.0, dropout=0.0)
    with pytest.raises(InputError, match=r"nothing is left to search.*space="):
        tune(model, ROWS, trials=1, settings=chosen, progress=False)


def test_all_that_is_wrong_with_a_space_is_said_at_once() -> None:
    wrong: dict[str, Any] = {
        "lerning_rate": [1],
        "batch_size": [],
        "optimizer": Range(1, 2),
        "dropout": Range(0, 1),
        "epochs": "abc",
        "metric": ["f1"],
        "adapter.rank": [1],
        "warmup": [0.1, 0.1],
        "weight_decay": Range(0, 1, log=True),
        "seed": Range(1.5, 2),
        "momentum": [2],
        "epsilon": Range(1e-6, 1e-8),
        "layer_decay": Range(0.5, 1, log=True, step=0.1),
        "label_smoothing": Range(0.0, 0.2, step=-1),
        "r_drop": Range(0, float("inf")),
    }
    with pytest.raises(InputError) as caught:
        check_space(wrong, Settings(), None)
    message = str(caught.value)
    for part in (
        "lerning_rate is no setting of a Settings: did you mean learning_rate?",
        "batch_size has no value",
        "optimizer is no number",
        "dropout is 1, expected",
        "epochs has 'abc', expected a list",
        "metric can't be searched",
        "pass adapter=enfold.LoRA()",
        "warmup has 0.1 twice",
        "no logarithm",
        "seed has .* whole numbers",
        "momentum is 2",
        "epsilon goes from 1e-06 to 1e-08",
        "layer_decay has log=True and a step",
        "steps of -1",
        "expected finite numbers",
    ):
        assert re.search(part, message), part
    assert len(message.splitlines()) == 1 + len(wrong)
    with pytest.raises(InputError, match=r"adapter\.size is no setting of a LoRA: .*rank.*\n.*rank is 0"):
        check_space({"adapter.size": [1], "adapter.rank": [0]}, Settings(), enfold.LoRA())
    with pytest.raises(InputError, match="it is empty"):
        check_space({}, Settings(), None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "trials is 0, expected a whole number"),
        ({"evaluation": 0}, "compares trials by rows that they did not learn from"),
        (
            {"settings": Settings(metric="-loss"), "space": {"label_smoothing": [0.0, 0.1]}},
            "label_smoothing changes the loss itself",
        ),
        ({"settings": Settings(metric="f2", max_steps=1)}, "metric is 'f2', and evaluations have"),
    ],
)
def test_what_can_not_be_searched_is_refused(model: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        search_of(model, None, **{"trials": 1, **changes})


def test_without_optuna_the_error_names_the_extra(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"optuna: pip install 'enfold\[tune\]'"):
        search_of(model, None)


def test_vectors_are_tuned_too(tmp_path: Path) -> None:
    rows = [{"anchor": row["text"], "positive": row["text"][::-1].replace(" ", " a ")} for row in ROWS]
    settings = Settings(max_steps=3, batch_size=8)
    found = tune(tiny(tmp_path), rows, task="embed", out=tmp_path / "out", trials=2, settings=settings, progress=False)
    assert found.metric == "-loss" and found.best.metric == min(trial.metric or 9 for trial in found.trials)
    assert enfold.pipeline("embed", str(tmp_path / "out"), engine="cpu")(["a film"]).shape[0] == 1


def test_a_new_models_tokenizer_knows_what_was_learnt(model: str, tmp_path: Path) -> None:
    config, tokenizer = enfold.AutoConfig.from_pretrained(model), enfold.AutoTokenizer.from_pretrained(model)
    found = search_of(config, tmp_path / "out", trials=1, tokenizer=tokenizer, max_length=8)
    assert found.tokenizer.model_max_length == 8 < tokenizer.model_max_length
