"""What is seen of a run: a bar on the terminal, metrics.jsonl, TensorBoard where it is wanted."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from enfold.errors import MissingDependencyError

if TYPE_CHECKING:
    from enfold.training.loop import State

__all__ = ["Watch"]

logger = logging.getLogger("enfold")


class Watch:
    """Told of steps, lines of metrics and evaluations; writes them down and shows them.

    Args:
        file: metrics.jsonl, or None.
        total: steps of the run.
        show: a bar on the terminal (stderr); ``"auto"`` where that is one.
        tensorboard: a folder for TensorBoard's files, or None.
    """

    def __init__(
        self, file: Path | None, total: int, show: bool | Literal["auto"], tensorboard: Path | None = None
    ) -> None:
        self.file, self.total = file, total
        self.history: list[dict[str, Any]] = []
        self.tokens = 0
        self._shows = show is True or (show == "auto" and sys.stderr.isatty())
        self._board = None if tensorboard is None else _board(tensorboard)
        self._bar: Any = None
        self._since = time.perf_counter()
        self._shown = ""

    def __enter__(self) -> Watch:
        self._since = time.perf_counter()
        if self._shows:
            self._bar = _bar()
            self._bar.start()
            self._bar.add_task("training", total=self.total, shown="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._board is not None:
            self._board.close()

    def step(self, step: int) -> None:
        """A step is done."""
        if self._bar is not None:
            self._bar.update(0, completed=step)

    def line(self, state: State, values: Mapping[str, float]) -> None:
        """Metrics of the steps since the last line."""
        now = time.perf_counter()
        rate = state.tokens / max(1e-9, now - self._since)
        self._since = now
        self.tokens += state.tokens
        self._write(state, {**values, "tokens_per_second": round(rate, 1)})
        if self._bar is not None:
            shown = f"loss {values['loss']:.4f}  rate {values['learning_rate']:.2e}  {rate:,.0f} tokens/s"
            self._bar.update(0, shown=f"{shown}{self._shown}")

    def evaluation(self, state: State, metrics: Mapping[str, float]) -> None:
        """An evaluation's metrics."""
        self._write(state, {"evaluation": dict(metrics)})
        said = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        logger.info("step %d of %d: %s", state.step, self.total, said)
        if self._bar is not None:
            self._bar.console.print(f"step {state.step}: {said}", highlight=False)
        self._since = time.perf_counter()

    def rewind(self, state: State) -> None:
        """Forgets lines that were written after the checkpoint that a run goes on from."""
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file and self.file.is_file() else []
        self.history = [json.loads(line) for line in lines[: state.lines]]
        if self.file is not None and len(lines) > state.lines:
            kept = "".join(f"{line}\n" for line in lines[: state.lines])
            self.file.write_text(kept, encoding="utf-8")

    def _write(self, state: State, values: Mapping[str, Any]) -> None:
        record = {"step": state.step, **values}
        self.history.append(record)
        state.lines += 1
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_plain(record), ensure_ascii=False) + "\n")
        if self._board is not None:
            for name, value in {**values, **values.get("evaluation", {})}.items():
                if isinstance(value, int | float):
                    kind = "evaluation" if name in values.get("evaluation", {}) else "training"
                    self._board.add_scalar(f"{kind}/{name}", value, state.step)


def _plain(value: Any) -> Any:
    """Numbers that JSON has; others as null."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError("TensorBoard's files need its package: pip install tensorboard") from error
    return SummaryWriter(str(folder))


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[shown]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty())
