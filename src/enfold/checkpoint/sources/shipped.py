"""The small models that come with enfold: adapters and heads on a base that is fetched when it is first used."""

import difflib
from pathlib import Path
from typing import Final

from enfold.errors import SourceError

__all__ = ["PREFIX", "resolve_shipped", "shipped_names"]

PREFIX: Final = "enfold:"
_HOME: Final = Path(__file__).parents[2] / "shipped"


def shipped_names() -> list[str]:
    """Names of the models that are there."""
    return sorted(path.parent.name for path in _HOME.glob("*/adapter_config.json"))


def resolve_shipped(source: str) -> Path:
    """The folder of ``enfold:NAME``.

    Raises:
        SourceError: there is none of that name; near ones and all are listed.
    """
    name = source.removeprefix(PREFIX)
    names = shipped_names()
    if name in names:
        return _HOME / name
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" (did you mean {PREFIX}{near[0]}?)" if near else ""
    there = ", ".join(PREFIX + each for each in names)
    raise SourceError(f"enfold brings no model {source!r}{hint}; it brings {there}")
