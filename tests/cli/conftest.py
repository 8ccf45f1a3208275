"""How commands are run in tests: in this process, or as users do."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from enfold.cli.main import cli
from tests.cli.tiny import tiny_bert

Invoke = Callable[..., Result]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def invoke() -> Invoke:
    """Runs a command in this process; errors that are nobody's fault but ours are raised."""

    def invoke(*args: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(cli, args, input=stdin, prog_name="enfold", catch_exceptions=False)

    return invoke


@pytest.fixture
def run() -> Run:
    """Runs ``python -m enfold`` in a process of its own."""

    def run(*args: str, stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "enfold", *args],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            env={**os.environ, **environment},
        )

    return run


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes standard output a terminal so many columns wide."""

    def terminal(columns: int) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    return terminal


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier of two labels."""
    return tiny_bert(tmp_path_factory.mktemp("models") / "classifier")
