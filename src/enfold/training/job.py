"""A run from its material to a trained model: the first step, the last one, and what stands around the loop."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from enfold import adapters
from enfold.config import Config
from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.training.checkpoints import Checkpoints
from enfold.training.criterion import Criterion
from enfold.training.data.problems import counted
from enfold.training.evaluation import Evaluation, EvaluationSet, evaluate
from enfold.training.examples import Examples
from enfold.training.execution import Execution, compiled, set_dropout
from enfold.training.features import Features
from enfold.training.goals import Goal, Reading
from enfold.training.loop import Run, State, judge, restore_best, resume_run, train
from enfold.training.material import Material
from enfold.training.objective import Objective, Teacher
from enfold.training.optim import make_optimizer
from enfold.training.order import Steps
from enfold.training.processes import Processes
from enfold.training.settings import Settings
from enfold.training.start import Base, load_base, reading_of
from enfold.training.watch import Watch
from enfold.training.words import UsedRows, used_rows

if TYPE_CHECKING:
    from enfold.training.sharding import Shards

__all__ = ["Adapter", "Job", "check_adapter", "fingerprint_of", "fingerprint_of_run", "make_job", "usual_rate"]

logger = logging.getLogger("enfold")

Adapter = adapters.LoRA | adapters.IA3

_RATE_OF_FEW = 1e-3
"""The learning rate where an adapter or a head alone learns, and nobody says."""
_MOST_LABELS, _MOST_CHARACTERS = 8, 20
"""Of what is said before the first step."""
_WORDS = "tree.embeddings.words.used"


def usual_rate(goal: Goal, settings: Settings, has_adapter: bool) -> float:
    """The learning rate of a run where nobody says."""
    return _RATE_OF_FEW if has_adapter or settings.freeze == "encoder" else goal.rate


def check_adapter(base: Base, adapter: Adapter | None) -> None:
    """Looks whether an adapter has something to learn beside.

    Raises:
        InputError: it would be random weights.
    """
    if adapter is not None and isinstance(base, Config):
        raise InputError(
            "an adapter learns beside weights that are trained, and a configuration has none: name a model, or train "
            "all of it, adapter=None"
        )


@dataclass(frozen=True)
class Job:
    """A run that is about to be.

    Attributes:
        material: what it is made of.
        goal: what is learnt.
        model: that learns.
        reading: how texts are read.
        settings: all other choices.
        folder: for what is kept meanwhile, or None.
        group: the processes that share the work.
        has_adapter: a few parameters learn beside frozen ones.
    """

    material: Material
    goal: Goal
    model: TorchModel
    reading: Reading
    settings: Settings
    folder: Path | None
    group: Processes
    has_adapter: bool

    def trained(self, teacher: Teacher | None, resume: bool, watch: Watch) -> tuple[Run, State, Evaluation | None]:
        """Trains the model; it is the best that was seen, and judged."""
        goal, model, settings = self.goal, self.model, self.settings
        examples, judged = self.material.encoded(goal, self.reading)
        self._freeze()
        set_dropout(model, settings.dropout)
        if judged is not None and settings.metric is not None:
            self._check_metric(judged)
        shards = self._shards()
        words = None
        if goal.repeats and shards is None:
            words = used_rows(model, goal.ids(examples), self.reading.tokenizer)
        try:
            run = self._run(examples, judged, words, shards, teacher, watch)
            state = self._begin(run, resume)
            with watch.shown(run.steps.total), compiled(model, settings.compile):
                if not state.stopped:
                    watch.begin(self._plan(run))
                    train(run, state)
                restore_best(run, state)
                if shards is not None:
                    shards.give_back()
                    run = replace(run, shards=None)
                found = watch.latest if state.best_step == state.step else None
                if judged is not None and found is None:
                    found = judge(run)
        finally:
            if words is not None:
                words.give_back()
            model.eval()
        return run, state, found

    def _check_metric(self, judged: EvaluationSet) -> None:
        """That evaluations have the metric which tells the best, before one is needed: asked of a few rows."""
        self.model.eval()
        found = evaluate(self.model, self.goal, self.reading, judged, budget=self.settings.token_budget, few=2)
        name = Criterion.of(self.settings.metric or "").metric
        if name not in found.metrics:
            raise InputError(f"metric is {name!r}, and evaluations have {', '.join(found.metrics)}")

    def _shards(self) -> Shards | None:
        """The model split over the processes, where that is wanted and there are several."""
        if not self.settings.shard or self.group.count == 1:
            return None
        from enfold.training.sharding import Shards  # takes half a second

        return Shards(self.model, self.group)

    def _run(
        self,
        examples: Examples,
        judged: EvaluationSet | None,
        words: UsedRows | None,
        shards: Shards | None,
        teacher: Teacher | None,
        watch: Watch,
    ) -> Run:
        goal, model, settings = self.goal, self.model, self.settings
        named = {name: each for name, each in model.named_parameters() if each.requires_grad}
        if words is not None:
            named[_WORDS] = words.weight
        if not named:
            raise InputError("nothing of the model learns: every parameter has requires_grad=False")
        execution = Execution(model, goal.fields, words, settings.precision, settings.checkpoint_activations, shards)
        outputs: Any = execution
        if settings.freeze == "encoder":
            outputs = Features(model, goal, self.reading, examples, settings.token_budget)
        rate = settings.learning_rate or usual_rate(goal, settings, self.has_adapter)
        order, seed = settings.order, settings.seed
        return Run(
            goal=goal,
            reading=self.reading,
            examples=examples,
            place=self.material.learnt.place,
            held_out=judged,
            execution=execution,
            objective=Objective(goal, outputs, settings.r_drop, teacher),
            parameters=named,
            buffers={name: each for name, each in model.named_buffers() if name in model.state_dict()},
            optimizer=make_optimizer(named.items(), settings, rate, model.arch.num_layers),
            steps=Steps(examples.lengths, settings.batch_size, order, seed, settings.epochs, settings.max_steps),
            rate=rate,
            settings=settings,
            checkpoints=None if self.folder is None else Checkpoints(self.folder / "checkpoints", settings.keep),
            watch=watch,
            processes=self.group,
            shards=shards,
            fingerprint=fingerprint_of_run(examples, settings, named),
        )

    def _begin(self, run: Run, resume: bool) -> State:
        """Where the run starts: at a checkpoint, or at the beginning."""
        if self.folder is None or run.checkpoints is None:
            return State()
        if resume:
            found = resume_run(run)
            if found is not None:
                logger.info("goes on after step %d of %d", found.step, run.steps.total)
                return found
        self.group.wait()
        if self.group.is_first:
            self.folder.mkdir(parents=True, exist_ok=True)
            run.checkpoints.clear()
            run.watch.rewind(State())
        return State()

    def _plan(self, run: Run) -> tuple[str, str]:
        """What is about to be done, in two lines."""
        held = self.material.held_out
        judged = "none to judge by" if held is None else f"{len(held)} to judge by"
        rows = f"{run.goal.name}: {counted(len(self.material.learnt), 'row')} to learn from, {judged}"
        names = ", ".join(name[:_MOST_CHARACTERS] for name in run.goal.labels[:_MOST_LABELS])
        more = len(run.goal.labels) - _MOST_LABELS
        labels = f"; labels {names}" + (f" and {more:,} more" if more > 0 else "") if names else ""
        steps = f"{counted(run.steps.total, 'step')} of up to {run.settings.batch_size} examples"
        longest = int(run.examples.ids.lengths.max())
        return rows + labels, f"{steps}, learning rate {run.rate:g}, longest text {longest} tokens"

    def _freeze(self) -> None:
        wanted = self.settings.freeze
        for name, parameter in self.model.named_parameters() if wanted else ():
            if (".embeddings." in name) if wanted == "embeddings" else (".head." not in name):
                parameter.requires_grad_(False)


def make_job(
    material: Material,
    settings: Settings,
    *,
    max_length: int | None,
    adapter: Adapter | None,
    folder: Path | None,
    group: Processes,
) -> Job:
    """Loads the model that is to learn, with the head and the adapter that it learns with.

    Args:
        material: what the run is made of.
        settings: its choices.
        max_length: tokens of a text; None: the model's limit, and no more than is usual.
        adapter: for the model, or None.
        folder: for what is kept meanwhile, or None.
        group: the processes that share the work.

    Raises:
        InputError: a model, a length or an adapter that doesn't fit.
    """
    goal = material.goal_under(settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)  # the values of what is made fresh
        model = load_base(material.base, goal, material.config)
        if adapter is not None:
            adapters.add_adapter(model, adapter)
    goal.adopt(model)
    reading = reading_of(model, material.tokenizer, goal, settings, max_length)
    if isinstance(material.base, Config) and reading.max_length < reading.tokenizer.model_max_length:
        short = copy(reading.tokenizer)  # longer texts would come to positions of which nothing was learnt
        short.model_max_length = reading.max_length
        reading = replace(reading, tokenizer=short)
    return Job(material, goal, model, reading, settings, folder, group, adapter is not None)


def check_folder(folder: Path, resume: bool) -> None:
    """That a run, or a search, may write into a folder: it goes on with what is there, or takes nobody's files.

    Raises:
        InputError: it holds a model, or a README.md that no run wrote; or it can't be written into.
    """
    if resume and Checkpoints(folder / "checkpoints", keep=1).steps():
        return
    if resume and (folder / "config.json").exists():
        raise InputError(
            f"{folder} holds a model already: name another folder, or pass resume=False (--no-resume) to write over it"
        )
    if (folder / "README.md").exists() and not (folder / "config.json").exists():
        raise InputError(
            f"{folder} has a README.md, and no model that it is the card of: a run would write its own card there. "
            "Name another folder, or move the file"
        )
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"{folder} can't be written: {there} is {'read-only' if there.is_dir() else 'a file'}")


def fingerprint_of_run(examples: Examples, settings: Settings, named: Mapping[str, torch.Tensor], *others: Any) -> str:
    """Of what a checkpoint goes with: another one means that the run can't go on as it began."""
    shapes = {name: tuple(each.shape) for name, each in named.items()}
    return fingerprint_of(examples.fingerprint(), sorted(asdict(settings).items()), sorted(shapes.items()), *others)


def fingerprint_of(*told: Any) -> str:
    """Sixteen hexadecimal digits that differ where what is told does."""
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]
