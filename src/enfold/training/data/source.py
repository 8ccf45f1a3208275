"""A file's bytes, unpacked, and its lines as text."""

from __future__ import annotations

import difflib
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from enfold.errors import InputError
from enfold.training.data.problems import beginning

__all__ = ["Source", "open_source"]

_GZIP = b"\x1f\x8b"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Source:
    """A file that is read: lines end with a line feed, after which counting follows what editors and grep show.

    Attributes:
        name: its path as it was given, for errors.
        data: its bytes, unpacked, without a byte order mark.
        skipped: bytes before them: the mark's.
    """

    name: str
    data: bytes
    skipped: int = 0

    def text(self) -> str:
        """All of it.

        Raises:
            InputError: not UTF-8.
        """
        return self._decode(self.data, 0, 1)

    def lines(self) -> Iterator[str]:
        """Each line with its end, decoded as it is asked for: a large file is never held twice.

        Raises:
            InputError: not UTF-8.
        """
        begin, number, size = 0, 0, len(self.data)
        while begin < size:
            end = self.data.find(b"\n", begin) + 1 or size
            number += 1
            yield self._decode(self.data[begin:end], begin, number)
            begin = end

    def numbered(self) -> Iterator[tuple[int, str]]:
        """Each line without its end, and its number from 1."""
        for number, line in enumerate(self.lines(), 1):
            yield number, line.removesuffix("\n").removesuffix("\r")

    def problem(self, line: int, what: str) -> str:
        """What is wrong on a line, with its number and how it begins; reads the file again up to there."""
        found = next(islice(self.numbered(), line - 1, None), (line, ""))
        return f"line {line}: {what}: {beginning(found[1])}"

    def _decode(self, data: bytes, begin: int, line: int) -> str:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line += data.count(b"\n", 0, error.start)
            raise InputError(
                f"{self.name} isn't UTF-8 text: byte {self.skipped + begin + error.start} (line {line}) is "
                f"0x{data[error.start]:02x}. Save it as UTF-8, or convert it: iconv -f ENCODING -t UTF-8, where "
                "ENCODING is GB18030 for most Chinese files, WINDOWS-1252 for most European ones"
            ) from error
        if "\0" in text:
            at = data.index(b"\0")
            line += data.count(b"\n", 0, at)
            raise InputError(
                f"{self.name} isn't text: byte {self.skipped + begin + at} (line {line}) is zero. "
                "It is damaged, or UTF-16: save it as UTF-8"
            )
        return text


def open_source(path: Path) -> Source:
    """Reads a file, unpacked where it is gzip.

    Raises:
        InputError: it is missing, a folder, unreadable, damaged or empty.
    """
    name = str(path)
    try:
        is_folder = path.is_dir()
        packed = b"" if is_folder else path.read_bytes()
        is_gzip = packed.startswith(_GZIP)
        data = gzip.decompress(packed) if is_gzip else packed
    except FileNotFoundError as error:
        raise InputError(_absent(path)) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{name} is damaged: it can't be unpacked ({error}). Copy or download it again") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise InputError(f"{beginning(name, 100)} can't be read: {error}") from error
    if is_folder:
        raise InputError(f"{name} is a folder; expected a file, or a list of files")
    if path.suffix.lower() == ".gz" and packed and not is_gzip:
        raise InputError(f"{name} isn't gzip, as its name says: it begins with {beginning(packed[:8])}")
    if data.startswith(_UTF16):
        raise InputError(f"{name} is UTF-16 text; save it as UTF-8, or convert it: iconv -f UTF-16 -t UTF-8")
    mark = len(_BOM) if data.startswith(_BOM) else 0
    if not data[mark:].strip():
        raise InputError(f"{name} is empty: expected rows")
    data = data[mark:]
    if b"\n" not in data:  # line ends of the first Macs
        data = data.replace(b"\r", b"\n")
    return Source(name, data, mark)


def _absent(path: Path) -> str:
    """The message for a file that is not there."""
    try:
        present = [each.name for each in path.parent.iterdir()]
    except OSError:
        return f"no file {beginning(str(path), 100)}, and no folder {beginning(str(path.parent), 100)}"
    near = difflib.get_close_matches(path.name, present, n=3)
    meant = f"; the folder has {', '.join(near)}" if near else ""
    return (
        f"no file {beginning(str(path), 100)}{meant}. Data are read from a path; texts in memory are rows: "
        "[{'text': …, 'label': …}, …]"
    )
