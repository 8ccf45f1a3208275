"""What is seen of a run: a bar on the terminal, metrics.jsonl, TensorBoard where it is wanted."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from enfold.checkpoint.atomic import atomic_write
from enfold.errors import MissingDependencyError
from enfold.tasks.progress import make_bar

if TYPE_CHECKING:
    from enfold.training.evaluation import Evaluation
    from enfold.training.loop import State

__all__ = ["Watch"]

logger = logging.getLogger("enfold")

_WIDE = 100
"""Columns of a terminal that has room for the learning rate beside the bar."""


class Watch:
    """Told of steps, lines of metrics and evaluations; writes them down and shows them.

    Whoever watches may also end a run: what ``state.stopped`` is set to, is why.

    Args:
        file: metrics.jsonl, or None.
        show: a bar on the terminal (stderr); ``"auto"`` where that is one.
        tensorboard: a folder for TensorBoard's files, or None.
        title: what stands before the bar.
    """

    def __init__(
        self,
        file: Path | None,
        show: bool | Literal["auto"],
        tensorboard: Path | None = None,
        *,
        title: str = "training",
    ) -> None:
        self.file, self.title = file, title
        self.history: list[dict[str, Any]] = []
        self.latest: Evaluation | None = None
        self._shows = show is True or (show == "auto" and sys.stderr.isatty())
        self._board = None if tensorboard is None else _board(tensorboard)
        self._bar: Any = None
        self._log_is_seen = False
        self._total = 0
        self._tokens, self._seconds = 0, 0.0
        """Of the run up to the last line of metrics."""

    @contextmanager
    def shown(self, total: int) -> Iterator[None]:
        """Shows a bar of so many steps meanwhile, where one is wanted."""
        self._total = total
        with ExitStack() as stack:
            if self._shows:
                self._bar = make_bar("{task.fields[shown]}")
                self._log_is_seen = stack.enter_context(_log_above(self._bar))
                self._bar.add_task(self.title, total=total, shown="")
            try:
                yield
            finally:
                self._bar = None
                if self._board is not None:
                    self._board.close()

    def begin(self, lines: Iterable[str]) -> None:
        """What is about to be done."""
        for line in lines:
            self._say(line)

    def step(self, step: int) -> None:
        """A step is done."""
        if self._bar is not None:
            self._bar.update(0, completed=step)

    def stepping(self) -> None:
        """The gradients of a step are there, and the optimizer's step is about to be made."""

    def stepped(self) -> None:
        """The optimizer has made its step."""

    def line(self, state: State, values: Mapping[str, float]) -> None:
        """Metrics of the steps since the last line."""
        rate = (state.all_tokens - self._tokens) / max(1e-9, state.seconds - self._seconds)
        self._tokens, self._seconds = state.all_tokens, state.seconds
        self._write(state, {**values, "tokens_per_second": round(rate, 1)})
        if self._bar is not None:
            schedule = f"rate {values['learning_rate']:.2e}  " if self._bar.console.width >= _WIDE else ""
            self._bar.update(0, shown=f"loss {values['loss']:.4f}  {schedule}{rate:,.0f} tokens/s")

    def evaluation(self, state: State, found: Evaluation, first: str, epoch: float) -> None:
        """An evaluation after so many epochs; its metric ``first`` is shown beside the loss."""
        self.latest = found
        self._write(state, {"epoch": epoch, "evaluation": dict(found.metrics)})
        said = "  ".join(f"{name} {found.metrics[name]:.4f}" for name in dict.fromkeys(("loss", first)))
        self._say(f"step {state.step} of {self._total}: evaluation: {said}")

    def _say(self, line: str) -> None:
        """A line in the log, or above the bar where the log is not seen."""
        logger.info("%s", line)
        if self._bar is not None and not self._log_is_seen:
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def rewind(self, state: State) -> None:
        """Forgets lines that were written after the checkpoint that a run goes on from."""
        self._tokens, self._seconds = state.all_tokens, state.seconds
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file and self.file.is_file() else []
        self.history = [json.loads(line) for line in lines[: state.lines]]
        if self.file is not None and len(lines) > state.lines:
            with atomic_write(self.file) as file:
                file.write("".join(f"{line}\n" for line in lines[: state.lines]).encode("utf-8"))

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


@contextmanager
def _log_above(bar: Any) -> Iterator[bool]:
    """Shows a bar meanwhile, and the log's lines above it where they go to the same terminal; whether they do."""
    terminal = sys.stderr
    handlers = [each for each in _handlers() if isinstance(each, logging.StreamHandler) and each.stream is terminal]
    with bar:
        for each in handlers:
            each.setStream(sys.stderr)  # rich has put its own there
        try:
            yield logger.isEnabledFor(logging.INFO) and any(each.level <= logging.INFO for each in handlers)
        finally:
            for each in handlers:
                each.setStream(terminal)


def _handlers() -> Iterator[logging.Handler]:
    """All that write what this package logs."""
    at: logging.Logger | None = logger
    while at is not None:
        yield from at.handlers
        at = at.parent if at.propagate else None


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
