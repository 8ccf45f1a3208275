"""Changes of parts and of the fused matrix that checkpoints keep them in are the same, to and fro."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enfold.adapters.changes import Change, LowRank, Rescaled, joined, part_of
from enfold.adapters.rounding import restored, rounded
from enfold.adapters.sample import sample_differs
from enfold.checkpoint.arrange import assemble_stored, take
from enfold.checkpoint.tensors import TensorView
from enfold.families.base import Stored

HEADS, SIZE, INPUTS = 3, 4, 5


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def low_rank(seed: int, outputs: int, rank: int, dora: bool) -> LowRank:
    magnitude = np.abs(normal(seed + 2, outputs)) if dora else None
    return LowRank(normal(seed, rank, INPUTS), normal(seed + 1, outputs, rank), 0.5 + seed, magnitude)


@given(
    chosen=st.sets(st.integers(0, 2), min_size=1),
    ranks=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    by_head=st.booleans(),
    transposed=st.booleans(),
    kind=st.sampled_from(["lora", "dora", "outputs"]),
)
@settings(max_examples=60, deadline=None)
def test_parts_make_the_whole(chosen: set[int], ranks: list[int], by_head: bool, transposed: bool, kind: str) -> None:
    places = [Stored("x", part=part, parts=3, by_head=by_head, transposed=transposed) for part in range(3)]
    outputs = HEADS * SIZE
    weights = {part: normal(10 * part, outputs, INPUTS) for part in range(3)}
    changes: dict[int, Change] = {
        part: Rescaled(normal(part, outputs), "outputs")
        if kind == "outputs"
        else low_rank(part, outputs, ranks[part], kind == "dora")
        for part in chosen
    }
    whole = joined(changes, weights, places[0], HEADS)
    if isinstance(whole, LowRank):
        assert whole.rank == sum(ranks[part] for part in chosen)
    plain = Stored("x", parts=3, by_head=by_head)
    changed = whole.weight(assemble_stored(weights, plain, HEADS))
    biases = {part: normal(part + 50, outputs) for part in range(3)}
    shifted = whole.bias(assemble_stored(biases, plain, HEADS))
    for part, place in enumerate(places):
        change, back = changes.get(part), part_of(whole, place, HEADS)
        weight, bias = weights[part], biases[part]
        expected = weight if change is None else change.weight(weight)
        row = Stored("x", part=part, parts=3, by_head=by_head)
        np.testing.assert_allclose(take(changed, row, HEADS), expected, atol=1e-5)
        np.testing.assert_allclose(take(shifted, row, HEADS), bias if change is None else change.bias(bias), atol=1e-6)
        np.testing.assert_allclose(weight if back is None else back.weight(weight), expected, atol=1e-5)
        if kind == "lora":
            assert (back is None) == (change is None)
            if isinstance(back, LowRank):
                assert back.rank == ranks[part], "a part needs no rank of the others"


def test_a_row_of_zeros_stays_one() -> None:
    change = LowRank(np.zeros((1, 2), np.float32), np.zeros((2, 1), np.float32), 1.0, np.array([0, 2], np.float32))
    weight = np.array([[0, 0], [3, 4]], np.float32)
    np.testing.assert_allclose(change.weight(weight), [[0, 0], [1.2, 1.6]])


@given(seed=st.integers(0, 99), rows=st.integers(1, 6), columns=st.integers(0, 7))
def test_bytes_with_scales_come_back_nearly(seed: int, rows: int, columns: int) -> None:
    matrix, vector = normal(seed, rows, columns), normal(seed, 3)
    matrix[0] = 0
    stored = dict(rounded({"m": matrix, "v": vector}))
    assert stored["m.int8"].dtype == np.int8
    views = {
        name: TensorView(name, array.dtype.name, array.shape, array)  # type: ignore[arg-type]
        for name, array in stored.items()
    }
    problems: list[str] = []
    back = restored(views, problems)
    assert not problems and back.keys() == {"m", "v"}
    limit = np.abs(matrix).max(axis=1, initial=0, keepdims=True) / 254 + 1e-6
    assert (np.abs(back["m"].numpy() - matrix) <= limit).all()
    np.testing.assert_array_equal(back["v"].numpy(), vector)


@pytest.mark.parametrize(("noise", "differs"), [(0.0, False), (0.1, False), (1.5, True)])
def test_a_sample_tells_other_numbers_from_rounded_ones(noise: float, differs: bool) -> None:
    weight = normal(1, 40, 30)
    places = np.unique(np.linspace(0, weight.size - 1, 64).astype(int))
    sample = weight.reshape(-1)[places].astype(np.float64)
    assert sample_differs(sample, weight + noise * normal(2, 40, 30)) == differs
    assert sample_differs(sample[:-1], weight)
