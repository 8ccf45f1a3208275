"""A progress bar for long runs: on a terminal, after a second, on stderr; nothing in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

__all__ = ["make_bar", "track"]

_AFTER_S = 1.0
_TIME_WIDTH = len("0:00:00")


@contextmanager
def track(title: str, total: int | None, show: bool | Literal["auto"]) -> Iterator[Callable[[float], None]]:
    """Gives a function to call with how many items are done.

    Args:
        title: what stands before the bar.
        total: how many items there are; None where nobody knows.
        show: True, False, or ``"auto"`` for a terminal alone.
    """
    if show is False or (show == "auto" and not sys.stderr.isatty()):
        yield lambda done: None
        return
    began = time.monotonic()
    bar: Any = None
    seen = 0.0

    def advance(done: float) -> None:
        nonlocal bar, seen
        seen += done
        if bar is None and time.monotonic() - began >= (_AFTER_S if show == "auto" else 0.0):
            bar = make_bar()
            bar.start()
            bar.add_task(title, total=total)
        if bar is not None:
            bar.update(bar.task_ids[0], completed=round(seen))

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()


def make_bar(*more: str) -> Any:
    """A bar on stderr with what is done, what it took and what is left; ``more`` are formats of further columns."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    # the bar alone gives way on a narrow terminal
    whole = [Column(no_wrap=True, min_width=_TIME_WIDTH) for _ in range(2)]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *map(TextColumn, more),
        TimeElapsedColumn(table_column=whole[0]),
        TimeRemainingColumn(table_column=whole[1]),
    )
    console = Console(stderr=True)
    # rich would send what a caller prints to the bar's console, also where stdout is a file
    return Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty())
