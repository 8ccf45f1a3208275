"""``enfold summarize``: the task's summaries, one text or many, printed, streamed or written whole."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from enfold.cli.main import cli
from enfold.cli.writing import DEFAULT_MODEL
from enfold.tasks import pipeline
from enfold.tasks.registry import TASKS
from tests.cli.conftest import Invoke, Run
from tests.cli.pseudo_terminal import enfold_in_terminal
from tests.cli.tiny import tiny_bert
from tests.cli.writers import tiny_writer

TEXT = "the old fox ran home.\n\nthe night was old.\n"
SHORT = ("--max-new-tokens", "9", "--option", "suppress_tokens=[0,1,2,3,4,5]")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that chats."""
    return tiny_writer(tmp_path_factory.mktemp("models") / "chatter", max_position_embeddings=4096)


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "report.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def summary(folder: Path, text: str) -> str:
    (record,) = pipeline("summarization", folder)(text, max_new_tokens=9, suppress_tokens=[0, 1, 2, 3, 4, 5])
    return str(record["summary_text"])


def line(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def test_a_file_is_summarised_as_from_python(invoke: Invoke, run: Run, folder: Path, document: Path) -> None:
    result = invoke("summarize", str(document), "--model", str(folder), *SHORT)
    assert (result.exit_code, result.stdout) == (0, line(summary(folder, TEXT)))
    piped = run("summarize", "-", "--model", str(folder), *SHORT, stdin=TEXT)
    assert (piped.returncode, piped.stdout) == (0, result.stdout)


def test_summaries_of_several_texts(invoke: Invoke, folder: Path, document: Path) -> None:
    options = ("--model", str(folder), *SHORT)
    expected = [summary(folder, "Hello you"), summary(folder, TEXT)]
    assert invoke("summarize", "Hello you", str(document), *options).stdout == "\n".join(map(line, expected))
    lines = invoke("summarize", "Hello you", str(document), "--json", *options).stdout.splitlines()
    assert [json.loads(each) for each in lines] == [{"summary_text": text} for text in expected]


def test_stats_count_the_texts_tokens(invoke: Invoke, folder: Path) -> None:
    result = invoke("summarize", "Hello you", "--stats", "--model", str(folder), *SHORT)
    assert "3 prompt tokens, " in result.stderr and " tokens/s" in result.stderr


def test_on_a_terminal_it_streams(folder: Path) -> None:
    with enfold_in_terminal("summarize", "Hello you", "-m", str(folder), *SHORT) as terminal:
        assert terminal.exit_code() == 0
    assert summary(folder, "Hello you").strip() in terminal.shown.replace("\r\n", "\n")


def test_another_question_may_be_asked(invoke: Invoke, folder: Path) -> None:
    options = ("--model", str(folder), *SHORT)
    assert invoke("summarize", "Hello", "--prompt", "who is {}", *options).exit_code == 0
    result = invoke("summarize", "Hello", "--prompt", "who", *options)
    assert result.exit_code == 1 and "write {} where the text is to stand" in result.stderr


def test_a_file_is_written_whole_or_not_at_all(invoke: Invoke, folder: Path, document: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    options = ("--model", str(folder), "--out", str(out), *SHORT)
    result = invoke("summarize", str(document), *options)
    assert (result.stdout, out.read_text()) == ("", line(summary(folder, TEXT)))
    before = out.read_text()
    long = "the fox " * 3000
    result = invoke("summarize", str(document), long, "--long", "error", *options)
    assert result.exit_code == 1 and "the limit is" in result.stderr
    assert out.read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.txt", "report.txt"]


def test_a_file_that_cannot_be_written_is_named_before_the_model_is_loaded(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("summarize", "Hello", "--model", "./nobody", "--out", str(tmp_path / "no" / "out.txt"))
    assert result.exit_code == 1 and "out.txt can't be written: No such file or directory" in result.stderr
    result = invoke("summarize", "Hello", "--model", "./nobody", "--out", str(tmp_path))
    assert result.exit_code == 2 and "is a directory" in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("absent.txt",), "no file absent.txt"),
        (("Hello", "--model", "./nobody"), "no folder ./nobody"),
        (("Hello", "--model", "FOLDER", "--option", "num_beems=2"), "'num_beems' is no option"),
    ],
)
def test_errors_are_lines(args: tuple[str, ...], message: str, invoke: Invoke, folder: Path) -> None:
    result = invoke("summarize", *(str(folder) if each == "FOLDER" else each for each in args))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ") and message in result.stderr


def test_an_encoder_cannot_summarise(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("summarize", "Hello", "--model", str(tiny_bert(tmp_path / "bert")))
    assert result.exit_code == 1 and "can't do summarization" in result.stderr


def test_the_default_model_is_the_tasks_own() -> None:
    assert {TASKS[name].default for name in ("summarization", "text-generation")} == {DEFAULT_MODEL}


def test_nothing_is_shown_but_summaries_on_a_terminal_with_json(
    folder: Path, terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(80)
    cli(["summarize", "Hello you", "--json", "--model", str(folder), *SHORT], standalone_mode=False)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"summary_text": summary(folder, "Hello you")}
