"""A model split over processes learns what a whole one does, whatever it is made of, and each has a share alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from enfold.errors import InputError
from enfold.training.settings import Settings
from tests.training import sharded_runs
from tests.training.support import tiny

LAUNCHER = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
LAUNCHER += ["--rdzv-endpoint", "127.0.0.1:0"]


def curves(processes: int, folder: Path) -> dict[str, Any]:
    """What all cases find, by so many processes."""
    target = folder / f"of-{processes}.json"
    script = ["-m", "tests.training.sharded_runs", tiny(folder), str(folder / f"of-{processes}"), str(target)]
    launcher = LAUNCHER if processes > 1 else []
    done = subprocess.run(
        [sys.executable, *launcher, *script],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-5000:]
    found: dict[str, Any] = json.loads(target.read_text())
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("sharded")
    return curves(1, folder), curves(2, folder)


@pytest.mark.parametrize("name", sharded_runs.CASES)
def test_shares_have_the_curve_of_the_whole(name: str, both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    whole, shared = (each[name] for each in both)
    for field in ("loss", "grad_norm", "learning_rate"):
        expected = [line[field] for line in whole["lines"] if field in line]
        assert len(expected) == sharded_runs.COMMON["max_steps"]
        assert [line[field] for line in shared["lines"] if field in line] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert whole["share"] == 1
    assert shared["share"] < 0.6
    assert shared["metrics"] == pytest.approx(whole["metrics"], abs=1e-4)
    assert shared["sums"] == pytest.approx(whole["sums"], rel=1e-3, abs=1e-6)


def test_what_can_not_be_split_is_said() -> None:
    with pytest.raises(InputError, match=r"shard is of no use with freeze='encoder'.*\n.*adamw, lion and sgd"):
        Settings(shard=True, freeze="encoder", optimizer="adafactor")
