"""The training loop: short enough to be read, and to be copied.

::

    for the examples of each step:
        draw dropout and masks from the seed and the step ─▶ batches within the token budget
        loss of each batch / weight of the whole step ─▶ gradients that add up
        shorten ─▶ step of the optimizer at the schedule's rate
        every so often: a line of metrics · an evaluation · a checkpoint

A step's loss is the sum over its targets divided by their weight, whatever it is cut into and however many processes
share it. All that the loop remembers is a :class:`State` and the optimizer's averages, so a run that was stopped goes
on with the same numbers, to the last bit.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from enfold.errors import InputError, NumericalError
from enfold.training.checkpoints import Checkpoints, restore_parameters
from enfold.training.criterion import Criterion
from enfold.training.evaluation import Evaluation, EvaluationSet, evaluate
from enfold.training.examples import Batch, Examples
from enfold.training.execution import Execution
from enfold.training.goals import Goal, Reading
from enfold.training.objective import Objective
from enfold.training.optim import clip, rate_at, set_rate, waits_for_metric
from enfold.training.optimizer_state import memory_of, restore_memory, tell_lost
from enfold.training.order import Steps
from enfold.training.processes import Processes
from enfold.training.settings import Settings
from enfold.training.watch import Watch

if TYPE_CHECKING:
    from enfold.training.sharding import Shards

__all__ = ["Run", "State", "judge", "restore_best", "resume_run", "save", "train"]


@dataclass
class State:
    """What a run remembers from step to step.

    Attributes:
        step: steps done.
        loss: summed over targets since the last line of metrics, and the ``weight`` of those.
        best: the best evaluation's metric, as more is better, its ``best_loss``, and the ``best_step`` it was at.
        waited: evaluations since then.
        stopped: why the run is over; empty while it isn't.
        lines: of metrics.jsonl.
        all_tokens: read since the beginning.
        seconds: that steps have taken, without evaluations.
    """

    step: int = 0
    loss: float = 0.0
    weight: float = 0.0
    best: float | None = None
    best_loss: float = math.inf
    best_step: int | None = None
    waited: int = 0
    stopped: str = ""
    lines: int = 0
    all_tokens: int = 0
    seconds: float = 0.0

    def count(self, loss: float, weight: float, tokens: float, seconds: float) -> None:
        """One step more."""
        self.step += 1
        self.loss += loss
        self.weight += weight
        self.all_tokens += int(tokens)
        self.seconds += seconds


@dataclass(frozen=True)
class Run:
    """Everything that a run is made of; nothing of it is replaced on the way.

    Attributes:
        goal: what is learnt.
        reading: how texts were read.
        examples: to learn from.
        place: where a row stands in its file.
        held_out: to be judged by, or None.
        execution: the model over a batch.
        objective: a batch's loss.
        parameters: what learns, by name.
        buffers: what is counted meanwhile, by name.
        optimizer: over the parameters.
        steps: which examples each step has.
        rate: the highest learning rate.
        settings: all other choices.
        checkpoints: where the state goes, or None.
        watch: is told how it goes.
        processes: that share the work.
        shards: the model split over the processes, or None: each has it whole.
        fingerprint: of the data and settings that a checkpoint goes with.
        scheduler: sets the optimizer's rates, as PyTorch's do; None: the settings' schedule does.
    """

    goal: Goal
    reading: Reading
    examples: Examples
    place: Callable[[int], str]
    held_out: EvaluationSet | None
    execution: Execution
    objective: Objective
    parameters: Mapping[str, nn.Parameter]
    buffers: Mapping[str, Tensor]
    optimizer: torch.optim.Optimizer
    steps: Steps
    rate: float
    settings: Settings
    checkpoints: Checkpoints | None
    watch: Watch
    processes: Processes = field(default_factory=Processes)
    shards: Shards | None = None
    fingerprint: str = ""
    scheduler: Any = None

    def batches(self, chosen: NDArray[np.int64], step: int) -> list[Batch]:
        """This process's part of a step, cut by the token budget."""
        draw = np.random.default_rng((self.settings.seed, step, self.processes.rank, 2))
        own = self.processes.share(chosen)
        idle = not len(own)  # it takes part all the same, as the others wait for it
        parts = (
            [own]
            if self.goal.whole and not idle
            else self.steps.parts(chosen[:1] if idle else own, self.settings.token_budget)
        )
        device = self.execution.model.device
        batches = [self.goal.batch(self.reading, self.examples, part, draw).to(device) for part in parts]
        if idle:
            batches = [replace(batch, weight=0.0) for batch in batches]
        if self.shards is not None:  # the others wait for each batch
            most = max(self.processes.gathered(len(batches)))
            batches += [replace(batches[0], weight=0.0)] * (most - len(batches))
        return batches

    def split(self, tensor: Tensor, other: Tensor) -> Tensor:
        """A whole tensor as this process has another of its shape."""
        return tensor if self.shards is None else self.shards.split(tensor, other)

    @property
    def criterion(self) -> Criterion:
        """What tells the best evaluation."""
        return Criterion.of(self.settings.metric or self.goal.metric)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds."""
        return {**self.parameters, **self.buffers}


def train(run: Run, state: State) -> State:
    """Goes through a run's steps from where ``state`` stands to its end.

    Raises:
        NumericalError: a loss or gradient that is no number; the step and its rows are named. No step was made with it.
        CheckpointError: a checkpoint can't be written.
    """
    model, settings = run.execution.model, run.settings
    model.train()
    learn = _Learning(run) if run.shards is not None else run.processes.together(_Learning(run))
    total = run.processes.total
    with _own_random_numbers():
        for chosen in run.steps(state.step):
            began = time.perf_counter()
            torch.manual_seed(_seed_of(settings.seed, state.step, run.processes.rank))
            batches = run.batches(chosen, state.step)
            weight = total(sum(batch.weight for batch in batches)) or 1.0  # labels that weigh nothing teach nothing
            loss = total(_backward(run, learn, batches, weight))
            norm = clip(run.parameters.values(), settings.max_grad_norm, None if run.shards is None else total)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise _not_a_number(run, state.step, batches, loss, norm)
            rate = _step(run, state.step)
            state.count(loss, weight, total(sum(batch.num_tokens for batch in batches)), time.perf_counter() - began)
            _after(run, state, rate, norm)
            if state.stopped:
                break
    state.stopped = state.stopped or "finished"
    return state


class _Learning(nn.Module):
    """The loss of a batch as a module of all that learns, as several processes want it."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.model, self.words = run.execution.model, run.execution.words
        self.objective = run.objective

    def forward(self, batch: Batch) -> Tensor:
        return self.objective(batch)


def _backward(run: Run, learn: Callable[..., Tensor], batches: list[Batch], weight: float) -> float:
    """Adds up the gradients of a step's batches, then those of all processes; the batches' summed loss."""
    group, total = run.processes, 0.0
    for index, batch in enumerate(batches):
        with group.apart(learn, index + 1 < len(batches) and run.shards is None):
            loss = learn(batch) * (batch.weight > 0)
            (loss * (group.count / weight)).backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total


def _step(run: Run, step: int) -> float:
    """A step of the optimizer; the rate that it was made at."""
    if run.scheduler is None:
        rate = run.rate * rate_at(step, run.steps.total, run.settings)
        set_rate(run.optimizer, rate)
    else:
        rate = float(run.optimizer.param_groups[0]["lr"])
    run.watch.stepping()
    run.optimizer.step()
    run.watch.stepped()
    run.optimizer.zero_grad()
    for parameter in run.parameters.values():  # also those that an optimizer of the caller's leaves out
        parameter.grad = None
    if run.scheduler is not None and not waits_for_metric(run.scheduler):
        run.scheduler.step()
    return rate


def _after(run: Run, state: State, rate: float, norm: float) -> None:
    """What is due after a step: a line of metrics, an evaluation, a checkpoint."""
    settings, steps, step = run.settings, run.steps, state.step
    last = step == steps.total
    every = settings.evaluate_every or steps.per_epoch
    run.watch.step(step)
    if step % settings.log_every == 0 or last:
        epoch = step / steps.per_epoch
        run.watch.line(
            state, {"epoch": epoch, "loss": state.loss / state.weight, "learning_rate": rate, "grad_norm": norm}
        )
        state.loss = state.weight = 0.0
    judged = run.held_out is not None and (step % every == 0 or last)
    if judged:
        _judge(run, state)
    if run.checkpoints is not None and (last or state.stopped or step % (settings.save_every or every) == 0 or judged):
        save(run, state)


def _judge(run: Run, state: State) -> None:
    """An evaluation, and what follows from it."""
    found = judge(run)
    criterion = run.criterion
    run.watch.evaluation(state, found, criterion.metric, state.step / run.steps.per_epoch)
    value, loss = criterion.value(found.metrics), found.metrics["loss"]
    if state.best is None or value > state.best or (value == state.best and loss < state.best_loss):
        state.best, state.best_loss, state.best_step, state.waited = value, loss, state.step, 0
        return
    state.waited += 1
    if run.settings.patience is not None and state.waited >= run.settings.patience:
        state.stopped = "early"


def judge(run: Run) -> Evaluation:
    """The held-out examples, by the model as it is now."""
    assert run.held_out is not None
    model, shards = run.execution.model, run.shards
    if run.execution.words is not None:
        run.execution.words.write_back()
    model.eval()
    try:
        budget, seed = run.settings.token_budget, run.settings.seed
        with nullcontext() if shards is None else shards.gathered():
            return evaluate(model, run.goal, run.reading, run.held_out, budget=budget, seed=seed)
    finally:
        model.train()


def save(run: Run, state: State) -> None:
    """Writes a checkpoint of the run as it stands."""
    assert run.checkpoints is not None
    tensors, memory = run.tensors, memory_of(run.optimizer, run.scheduler)
    averages: Mapping[str, Tensor] = memory.tensors
    if run.shards is not None:
        tensors, averages = run.shards.wholes(tensors), run.shards.wholes(averages)
    if run.processes.is_first:
        kept = {**asdict(state), "fingerprint": run.fingerprint, "settings": asdict(run.settings), **memory.plain}
        if memory.lost and not run.checkpoints.steps():
            tell_lost(memory)
        run.checkpoints.save(state.step, tensors, averages, kept)
    run.processes.wait()


def resume_run(run: Run) -> State | None:
    """Takes up the newest checkpoint; None where there is none.

    Raises:
        InputError: it goes with other data, settings or another model.
        CorruptFileError: it can't be read.
    """
    if run.checkpoints is None or (found := run.checkpoints.newest()) is None:
        return None
    step, kept = found
    folder = run.checkpoints.path(step)
    _check_same(run, folder, kept)
    restore_parameters(folder, run.tensors, run.split)
    restore_memory(folder, run.optimizer, run.scheduler, kept, run.split)
    state = State(**{name: kept[name] for name in State.__dataclass_fields__})
    run.watch.rewind(state)
    return state


def restore_best(run: Run, state: State) -> None:
    """The best evaluation's parameters, where another than the last was it."""
    if run.checkpoints is None or state.best_step is None or state.best_step == state.step:
        return
    restore_parameters(run.checkpoints.path(state.best_step), run.tensors, run.split)


def _check_same(run: Run, folder: Any, kept: Mapping[str, Any]) -> None:
    if kept.get("fingerprint") == run.fingerprint:
        return
    now = json.loads(json.dumps(asdict(run.settings)))
    before = kept.get("settings", now)
    other = [f"{name} was {before.get(name)!r} and is {now[name]!r}" for name in now if before.get(name) != now[name]]
    what = f"other settings ({', '.join(other)})" if other else "other data, model or optimizer"
    raise InputError(
        f"{folder} is of a run with {what}; "
        "a run goes on with what it began with. Call with the same data and settings, or start anew: resume=False "
        "(--no-resume), or another folder"
    )


def _seed_of(seed: int, step: int, rank: int) -> int:
    """A seed for a step's dropout."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Leaves torch's generators as they were for whoever uses them besides."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        yield


def _not_a_number(run: Run, step: int, batches: list[Batch], loss: float, norm: float) -> NumericalError:
    rows = [run.place(int(row)) for batch in batches for row in batch.rows]
    shown = ", ".join(rows[:8]) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's length is {norm}"
    return NumericalError(
        f"{what} at step {step + 1}, of the rows {shown}: training stopped, and no step was made with it. "
        f"Try a lower learning_rate than {run.rate:g}, a longer warmup, or look at these rows"
    )
