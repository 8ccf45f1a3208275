"""``enfold.tune(model, data)``: trains with one set of values after another, and keeps the best."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from enfold import adapters
from enfold.checkpoint.files import read_json, write_json
from enfold.engines.torch.model import TorchModel
from enfold.errors import CorruptFileError, InputError, NumericalError
from enfold.tokenization import Tokenizer
from enfold.training.criterion import Criterion
from enfold.training.data.files import Columns
from enfold.training.data.problems import counted
from enfold.training.goals import Goal
from enfold.training.job import Adapter, check_adapter, check_folder, fingerprint_of, usual_rate
from enfold.training.material import Material, gather
from enfold.training.objective import Teacher
from enfold.training.processes import Processes, processes
from enfold.training.proposals import check_optuna
from enfold.training.results import digest
from enfold.training.search import Search
from enfold.training.settings import Settings
from enfold.training.space import Dimension, Space, apart, check_space, default_space, plain
from enfold.training.start import Base, Source, config_of, load_base
from enfold.training.trials import Trial, best_of, read_trials

__all__ = ["Tuned", "tune"]


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        best: the best trial.
        settings: that it was trained with.
        adapter: likewise, or None.
        metric: by which trials were compared; after ``-`` less is better.
        metrics: of the held-out rows, by the best trial's model.
        trials: all of them, in their order.
        model: the best trial's, on the PyTorch engine.
        tokenizer: its tokenizer.
        task: what it was trained for.
        folder: where everything is, or None.
    """

    best: Trial
    settings: Settings
    adapter: Adapter | None
    metric: str
    metrics: Mapping[str, float]
    trials: tuple[Trial, ...] = field(repr=False)
    model: TorchModel = field(repr=False)
    tokenizer: Tokenizer = field(repr=False)
    task: str
    folder: Path | None


def tune(
    model: Base,
    data: Any,
    *,
    task: str | Goal | None = None,
    out: Source | None = None,
    trials: int = 20,
    space: Space | None = None,
    evaluation: Any = 0.1,
    columns: Columns | None = None,
    tokenizer: Source | Tokenizer | None = None,
    epochs: float | None = None,
    max_length: int | None = None,
    adapter: adapters.LoRA | adapters.IA3 | None = None,
    teacher: Teacher | None = None,
    settings: Settings | None = None,
    prune: bool = True,
    resume: bool = True,
    progress: bool | Literal["auto"] = "auto",
    language: Literal["en", "zh"] = "en",
    command: str | None = None,
) -> Tuned:
    """Searches the settings that a model learns data best with.

    The first trial has the settings as they are, those after it what optuna's TPE sampler proposes. All trials learn
    from the same rows, and are judged by the same others.

    Args:
        model: as :func:`enfold.fit` takes it; each trial begins with it anew.
        data: likewise.
        task: likewise.
        out: a folder for the best trial's model, its card and report, all trials (``trials.jsonl``, ``search.html``),
            and what is needed to go on; None keeps nothing.
        trials: how many there are to be, with those that ``out`` has.
        space: what is searched: settings by name, each with a :class:`enfold.Range` or a list of values, and with an
            adapter ``adapter.rank`` and its like. None: learning rate, batch size, weight decay, warm-up and dropout,
            as far as ``settings`` leave them at their defaults.
        evaluation: rows to judge by, as :func:`enfold.fit` takes them.
        columns: likewise.
        tokenizer: likewise.
        epochs: before that of ``settings``.
        max_length: as :func:`enfold.fit` takes it.
        adapter: likewise.
        teacher: likewise.
        settings: everything that isn't searched, and the seed of what is proposed.
        prune: gives up trials that are behind the median of the others.
        resume: goes on where a search in ``out`` was stopped; False starts anew.
        progress: lines and a bar on the terminal; ``"auto"`` where there is one.
        language: of card and reports.
        command: the command line that they give for repeating it.

    Returns:
        The best trial, its model, and all trials.

    Raises:
        InputError: data, settings or a space that can't be used; a folder with another search.
        TaskError: an unknown task, or one that the model's family has no head for.
        NumericalError: no trial came to a metric that is a number.
        MissingDependencyError: optuna is not installed.
    """
    check_optuna()
    check_adapter(model, adapter)
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise InputError(f"trials is {trials!r}, expected a whole number of 1 or more")
    settings = settings or Settings()
    settings = settings if epochs is None else replace(settings, epochs=epochs)
    searched = None if space is None else check_space(space, settings, adapter)
    group = processes()
    with _home(out, group) as folder:
        material = gather(model, data, settings, task=task, evaluation=evaluation, columns=columns, tokenizer=tokenizer)
        if searched is None:
            few = adapter is not None or settings.freeze is not None
            searched = default_space(settings, usual_rate(material.goal, settings, adapter is not None), not few)
        shows = progress is True or (progress == "auto" and sys.stderr.isatty())
        metric = _metric(material, settings, searched)
        search = Search(
            material=material,
            space=searched,
            settings=settings,
            adapter=adapter,
            teacher=teacher,
            max_length=max_length,
            metric=metric,
            prunes=prune,
            folder=folder,
            stays=out is not None,
            group=group,
            shows=shows,
            language=language,
            command=command,
        )
        before = _opened(search, resume)
        search.tell("searches " + "; ".join(f"{dim.name}: {dim}" for dim in searched))
        return _found(search, search.run(before, trials), None if out is None else folder)


@contextmanager
def _home(out: Source | None, group: Processes) -> Iterator[Path]:
    """The folder of a search; one that goes with it where none is named."""
    if out is not None:
        yield Path(out)
        return
    if group.count > 1:
        raise InputError("several processes share the folder of a search, and there is none: pass out=")
    with tempfile.TemporaryDirectory(prefix="enfold-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _metric(material: Material, settings: Settings, space: tuple[Dimension, ...]) -> str:
    """What trials are compared by.

    Raises:
        InputError: there are no rows to judge by, or what is searched changes the metric itself.
    """
    if material.held_out is None:
        raise InputError("a search compares trials by rows that they did not learn from: pass evaluation=FILE, or 0.1")
    metric = settings.metric or material.goal.metric
    changing = [dim.name for dim in space if dim.name in ("label_smoothing", "class_weights")]
    if Criterion.of(metric).metric == "loss" and changing:
        raise InputError(
            f"{' and '.join(changing)} changes the loss itself, by which trials would be compared: "
            "leave it out of the space, or name another metric"
        )
    return metric


def _opened(search: Search, resume: bool) -> list[Trial]:
    """The trials that a folder has of this search; the folder is ready for more.

    Raises:
        InputError: it holds another search, or a model.
        CorruptFileError: what it holds can't be read.
    """
    folder, group, now = search.folder, search.group, _fingerprints(search)
    path, found = folder / "search.json", []
    goes_on = resume and path.is_file()
    if goes_on:
        kept = read_json(path, "what a search goes with", CorruptFileError).get("fingerprints", {})
        other = [name for name, value in now.items() if kept.get(name) != value]
        if other:
            raise InputError(
                f"{folder} holds a search with other {', '.join(other)}; a search goes on with what it began with. "
                "Call with the same, or start anew: resume=False (--no-resume), or another folder"
            )
        found = read_trials(folder / "trials.jsonl", search.space)
    else:
        check_folder(folder, resume)
    group.wait()  # all have read
    if group.is_first:
        folder.mkdir(parents=True, exist_ok=True)
        if not goes_on:
            shutil.rmtree(folder / "trials", ignore_errors=True)
            (folder / "trials.jsonl").unlink(missing_ok=True)
        searched = {dim.name: str(dim) for dim in search.space}
        told = {"task": search.material.goal.name, "metric": search.metric, "space": searched, "fingerprints": now}
        write_json(path, told)
    group.wait()
    return found


def _fingerprints(search: Search) -> dict[str, str]:
    """Of what the trials of a search have in common: with another one they couldn't be compared."""
    material, rows = search.material, (search.material.learnt, search.material.held_out)
    base, teacher = material.base, search.teacher
    name = str(base) if isinstance(base, str | os.PathLike) else type(base).__name__
    model = (name, material.config.to_dict(), search.adapter, teacher and (teacher.share, teacher.temperature))
    words = sorted(material.tokenizer.get_vocab().items())
    return {
        "data": fingerprint_of([digest(table) for table in rows if table is not None], search.max_length, words),
        "space": fingerprint_of(sorted((dim.name, repr(dim)) for dim in search.space)),
        "settings": fingerprint_of(sorted(plain(search.settings).items()), search.metric, search.prunes),
        "model": fingerprint_of(model),
    }


def _found(search: Search, trials: list[Trial], folder: Path | None) -> Tuned:
    """The best of the trials, with its model.

    Raises:
        NumericalError: all of them failed.
    """
    best = best_of(trials, search.criterion.sign)
    if best is None:
        raise NumericalError(
            f"none of {counted(len(trials), 'trial')} came to a metric; the last one said: {trials[-1].error}. "
            "Search lower learning rates, or look at the data"
        )
    own, of_adapter = apart(best.values)
    settings, adapter = replace(search.settings, **own), search.adapter
    goal = search.material.goal_under(settings)
    model = load_base(search.folder, goal, config_of(search.folder))
    model.eval()
    return Tuned(
        best,
        settings,
        None if adapter is None else replace(adapter, **of_adapter),
        search.metric,
        best.metrics,
        tuple(trials),
        model,
        Tokenizer.from_pretrained(search.folder),
        goal.name,
        folder,
    )
