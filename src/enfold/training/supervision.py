"""What ties the Trainer to the loop: after each step callbacks, lines of the log, evaluations and checkpoints.

The loop tells its :class:`enfold.training.watch.Watch` of each step; this one does what TrainingArguments say is due,
and what callbacks ask for, and tells the loop to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from enfold.checkpoint.files import read_json
from enfold.errors import CorruptFileError, InputError
from enfold.training.arguments import TrainingArguments
from enfold.training.callbacks import Callbacks, TrainerControl, TrainerState, metric_of
from enfold.training.checkpoints import Checkpoints
from enfold.training.loop import Run, State, save
from enfold.training.optim import waits_for_metric
from enfold.training.order import Steps
from enfold.training.watch import Watch

__all__ = ["Supervised", "SupervisedCheckpoints", "SupervisedSteps", "Supervisor"]

At = Literal["steps", "epoch"]


class Supervised(Protocol):
    """What is needed of a Trainer."""

    args: TrainingArguments
    state: TrainerState
    control: TrainerControl
    callbacks: Callbacks

    def fire(self, event: str, **values: Any) -> None:
        """Calls the callbacks."""

    def log(self, logs: dict[str, Any]) -> None:
        """Adds a line to the log."""

    def evaluate(self) -> dict[str, Any]:
        """Judges the model as it is."""


class Supervisor(Watch):
    """A run's watch, on a Trainer's behalf.

    Args:
        trainer: whose run it is.
        show: a bar on the terminal; ``"auto"`` where there is one.
        tensorboard: a folder for TensorBoard's files, or None.
    """

    def __init__(self, trainer: Supervised, show: bool | Literal["auto"], tensorboard: Path | None) -> None:
        super().__init__(None, show, tensorboard)
        self.trainer = trainer
        self.run: Run | None = None
        self.flops_of_token = 0.0
        self.losses, self.count = 0.0, 0
        """Of the steps since the last line of the log: the sum of their losses, and how many they are."""
        self.all_losses, self.all_count = 0.0, 0

    def stepping(self) -> None:
        """The gradients of a step are there."""
        self.trainer.fire("on_pre_optimizer_step")

    def stepped(self) -> None:
        """The optimizer has made its step, and the gradients are still there."""
        self.trainer.fire("on_optimizer_step")

    def line(self, state: State, values: Mapping[str, float]) -> None:
        """A step: the loop is made to tell of each."""
        trainer, seen, run = self.trainer, self.trainer.state, self.run
        assert run is not None
        seen.global_step, seen.epoch = state.step, values["epoch"]
        seen.num_input_tokens_seen = state.all_tokens
        state.loss = state.weight = 0.0  # a checkpoint that is written here must not hold this step's
        seen.total_flos = self.flops_of_token * state.all_tokens
        for name in ("losses", "all_losses"):
            setattr(self, name, getattr(self, name) + values["loss"])
        self.count += 1
        self.all_count += 1
        if self._bar is not None:
            shown = f"loss {values['loss']:.4f}  rate {values['learning_rate']:.2e}"
            self._bar.update(0, shown=shown)
        trainer.fire("on_step_end")
        self._act("steps", state, values)
        stops = trainer.control.should_training_stop or state.step == run.steps.total
        if stops or state.step % run.steps.per_epoch == 0:
            trainer.fire("on_epoch_end")
            self._act("epoch", state, values)
        if trainer.control.should_training_stop and state.step < run.steps.total:
            state.stopped = "early"

    def _act(self, at: At, state: State, values: Mapping[str, float]) -> None:
        """What is due after a step or an epoch, and what was asked for."""
        trainer, args, control, run = self.trainer, self.trainer.args, self.trainer.control, self.run
        assert run is not None
        step, total = state.step, run.steps.total
        first = at == "steps" and step == 1 and args.logging_first_step
        if self.count and (first or control.should_log or args.due("logging", at, step, total)):
            names = ("grad_norm", "learning_rate")
            line = {"loss": self.losses / self.count, **{name: values[name] for name in names}}
            self.losses, self.count = 0.0, 0
            trainer.log(line)
        better = False
        waits = (values["epoch"] if args.eval_strategy == "epoch" else step) < args.eval_delay
        if control.should_evaluate or (not waits and args.due("eval", at, step, total)):
            metrics = trainer.evaluate()
            better = self._compare(state, metrics)
            if run.scheduler is not None and waits_for_metric(run.scheduler):
                run.scheduler.step(metric_of(metrics, str(args.metric_for_best_model)))
        wanted = control.should_save or (better and (args.load_best_model_at_end or args.save_strategy == "best"))
        comes = step == total or step % (run.settings.save_every or total) == 0  # the loop saves, after this
        if wanted and (not comes or run.checkpoints is None):
            if run.checkpoints is None:
                raise InputError("a callback set should_save, and save_strategy is 'no': set 'steps' or 'epoch'")
            save(run, state)
        control.new_step()

    def _compare(self, state: State, metrics: dict[str, Any]) -> bool:
        """Whether an evaluation is the best so far."""
        args, seen = self.trainer.args, self.trainer.state
        if args.metric_for_best_model is None:
            return False
        value = metric_of(metrics, args.metric_for_best_model)
        sign = 1 if args.greater_is_better else -1
        if seen.best_metric is not None and not sign * value > sign * seen.best_metric:
            return False
        seen.best_metric, seen.best_global_step = value, state.step
        state.best, state.best_step = sign * value, state.step
        if self.run is not None and self.run.checkpoints is not None:
            seen.best_model_checkpoint = str(self.run.checkpoints.path(state.step))
        return True

    @contextmanager
    def shown(self, total: int) -> Iterator[None]:
        """Shows a bar of so many steps meanwhile, where one is wanted."""
        try:
            with super().shown(total):
                yield
        finally:
            self._board = None

    def told(self, logs: Mapping[str, Any], step: int) -> None:
        """A line of the log: printed, as the field does, and written for TensorBoard."""
        if self.trainer.state.is_world_process_zero:
            told = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in logs.items()}
            if self._bar is None:
                print(told)
            else:
                self._bar.console.print(str(told), highlight=False, markup=False, soft_wrap=True)
        if self._board is None:
            return
        for name, value in logs.items():
            if isinstance(value, int | float) and name not in ("step", "epoch"):
                kind, _, rest = name.partition("_")
                tag = f"{kind}/{rest}" if rest and kind in ("eval", "test", "train") else f"train/{name}"
                self._board.add_scalar(tag, value, step)

    def rewind(self, state: State) -> None:
        """Nothing: the log is in the checkpoints."""

    def kept(self) -> dict[str, Any]:
        """What a checkpoint holds of the Trainer."""
        sums = {"losses": self.losses, "count": self.count}
        return {"state": asdict(self.trainer.state), "sums": sums, "callbacks": self.trainer.callbacks.states()}

    def take_up(self, kept: Mapping[str, Any]) -> None:
        """Goes on from what a checkpoint holds."""
        known = TrainerState.__dataclass_fields__
        for name, value in kept["state"].items():
            if name in known and not name.startswith("is_"):
                setattr(self.trainer.state, name, value)
        self.losses, self.count = kept["sums"]["losses"], kept["sums"]["count"]
        self.trainer.callbacks.restore(kept["callbacks"])


@dataclass(frozen=True)
class SupervisedCheckpoints(Checkpoints):
    """Checkpoints that hold a Trainer's state, too.

    Attributes:
        supervisor: knows it.
        at: the step to go on from; None: the newest.
    """

    supervisor: Supervisor
    at: int | None = None

    def save(
        self, step: int, tensors: Mapping[str, Tensor], averages: Mapping[str, Tensor], state: Mapping[str, Any]
    ) -> None:
        super().save(step, tensors, averages, {**state, "trainer": self.supervisor.kept()})
        self.supervisor.trainer.fire("on_save")

    def newest(self) -> tuple[int, dict[str, Any]] | None:
        found = super().newest() if self.at is None else (self.at, self._read(self.at))
        if found is not None and "trainer" not in found[1]:
            raise InputError(f"{self.path(found[0])} is a checkpoint of enfold.fit: call that again to go on from it")
        return found

    def _read(self, step: int) -> dict[str, Any]:
        return read_json(self.path(step) / "state.json", "the state of a training run", CorruptFileError)


@dataclass(frozen=True, eq=False)
class SupervisedSteps(Steps):
    """Steps that are told of when they begin.

    Attributes:
        begins: told the number of the step that begins.
        part: examples that go through the model at once; None: as the token budget says.
    """

    begins: Callable[[int], None] = lambda step: None
    part: int | None = None

    def __call__(self, start: int = 0) -> Iterator[NDArray[np.int64]]:
        for step, chosen in enumerate(super().__call__(start), start):
            self.begins(step)
            yield chosen

    def parts(self, chosen: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
        if self.part is None:
            return super().parts(chosen, budget)
        return [chosen[begin : begin + self.part] for begin in range(0, len(chosen), self.part)]
