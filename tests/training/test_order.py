"""Each example comes once an epoch, in an order that a seed repeats from any step on; buckets waste little and mix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enfold.training.order import Steps
from enfold.training.settings import Order

ORDERS: list[Order] = ["bucketed", "random", "sequential"]


def steps(count: int, size: int, order: Order = "bucketed", seed: int = 0, epochs: float = 2.0) -> Steps:
    lengths = np.random.default_rng(seed).integers(1, 100, count)
    return Steps(lengths, size, order, seed, epochs)


@given(st.integers(1, 700), st.integers(1, 40), st.sampled_from(ORDERS), st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_every_example_comes_once_an_epoch(count: int, size: int, order: Order, seed: int) -> None:
    run = steps(count, size, order, seed)
    found = list(run())
    assert len(found) == run.total == 2 * run.per_epoch
    for epoch in (found[: run.per_epoch], found[run.per_epoch :]):
        assert sorted(np.concatenate(epoch).tolist()) == list(range(count))
        assert sorted(map(len, epoch))[1:] == [size] * (len(epoch) - 1)


@given(st.integers(1, 300), st.integers(1, 20), st.sampled_from(ORDERS), st.data())
@settings(max_examples=60, deadline=None)
def test_a_run_goes_on_from_any_step(count: int, size: int, order: Order, data: st.DataObject) -> None:
    whole = [chosen.tolist() for chosen in steps(count, size, order)()]
    start = data.draw(st.integers(0, len(whole)))
    assert [chosen.tolist() for chosen in steps(count, size, order)(start)] == whole[start:]


@pytest.mark.parametrize("order", ["bucketed", "random"])
def test_seeds_and_epochs_have_orders_of_their_own(order: Order) -> None:
    one, other = (np.concatenate(list(steps(200, 8, order, seed)())) for seed in (0, 1))
    assert (one != other).any() and (one[:200] != one[200:]).any()


def waste(run: Steps) -> float:
    """The share of padding, if batches were padded."""
    batches = [run.lengths[chosen] for chosen in run()]
    return 1 - sum(batch.sum() for batch in batches) / sum(batch.max() * len(batch) for batch in batches)


def test_buckets_waste_little_and_still_mix() -> None:
    bucketed, mixed = steps(8000, 16), steps(8000, 16, "random")
    assert waste(mixed) > 0.4 and waste(bucketed) < 0.05
    first, second = ([set(chosen.tolist()) for chosen in epoch] for epoch in np.array_split(list(bucketed()), 2))
    shared = [max(len(one & other) for other in second) for one in first[:100]]
    assert np.mean(shared) < 4, "neighbours of one epoch are not those of the next"
    means = np.array([bucketed.lengths[chosen].mean() for chosen in bucketed()])
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.1, "short ones don't come first"


@given(st.lists(st.integers(1, 90), min_size=1, max_size=40), st.integers(1, 200))
@settings(max_examples=100, deadline=None)
def test_parts_have_every_example_once_within_the_budget(lengths: list[int], budget: int) -> None:
    run = Steps(np.array(lengths), len(lengths), "sequential", 0, 1.0)
    parts = run.parts(np.arange(len(lengths)), budget)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(lengths)))
    assert all(len(part) == 1 or run.lengths[part].sum() <= budget for part in parts)


@pytest.mark.parametrize(
    ("epochs", "max_steps", "total"), [(1.6, None, 8), (0.01, None, 1), (3.0, 7, 7), (2, None, 10)]
)
def test_a_part_of_an_epoch_is_allowed(epochs: float, max_steps: int | None, total: int) -> None:
    assert Steps(np.ones(20, np.int64), 4, "random", 0, epochs, max_steps).total == total
