"""Splitting: shares, groups, and the same rows for the same seed."""

from collections import Counter, defaultdict
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from enfold.errors import InputError
from enfold.training.data import Table, read_table, split
from tests.support import shared

FRACTIONS = st.floats(0.01, 0.99)


def table(labels: list[Any], texts: list[Any] | None = None) -> Table:
    return read_table({"label": labels, "text": texts or [f"text {index}" for index in range(len(labels))]})


def rows(part: Table) -> list[int]:
    return [int(part.place(index).split()[1]) - 1 for index in range(len(part))]


@settings(max_examples=100, deadline=None)
@given(count=st.integers(2, 60), fraction=FRACTIONS, seed=st.integers(0, 2**40))
def test_every_row_is_on_one_side_in_order(count: int, fraction: float, seed: int) -> None:
    expected = int(Fraction(str(fraction)) * count + Fraction(1, 2))
    assume(0 < expected < count)
    train, held_out = split(table(["x"] * count), fraction, seed=seed)
    assert len(held_out) == expected
    assert sorted(rows(train) + rows(held_out)) == list(range(count))
    assert rows(train) == sorted(rows(train)) and rows(held_out) == sorted(rows(held_out))


@settings(max_examples=100, deadline=None)
@given(labels=st.lists(st.sampled_from("aaaabbc"), min_size=2, max_size=60), fraction=FRACTIONS)
def test_each_label_keeps_its_share(labels: list[str], fraction: float) -> None:
    counts = Counter(labels)
    share = Fraction(str(fraction))
    total = int(share * len(labels) + Fraction(1, 2))
    several = [label for label, count in counts.items() if count > 1]
    assume(0 < total <= sum(counts[label] - 1 for label in several))
    train, held_out = split(table(labels), fraction, by="label")
    held = Counter(held_out.column("label"))
    assert sum(held.values()) == total
    for label, count in counts.items():
        if count == 1:
            assert held[label] == 0
        elif total >= len(several):
            assert 1 <= held[label] <= count - 1
    free = [label for label in several if 1 <= counts[label] * share <= counts[label] - 1]
    if len(free) == len(counts):  # nobody had to give way: the largest remainders alone
        floors = {label: int(counts[label] * share) for label in counts}
        rest = total - sum(floors.values())
        assert all(held[label] - floors[label] in (0, 1) for label in counts)
        up = [counts[label] * share - floors[label] for label in counts if held[label] > floors[label]]
        down = [counts[label] * share - floors[label] for label in counts if held[label] == floors[label]]
        assert len(up) == rest and (not up or not down or min(up) >= max(down))
    assert len(train) + total == len(labels)


def test_small_labels_are_on_both_sides_where_there_is_room() -> None:
    labels = ["big"] * 1000 + ["two"] * 2 + ["one"]
    train, held_out = split(table(labels), 0.1, by="label")
    assert Counter(held_out.column("label")) == {"big": 99, "two": 1}
    assert Counter(train.column("label")) == {"big": 901, "two": 1, "one": 1}
    _, crowded = split(table([index // 2 for index in range(100)]), 0.1, by="label")
    assert len(set(crowded.column("label"))) == len(crowded) == 10
    _, most = split(table(["a"] * 10 + ["b"] * 2), 0.9, by="label")
    assert Counter(most.column("label")) == {"a": 9, "b": 1}


def test_labels_that_look_alike_are_one() -> None:
    _, held_out = split(table([1, "1", 1, "1", 0, "0", 0, "0"]), 0.5, by="label")
    assert Counter(map(str, held_out.column("label"))) == {"1": 2, "0": 2}


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(st.sampled_from([*"abcdefgh", ["x", "y"], ["x"], None, {"k": [1]}]), min_size=2, max_size=60),
    fraction=FRACTIONS,
    data=st.data(),
)
def test_equal_rows_stay_together(texts: list[Any], fraction: float, data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.sampled_from("ab"), min_size=len(texts), max_size=len(texts)))
    by = data.draw(st.sampled_from([None, "label"]))
    sizes = Counter(map(repr, texts))
    try:
        train, held_out = split(table(labels, texts), fraction, by=by, together=("text",))
    except InputError:
        total = int(Fraction(str(fraction)) * len(texts) + Fraction(1, 2))
        assert total == 0 or len(sizes) == 1 or by is not None
        return
    assert not {repr(text) for text in train.column("text")} & {repr(text) for text in held_out.column("text")}
    assert sorted(rows(train) + rows(held_out)) == list(range(len(texts)))
    if by is None:
        total = int(Fraction(str(fraction)) * len(texts) + Fraction(1, 2))
        assert len(held_out) <= max(total, min(sizes.values()))


def test_together_is_equality_in_all_columns() -> None:
    data = read_table({"a": ["x", "x", "y", "y"], "b": ["1", "2", "1", "1"]})
    for seed in range(20):
        _, held_out = split(data, 0.5, together=("a", "b"), seed=seed)
        assert len({index in rows(held_out) for index in (2, 3)}) == 1


def test_groups_keep_the_labels_shares() -> None:
    data = table(
        [index % 4 == 0 for index in range(2000) for _ in "ab"], [f"{index}" for index in range(2000) for _ in "ab"]
    )
    train, held_out = split(data, 0.2, by="label", together=("text",))
    assert Counter(held_out.column("label")) == {False: 600, True: 200}
    assert len(train) == 3200


def test_one_row_at_least_is_trained_with() -> None:
    train, held_out = split(table(["x"] * 4), 0.95)
    assert (len(train), len(held_out)) == (1, 3)


def test_the_seed_decides() -> None:
    data = table(["x"] * 20)
    # made once by this code; numpy promises PCG64's raw numbers for every version and machine
    assert rows(split(data, 0.25, seed=0)[1]) == [2, 3, 11, 13, 15]
    assert rows(split(data, 0.25, seed=1)[1]) == [2, 9, 16, 18, 19]
    drawn = Counter(row for seed in range(400) for row in rows(split(data, 0.25, seed=seed)[1]))
    assert all(60 < drawn[row] < 140 for row in range(20))  # 100 expected, standard deviation 8.7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fraction": 0.1}, r"the data has 4 rows; fraction=0\.1 leaves no row on one side: add rows"),
        ({"fraction": 0.5, "by": "text"}, r"4 rows with 4 labels in 'text'; .* leave out by="),
        ({"fraction": 0.5, "together": ("label",)}, r"4 rows in 1 group of equal label; "),
        ({"fraction": 1.0}, r"fraction=1\.0: expected a number between 0 and 1"),
        ({"fraction": 0}, r"fraction=0: expected"),
        ({"fraction": True}, r"fraction=True: expected"),
        ({"fraction": float("nan")}, r"fraction=nan: expected"),
        ({"fraction": 0.5, "seed": -1}, r"seed=-1: expected a whole number"),
        ({"fraction": 0.5, "by": "lable"}, r"no column 'lable' \(did you mean 'label'\?\)"),
        ({"fraction": 0.5, "together": ("txt",)}, r"no column 'txt' \(did you mean 'text'\?\)"),
    ],
)
def test_splits_that_are_none(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(table(["x"] * 4), **arguments)


def test_a_real_file_with_texts_that_occur_twice() -> None:
    data = read_table(shared("data", "sms-spam.tsv"), columns=("label", "text"))
    train, held_out = split(data, 0.1, by="label", together=("text",))
    assert not set(train.column("text")) & set(held_out.column("text"))
    share = Counter(data.column("label"))["spam"] / len(data)
    assert len(held_out) == 446
    assert abs(Counter(held_out.column("label"))["spam"] / len(held_out) - share) < 0.002


def test_questions_on_a_paragraph_stay_on_one_side() -> None:
    data = read_table(shared("data", "xquad.zh.json"))
    train, held_out = split(data, 0.2, together=("context",))
    contexts = defaultdict(set)
    for side, part in (("train", train), ("held out", held_out)):
        for context in part.column("context"):
            contexts[context].add(side)
    assert all(len(sides) == 1 for sides in contexts.values())
    assert abs(len(held_out) - 176) < 5
