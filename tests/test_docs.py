"""The documents are true: their code runs, prints what they say it prints, and their tables are complete.

``python`` blocks run in order, in one namespace and one folder a document; ``$`` lines of ``console`` blocks and
``enfold`` lines of ``bash`` blocks run in that folder too. A ``text`` block right below is the outcome: what was
printed (numbers within 0.01, white space aside), the error, where the block raises one (``…`` stands for
anything), or, where nothing was printed, a record of the same shape as the last expression's value.
``<!-- no-run: reason -->`` above a block leaves it out.
"""

import ast
import contextlib
import doctest
import importlib
import io
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import enfold
from enfold import errors
from enfold.cli.main import COMMANDS
from enfold.families import FAMILIES
from enfold.generation.options import OPTIONS
from enfold.heads import CLASS_SUFFIXES
from enfold.tasks import ALIASES, TASKS
from tests.support import minilm
from tests.tasks.tiny import Tiny, build

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]

FOLDERS = {
    "ner": Tiny(family="bert", head="token-classification", vocabulary="uncased", labels=("B-LOC", "I-LOC")),
    "squad": Tiny(family="bert", head="question-answering", vocabulary="uncased"),
    "masked": Tiny(family="bert", head="masked-lm", vocabulary="uncased"),
    "reviews": Tiny(family="bert", head="sequence-classification", vocabulary="uncased", labels=("bad", "good")),
    "nli": Tiny(
        family="bert",
        head="sequence-classification",
        vocabulary="uncased",
        labels=("entailment", "neutral", "contradiction"),
    ),
}
"""Folders that documents name as models of the reader's own, and tiny models that stand for them."""

_FENCE = re.compile(r"^(?P<above><!-- no-run: [^\n]+ -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:)(?P<file>[^)#]*)(?:#(?P<anchor>[^)]+))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.M)
_NUMBER = re.compile(r"-?\d+\.\d*")


@dataclass(frozen=True)
class Block:
    """A fenced block, the line it begins at, and the text block right below it."""

    language: str
    code: str
    line: int
    outcome: str | None


def blocks(document: Path) -> Iterator[Block]:
    text = document.read_text(encoding="utf-8")
    found = list(_FENCE.finditer(text))
    for match, after in zip_longest(found, found[1:]):
        below = after is not None and after["language"] == "text" and not text[match.end() : after.start()].strip()
        if not match["above"]:
            line = text.count("\n", 0, match.start("code")) + 1
            yield Block(match["language"], match["code"], line, after["code"] if after and below else None)


def prose(document: Path) -> str:
    """A document without its blocks, whose comments look like headings."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def assert_prints(printed: str, expected: str) -> None:
    ours, theirs = printed.split(), expected.split()
    assert [_NUMBER.sub("0.", word) for word in ours] == [_NUMBER.sub("0.", word) for word in theirs]
    numbers = [[float(number) for number in _NUMBER.findall(text)] for text in (printed, expected)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.01)


def assert_says(message: str, expected: str) -> None:
    pattern = ".*".join(re.escape("".join(part.split())) for part in expected.split("…"))
    assert re.fullmatch(pattern, "".join(message.split())), message


def shape(value: Any) -> Any:
    """Types and keys, of lists those of the first item."""
    match value:
        case dict():
            return {key: shape(each) for key, each in value.items()}
        case list():
            assert value, "an empty list shows nothing"
            return [shape(value[0])]
        case _:
            return type(value)


def run_python(block: Block, document: Path, names: dict[str, Any]) -> None:
    tree = ast.parse("\n" * (block.line - 1) + block.code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    value, raised, printed = None, None, io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(tree, document.name, "exec"), names)
            if last:
                value = eval(compile(ast.Expression(last.value), document.name, "eval"), names)
        except (errors.EnfoldError, AttributeError) as error:
            if block.outcome is None or not block.outcome.startswith(type(error).__name__):
                raise
            raised = error
    if block.outcome is None:
        return
    if raised:
        assert_says(f"{type(raised).__name__}: {raised}", block.outcome)
    elif printed.getvalue():
        assert_prints(printed.getvalue(), block.outcome)
    else:
        assert shape(value) == shape(ast.literal_eval(block.outcome))


def run_commands(block: Block, folder: Path) -> None:
    prompt = "$ " if block.language == "console" else "enfold "
    for part in re.split(r"^(?=\$ )" if prompt == "$ " else r"\n", block.code, flags=re.M):
        if not part.startswith(prompt):
            continue
        command, _, expected = part.removeprefix("$ ").partition("\n")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path}
        done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, env=environment)
        if expected.startswith("Error: "):
            assert done.returncode == 1
            assert_says(done.stderr, expected)
        else:
            assert done.returncode == 0, done.stderr
            assert_prints(done.stdout, expected or done.stdout)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a document's code runs, without network."""
    for name, tiny in FOLDERS.items():
        build(tiny, minilm(), tmp_path / name)
    (tmp_path / "bert-base-uncased").symlink_to(minilm())  # a bare BERT under the name that tutorials use
    shutil.copy(ROOT / "LICENSE", tmp_path / "LICENSE")
    monkeypatch.setenv("ENFOLD_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_code_runs_and_does_what_the_document_says(document: Path, folder: Path) -> None:
    names: dict[str, Any] = {"__name__": document.stem}
    for block in blocks(document):
        try:
            if block.language == "python":
                run_python(block, document, names)
            elif block.language in ("console", "bash"):
                run_commands(block, folder)
        except Exception as error:
            raise AssertionError(f"{document.name}, the block at line {block.line}: {error!r}") from error


def test_the_example_of_training_learns(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "finetune.py", folder / "trained"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.findall(r"^(positive|negative) ", done.stdout, re.M) == ["positive", "negative"]


def modules() -> list[ModuleType]:
    found = pkgutil.walk_packages(enfold.__path__, "enfold.")
    return [enfold, *(importlib.import_module(each.name) for each in found if not each.name.endswith("__main__"))]


def test_examples_in_docstrings_run() -> None:
    results = [doctest.testmod(module) for module in modules()]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) > 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in _LINK.finditer(prose(document)):
        target = document.parent / link["file"] if link["file"] else document
        assert target.exists(), link[0]
        if link["anchor"]:
            assert link["anchor"] in [_anchor(heading) for heading in _HEADING.findall(prose(target))], link[0]


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_both_readmes_have_the_same_parts() -> None:
    english, chinese = ([line.split(" ")[0] for line in re.findall(r"^#+ .+$", prose(path), re.M)] for path in READMES)
    assert english == chinese
    counts = [[block.language for block in blocks(path)].count("python") for path in READMES]
    assert min(counts) > 3
    assert READMES[0].name in READMES[1].read_text(encoding="utf-8")
    assert READMES[1].name in READMES[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("document", READMES, ids=lambda path: path.name)
def test_readmes_name_every_family_head_task_and_command(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    columns = ("base", "masked-lm", "sequence-classification", "token-classification", "question-answering")
    columns += ("multiple-choice",)
    for name, family in FAMILIES.items():
        (row,) = re.findall(rf"^\| `{name}` \|.*$", text, re.M)
        cells = [cell.strip() for cell in row.split("|")[1:-1]]
        assert cells[1] == f"`{family.class_prefix}`"
        assert [cell == "✓" for cell in cells[2:8]] == [kind in family.heads for kind in columns]
        others = sorted(
            family.class_names.get(kind, CLASS_SUFFIXES[kind]) for kind in family.heads if kind not in columns
        )
        assert sorted(re.findall(r"`(\w+)`", cells[8])) == others
    for task in (*TASKS, *ALIASES):
        assert f"`{task}`" in text
    for command in COMMANDS:
        assert f"enfold {command}" in text


def test_every_task_has_its_part() -> None:
    headings = _HEADING.findall(prose(ROOT / "docs" / "tasks.md"))
    assert set(TASKS) <= set(headings)


def test_every_option_of_generation_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "decoding.md").read_text(encoding="utf-8"), re.M)
    assert set(OPTIONS) <= set(rows)


def test_every_error_class_is_shown() -> None:
    headings = _HEADING.findall(prose(ROOT / "docs" / "errors.md"))
    assert set(errors.__all__) - {"EnfoldError", "CheckpointError"} <= set(headings)
