"""What is seen of a run: a bar on the terminal, metrics.jsonl, TensorBoard where it is wanted."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
        self._total = 0
        self._tokens, self._seconds = 0, 0.0
        """Of the run up to the last line of metrics."""

    @contextmanager
    def shown(self, total: int) -> Iterator[None]:
        """Shows a bar of so many steps meanwhile, where one is wanted."""
        self._total = total
        if self._shows:
            self._bar = make_bar("{task.fields[shown]}")
            self._bar.start()
            self._bar.add_task(self.title, total=total, shown="")
        try:
            yield
        finally:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None
            if self._board is not None:
                self._board.close()

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
            shown = f"loss {values['loss']:.4f}  rate {values['learning_rate']:.2e}  {rate:,.0f} tokens/s"
            self._bar.update(0, shown=shown)

    def evaluation(self, state: State, found: Evaluation, first: str, epoch: float) -> None:
        """An evaluation after so many epochs; its metric ``first`` is shown beside the loss."""
        self.latest = found
        self._write(state, {"epoch": epoch, "evaluation": dict(found.metrics)})
        self._say(state, "  ".join(f"{name} {found.metrics[name]:.4f}" for name in dict.fromkeys(("loss", first))))

    def _say(self, state: State, said: str) -> None:
        """Shows what an evaluation found."""
        logger.info("step %d of %d: evaluation: %s", state.step, self._total, said)
        if self._bar is not None:
            self._bar.console.print(f"step {state.step}: {said}", highlight=False)

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
