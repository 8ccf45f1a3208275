"""Whoever watches a run of the Trainer, and may stop it: callbacks, what they see and what they may ask for."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from enfold.errors import InputError

__all__ = ["Callbacks", "EarlyStoppingCallback", "TrainerCallback", "TrainerControl", "TrainerState"]

logger = logging.getLogger("enfold")


@dataclass
class TrainerState:
    """Where a run of the Trainer stands.

    Attributes:
        epoch: epochs done, with their part.
        global_step: steps of the optimizer done.
        max_steps: of the run.
        num_train_epochs: of the run, rounded up.
        num_input_tokens_seen: tokens that were learnt from.
        total_flos: floating point operations of them: six for each token and weight that is not an embedding.
        log_history: everything that was logged, each with its ``step`` and ``epoch``.
        best_metric: of the evaluations so far.
        best_global_step: the step it was at.
        best_model_checkpoint: the folder of that step, where one was written.
        is_local_process_zero: whether this process is the machine's first.
        is_world_process_zero: whether it is the first of all.
    """

    epoch: float = 0.0
    global_step: int = 0
    max_steps: int = 0
    num_train_epochs: int = 0
    num_input_tokens_seen: int = 0
    total_flos: float = 0.0
    log_history: list[dict[str, Any]] = field(default_factory=list)
    best_metric: float | None = None
    best_global_step: int | None = None
    best_model_checkpoint: str | None = None
    is_local_process_zero: bool = True
    is_world_process_zero: bool = True


@dataclass
class TrainerControl:
    """What a callback asks for, by setting it to True.

    Attributes:
        should_training_stop: training ends after this step.
        should_epoch_stop: not to be had here: an error says so.
        should_save: a checkpoint after this step.
        should_evaluate: an evaluation after this step.
        should_log: a line of the log after this step.
    """

    should_training_stop: bool = False
    should_epoch_stop: bool = False
    should_save: bool = False
    should_evaluate: bool = False
    should_log: bool = False

    def new_step(self) -> None:
        """Forgets what was asked for at the last step."""
        self.should_save = self.should_evaluate = self.should_log = False


class TrainerCallback:
    """Methods that the Trainer calls: override those that you want.

    ``args`` are the TrainingArguments, ``state`` a :class:`TrainerState`, ``control`` a :class:`TrainerControl`. By
    name come ``model``, ``processing_class``, ``optimizer``, ``lr_scheduler``, ``train_dataset`` and ``eval_dataset``;
    ``logs`` at on_log and ``metrics`` at on_evaluate and on_predict.
    """

    def on_init_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """The Trainer is made."""

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Training begins, or goes on."""

    def on_epoch_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """An epoch begins."""

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A step begins."""

    def on_pre_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A step's gradients are there, shortened where they were too long."""

    def on_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """The optimizer has made its step; the gradients are still there."""

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A step is done."""

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Something was logged: ``logs``."""

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """An evaluation is done: ``metrics``."""

    def on_prediction_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A batch of an evaluation or prediction is done."""

    def on_predict(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Predictions are made: ``metrics``."""

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A checkpoint was written."""

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """An epoch is done."""

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Training is done."""


class EarlyStoppingCallback(TrainerCallback):
    """Ends training after evaluations that were no better than the best before them.

    Args:
        early_stopping_patience: how many of them.
        early_stopping_threshold: what an evaluation must be better by, to count as better.
    """

    def __init__(self, early_stopping_patience: int = 1, early_stopping_threshold: float = 0.0) -> None:
        if isinstance(early_stopping_patience, bool) or early_stopping_patience < 1 or early_stopping_threshold < 0:
            raise InputError(
                f"early_stopping_patience is {early_stopping_patience!r} and early_stopping_threshold "
                f"{early_stopping_threshold!r}; expected 1 or more, and 0 or more"
            )
        self.early_stopping_patience = early_stopping_patience
        self.early_stopping_threshold = early_stopping_threshold
        self.early_stopping_patience_counter = 0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Checks that there will be something to go by.

        Raises:
            InputError: nothing is evaluated, or no metric is named.
        """
        problems = []
        if args.eval_strategy == "no":
            problems.append("eval_strategy is 'no', expected 'epoch' or 'steps'")
        if args.metric_for_best_model is None:
            problems.append("metric_for_best_model is not set: name a metric, such as 'loss'")
        if problems:
            raise InputError(f"EarlyStoppingCallback has nothing to go by: {'; '.join(problems)}")
        if not args.load_best_model_at_end:
            logger.warning("training may stop early, and load_best_model_at_end is not set: the last model is kept")

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Counts evaluations that were no better; of several datasets those count that have the metric."""
        if full_name(args.metric_for_best_model) not in kwargs["metrics"]:
            return
        value = metric_of(kwargs["metrics"], args.metric_for_best_model)
        better = math.inf if state.best_metric is None else value - state.best_metric
        if (better if args.greater_is_better or state.best_metric is None else -better) > self.early_stopping_threshold:
            self.early_stopping_patience_counter = 0
            return
        self.early_stopping_patience_counter += 1
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            control.should_training_stop = True

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"attributes": {"early_stopping_patience_counter": self.early_stopping_patience_counter}}


def full_name(name: str) -> str:
    """A metric's name with ``eval_`` before it."""
    return name if name.startswith("eval_") else f"eval_{name}"


def metric_of(metrics: dict[str, Any], name: str) -> float:
    """A metric by its name, with or without ``eval_`` before it.

    Raises:
        InputError: there is none of that name; the names are listed.
    """
    full = full_name(name)
    if full not in metrics:
        known = ", ".join(key.removeprefix("eval_") for key in metrics if isinstance(metrics[key], int | float))
        raise InputError(f"metric_for_best_model is {name!r}, and the evaluation has {known}")
    return float(metrics[full])


class Callbacks:
    """The callbacks of a Trainer, in their order.

    Args:
        callbacks: objects, or classes to be made.
    """

    def __init__(self, callbacks: Iterable[Any]) -> None:
        self.members: list[TrainerCallback] = []
        for each in callbacks:
            self.add(each)

    def add(self, callback: Any) -> None:
        """One more.

        Raises:
            InputError: it is no callback.
        """
        made = callback() if isinstance(callback, type) else callback
        if not any(hasattr(made, name) for name in vars(TrainerCallback) if name.startswith("on_")):
            raise InputError(f"a {type(made).__name__} is no callback: derive it from enfold.TrainerCallback")
        own = [name for kind in type(made).__mro__ if kind.__name__ != "TrainerCallback" for name in vars(kind)]
        if idle := sorted({name for name in own if name.startswith("on_") and not hasattr(TrainerCallback, name)}):
            logger.warning("%s has %s, which the Trainer never calls", type(made).__name__, ", ".join(idle))
        self.members.append(made)

    def pop(self, callback: Any) -> TrainerCallback | None:
        """Takes a callback out, given itself or its class; None where it isn't among them."""
        for each in self.members:
            if each is callback or (isinstance(callback, type) and type(each) is callback):
                self.members.remove(each)
                return each
        return None

    def hear(self, event: str) -> bool:
        """Whether one of them does something at an event."""
        nothing = getattr(TrainerCallback, event)
        methods = (getattr(each, event, nothing) for each in self.members)
        return any(getattr(method, "__func__", method) is not nothing for method in methods)

    def fire(self, event: str, args: Any, state: TrainerState, control: TrainerControl, **values: Any) -> None:
        """Calls a method of each.

        Raises:
            InputError: one asks for something that isn't to be had.
        """
        for each in self.members:
            method = getattr(each, event, None)
            if method is not None:
                method(args, state, control, **values)
        if control.should_epoch_stop:
            raise InputError("a callback set should_epoch_stop, which is not to be had: set should_training_stop")

    def states(self) -> dict[str, Any]:
        """What those that have a ``state()`` want to keep, by class name."""
        known = {type(each).__name__: getattr(each, "state", None) for each in self.members}
        return {name: state() for name, state in known.items() if callable(state)}

    def restore(self, states: dict[str, Any]) -> None:
        """Gives them back what they wanted to keep."""
        for each in self.members:
            for name, value in states.get(type(each).__name__, {}).get("attributes", {}).items():
                setattr(each, name, value)
