"""Writing files so that a reader sees the old ones or the new ones, never half of either."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["atomic_folder", "atomic_write"]


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file beside `path` that takes its place, complete and on disk, when the block ends well.

    When the block raises, `path` stays what it was and the file beside it is removed.
    """
    path = Path(path)
    aside = _aside(path.parent, path.name)
    try:
        with aside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, replaces: Sequence[str] = ()) -> Iterator[Path]:
    """Gives an empty folder whose files move into `path` when the block ends well.

    Where `path` doesn't exist, that is one rename. Where it does, the files are renamed into it one by one,
    an index of shards last, and other files in it stay, except those that match a pattern of `replaces`
    and weren't written again: those are removed at the very end (the shards of an earlier save, say).
    When the block raises, `path` stays what it was.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; expected a folder to write into")
    existed = path.is_dir()
    if not existed:
        path.parent.mkdir(parents=True, exist_ok=True)
    # Within an existing folder, since its parent may be another file system.
    aside = _aside(path if existed else path.parent, path.name)
    aside.mkdir()
    try:
        yield aside
        if existed or not _renamed(aside, path):
            _merge(aside, path, replaces)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _aside(folder: Path, name: str) -> Path:
    return folder / f".{name[:100]}.{os.urandom(6).hex()}.tmp"


def _renamed(source: Path, target: Path) -> bool:
    """Renames a folder; False where another process has put one there meanwhile."""
    try:
        source.rename(target)
    except OSError:
        if target.is_dir():
            return False
        raise
    return True


def _merge(source: Path, target: Path, replaces: Sequence[str]) -> None:
    files = [file.relative_to(source) for file in source.rglob("*") if not file.is_dir()]
    for file in sorted(files, key=lambda file: (file.name.endswith(".index.json"), file)):
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).replace(target / file)
    written = {target / file for file in files}
    for pattern in replaces:
        for stale in target.glob(pattern):
            if stale not in written:
                stale.unlink(missing_ok=True)
