"""What a model folder holds: its weights in whichever format, and JSON files with errors that point."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from enfold.checkpoint.atomic import atomic_folder, atomic_write
from enfold.checkpoint.safetensors import open_safetensors
from enfold.checkpoint.tensors import TensorView
from enfold.errors import CheckpointError, ConfigError, CorruptFileError, EnfoldError, UnsafeFileError

__all__ = [
    "ADAPTER_CONFIG",
    "WEIGHT_FILES",
    "Weights",
    "atomic_folder",
    "atomic_write",
    "gguf_file",
    "is_adapter",
    "open_weights",
    "read_json",
    "write_json",
]

Format = Literal["safetensors", "torch", "gguf"]

WEIGHT_FILES: Final[dict[str, Format]] = {
    "model.safetensors": "safetensors",
    "model.safetensors.index.json": "safetensors",
    "pytorch_model.bin": "torch",
    "pytorch_model.bin.index.json": "torch",
}
"""The files that name a folder's weights, the first one present counts; a GGUF file of any name comes after them."""

ADAPTER_CONFIG: Final = "adapter_config.json"
_SHOWN: Final = 10


class Weights(Mapping[str, TensorView]):
    """The tensors of a model folder by name, with the `path` of the file that names them and its `format`."""

    def __init__(self, path: Path, format: Format, tensors: Mapping[str, TensorView]) -> None:
        self.path = path
        self.format = format
        self._tensors = tensors

    def __getitem__(self, name: str) -> TensorView:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Weights({len(self)} tensors of {self.path})"


def open_weights(folder: str | os.PathLike[str]) -> Weights:
    """Opens the weights of a model folder: safetensors before PyTorch files before GGUF, one file before shards.

    `folder` may also be the path of a GGUF file itself. The tensors of one have their Hugging Face names.

    Raises:
        CheckpointError: there are none, and the message lists what was looked for and what is there; or several GGUF
            files.
        CorruptFileError: a file is damaged, or shards and their index disagree (all of it listed).
        UnsafeFileError: a file would run code, or a shard lies outside the folder.
        ConfigError: a GGUF file of an architecture that isn't read.
    """
    folder = Path(folder)
    for name, format in WEIGHT_FILES.items():
        path = folder / name
        if path.is_file():
            tensors = _open_shards(path, format) if name.endswith(".json") else _open(path, format)
            return Weights(path, format, tensors)
    if (file := gguf_file(folder)) is not None:
        return Weights(file, "gguf", _open(file, "gguf"))
    present = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    raise CheckpointError(
        f"{folder} holds no weights: looked for {', '.join(WEIGHT_FILES)}, *.gguf; found "
        f"{', '.join(present[:20]) or 'nothing'}. Other formats have to be converted to safetensors first"
    )


def gguf_file(path: str | os.PathLike[str]) -> Path | None:
    """The GGUF file that a model lies in: `path` itself, or the only one of a folder that has no other weights.

    None is "not in such a file": a folder with safetensors is the model that those are.

    Raises:
        CheckpointError: the folder has several.
    """
    path = Path(path)
    if path.suffix == ".gguf" and not path.is_dir():
        return path
    if any((path / name).is_file() for name in WEIGHT_FILES):
        return None
    found = sorted(file for file in path.glob("*.gguf") if file.is_file())
    if len(found) > 1:
        raise CheckpointError(
            f"{path} holds {len(found)} GGUF files; expected one. Name the file that is meant: "
            + ", ".join(map(str, found[:_SHOWN]))
        )
    return found[0] if found else None


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no model of its own."""
    if not (folder / ADAPTER_CONFIG).is_file():
        return False
    return not any((folder / name).is_file() for name in WEIGHT_FILES) and not any(folder.glob("*.gguf"))


def _open(path: Path, format: Format) -> Mapping[str, TensorView]:
    if format == "safetensors":
        return open_safetensors(path)
    if format == "gguf":
        from enfold.checkpoint.gguf import open_gguf  # rare too, as is the next

        return open_gguf(path).tensors
    from enfold.checkpoint.torch_file import open_torch_file  # rare, and slow to import

    return open_torch_file(path)


def _open_shards(index: Path, format: Format) -> dict[str, TensorView]:
    weight_map = read_json(index, "the index of shards", CorruptFileError).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise CorruptFileError(f'{index} has no "weight_map" of tensor names to file names; download it again')
    paths = {shard: index.parent / shard for shard in dict.fromkeys(weight_map.values())}
    if outside := [shard for shard, path in paths.items() if not _stays_inside(shard, path)]:
        raise UnsafeFileError(
            f"{index} names files outside its folder: {_listed(outside)}. "
            "Expected names of files beside it; don't use a model from this source"
        )
    if missing := [shard for shard, path in paths.items() if not path.is_file()]:
        raise CorruptFileError(
            f"{index} names {len(paths)} shards, of which {len(missing)} are missing: {_listed(missing)}. "
            "Download them into the same folder"
        )
    shards = {shard: _open(path, format) for shard, path in paths.items()}
    if absent := [name for name, shard in weight_map.items() if name not in shards[shard]]:
        raise CorruptFileError(
            f"{index} and its shards disagree; tensors that aren't where it says: {_listed(absent)}. "
            "Download the index and the shards again, from the same revision"
        )
    return {name: shards[shard][name] for name, shard in weight_map.items()}


def _stays_inside(name: str, path: Path) -> bool:
    """Whether a shard's name, and what it links to, is safe to open.

    Snapshots in a hub's cache are links into the ``blobs`` folder two levels up, so that one is admitted.
    """
    pure = PurePosixPath(name)
    if not name or "\\" in name or ":" in name or "\0" in name or pure.is_absolute() or ".." in pure.parts:
        return False
    folder = path.parents[len(pure.parts) - 1]
    allowed = [folder.resolve()]
    if folder.absolute().parent.name == "snapshots":
        allowed.append((folder.absolute().parent.parent / "blobs").resolve())
    target = path.resolve()
    return any(target.is_relative_to(root) for root in allowed)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more


def read_json(path: str | os.PathLike[str], what: str, error: type[EnfoldError] = ConfigError) -> dict[str, Any]:
    """Reads a JSON object; `what` names it in messages ("the model's configuration").

    Raises:
        EnfoldError: as the class `error`, when the file can't be read, isn't UTF-8, isn't JSON (with line and
            column), or isn't an object.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        content = json.loads(text)
    except OSError as cause:
        raise error(f"{path}, {what}, can't be read: {cause.strerror or cause}") from cause
    except UnicodeDecodeError as cause:
        raise error(
            f"{path}, {what}, isn't UTF-8 text: byte {cause.start} is 0x{cause.object[cause.start]:02x}. "
            "Download the file again, or save it as UTF-8"
        ) from cause
    except json.JSONDecodeError as cause:
        raise error(
            f"{path}, {what}, isn't valid JSON at line {cause.lineno}, column {cause.colno}: {cause.msg}. "
            "Mend that place, or download the file again"
        ) from cause
    except RecursionError as cause:
        raise error(f"{path}, {what}, is nested too deeply; expected a JSON object of settings") from cause
    if not isinstance(content, dict):
        raise error(f"{path}, {what}, holds a JSON {type(content).__name__}; expected an object: {{…}}")
    return content


def write_json(path: str | os.PathLike[str], data: Mapping[str, Any]) -> None:
    """Writes a JSON object as readable UTF-8 with two-space indents, complete or not at all."""
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))
