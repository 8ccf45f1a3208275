"""What the commands have in common that make a text of a text: where it goes, and when it is shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from enfold.cli import writing
from enfold.cli.inputs import read_inputs
from enfold.cli.options import as_json as as_json_option
from enfold.cli.options import where
from enfold.cli.task_options import PLAIN
from enfold.errors import EnfoldError, InputError

if TYPE_CHECKING:
    from enfold.tokenization import Tokenizer

__all__ = ["Documents", "document_options", "output", "read_documents", "run"]

F = TypeVar("F", bound=Callable[..., Any])

_out = click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write there instead, when all is done; nothing is written where it fails.",
)
_long = click.option(
    "--long",
    type=click.Choice(["window", "truncate", "error"]),
    default="window",
    help="Texts over the model's limit: read in parts (the default), cut or refuse.",
)
_batch_size = click.option(
    "--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Texts written at once."
)


def document_options(command: F) -> F:
    """``--out``, ``--json``, ``--long``, ``--batch-size``."""
    return _out(as_json_option(_long(_batch_size(command))))


def read_documents(inputs: tuple[str, ...]) -> list[str]:
    """The texts of arguments, of whole files, of standard input.

    Raises:
        InputError: a file that is missing, empty or not UTF-8.
    """
    return [PLAIN.item(each, {})[0] for each in read_inputs(inputs, whole=True)]


@contextmanager
def output(path: Path | None) -> Iterator[Callable[[str], None]]:
    """What prints: on standard output, or into a file that is there, complete, when the block ends well.

    Raises:
        InputError: the file can't be written; at once where its folder is missing.
    """
    if path is None:
        yield writing.show
        return
    from enfold.checkpoint.atomic import atomic_write

    try:
        with atomic_write(path) as file:

            def write(text: str) -> None:
                file.write(text.encode())

            yield write
    except EnfoldError:
        raise
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}") from error


@dataclass
class Documents:
    """Runs a task on texts, and hands what it makes of each to ``emit``.

    Attributes:
        task: a pipeline whose call takes ``stream``.
        key: the text in its records.
        options: what each call takes.
        emit: prints.
        tally: counts tokens of the texts that are read and written, as the tokenizer cuts them.
    """

    task: Any
    key: str
    options: Mapping[str, Any]
    emit: Callable[[str], None]
    tally: writing.Tally

    def live(self, texts: Iterable[str], between: str = "") -> None:
        """Each text piece by piece while it is written, with ``between`` before every other one."""
        for number, text in enumerate(texts):
            if number:
                self.emit(between)
            written = ""
            for piece in self.task(text, stream=True, **self.options):
                written += piece
                self.emit(piece)
            if not written.endswith("\n"):
                self.emit("\n")
            self._count(text, written)

    def whole(self, texts: Iterable[str], between: str = "") -> None:
        """Many texts at once, each when it and those before it are finished."""
        for number, record in enumerate(self._records(texts)):
            text = record[self.key]
            self.emit((between if number else "") + text + ("" if text.endswith("\n") else "\n"))

    def json(self, texts: Iterable[str]) -> None:
        """Records instead of texts, a line for each."""
        for record in self._records(texts):
            self.emit(json.dumps(record, ensure_ascii=False) + "\n")

    def _records(self, texts: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The records; of a text without any characters one without any."""
        ours, asked = tee(texts)
        made = self.task((text for text in asked if text.strip()), **self.options)
        for text in ours:
            for record in next(made) if text.strip() else [{self.key: ""}]:
                self._count(text, record[self.key])
                yield record

    def _count(self, text: str, written: str) -> None:
        tokenizer: Tokenizer = self.task.tokenizer
        self.tally.prompt_tokens += len(tokenizer.encode(text, add_special_tokens=False))
        self.tally.new_tokens += len(tokenizer(text_target=written, add_special_tokens=False)["input_ids"])


def run(
    name: str,
    key: str,
    texts: Iterable[str],
    given: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    between: str = "",
    lines: bool = False,
) -> None:
    """Runs a task from its loading to its speed.

    Args:
        name: the task.
        key: the text in its records.
        texts: what it reads.
        given: ``model``, and what :func:`document_options` and :func:`enfold.cli.writing.task_writing` add to a
            command.
        options: other arguments of the task's call; None is not given.
        between: what stands between two texts.
        lines: each text is a line, and so is what is written of it.
    """
    from enfold.tasks import pipeline

    rest = dict(given)
    out, as_json, stats, others = (rest.pop(each) for each in ("out", "as_json", "stats", "others"))
    loading = {each: rest.pop(each) for each in ("model", "engine", "dtype", "long")}
    loading |= where(rest.pop("revision"), rest.pop("offline"))
    batch_size = rest.pop("batch_size")
    options = {each: value for each, value in options.items() if value is not None}
    options |= writing.chosen(rest, others) | {"batch_size": batch_size}
    to_terminal = out is None and sys.stdout.isatty()
    with output(out) as emit:
        # a bar and texts on the same terminal would spoil each other
        task = pipeline(name, progress=False if to_terminal else "auto", **loading)
        tally = writing.Tally()
        documents = Documents(task, key, options, emit, tally)
        if as_json:
            documents.json(texts)
        elif to_terminal and not lines:
            documents.live(texts, between)
        else:
            documents.whole(texts, between)
    if stats:
        tally.report()
