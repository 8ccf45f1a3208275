"""What can be said of a resolved folder: where it came from, which version, under which licence."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

__all__ = ["Origin", "card_license", "card_task", "describe"]

_FRONT_MATTER: Final = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)
_LICENSE: Final = re.compile(r"^license:[ \t]*(?:\n[ \t]*-[ \t]*)?['\"]?([^\s'\"#]+)", re.MULTILINE)
_TASK: Final = re.compile(r"^pipeline_tag:[ \t]*['\"]?([^\s'\"#]+)", re.MULTILINE)


@dataclass(frozen=True)
class Origin:
    """Where a model folder came from: `name` and `version` (a commit, for hubs) as its source knows them."""

    form: Literal["folder", "pypi", "hub"]
    name: str
    version: str | None
    license: str | None


def describe(folder: Path) -> Origin:
    """Tells by its place in a cache where a folder that `resolve` returned came from; opens no socket."""
    folder = folder.absolute() if folder.is_dir() else folder.absolute().parent  # of a GGUF file
    licence = card_license(folder)
    for snapshot in (folder, *folder.parents):
        repository = snapshot.parent.parent.name
        if snapshot.parent.name == "snapshots" and repository.startswith("models--"):
            return Origin("hub", repository.removeprefix("models--").replace("--", "/"), snapshot.name, licence)
    plain = Origin("folder", folder.name, None, licence)
    for parent in folder.parents:
        if parent.name == "files" and (parent.parent / "wheel.json").is_file():
            return Origin("pypi", parent.parent.parent.name, parent.parent.name, licence)
        if next(parent.glob("*.dist-info"), None):  # an installed package
            import importlib.metadata  # slow to import

            owners = importlib.metadata.packages_distributions().get(folder.relative_to(parent).parts[0])
            return Origin("pypi", owners[0], importlib.metadata.version(owners[0]), licence) if owners else plain
    return plain


def card_license(folder: Path) -> str | None:
    """The licence that the model card (README.md) states in its front matter, such as "apache-2.0"."""
    return _stated(folder, _LICENSE)


def card_task(folder: Path) -> str | None:
    """The task that the model card states likewise, such as "translation"."""
    return _stated(folder, _TASK)


def _stated(folder: Path, what: re.Pattern[str]) -> str | None:
    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    front = _FRONT_MATTER.match(text)
    stated = what.search(front[1]) if front else None
    return stated[1] if stated else None
