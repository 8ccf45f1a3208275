"""The trials of a search, and the file that it goes on from: one line of JSON for each, whole or absent."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from enfold.checkpoint.atomic import atomic_write
from enfold.errors import CorruptFileError
from enfold.training.space import Dimension, plain

__all__ = ["Trial", "best_of", "read_trials", "said", "write_trials"]

Ended = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """One run of a search, and what came of it.

    Attributes:
        number: counted from 1.
        values: what was tried, by the names of settings.
        state: ``"complete"``; ``"pruned"``, where it was given up as others were ahead; ``"failed"``, where its loss
            or metric was no number.
        metric: by which trials are compared, of the best evaluation; None where it failed.
        metrics: all of that evaluation; empty where it failed.
        evaluations: pairs of epochs done and the metric.
        steps: of the optimizer.
        seconds: that training took.
        error: why it failed, or empty.
    """

    number: int
    values: Mapping[str, Any]
    state: Ended
    metric: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    evaluations: Sequence[tuple[float, float]] = ()
    steps: int = 0
    seconds: float = 0.0
    error: str = ""


def best_of(trials: Iterable[Trial], sign: int) -> Trial | None:
    """The best of the complete trials, of equal ones the first; None where none is complete.

    Args:
        trials: of a search.
        sign: 1 where more is better, -1 where less is.
    """
    complete = [trial for trial in trials if trial.state == "complete" and trial.metric is not None]
    return max(complete, key=lambda trial: sign * (trial.metric or 0.0), default=None)


def said(value: Any) -> str:
    """A value that was tried, in short.

    >>> said(0.00012345), said(16), said(None), said("adamw")
    ('0.0001234', '16', 'None', 'adamw')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(plain(value))


def write_trials(path: Path, trials: Iterable[Trial]) -> None:
    """Writes all trials anew: who kills the process finds the file as it was before, or as it is now."""
    with atomic_write(path) as file:
        for trial in trials:
            file.write((json.dumps(_finite(plain(asdict(trial))), ensure_ascii=False) + "\n").encode("utf-8"))


def _finite(value: Any) -> Any:
    """Numbers that JSON has; others as null."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_trials(path: Path, space: Iterable[Dimension]) -> list[Trial]:
    """The trials of a file; none where there is no file.

    Raises:
        CorruptFileError: a line that :func:`write_trials` didn't write.
    """
    if not path.is_file():
        return []
    dimensions = {dimension.name: dimension for dimension in space}
    trials: list[Trial] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            trial = Trial(**json.loads(line))
            values = {name: dimensions[name].restored(value) for name, value in trial.values.items()}
            metrics = {name: math.nan if value is None else value for name, value in trial.metrics.items()}
            pairs = tuple((float(epoch), float(value)) for epoch, value in trial.evaluations)
            complete = trial.number == number and values.keys() == dimensions.keys()
        except (ValueError, TypeError, KeyError, AttributeError):
            complete = False
        if not complete:
            raise CorruptFileError(
                f"{path}, line {number}, is no trial of this search: take that line and those below it away, "
                "and they are run again"
            )
        trials.append(replace(trial, values=values, metrics=metrics, evaluations=pairs))
    return trials
