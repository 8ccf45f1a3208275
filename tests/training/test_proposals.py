"""What is tried next follows from the trials there are; what is given up, from how far others were."""

from typing import Any

import pytest

from enfold.training.proposals import importances, propose
from enfold.training.settings import Settings
from enfold.training.space import Dimension, Range, check_space
from enfold.training.trials import Trial

SPACE = check_space(
    {
        "learning_rate": Range(1e-5, 1e-3, log=True),
        "batch_size": Range(4, 32, log=True),
        "warmup": Range(0.0, 0.3, step=0.1),
        "optimizer": ["adamw", "lion"],
        "betas": [None, (0.9, 0.95)],
    },
    Settings(),
    None,
)


def asked(space: tuple[Dimension, ...], trials: list[Trial], seed: int = 0, sign: int = 1) -> Any:
    found = propose(space, trials, {"learning_rate": 2e-5, "optimizer": "sgd"}, seed=seed, sign=sign)
    assert found is not None
    return found


def searched(count: int, space: tuple[Dimension, ...] = SPACE, seed: int = 0) -> list[Trial]:
    """Trials that are the better the nearer the learning rate is to the least."""
    trials: list[Trial] = []
    for number in range(1, count + 1):
        values = asked(space, trials, seed).values
        trials.append(Trial(number, values, "complete", -values["learning_rate"], evaluations=((1.0, 0.5),)))
    return trials


def test_proposals_follow_from_seed_and_trials_alone() -> None:
    trials = searched(14)
    assert trials == searched(14)
    assert asked(SPACE, trials).values == asked(SPACE, list(trials)).values == asked(SPACE[::-1], trials).values
    assert trials != searched(14, seed=1)


def test_the_first_values_are_those_given_as_far_as_they_are_searched() -> None:
    first = searched(1)[0].values
    assert first["learning_rate"] == 2e-5 and first["optimizer"] in ("adamw", "lion")


def test_values_are_of_the_space_and_of_their_type() -> None:
    for trial in searched(12):
        assert all(dim.holds(trial.values[dim.name]) for dim in SPACE)
        assert isinstance(trial.values["batch_size"], int) and isinstance(trial.values["learning_rate"], float)
        assert trial.values["warmup"] in (0.0, 0.1, 0.2, 0.30000000000000004)


def test_what_was_learnt_shows_in_what_is_proposed() -> None:
    rates = [trial.values["learning_rate"] for trial in searched(30)]
    assert sorted(rates[20:])[5] < sorted(rates[:10])[5] / 2


def test_a_trial_is_behind_where_it_is_below_the_median_after_as_many_epochs() -> None:
    trials = [
        Trial(n, {"learning_rate": n * 1e-5}, "complete", 0.9, evaluations=((1.0, n / 10), (2.0, 0.9)))
        for n in range(1, 7)
    ]
    space = check_space({"learning_rate": Range(1e-5, 1e-3)}, Settings(), None)

    def behind(*evaluations: tuple[float, float], sign: int = 1, among: int = 6) -> bool:
        found: bool = asked(space, trials[:among], sign=sign).is_behind(evaluations)
        return found

    assert behind((1.0, 0.2)) and not behind((1.0, 0.4))
    assert not behind((1.0, 0.2), sign=-1) and behind((1.0, 0.4), sign=-1)
    assert not behind((1.5, 0.1)), "nobody was judged then"
    assert not behind((1.0, 0.2), among=4), "too few to tell"
    assert not behind((1.0, float("nan"))) and not behind()
    assert not behind((1.0, 0.95), (2.0, 0.1)), "its best counts"


def test_importance_falls_on_what_matters() -> None:
    trials = searched(30)
    found = importances(SPACE, trials, 1)
    assert set(found) == {dim.name for dim in SPACE} and max(found, key=lambda name: found[name]) == "learning_rate"
    assert sum(found.values()) == pytest.approx(1)
    assert importances(SPACE, trials[:9], 1) == {}
