"""The safetensors format: read by memory map with every byte accounted for, written aside and renamed.

::

    8 bytes      n, the header's length, little-endian
    n bytes      JSON: {"__metadata__": {…}, name: {"dtype", "shape", "data_offsets": [begin, end]}, …}
    the rest     tensor data; the ranges cover it exactly, without gap or overlap
"""

import json
import math
import mmap
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from enfold.checkpoint.atomic import atomic_folder, atomic_write
from enfold.checkpoint.tensors import (
    MAX_DIMENSIONS,
    MAX_ELEMENTS,
    StoredDType,
    TensorView,
    item_size,
    narrow,
    storage_dtype,
)
from enfold.errors import CheckpointError, CorruptFileError, InputError

__all__ = ["describe_foreign_file", "open_safetensors", "write_safetensors", "write_sharded"]

# In the order in which the format's own library writes them: wide first keeps every tensor aligned.
_DTYPES: Final[dict[str, StoredDType]] = {
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
    "F32": "float32",
    "U32": "uint32",
    "I32": "int32",
    "BF16": "bfloat16",
    "F16": "float16",
    "U16": "uint16",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
_CODES: Final = {dtype: code for code, dtype in _DTYPES.items()}
# Of the format, but without a use in the models of this library.
_UNREAD: Final = frozenset(
    ("F4", "F6_E2M3", "F6_E3M2", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "C64")
)
_HEADER_LIMIT: Final = 100_000_000
_SHOWN: Final = 10
_UNITS: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}

Tensors = Mapping[str, tuple[npt.NDArray[Any], StoredDType]]
"""What is written: an array for every name, and the dtype to store it as."""


def open_safetensors(path: str | os.PathLike[str]) -> Mapping[str, TensorView]:
    """Maps a safetensors file into memory and returns its tensors in the order of its header, without copies.

    Raises:
        CorruptFileError: the file is truncated, damaged or something else; the message says what was found.
        CheckpointError: the file can't be opened, or holds an element type that isn't read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header = _read_header(path, file, size)
            start = file.tell()
            # The map outlives the file object: arrays keep it alive.
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror or error}") from error
    metadata = header.pop("__metadata__", {})
    _check_entries(path, header, metadata, size - start)
    return {name: _view(name, entry, data, start) for name, entry in header.items()}


def _view(name: str, entry: dict[str, Any], data: mmap.mmap, start: int) -> TensorView:
    dtype = _DTYPES[entry["dtype"]]
    shape = tuple(entry["shape"])
    bits = np.frombuffer(data, storage_dtype(dtype), math.prod(shape), start + entry["data_offsets"][0])
    return TensorView(name, dtype, shape, bits.reshape(shape))


def describe_foreign_file(start: bytes) -> str | None:
    """What a file that should hold weights is instead, by its first bytes; None when that isn't known."""
    if start.startswith(b"version https://git-lfs"):
        size = start.partition(b"\nsize ")[2].split(b"\n")[0].decode("ascii", "replace")
        return (
            f"a git-lfs pointer, not the weights themselves ({size or '?'} bytes expected); "
            "run `git lfs pull` in its repository, or download the file again"
        )
    if start.lstrip()[:1] == b"<":
        return "a web page, most likely an error message of a proxy or a login form; download the file again"
    return None


def _read_header(path: Path, file: BinaryIO, size: int) -> dict[str, Any]:
    """The JSON header, with `file` left at the first byte of data."""
    start = file.read(200)
    # before a header's "{" stands its length, whose bytes may be any signs
    if start[8:9] != b"{" and (foreign := describe_foreign_file(start)):
        raise CorruptFileError(f"{path} is {foreign}")
    if size < 8:
        raise CorruptFileError(f"{path} has {size} bytes; a safetensors file has at least 10. Download the file again")
    length = int.from_bytes(start[:8], "little")
    if length > _HEADER_LIMIT:
        raise CorruptFileError(
            f"{path} is no safetensors file: it starts with {start[:8]!r}, which would be a header of {length} "
            f"bytes, and the format allows {_HEADER_LIMIT}. Download the file again, or name it after its "
            "format"
        )
    if length > size - 8:
        raise CorruptFileError(
            f"{path} is truncated: it has {size} bytes, its header alone needs {length + 8}. Download the file again"
        )
    file.seek(8)
    try:
        header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(
            f"{path} has a damaged header ({error}); expected a JSON object in UTF-8. Download the file again"
        ) from error
    if not isinstance(header, dict):
        raise CorruptFileError(
            f"{path} has a header of type {type(header).__name__}; expected a JSON object. Download the file again"
        )
    return header


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} stands in it twice")
    return result


def _check_entries(path: Path, header: dict[str, Any], metadata: object, data_size: int) -> None:
    """Raises unless the entries are well formed and their ranges tile the data exactly."""
    problems = [f"{name!r} {problem}" for name, entry in header.items() if (problem := _entry_problem(entry))]
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        problems.append(f"has the __metadata__ {_short(metadata)}; expected an object of strings")
    if not problems:
        problems = _range_problems(header, data_size)
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        listed = "\n  ".join(problems[:_SHOWN] + more)
        raise CorruptFileError(f"{path} is damaged:\n  {listed}\nDownload the file again")
    if unread := sorted({entry["dtype"] for entry in header.values()} & _UNREAD):
        raise CheckpointError(
            f"{path} stores tensors as {', '.join(unread)}; expected {', '.join(_DTYPES)}. "
            "Use a copy of the model that is saved in bfloat16, float16 or float32"
        )


def _entry_problem(entry: object) -> str | None:
    """What is wrong with one tensor's entry, taken alone."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        return f"has the entry {_short(entry)}; expected an object of dtype, shape and data_offsets"
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or (dtype not in _DTYPES and dtype not in _UNREAD):
        return f"has the dtype {_short(dtype)}; expected one of {', '.join(_DTYPES)}"
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        return f"has the shape {_short(shape)}; expected a list of at most {MAX_DIMENSIONS} sizes"
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        return f"has the data_offsets {_short(offsets)}; expected [begin, end] with begin <= end"
    if math.prod(size or 1 for size in shape) > MAX_ELEMENTS:
        return f"has the shape {_short(shape)}, more than {MAX_ELEMENTS} elements"
    if dtype in _DTYPES:
        expected = math.prod(shape) * item_size(_DTYPES[dtype])
        if offsets[1] - offsets[0] != expected:
            return f"has {offsets[1] - offsets[0]} bytes; {dtype} of shape {shape} needs {expected}"
    return None


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _range_problems(header: dict[str, Any], data_size: int) -> list[str]:
    """Gaps, overlaps, missing and surplus bytes, over the tensors in the order of their data."""
    problems = []
    position = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        if begin < position:
            problems.append(f"{name!r} begins at byte {begin} of the data, inside the tensor before it")
        elif begin > position:
            problems.append(f"{name!r} begins at byte {begin} of the data; expected {position}, without a gap")
        position = max(position, end)
    if position > data_size:
        problems.append(f"it is truncated: its tensors need {position} bytes of data, {data_size} are there")
    elif position < data_size:
        problems.append(f"{data_size - position} bytes follow the last tensor; expected none")
    return problems


def write_safetensors(
    path: str | os.PathLike[str], tensors: Tensors, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes arrays, each stored as the dtype beside it (see `narrow`), complete or not at all.

    Tensors are converted and written one by one, so a model is never held twice. `metadata` defaults to
    ``{"format": "pt"}``, without which transformers refuses a file.

    Raises:
        InputError: values that don't fit the dtype they should be stored as.
    """
    rank = {dtype: position for position, dtype in enumerate(_CODES)}
    names = sorted(tensors, key=lambda name: (rank[tensors[name][1]], name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"} if metadata is None else dict(metadata)}
    position = 0
    for name in names:
        array, dtype = tensors[name]
        end = position + _stored_size(array, dtype)
        header[name] = {"dtype": _CODES[dtype], "shape": list(array.shape), "data_offsets": [position, end]}
        position = end
    encoded = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    encoded += b" " * (-len(encoded) % 8)
    with atomic_write(path) as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name in names:
            try:
                bits = narrow(*tensors[name])
            except InputError as error:
                raise InputError(f"{name}: {error}") from None
            file.write(bits.reshape(-1).view(np.uint8).data)


def write_sharded(
    folder: str | os.PathLike[str],
    tensors: Tensors,
    *,
    max_shard_size: int | str = "5GB",
    stem: str = "model",
) -> list[Path]:
    """Writes ``{stem}.safetensors``, or numbered shards with an index where one file would be too large.

    `max_shard_size` is in bytes or like ``"500MB"`` or ``"2GiB"``; a tensor that is larger gets a shard of
    its own. What an earlier save left is removed once the new files are in place. Returns the files written.

    Raises:
        InputError: a size that can't be read, or values that don't fit the dtype they should be stored as.
    """
    folder = Path(folder)
    shards = _split(tensors, _byte_count(max_shard_size))
    if len(shards) == 1:
        files = [f"{stem}.safetensors"]
    else:
        files = [f"{stem}-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    index = f"{stem}.safetensors.index.json"
    replaces = [f"{stem}.safetensors", f"{stem}-?????-of-?????.safetensors", index]
    with atomic_folder(folder, replaces=replaces) as aside:
        for file, names in zip(files, shards, strict=True):
            write_safetensors(aside / file, {name: tensors[name] for name in names})
        if len(shards) > 1:
            total = sum(_stored_size(*tensor) for tensor in tensors.values())
            weight_map = {name: file for file, names in zip(files, shards, strict=True) for name in names}
            content = {"metadata": {"total_size": total}, "weight_map": weight_map}
            text = json.dumps(content, indent=2, sort_keys=True) + "\n"
            (aside / index).write_text(text, encoding="utf-8")
            files.append(index)
    return [folder / file for file in files]


def _stored_size(array: npt.NDArray[Any], dtype: StoredDType) -> int:
    return array.size * item_size(dtype)


def _split(tensors: Tensors, limit: int) -> list[list[str]]:
    """Names in their order, cut where the next tensor would take a shard over `limit` bytes."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, tensor in tensors.items():
        size = _stored_size(*tensor)
        if shards[-1] and filled + size > limit:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _byte_count(size: int | str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]I?)?B?", str(size).strip().upper())
    count = int(float(match[1]) * _UNITS[match[2] or ""]) if match else 0
    if count < 1:
        raise InputError(f"max_shard_size is {size!r}; expected a number of bytes, or text like '500MB' or '2GiB'")
    return count
