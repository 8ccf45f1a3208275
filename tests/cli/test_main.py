"""Commands are found lazily, and end with the promised exit codes."""

import importlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from enfold.cli.main import COMMANDS
from tests.cli.conftest import Invoke, Run
from tests.support import minilm


@pytest.mark.parametrize("name", COMMANDS)
def test_each_listed_command_exists_and_explains_itself(name: str, invoke: Invoke) -> None:
    command = importlib.import_module(f"enfold.cli.{name}").command
    assert isinstance(command, click.Command)
    result = invoke(name, "--help")
    assert result.exit_code == 0
    assert f"Usage: enfold {name}" in result.stdout and "--debug" in result.stdout


def test_help_lists_the_commands_at_once(run: Run) -> None:
    times = []
    for _ in range(3):
        began = time.perf_counter()
        result = run("--help")
        times.append(time.perf_counter() - began)
        assert result.returncode == 0
    assert min(times) < 0.5
    assert all(name in result.stdout and summary in result.stdout for name, summary in COMMANDS.items())


@pytest.mark.parametrize("args", [("--help",), ("tokenize", "--help"), ("run", "--help")])
def test_help_imports_nothing_heavy(args: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom enfold.cli.main import cli\n"
        f"cli({list(args)!r}, standalone_mode=False)\n"
        "print({'torch', 'transformers', 'huggingface_hub', 'rich', 'tokenizers'} & set(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stderr.strip() == "set()"


def test_no_command_loads_torch() -> None:
    folder = str(minilm())
    for args in (
        ["info", folder],
        ["tokenize", "Hello", "--model", folder],
        ["run", "embed", "Hello", "--model", folder],
    ):
        code = (
            "import sys\nfrom enfold.cli.main import cli\n"
            f"cli({args!r}, standalone_mode=False)\n"
            "print({'torch', 'transformers', 'huggingface_hub', 'rich'} & set(sys.modules), file=sys.stderr)"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert result.stderr.splitlines()[-1] == "set()", args


def test_the_version_is_the_package_s(invoke: Invoke) -> None:
    import enfold

    assert enfold.__version__ in invoke("--version").stdout


def test_an_unknown_command_is_wrong_usage_and_the_near_one_named(invoke: Invoke) -> None:
    result = invoke("tokenise")
    assert result.exit_code == 2
    assert "Did you mean 'tokenize'?" in result.stderr and "run, search, info" in result.stderr


def test_a_task_taken_for_a_command_is_pointed_to_run(invoke: Invoke) -> None:
    result = invoke("embed", "text")
    assert result.exit_code == 2
    assert "enfold run embed" in result.stderr


def test_an_error_is_a_message_without_traceback(run: Run, tmp_path: Path) -> None:
    result = run("tokenize", "Hello", "--model", str(tmp_path / "absent"))
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: no folder ") and "Traceback" not in result.stderr


def test_debug_shows_the_traceback(run: Run, tmp_path: Path) -> None:
    result = run("tokenize", "Hello", "--debug", "--model", str(tmp_path / "absent"))
    assert result.returncode == 1
    assert "Traceback" in result.stderr and "SourceError" in result.stderr


def test_ctrl_c_is_130() -> None:
    command = [sys.executable, "-m", "enfold", "tokenize", "-"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(1.5)  # until it waits for its input
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("a good film\n" * 20_000)
    command = f"'{sys.executable}' -m enfold tokenize '{path}' --ids --model '{minilm()}' | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert result.stdout.split()[0] == "101"
    assert result.stderr == ""


def test_texts_are_written_as_utf8_whatever_the_locale(run: Run, classifier: Path) -> None:
    result = run("tokenize", "北京", "--model", str(classifier), "--json", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert '"北"' in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_in_the_help_stand_on_lines_of_their_own(command: str, invoke: Invoke) -> None:
    shown = invoke(command, "--help").stdout
    assert "\\b" not in shown
    assert command == "info" or f"\n  enfold {command} " in shown
