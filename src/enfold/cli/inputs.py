"""What a command reads: texts as arguments, files, lines of standard input; everything is UTF-8."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from enfold.errors import InputError

__all__ = ["Given", "Value", "read_inputs", "read_text", "text_files"]

Value = str | dict[str, Any]

_STDIN: Final = "standard input"
_LIKE_A_PATH: Final = re.compile(
    r"(\.{1,2}|~\w*)?/\S+|[\w./~\\-]+\.(txt|text|jsonl?|[ct]sv|md|log)|.+[/\\].+\.(txt|jsonl)"
)
"""``./notes``, ``~/notes``, ``/tmp/notes``, ``notes.txt``, ``My files/notes.txt``; but not ``he/she`` or a sentence."""


@dataclass(frozen=True)
class Given:
    """One input: a text, or a record of a ``.jsonl`` file, and the place that errors name."""

    value: Value
    place: str


def read_inputs(arguments: Sequence[str], *, whole: bool = False) -> Iterator[Given]:
    """The inputs that arguments stand for, read as they are asked for.

    An argument is a text, the path of a file with a text per line (blank lines are skipped; a ``.jsonl`` file has a
    JSON string or object per line), or ``-`` for the lines of standard input, which is also read where there are no
    arguments. With ``whole`` a file is one text.

    Raises:
        InputError: a file that is missing, empty, or not UTF-8; at once for the first input, later for others.
    """
    if not arguments and sys.stdin.isatty():
        raise click.UsageError("give a text, a file, or - to read standard input")
    for number, argument in enumerate(arguments or ("-",), 1):
        if argument == "-":
            yield from _some(_read(_STDIN, sys.stdin.buffer, whole), _STDIN, whole)
        elif _is_file(argument):
            yield from _some(_read_file(Path(argument), whole), argument, whole)
        else:
            yield Given(_as_text(argument), f"text {number}")


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: it can't be read, or isn't UTF-8.
    """
    try:
        return _decode(path.read_bytes(), str(path)).removeprefix("\ufeff")
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error


def text_files(path: Path) -> Iterator[tuple[Path, str | None]]:
    """Files and their texts: of a file itself, of a folder all that lie under it, by name; hidden ones are left out.

    The text is None for a file in a folder that is not UTF-8 text (an image, an archive).

    Raises:
        InputError: there is no such file or folder, or the one file is not text.
    """
    if path.is_file():
        yield path, read_text(path)
        return
    if not path.is_dir():
        raise InputError(f"no file or folder {path}; its texts were to be searched")
    for file in sorted(path.rglob("*")):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts):
            try:
                text = read_text(file)
            except InputError:
                yield file, None
                continue
            yield file, None if "\0" in text else text


def _is_file(argument: str) -> bool:
    """Whether an argument is the path of a file.

    Raises:
        InputError: it is a folder, or looks like a path of nothing.
    """
    if not argument:  # an empty text, not the folder in which the command runs
        return False
    path = Path(argument)
    try:
        if path.is_file():
            return True
        is_folder = path.is_dir()
    except OSError:  # a text too long for a name
        return False
    if is_folder:
        raise InputError(f"{argument} is a folder; expected a text or files, such as {path / '*.txt'}")
    if _LIKE_A_PATH.fullmatch(argument):
        raise InputError(
            f"no file {argument}, and it looks like one. Look at the spelling; if it is a text, pass it by a pipe: "
            f"echo '{argument}' | enfold …"
        )
    return False


def _as_text(argument: str) -> str:
    try:
        argument.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the argument {argument!r:.60} isn't UTF-8 text") from error
    if not argument.strip():
        raise InputError("an argument is an empty text: there is nothing to read")
    return argument


def _some(given: Iterator[Given], source: str, whole: bool) -> Iterator[Given]:
    """What was given, at least one."""
    first = next(given, None)
    if first is None:
        raise InputError(f"{source} is empty: expected {'a text' if whole else 'texts, one per line'}")
    yield first
    yield from given


def _read_file(path: Path, whole: bool) -> Iterator[Given]:
    try:
        with path.open("rb") as lines:
            yield from _read(str(path), lines, whole)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error


def _read(name: str, lines: Iterable[bytes], whole: bool) -> Iterator[Given]:
    if whole:
        text = _decode(b"".join(lines), name).removeprefix("\ufeff")
        if text.strip():
            yield Given(text, name)
        return
    begin = 0
    for number, line in enumerate(lines, 1):
        text = _decode(line, name, begin, number).removeprefix("\ufeff").rstrip("\r\n")
        begin += len(line)
        if text.strip():
            place = f"{name}, line {number}"
            yield Given(_parse(text, place) if name.endswith(".jsonl") else text, place)


def _decode(data: bytes, name: str, begin: int = 0, line: int | None = None) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1 if line is None else line
        raise InputError(
            f"{name} isn't UTF-8 text: byte {begin + error.start} (line {line}) is 0x{data[error.start]:02x}. "
            "Save it as UTF-8, or convert it: iconv -f ENCODING -t UTF-8"
        ) from error


def _parse(line: str, place: str) -> Value:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: not JSON at column {error.colno}: {error.msg}") from error
    if not isinstance(value, str | dict):
        raise InputError(f"{place}: a JSON {type(value).__name__}; expected a string or an object with a text")
    return value
