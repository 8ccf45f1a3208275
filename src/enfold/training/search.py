"""A search: trial after trial of one loop over the same rows, each of them remembered.

::

    OUT/
        search.json             what is searched, and what it goes with
        trials.jsonl            the trials so far
        trials/0003/            curves of a trial, and its checkpoints while it runs
        model, card, report     of the best trial so far
        search.html             all trials

What a trial has to leave is written before its line in trials.jsonl. So a process that is killed does at most its last
trial again, from that trial's checkpoint.
"""

from __future__ import annotations

import copy
import logging
import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from enfold.checkpoint.files import atomic_write
from enfold.errors import NumericalError
from enfold.model import PreTrainedModel
from enfold.training.criterion import Criterion
from enfold.training.data.problems import counted
from enfold.training.job import Adapter, make_job, usual_rate
from enfold.training.material import Material
from enfold.training.objective import Teacher
from enfold.training.processes import Processes
from enfold.training.proposals import Proposal, importances, propose
from enfold.training.results import Results, environment, write_results
from enfold.training.search_report import SearchSummary, write_search_report
from enfold.training.settings import Settings
from enfold.training.space import Dimension, apart
from enfold.training.trials import Trial, best_of, said, write_trials
from enfold.training.watch import Watch

if TYPE_CHECKING:
    from enfold.training.evaluation import Evaluation
    from enfold.training.loop import Run, State

__all__ = ["Search", "TrialWatch"]

logger = logging.getLogger("enfold")


class TrialWatch(Watch):
    """A trial's watch: it ends the run where the trial is behind others.

    Args:
        file: metrics.jsonl, or None.
        show: a bar on the terminal.
        title: what stands before it.
        metric: by which trials are compared.
        proposal: tells whether the trial is behind; None: nothing is pruned.
        group: the processes that share the work, which have to agree.
    """

    def __init__(
        self, file: Path | None, show: bool, title: str, metric: str, proposal: Proposal | None, group: Processes
    ) -> None:
        super().__init__(file, show, title=title)
        self.metric, self.proposal, self.group = metric, proposal, group

    @property
    def evaluations(self) -> tuple[tuple[float, float], ...]:
        """Pairs of epochs done and the metric, where that was a number."""
        found = [(line["epoch"], line["evaluation"][self.metric]) for line in self.history if "evaluation" in line]
        return tuple((float(epoch), float(value)) for epoch, value in found if _is_finite(value))

    def evaluation(self, state: State, found: Evaluation, first: str, epoch: float) -> None:
        """An evaluation; but for the last, it may be the trial's end."""
        super().evaluation(state, found, first, epoch)
        if self.proposal is None or state.step == self._total:
            return
        if self.group.gathered(self.proposal.is_behind(self.evaluations))[0]:
            state.stopped = "pruned"

    def _say(self, line: str) -> None:
        """A trial is one line, when it is over."""


class _Once(logging.Filter):
    """Lets each line of the log through once: what is so for one trial is so for all."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is new."""
        line = record.getMessage()
        is_new = line not in self._seen
        self._seen.add(line)
        return is_new


def _is_finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)


@dataclass(frozen=True)
class Search:
    """What all trials of a search have in common.

    Attributes:
        material: what their runs are made of.
        space: what is searched.
        settings: all that isn't.
        adapter: for the model, or None.
        teacher: to agree with, or None.
        max_length: tokens of a text, or None.
        metric: by which trials are compared; a leading ``-`` says that less is better.
        prunes: trials that are behind end early.
        folder: where everything goes.
        stays: the folder is there when the search is over.
        group: the processes that share the work.
        shows: lines and bars on the terminal.
        language: of card and report.
        command: the command line, or None.
    """

    material: Material
    space: Sequence[Dimension]
    settings: Settings
    adapter: Adapter | None
    teacher: Teacher | None
    max_length: int | None
    metric: str
    prunes: bool
    folder: Path
    stays: bool
    group: Processes
    shows: bool
    language: Literal["en", "zh"]
    command: str | None

    @property
    def criterion(self) -> Criterion:
        """What tells the best trial."""
        return Criterion.of(self.metric)

    def run(self, trials: Sequence[Trial], count: int) -> list[Trial]:
        """Goes on from some trials to so many, or until everything has been tried.

        Raises:
            KeyboardInterrupt: as it came; how to go on is said before.
            InputError: values that can't be tried together, by a goal or model that has no such thing.
        """
        trials = list(trials)
        for trial in trials:
            self._tidy(trial.number)
        once = _Once()
        logger.addFilter(once)
        try:
            while len(trials) < count:
                proposal = propose(self.space, trials, self._usual(), seed=self.settings.seed, sign=self.criterion.sign)
                if proposal is None:
                    self.tell(f"all combinations have been tried: {len(trials)}")
                    break
                with self._interruptible(len(trials), count):
                    self._try(trials, proposal, count)
        finally:
            logger.removeFilter(once)
            if trials and self.group.is_first:
                self._write_page(trials)
        self.group.wait()
        return trials

    def tell(self, line: str) -> None:
        """Says something on the terminal: to the log, or beside it where nobody reads that."""
        if not self.group.is_first:
            return
        logger.info("%s", line)
        if self.shows and not logger.isEnabledFor(logging.INFO):
            print(line, file=sys.stderr)

    def _usual(self) -> dict[str, Any]:
        """The values of a run without a search: with them it begins, so that none can be worse."""
        settings, adapter = self.settings, self.adapter
        rate = settings.learning_rate or usual_rate(self.material.goal, settings, adapter is not None)
        of_adapter = {} if adapter is None else {f"adapter.{name}": value for name, value in vars(adapter).items()}
        return {**vars(settings), "learning_rate": rate, **of_adapter}

    @contextmanager
    def _interruptible(self, done: int, count: int) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            if self.stays and self.group.is_first:
                logger.warning(
                    "stopped in trial %d of %d: %s in %s, and the same call goes on from there",
                    *(done + 1, count, counted(done, "trial is", "trials are"), self.folder),
                )
            raise

    def _try(self, trials: list[Trial], proposal: Proposal, count: int) -> None:
        """One more trial; the best so far is in the folder before it counts."""
        number, before = len(trials) + 1, best_of(trials, self.criterion.sign)
        place = self._place(number)
        watch = TrialWatch(
            place / "metrics.jsonl" if self.group.is_first else None,
            self.shows and self.group.is_first,
            f"trial {number} of {count}",
            self.criterion.metric,
            proposal if self.prunes else None,
            self.group,
        )
        try:
            run, state, found = self._trained(proposal, place, watch)
        except NumericalError as error:
            trial = Trial(number, proposal.values, "failed", evaluations=watch.evaluations, error=str(error))
        else:
            trial = self._ended(number, proposal, watch, state, found)
            if best_of([*trials, trial], self.criterion.sign) is trial and self.group.is_first:
                self._keep(run, state, found, watch)
        trials.append(trial)
        if self.group.is_first:
            write_trials(self.folder / "trials.jsonl", trials)
            self._tidy(number)
        self.group.wait()
        self.tell(self._line(trial, before, count))

    def _trained(self, proposal: Proposal, place: Path, watch: Watch) -> tuple[Run, State, Evaluation | None]:
        own, of_adapter = apart(proposal.values)
        base = self.material.base
        fresh = copy.deepcopy(base) if isinstance(base, PreTrainedModel) else base
        job = make_job(
            replace(self.material, base=fresh),
            replace(self.settings, **own),
            max_length=self.max_length,
            adapter=replace(self.adapter, **of_adapter) if self.adapter is not None else None,
            folder=place,
            group=self.group,
        )
        return job.trained(self.teacher, True, watch)

    def _ended(
        self, number: int, proposal: Proposal, watch: TrialWatch, state: State, found: Evaluation | None
    ) -> Trial:
        """What came of a run that came to its end, or to the end that was made."""
        assert found is not None
        metric = found.metrics[watch.metric]
        whole = Trial(
            number,
            proposal.values,
            "pruned" if state.stopped == "pruned" else "complete",
            metric,
            dict(found.metrics),
            watch.evaluations,
            state.step,
            state.seconds,
        )
        if math.isfinite(metric):
            return whole
        return replace(whole, state="failed", metric=None, metrics={}, error=f"{watch.metric} is {metric}")

    def _keep(self, run: Run, state: State, found: Evaluation | None, watch: Watch) -> None:
        """Writes the best trial's model, card, report and curves."""
        has_adapter = self.adapter is not None
        write_results(Results(run, state, found, self.material, self.command, self.language, has_adapter), self.folder)
        assert watch.file is not None
        with atomic_write(self.folder / "metrics.jsonl") as file:
            file.write(watch.file.read_bytes())

    def _line(self, trial: Trial, before: Trial | None, count: int) -> str:
        """A trial in one line."""
        values = "  ".join(f"{name} {said(value)}" for name, value in trial.values.items())
        name = self.criterion.metric
        if trial.state == "failed":
            outcome = f"failed: {trial.error}"
        elif trial.state == "pruned":
            outcome = f"pruned after {trial.evaluations[-1][0]:.3g} epochs at {name} {trial.evaluations[-1][1]:.4f}"
        else:
            outcome = f"{name} {trial.metric:.4f}"
            if best_of([trial] if before is None else [before, trial], self.criterion.sign) is trial:
                outcome += ", the best so far"
        return f"trial {trial.number} of {count}: {values}: {outcome}"

    def _place(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04d}"

    def _write_page(self, trials: Sequence[Trial]) -> None:
        """Writes search.html."""
        material, metric = self.material, self.metric
        summary = SearchSummary(
            task=material.goal.name,
            base=material.base_name,
            metric=metric,
            space=tuple(self.space),
            trials=tuple(trials),
            importances=importances(self.space, trials, self.criterion.sign),
            command=self.command,
            environment=environment(),
        )
        write_search_report(summary, self.folder / "search.html", language=self.language)

    def _tidy(self, number: int) -> None:
        """Removes the checkpoints of a trial that is over."""
        if self.group.is_first:
            shutil.rmtree(self._place(number) / "checkpoints", ignore_errors=True)
