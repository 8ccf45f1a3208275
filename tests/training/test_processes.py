"""Several processes learn what one does: the same losses for the same batches, and the same weights in the end."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enfold.checkpoint.safetensors import open_safetensors
from tests.training.support import reviews, tiny


def command(processes: int, model: str, data: Path, out: Path) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", "0"]
    start = (
        [*launcher, "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"] if processes > 1 else [sys.executable]
    )
    options = [
        "--batch-size",
        "7",
        "--max-steps",
        "24",
        "--learning-rate",
        "0.001",
        "--dropout",
        "0",
        "--precision",
        "float32",
        "--log-every",
        "1",
    ]
    return [*start, "-m", "enfold", "train", "--data", str(data), "--base", model, "--out", str(out), *options]


def run(processes: int, model: str, data: Path, out: Path) -> list[dict[str, Any]]:
    done = subprocess.run(command(processes, model, data, out), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    said = [line for line in done.stderr.splitlines() if "evaluation: loss" in line or "is written" in line]
    assert len(said) == len(set(said)) > 1, said
    assert len(done.stdout.splitlines()) == 2, done.stdout
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_have_the_loss_curve_of_one(tmp_path: Path) -> None:
    model, data = tiny(tmp_path), tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in reviews(73)))
    one, two = (run(count, model, data, tmp_path / f"of-{count}") for count in (1, 2))
    assert [line["step"] for line in two] == [line["step"] for line in one]
    for name in ("loss", "grad_norm", "learning_rate"):
        expected = [line[name] for line in one if name in line]
        assert len(expected) == 24
        assert [line[name] for line in two if name in line] == pytest.approx(expected, abs=1e-5)
    evaluated = [[line["evaluation"]["loss"] for line in lines if "evaluation" in line] for lines in (one, two)]
    assert evaluated[1] == pytest.approx(evaluated[0], abs=1e-5)
    first, second = (open_safetensors(tmp_path / f"of-{count}" / "model.safetensors") for count in (1, 2))
    for name, view in first.items():
        np.testing.assert_allclose(second[name].numpy(), view.numpy(), atol=2e-4, err_msg=name)
