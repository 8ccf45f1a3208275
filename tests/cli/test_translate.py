"""``enfold translate``: the task's translations, with the lines of the text, in a file that is whole or not there."""

import json
import re
from pathlib import Path

import pytest

from enfold.tasks import pipeline
from tests.cli.conftest import Invoke, Run
from tests.cli.pseudo_terminal import enfold_in_terminal
from tests.cli.writers import tiny_writer

TEXT = "the old fox ran home.\n\nthe night was old.\n\n\nHello you\n"
SHORT = ("--max-new-tokens", "9", "--num-beams", "1", "--option", "suppress_tokens=[0,1,2,3,4,5,6]")
OPTIONS = {"max_new_tokens": 9, "num_beams": 1, "suppress_tokens": [0, 1, 2, 3, 4, 5, 6]}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of two directions."""
    params = {f"translation_en_to_{to}": {"prefix": f"{to}: "} for to in ("de", "fr")}
    return tiny_writer(tmp_path_factory.mktemp("models") / "t5", "t5", chat=False, task_specific_params=params)


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "letter.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def translated(folder: Path, text: str, to: str = "de") -> str:
    (record,) = pipeline("translation", folder)(text, src_lang="en", tgt_lang=to, **OPTIONS)
    return str(record["translation_text"])


def test_a_file_is_translated_as_from_python(run: Run, folder: Path, document: Path) -> None:
    options = ("--from", "en", "--to", "de", "--model", str(folder), *SHORT)
    result = run("translate", str(document), *options)
    assert (result.returncode, result.stdout) == (0, translated(folder, TEXT))
    assert run("translate", "-", *options, stdin=TEXT).stdout == result.stdout


def test_the_languages_reach_the_model(invoke: Invoke, folder: Path) -> None:
    said = [
        invoke("translate", "the fox", "--from", "en", "--to", to, "--model", str(folder), *SHORT).stdout
        for to in ("de", "fr")
    ]
    assert said == [translated(folder, "the fox", to) + "\n" for to in ("de", "fr")]


def test_lines_are_translated_one_by_one_and_blank_ones_stay(invoke: Invoke, folder: Path, document: Path) -> None:
    options = ("--lines", "--from", "en", "--to", "de", "--model", str(folder), *SHORT)
    lines = TEXT.removesuffix("\n").split("\n")
    expected = [translated(folder, line) if line else "" for line in lines]
    assert invoke("translate", str(document), *options).stdout.split("\n") == [*expected, ""]
    told = invoke("translate", str(document), "--json", *options).stdout.splitlines()
    assert [json.loads(each)["translation_text"] for each in told] == expected


def test_on_a_terminal_it_streams_and_counts(folder: Path, document: Path) -> None:
    options = ("--from", "en", "--to", "de", "-m", str(folder), "--stats", *SHORT)
    with enfold_in_terminal("translate", str(document), *options) as terminal:
        assert terminal.exit_code() == 0
    shown = terminal.shown.replace("\r\n", "\n")
    assert shown.startswith(translated(folder, TEXT))
    assert re.search(r"\d+ prompt tokens, \d+ new tokens, .* tokens/s", shown)


def test_a_file_is_written_whole_or_not_at_all(invoke: Invoke, folder: Path, document: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    options = ("--out", str(out), "--model", str(folder), *SHORT)
    result = invoke("translate", str(document), "--from", "en", "--to", "xx", *options)
    assert result.exit_code == 1 and "this model translates en → de" in result.stderr
    assert not out.exists()
    result = invoke("translate", str(document), "--from", "en", "--to", "de", *options)
    assert (result.stdout, out.read_text()) == ("", translated(folder, TEXT))


def test_without_a_model_one_is_suggested(invoke: Invoke) -> None:
    result = invoke("translate", "the fox", "--from", "en", "--to", "fr")
    assert result.exit_code == 2
    assert "no default model; name one with --model, as Helsinki-NLP/opus-mt-en-fr" in result.stderr


def test_a_model_that_only_writes_on_cannot_translate(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("translate", "the fox", "--model", str(tiny_writer(tmp_path / "llama")))
    assert result.exit_code == 1 and "can't do translation" in result.stderr
