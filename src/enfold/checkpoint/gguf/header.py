"""The header of a GGUF file: its metadata, and where each tensor lies, with every claim of the file checked.

::

    "GGUF", version, number of tensors, number of metadata entries
    metadata     key, type, value …
    tensors      name, sizes (the innermost first), type, offset …
    the data     from the next multiple of ``general.alignment``; every tensor starts at such a multiple

The reader of the ``gguf`` package does the reading. Three of its steps are replaced: values have to be in the file
whole (it gives what is left of them at the file's end), arrays are read in one go (it makes several objects of every
token, and takes four seconds for a vocabulary of 49,152), and the tensors are checked here, all before any complaint.
"""

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from enfold.checkpoint.gguf.blocks import BLOCK_TYPES
from enfold.checkpoint.safetensors import describe_foreign_file
from enfold.checkpoint.tensors import MAX_ELEMENTS, StoredDType, item_size
from enfold.errors import CheckpointError, CorruptFileError, MissingDependencyError

__all__ = ["PLAIN_TYPES", "Entry", "Header", "read_header"]

PLAIN_TYPES: Final[dict[int, StoredDType]] = {
    0: "float32",
    1: "float16",
    24: "int8",
    25: "int16",
    26: "int32",
    27: "int64",
    28: "float64",
    30: "bfloat16",
}
"""The types that are no blocks, by the number that a file gives them."""

# No model comes near; a larger number is damage, and believing it would cost memory.
_MOST_ENTRIES: Final = 100_000
_MOST_ELEMENTS: Final = 1 << 24
_MOST_DIMENSIONS: Final = 4
_SHOWN: Final = 10
_START: Final = struct.Struct("<4sIQQ")
_LENGTH: Final = struct.Struct("<Q")


@dataclass(frozen=True)
class Entry:
    """One tensor as the header describes it; `shape` is outermost first, `begin` and `end` are bytes of the file."""

    name: str
    shape: tuple[int, ...]
    type: int
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """A file's metadata and tensors; `data` is the whole file, mapped into memory."""

    path: Path
    metadata: Mapping[str, Any]
    entries: tuple[Entry, ...]
    data: npt.NDArray[np.uint8]


def read_header(path: str | os.PathLike[str]) -> Header:
    """Maps a GGUF file into memory and reads its header.

    Raises:
        CorruptFileError: the file is truncated, damaged or something else; the message says what was found.
        CheckpointError: it can't be opened, or holds what isn't read; the message lists it.
        MissingDependencyError: the package ``gguf`` is not installed.
    """
    path = Path(path)
    try:
        _check_start(path)
        reader = _reader_class()(path)
        metadata = {name: _value(field) for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror or error}") from error
    except CheckpointError:
        raise
    except (ValueError, KeyError) as error:
        raise CorruptFileError(f"{path} is damaged: {error}. Download the file again") from error
    _check_parts(path, metadata)
    data = np.asarray(reader.data)
    entries = _checked(path, reader.described, int(reader.alignment), len(data))
    return Header(path, metadata, entries, data)


def _check_start(path: Path) -> None:
    """Raises unless the first bytes are those of a GGUF file of a known version with believable counts."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(200)
    if not start:
        raise CorruptFileError(f"{path} is empty. Download the file again")
    if foreign := describe_foreign_file(start):
        raise CorruptFileError(f"{path} is {foreign}")
    if start[:4] != b"GGUF"[: len(start)]:
        raise CorruptFileError(
            f"{path} is no GGUF file: it starts with {start[:4]!r}; expected b'GGUF'. "
            "Download the file again, or name it after its format"
        )
    if size < _START.size:
        raise CorruptFileError(
            f"{path} is truncated: it has {size} bytes, a GGUF file at least {_START.size}. Download the file again"
        )
    _, version, tensors, entries = _START.unpack_from(start)
    if version not in (2, 3):
        swapped = version & 0xFFFF == 0
        what = "in big-endian byte order" if swapped else f"of version {version}"
        raise CheckpointError(
            f"{path} is a GGUF file {what}; expected version 2 or 3, little-endian. Convert the model anew"
        )
    for count, of in ((tensors, "tensors"), (entries, "metadata entries")):
        if count > _MOST_ENTRIES:
            raise CorruptFileError(
                f"{path} is damaged: it claims {count} {of}; expected at most {_MOST_ENTRIES}. Download the file again"
            )


@cache
def _reader_class() -> Any:
    """The reader of the ``gguf`` package with its three steps replaced; made on first use, as the package is loaded."""
    try:
        from gguf import GGUFReader, GGUFValueType
        from gguf.gguf_reader import ReaderField
    except ImportError as error:
        raise MissingDependencyError("GGUF files are read with the package gguf: pip install gguf") from error

    class Reader(GGUFReader):
        described: list[tuple[str, tuple[int, ...], int, int]]
        """Name, shape, type and first byte of every tensor, unchecked."""

        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> npt.NDArray[Any]:
            size = int(count) * np.dtype(dtype).itemsize
            if offset + size > len(self.data):
                raise ValueError(
                    f"it ends at byte {len(self.data)}, and what begins at byte {offset} needs {size} bytes"
                )
            return super()._get(offset, dtype, count, override_order)

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
            if self._kind(raw_type, orig_offs) != GGUFValueType.ARRAY:
                return super()._get_field_parts(orig_offs, raw_type)
            element = self._kind(self._get(orig_offs, np.uint32)[0], orig_offs)
            count = int(self._get(orig_offs + 4, np.uint64)[0])
            if count > _MOST_ELEMENTS:
                raise ValueError(
                    f"at byte {orig_offs} it claims an array of {count} elements; expected at most {_MOST_ELEMENTS}"
                )
            begin = orig_offs + 12
            if element == GGUFValueType.STRING:
                values, end = _strings(np.asarray(self.data).data, begin, count)
            elif element in self.gguf_scalar_to_np:
                numbers = self._get(begin, self.gguf_scalar_to_np[element], count)
                values, end = numbers.tolist(), begin + numbers.nbytes
            else:
                raise ValueError(f"at byte {orig_offs} it holds an array of {element.name}; expected numbers or texts")
            return end - orig_offs, [values], [0], [GGUFValueType.ARRAY, element]

        def _kind(self, number: int, at: int) -> GGUFValueType:
            try:
                return GGUFValueType(int(number))
            except ValueError:
                raise ValueError(f"at byte {at} it holds a value of the unknown type {number}") from None

        def _build_tensors(self, start_offs: int, fields: list[ReaderField]) -> None:
            self.described = []
            for field in fields:
                _, _, _, sizes, type_number, offset = field.parts
                shape = tuple(sizes.tolist()[::-1])
                self.described.append((field.name, shape, int(type_number[0]), int(start_offs) + int(offset[0])))

    return Reader


def _strings(data: memoryview, begin: int, count: int) -> tuple[list[str], int]:
    """`count` texts, each after its length, and the byte after them."""
    values, size = [], len(data)
    for _ in range(count):
        start = begin + 8
        if start > size:
            raise ValueError(f"it ends at byte {size}, within an array of {count} texts")
        begin = start + _LENGTH.unpack_from(data, begin)[0]
        if begin > size:
            raise ValueError(f"it ends at byte {size}, and the text at byte {start} needs {begin - start} bytes")
        values.append(str(data[start:begin], "utf-8"))
    return values, begin


def _value(field: Any) -> Any:
    """A metadata value as Python knows it: a number, a text, or a list of either."""
    return field.parts[-1] if len(field.types) > 1 else field.contents()


def _check_parts(path: Path, metadata: Mapping[str, Any]) -> None:
    parts = metadata.get("split.count", 1)
    if parts != 1:
        raise CheckpointError(
            f"{path} is one of {parts} parts of a model; expected a model in one file. "
            "Join them with `llama-gguf-split --merge`, or take a smaller quantization"
        )


def _checked(
    path: Path, described: list[tuple[str, tuple[int, ...], int, int]], alignment: int, size: int
) -> tuple[Entry, ...]:
    """The tensors, if they are all well formed, read here, apart from each other and within the file."""
    entries, problems, unread = [], [], []
    seen: set[str] = set()
    for name, shape, number, begin in described:
        if name in seen:
            problems.append(f"{name!r} stands in it twice")
        seen.add(name)
        if not 1 <= len(shape) <= _MOST_DIMENSIONS or math.prod(map(float, shape)) > MAX_ELEMENTS:
            problems.append(
                f"{name!r} has the shape {_short(shape)}; expected 1 to {_MOST_DIMENSIONS} sizes of a tensor"
            )
        elif number not in PLAIN_TYPES and number not in BLOCK_TYPES:
            unread.append(f"{name!r} is {_type_name(number)}")
        elif (stored := _stored_bytes(shape, number)) is None:
            values = BLOCK_TYPES[number].size
            problems.append(
                f"{name!r} has rows of {shape[-1]} values; {_type_name(number)} needs multiples of {values}"
            )
        elif begin % alignment:
            problems.append(f"{name!r} begins at byte {begin}; expected a multiple of {alignment}")
        elif begin + stored > size:
            problems.append(f"{name!r} needs the bytes {begin} to {begin + stored}, the file has {size}")
        else:
            entries.append(Entry(name, shape, number, begin, begin + stored))
    if problems := problems + _overlaps(entries):
        raise CorruptFileError(f"{path} is damaged:\n  {_lines(problems)}\nDownload the file again")
    if unread:
        read = ", ".join([*(_type_name(number) for number in PLAIN_TYPES), *(t.name for t in BLOCK_TYPES.values())])
        raise CheckpointError(
            f"{path} holds tensors of types that aren't read:\n  {_lines(unread)}\n"
            f"Take another quantization of the model; the types that are read are {read}"
        )
    return tuple(entries)


def _overlaps(entries: list[Entry]) -> list[str]:
    ordered = sorted((entry for entry in entries if entry.end > entry.begin), key=lambda entry: entry.begin)
    return [
        f"{after.name!r} begins at byte {after.begin}, inside {before.name!r}"
        for before, after in pairwise(ordered)
        if after.begin < before.end
    ]


def _stored_bytes(shape: tuple[int, ...], number: int) -> int | None:
    """Bytes of a tensor; None where its rows aren't whole blocks."""
    if number in PLAIN_TYPES:
        return math.prod(shape) * item_size(PLAIN_TYPES[number])
    blocks = BLOCK_TYPES[number]
    return None if shape[-1] % blocks.size else math.prod(shape) // blocks.size * blocks.block_bytes


def _type_name(number: int) -> str:
    from gguf import GGMLQuantizationType

    try:
        return GGMLQuantizationType(number).name
    except ValueError:
        return f"of the unknown type {number}"


def _short(shape: tuple[int, ...]) -> str:
    text = str(list(shape))
    return text if len(text) <= 80 else f"{text[:77]}..."


def _lines(problems: list[str]) -> str:
    more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return "\n  ".join(problems[:_SHOWN] + more)
