"""What to try next and what to give up, by optuna, from the trials there are and nothing else.

::

    trials so far + seed + number of the next ──▶ a study in memory ──TPE──▶ values
                                                         └── medians ──▶ is this trial behind?

A study is made anew for each trial. So there is nothing to keep beside the trials themselves, and a search that was
stopped goes on as it would have gone.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from enfold.errors import MissingDependencyError
from enfold.training.space import Dimension, Range, plain
from enfold.training.trials import Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = ["Proposal", "check_optuna", "importances", "propose"]

_BEFORE_PRUNING = 5
"""Complete trials before one is given up: a median of fewer says little."""
_ENOUGH_TO_WEIGH = 10
"""Complete trials before it is said which settings matter."""
_MOST_COMBINATIONS = 10_000
_EPOCH = 1000
"""optuna counts in whole numbers; evaluations are compared by thousandths of an epoch."""


def check_optuna() -> None:
    """Looks whether optuna is there.

    Raises:
        MissingDependencyError: it isn't.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("a search needs the package optuna: pip install 'enfold[tune]'") from error


class Proposal:
    """Values that are to be tried, and what tells whether to go on with them.

    Args:
        values: by the names of settings.
        trial: optuna's own, among the trials before.
        sign: 1 where more is better, -1 where less is.
    """

    def __init__(self, values: dict[str, Any], trial: Any, sign: int) -> None:
        self.values = values
        self._trial, self._sign = trial, sign

    def is_behind(self, evaluations: Iterable[tuple[float, float]]) -> bool:
        """Whether the best evaluation is worse than half of the complete trials were after as many epochs.

        The median rule (https://research.google/pubs/pub46180) supposes nothing of how long trials are, and judges
        from the first evaluation on; successive halving wants budgets that are multiples of each other, more of them
        than the few epochs of a fine-tuning run.

        Args:
            evaluations: pairs of epochs done and the metric, all of the trial's up to now.
        """
        seen: dict[int, float] = {}
        for epoch, value in evaluations:
            if math.isfinite(value):
                seen.setdefault(round(epoch * _EPOCH), value)
        with _quiet():
            for step, value in seen.items():
                self._trial.report(self._sign * value, step)
            return bool(seen) and bool(self._trial.should_prune())


def propose(
    space: Sequence[Dimension], trials: Sequence[Trial], first: Mapping[str, Any], *, seed: int, sign: int
) -> Proposal | None:
    """What to try after some trials; None where everything has been tried.

    Args:
        space: what is searched.
        trials: that there are, in their order.
        first: what the first trial tries, as far as it is within the space; the rest is drawn.
        seed: of what is drawn, together with the number of trials.
        sign: 1 where more is better, -1 where less is.
    """
    number = len(trials)
    fixed = {dim.name: first[dim.name] for dim in space if dim.name in first and dim.holds(first[dim.name])}
    proposal = _asked(space, trials, {} if number else fixed, seed, sign)
    seen = {_key(trial.values) for trial in trials}
    if _key(proposal.values) not in seen:
        return proposal
    combinations = _combinations(space)
    left = [values for values in combinations or () if _key(values) not in seen]
    if combinations is None:  # too many to be counted: to meet one twice is chance
        return proposal
    if not left:
        return None
    drawn = left[int(np.random.default_rng((seed, number)).integers(len(left)))]
    return _asked(space, trials, drawn, seed, sign)


def _asked(
    space: Sequence[Dimension], trials: Sequence[Trial], fixed: Mapping[str, Any], seed: int, sign: int
) -> Proposal:
    from optuna.samplers import TPESampler

    drawn = int(np.random.SeedSequence((seed, len(trials))).generate_state(1)[0])
    with _quiet():
        study = _study(space, trials, sign, TPESampler(seed=drawn))
        if fixed:
            study.enqueue_trial({dim.name: _inner(dim, fixed[dim.name]) for dim in space if dim.name in fixed})
        trial = study.ask(_distributions(space))
    return Proposal({dim.name: _outer(dim, trial.params[dim.name]) for dim in space}, trial, sign)


def _study(space: Sequence[Dimension], trials: Sequence[Trial], sign: int, sampler: Any = None) -> Study:
    """The trials as optuna has them; more is always better there."""
    import optuna

    pruner = optuna.pruners.MedianPruner(n_startup_trials=_BEFORE_PRUNING)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    study.add_trials([_frozen(space, trial, sign) for trial in trials])
    return study


def _frozen(space: Sequence[Dimension], trial: Trial, sign: int) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    reported = {round(epoch * _EPOCH): sign * value for epoch, value in trial.evaluations if math.isfinite(value)}
    return create_trial(
        state=states[trial.state],
        value=None if trial.metric is None or trial.state != "complete" else sign * trial.metric,
        params={dim.name: _inner(dim, trial.values[dim.name]) for dim in space},
        distributions=_distributions(space),
        intermediate_values=reported,
    )


def _distributions(space: Iterable[Dimension]) -> dict[str, BaseDistribution]:
    """What optuna draws from, in an order that doesn't depend on the caller's."""
    return {dim.name: _distribution(dim) for dim in sorted(space, key=lambda dim: dim.name)}


def _distribution(dim: Dimension) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    values = dim.values
    if not isinstance(values, Range):
        return CategoricalDistribution(tuple(range(len(values))))
    if values.step is not None:
        return IntDistribution(0, len(dim.choices or ()) - 1)
    if dim.whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(float(values.low), float(values.high), log=values.log)


def _inner(dim: Dimension, value: Any) -> Any:
    """A value as optuna's distribution has it: of choices and steps which one it is."""
    if isinstance(dim.values, Range) and dim.values.step is None:
        return value if dim.whole else float(value)
    return list(map(plain, dim.choices or ())).index(plain(value))


def _outer(dim: Dimension, value: Any) -> Any:
    if isinstance(dim.values, Range) and dim.values.step is None:
        return value
    return (dim.choices or ())[value]


def _combinations(space: Sequence[Dimension]) -> list[dict[str, Any]] | None:
    """All that can be tried, where that can be counted."""
    choices = [dim.choices for dim in space]
    known = [each for each in choices if each is not None]
    if len(known) < len(choices) or math.prod(map(len, known)) > _MOST_COMBINATIONS:
        return None
    names = [dim.name for dim in space]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*known)]


def _key(values: Mapping[str, Any]) -> str:
    return repr(sorted(plain(values).items()))


def importances(space: Sequence[Dimension], trials: Sequence[Trial], sign: int) -> dict[str, float]:
    """How much each setting has to do with being among the best, as shares of 1; empty where trials are too few.

    By PED-ANOVA (https://arxiv.org/abs/2304.10255).
    """
    complete = [trial for trial in trials if trial.state == "complete"]
    if len(complete) < _ENOUGH_TO_WEIGH or len({trial.metric for trial in complete}) < 2:
        return {}
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    with _quiet():
        found = get_param_importances(_study(space, complete, sign), evaluator=PedAnovaImportanceEvaluator())
    return {name: float(share) for name, share in found.items() if math.isfinite(share)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without optuna's own lines and warnings, which are of studies that nobody sees."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)
