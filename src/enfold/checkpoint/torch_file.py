"""State dicts of ``torch.save`` (``pytorch_model.bin``), read without torch and without running a pickle.

::

    since 1.6   a zip of stored entries: NAME/data.pkl, and one NAME/data/KEY with the bytes of each storage
    before      pickles in a row (magic number, version, system, the state dict, the storages' keys), then per
                key an int64 count of elements and their bytes

In both, a tensor is a storage's key with offset, shape and strides, which are checked against its size.
"""

import io
import math
import mmap
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from enfold.checkpoint.pickle_data import KEYS, Name, PickleData, PickleDataError
from enfold.checkpoint.safetensors import describe_foreign_file
from enfold.checkpoint.tensors import (
    MAX_DIMENSIONS,
    MAX_ELEMENTS,
    StoredDType,
    TensorView,
    item_size,
    storage_dtype,
)
from enfold.errors import CheckpointError, CorruptFileError, UnsafeFileError

__all__ = ["open_torch_file"]

_STORAGES: Final[dict[str, StoredDType]] = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
    "torch.storage.UntypedStorage": "uint8",
}
_DTYPES: Final[dict[str, StoredDType]] = {
    **{f"torch.{dtype}": dtype for dtype in _STORAGES.values()},
    "torch.uint16": "uint16",
    "torch.uint32": "uint32",
    "torch.uint64": "uint64",
}
_CLASSES: Final = ("torch.Tensor", "torch.nn.parameter.Parameter")
_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION: Final = 1001
# Where training scripts put the weights when they save more than those.
_WRAPPERS: Final = ("state_dict", "model_state_dict", "model")

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: StoredDType
    length: int


@dataclass(frozen=True, eq=False)
class _Tensor:
    storage: _Storage
    dtype: StoredDType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def open_torch_file(path: str | os.PathLike[str]) -> Mapping[str, TensorView]:
    """Maps a file of ``torch.save`` into memory and returns the tensors of its state dict, without copies.

    A state dict under "state_dict", "model_state_dict" or "model" of a larger checkpoint is found.
    Entries that hold no tensor (a step count, a name) are left out.

    Raises:
        UnsafeFileError: its pickle names functions or classes that weights don't need; none of them was run.
        CorruptFileError: the file is truncated, damaged or something else.
        CheckpointError: the file can't be opened, or holds no state dict that can be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(512)
            if foreign := describe_foreign_file(start):
                raise CorruptFileError(f"{path} is {foreign}")
            if not start:
                raise CorruptFileError(f"{path} is empty; download the file again")
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror or error}") from error
    if start[257:262] == b"ustar":
        raise CheckpointError(
            f"{path} has the tar format of PyTorch before 0.4; where you trust it, convert it once: "
            "torch.save(torch.load(path, weights_only=False), path)"
        )
    pickled = _PickledTensors(path)
    if start.startswith(b"PK\x03\x04"):
        content, storages = _read_zip(path, data, pickled)
    else:
        content, storages = _read_legacy(path, data, pickled)
    return {
        name: _view(path, name, tensor, storages[tensor.storage.key])
        for name, tensor in _state_dict(path, content).items()
    }


class _PickledTensors:
    """The pickles of one file: what their globals mean, and the storages that they speak of."""

    def __init__(self, path: Path) -> None:
        self.storages: dict[str, _Storage] = {}
        self._path = path
        self._reader = PickleData(
            {
                "collections.OrderedDict": _ordered_dict,
                "torch.Size": tuple,
                "torch._utils._rebuild_tensor": _rebuild,
                "torch._utils._rebuild_tensor_v2": _rebuild,
                "torch._utils._rebuild_tensor_v3": _rebuild_with_dtype,
                "torch._utils._rebuild_parameter": _first,
                "torch._utils._rebuild_parameter_with_state": _first,
                "torch._tensor._rebuild_from_type_v2": self._rebuild_from_type,
            },
            frozenset((*_STORAGES, *_DTYPES, *_CLASSES)),
            self._storage,
        )

    def read(self, stream: io.BytesIO | mmap.mmap) -> Any:
        """One pickle as data, in which tensors are `_Tensor`."""
        damage = None
        try:
            content = self._reader.read(stream)
        except PickleDataError as error:
            damage = error
        if refused := list(self._reader.refused):
            more = f" and {len(refused) - 10} more" if len(refused) > 10 else ""
            raise UnsafeFileError(
                f"{self._path} names {', '.join(refused[:10])}{more}, which weights don't need and which could "
                "run code; nothing of it was run. Use the model's safetensors file; if there is none and you "
                "trust this one, load it with torch where it was made and save its state dict alone"
            )
        if damage:
            raise CorruptFileError(
                f"{self._path} holds a pickle that can't be read as weights: {damage}. Download the file again"
            ) from damage
        return content

    def _storage(self, identity: Any) -> _Storage:
        match identity:
            case ("storage", Name(path), str(key), _, int(length), *rest) if path in _STORAGES and length >= 0:
                if rest not in ([], [None]):
                    raise PickleDataError("a view of a storage, as PyTorch before 0.4 wrote them")
                storage = _Storage(key, _STORAGES[path], length)
            case _:
                raise PickleDataError("a reference to something that isn't a storage")
        if self.storages.setdefault(key, storage) != storage:
            raise PickleDataError(f"two descriptions of the storage {key!r}")
        return storage

    def _rebuild_from_type(self, function: Any, _type: Any, arguments: Any, _state: Any) -> Any:
        return self._reader.call(function, arguments)


def _ordered_dict(items: Any = ()) -> dict[Any, Any]:
    """A dictionary; in pickles of Python 2 its items are an argument."""
    if not all(isinstance(key, KEYS) for key, _ in items):
        raise PickleDataError("a key that is no plain value")
    return dict(items)


def _first(value: Any, *_rest: Any) -> Any:
    return value


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _Tensor:
    """A tensor; `rest` is requires_grad, backward hooks and, in newer files, a dictionary of set bits."""
    if not isinstance(storage, _Storage):
        raise PickleDataError("a tensor without a storage")
    if len(rest) > 2 and rest[2]:
        raise PickleDataError("a tensor with a conjugate or negative bit; expected plain values")
    numbers = (offset, *shape, *strides)
    if not all(type(number) is int and number >= 0 for number in numbers) or len(shape) != len(strides):
        raise PickleDataError("a tensor whose offset, shape or strides make no sense")
    if len(shape) > MAX_DIMENSIONS or math.prod(size or 1 for size in shape) > MAX_ELEMENTS:
        raise PickleDataError("a tensor that is too large to exist")
    return _Tensor(storage, storage.dtype, offset, tuple(shape), tuple(strides))


def _rebuild_with_dtype(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> _Tensor:
    tensor = _rebuild(storage, offset, shape, strides, grad, hooks, metadata)
    if not isinstance(dtype, Name) or dtype.path not in _DTYPES:
        raise PickleDataError("a tensor of an unknown element type")
    return _Tensor(tensor.storage, _DTYPES[dtype.path], tensor.offset, tensor.shape, tensor.strides)


def _read_zip(path: Path, data: mmap.mmap, pickled: _PickledTensors) -> tuple[Any, dict[str, Bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            if len(entries) < len(archive.infolist()):
                raise CorruptFileError(f"{path} holds two entries of the same name. Download the file again")
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CorruptFileError(f"{path} is truncated or damaged ({error}). Download the file again") from error
    pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CorruptFileError(
            f"{path} is a zip file with {len(pickles)} entries NAME/data.pkl; expected one, as torch.save "
            f"writes. It holds {', '.join(list(entries)[:5]) or 'nothing'}"
        )
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}byteorder" in entries:
        order = _stored(path, data, entries[f"{root}byteorder"]).tobytes()
        if order != b"little":
            raise CheckpointError(f"{path} has the byte order {order[:20]!r}; expected b'little'. Save it anew")
    content = pickled.read(io.BytesIO(_stored(path, data, entries[pickles[0]]).tobytes()))
    missing = [key for key in pickled.storages if f"{root}data/{key}" not in entries]
    if missing:
        raise CorruptFileError(
            f"{path} lacks the storages {', '.join(map(repr, missing[:10]))}. Download the file again"
        )
    storages = {key: _stored(path, data, entries[f"{root}data/{key}"]) for key in pickled.storages}
    for key, storage in pickled.storages.items():
        expected = storage.length * item_size(storage.dtype)
        if storages[key].size != expected:
            raise CorruptFileError(
                f"{path}: the storage {key!r} has {storages[key].size} bytes; expected {expected}. "
                "Download the file again"
            )
    return content, storages


def _stored(path: Path, data: mmap.mmap, entry: zipfile.ZipInfo) -> Bytes:
    """The bytes of a zip entry where they lie. Compressed ones could be bombs, and torch writes none."""
    header = data[entry.header_offset : entry.header_offset + 30]
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.file_size != entry.compress_size:
        raise CorruptFileError(
            f"{path}: {entry.filename} is compressed or encrypted; expected plain bytes, as torch.save writes them"
        )
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise CorruptFileError(f"{path}: {entry.filename} isn't where the file says. Download the file again")
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    start = entry.header_offset + 30 + lengths
    if start + entry.file_size > len(data):
        raise CorruptFileError(
            f"{path} is truncated: {entry.filename} needs {start + entry.file_size} bytes, the file has "
            f"{len(data)}. "
            "Download the file again"
        )
    return np.frombuffer(data, np.uint8, entry.file_size, start)


def _read_legacy(path: Path, data: mmap.mmap, pickled: _PickledTensors) -> tuple[Any, dict[str, Bytes]]:
    if pickled.read(data) != _MAGIC:
        raise CorruptFileError(f"{path} is a pickle that torch.save didn't write; expected a file of weights")
    version, system = pickled.read(data), pickled.read(data)
    if version != _LEGACY_VERSION or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError(
            f"{path} was written by an unknown version of PyTorch or on a big-endian machine; "
            "where you trust it, load it with torch and save it anew"
        )
    content, keys = pickled.read(data), pickled.read(data)
    if not isinstance(keys, list) or {*pickled.storages} != {key for key in keys if isinstance(key, str)}:
        raise CorruptFileError(f"{path}: its storages aren't those that its tensors use. Download the file again")
    storages = {}
    position = data.tell()
    for key in keys:
        storage = pickled.storages[key]
        size = storage.length * item_size(storage.dtype)
        if int.from_bytes(data[position : position + 8], "little") != storage.length or (
            position + 8 + size > len(data)
        ):
            raise CorruptFileError(
                f"{path} is truncated or damaged: the storage {key!r} needs {size} bytes from byte "
                f"{position + 8} "
                f"on, the file has {len(data)}. Download the file again"
            )
        storages[key] = np.frombuffer(data, np.uint8, size, position + 8)
        position += 8 + size
    return content, storages


def _state_dict(path: Path, content: Any) -> dict[str, _Tensor]:
    """The tensors by name, looked for one level down where the top level has none."""
    levels = [content]
    if isinstance(content, dict):
        levels += [content[key] for key in _WRAPPERS if key in content]
    for level in levels:
        if not isinstance(level, dict) or not any(isinstance(value, _Tensor) for value in level.values()):
            continue
        nested = [key for key, value in level.items() if not isinstance(value, _Tensor) and _holds_tensor(value)]
        unnamed = [key for key, value in level.items() if isinstance(value, _Tensor) and not isinstance(key, str)]
        if nested or unnamed:
            raise CheckpointError(
                f"{path} is no plain state dict: tensors are nested under, or named, "
                f"{(nested + unnamed)[:10]}; "
                "expected a flat dictionary of names to tensors. Save model.state_dict() alone"
            )
        return {key: value for key, value in level.items() if isinstance(value, _Tensor)}
    if content == {}:
        return {}
    raise CheckpointError(
        f"{path} holds no state dict: its content is a {type(content).__name__} without tensors at its top "
        f"level or under {', '.join(map(repr, _WRAPPERS))}. Save model.state_dict() alone"
    )


def _holds_tensor(value: Any) -> bool:
    # Seen objects are skipped: a pickle may hold cycles, or one list a billion times.
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, (_Tensor, _Storage)):
            return True
        if isinstance(item, (list, tuple, dict)) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(item.values() if isinstance(item, dict) else item)
    return False


def _view(path: Path, name: str, tensor: _Tensor, data: Bytes) -> TensorView:
    """`tensor` over the bytes of its storage."""
    dtype = storage_dtype(tensor.dtype)
    available = data.size // dtype.itemsize
    steps = zip(tensor.shape, tensor.strides, strict=True)
    needed = tensor.offset + sum((size - 1) * stride for size, stride in steps) + 1
    if math.prod(tensor.shape) == 0:
        return TensorView(name, tensor.dtype, tensor.shape, np.empty(tensor.shape, dtype))
    if needed > available:
        raise CorruptFileError(
            f"{path}: {name!r} of shape {list(tensor.shape)} reaches element {needed} of a storage of "
            f"{available}. "
            "Download the file again"
        )
    elements = data[: available * dtype.itemsize].view(dtype)[tensor.offset :]
    # The stride of a single element means nothing, and may be a number that numpy can't hold.
    strides = tuple(
        stride * dtype.itemsize if size > 1 else 0 for size, stride in zip(tensor.shape, tensor.strides, strict=True)
    )
    bits = np.lib.stride_tricks.as_strided(elements, tensor.shape, strides, writeable=False)
    return TensorView(name, tensor.dtype, tensor.shape, bits)
