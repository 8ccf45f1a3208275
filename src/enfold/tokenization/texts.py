"""The texts that a tokenizer is trained on: strings or files, read as a stream, as often as it takes."""

import codecs
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from enfold.errors import InputError

__all__ = ["Corpus"]

_PIECE_BYTES = 1 << 20
"""A line longer than this is read in pieces, so that a file of one line is not read at once."""

_LENGTH_BYTES = 8


class Corpus:
    """Texts that can be gone through several times, one at a time.

    What can be read only once is written down in a temporary file on the way, and read from there afterwards.

    Args:
        texts: strings, or paths of files; or one path.

    Raises:
        InputError: something else, at once or when it is met; a file that is missing, empty of text or not UTF-8.
    """

    def __init__(self, texts: Iterable[str | PathLike[str]] | PathLike[str]) -> None:
        self.characters = 0
        self._spool: Any = None
        self._spooled = False
        self._texts: Iterable[Any]
        if isinstance(texts, str | bytes):
            raise InputError(
                f"texts is one {type(texts).__name__}; a list of texts was expected, or paths of text files as "
                "Path objects. Pass [text], or pathlib.Path(name) for a file."
            )
        if isinstance(texts, PathLike):
            self._texts = [texts]
        elif isinstance(texts, dict) or not isinstance(texts, Iterable):
            raise InputError(f"texts is a {type(texts).__name__}; a list of texts or of Path objects was expected.")
        else:
            self._texts = texts
        if isinstance(self._texts, Sequence):
            _check_files([Path(fspath(each)) for each in self._texts if isinstance(each, PathLike)])
        elif iter(self._texts) is self._texts:
            self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close

    def __enter__(self) -> "Corpus":
        return self

    def __exit__(self, *_: object) -> None:
        if self._spool is not None:
            self._spool.close()

    def __iter__(self) -> Iterator[str]:
        if self._spooled:
            yield from self._reread()
            return
        for text in self._read():
            if self._spool is not None:
                data = text.encode()
                self._spool.write(len(data).to_bytes(_LENGTH_BYTES, "little") + data)
            self.characters += 0 if text.isspace() else len(text)
            yield text
        self._spooled = self._spool is not None

    def require_text(self) -> None:
        """Raises InputError where all that was read is empty."""
        if not self.characters:
            raise InputError(
                "The texts are empty: there is nothing to train a tokenizer on. A generator or an open file that was "
                "read before gives nothing the second time; pass a list, or paths."
            )

    def _read(self) -> Iterator[str]:
        for number, text in enumerate(self._texts):
            if isinstance(text, str):
                _check_text(text, number)
                yield text
            elif isinstance(text, PathLike):
                path = Path(fspath(text))
                _check_files([path])
                yield from _lines(path)
            else:
                hint = "; take the text out of it: [row['text'] for row in rows]" if isinstance(text, dict) else ""
                raise InputError(
                    f"texts[{number}] is {_described(text)}; a string, or a Path of a text file, was expected{hint}."
                )

    def _reread(self) -> Iterator[str]:
        self._spool.seek(0)
        while head := self._spool.read(_LENGTH_BYTES):
            yield self._spool.read(int.from_bytes(head, "little")).decode()


def _described(value: Any) -> str:
    return "None" if value is None else f"of the type {type(value).__name__}"


def _check_text(text: str, number: int) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as bad:
        raise InputError(
            f"texts[{number}] has a lone surrogate (U+{ord(text[bad.start]):04X}) at position {bad.start}: half of a "
            "character, left by a wrong decoding or a cut. Read the source as UTF-8, or replace it: "
            "text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')."
        ) from None


def _check_files(paths: list[Path]) -> None:
    problems = [
        f"{path} is a folder: pass its files, sorted(Path({str(path)!r}).glob('*.txt'))"
        if path.is_dir()
        else f"{path} does not exist"
        for path in paths
        if not path.is_file()
    ]
    if problems:
        raise InputError("These are no text files to train on:\n  " + "\n  ".join(problems))


def _lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, without their ends and without the mark at its beginning."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    with path.open("rb") as file:
        number = 1
        while data := file.readline(_PIECE_BYTES):
            text = _decoded(decoder, data, path, number)
            number += data.endswith(b"\n")
            if text := text.rstrip("\r\n"):
                yield text
        _decoded(decoder, b"", path, number, final=True)


def _decoded(decoder: codecs.IncrementalDecoder, data: bytes, path: Path, number: int, *, final: bool = False) -> str:
    try:
        return decoder.decode(data, final)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, line {number}, is not UTF-8 ({error.reason}). Convert the file first: "
            f"Path(new).write_text(Path({str(path)!r}).read_text(encoding='gb18030'), encoding='utf-8') if it is "
            "Chinese in GBK, or whichever encoding it has."
        ) from None
