"""Labels: what is one label, in what order, and what is refused."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enfold.errors import InputError
from enfold.training.data import (
    Table,
    check_known,
    class_labels,
    label_kind,
    label_lists,
    label_names,
    label_order,
    numbers,
    read_table,
)


def table(values: list[Any]) -> Table:
    return read_table([{"label": value} for value in values])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["spam", "ham", "spam"], ["ham", "spam"]),
        (["10", "9", "1"], ["1", "9", "10"]),
        ([10, "9", 1, "1", 1.0, np.int64(9)], ["1", "9", "10"]),
        (["-1", "0.5", "+2", "-0.5"], ["-1", "-0.5", "0.5", "+2"]),
        ([True, False, "True"], ["False", "True"]),
        ([" 好评 ", "差评\u3000", "好评"], ["好评", "差评"]),
        (["01", "1", "001"], ["001", "01", "1"]),
        (["nan", "inf", "1_000"], ["1_000", "inf", "nan"]),
        (["1" * 400, 2], ["2", "1" * 400]),
    ],
)
def test_classes(values: list[Any], expected: list[str]) -> None:
    assert class_labels(table(values), "label") == expected
    assert class_labels(table(values[::-1]), "label") == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)), min_size=1))
def test_numbers_read_from_text_are_the_numbers(values: list[float]) -> None:
    names = label_names(table(values), "label")
    assert names == label_names(table(names), "label")
    assert [float(name) for name in names] == [float(value) for value in values]
    assert label_order(names) == class_labels(table(values), "label")
    assert numbers(table(values), "label").tolist() == [float(value) for value in values]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1", "2", "spam", "1"], r"3 numbers, 1 word in 'label'; the odd ones:\n  row 3: 'spam'\n"),
        ([1, "x", "y"], r"2 words, 1 number in 'label'; the odd ones:\n  row 1: 1\n"),
        (["x", ["y"], "z"], r"2 words, 1 list .*\n  row 2: \['y'\]"),
        ([["y"], ["z"]], r"2 lists .*\n  row 1: \['y'\]\n  row 2: \['z'\]\nLists are for training with several"),
        ([{"a": 1}], r"1 object .*\n  row 1: \{'a': 1\}"),
        (
            ["x", None, "y", " ", math.nan],
            r"3 empty labels, 2 words .*\n  row 2: None\n  row 4: ' '\n  row 5: nan\nFill",
        ),
        ([None, ""], r"2 empty labels .*\n  row 1: None"),
        ([1, 0, True], r"2 numbers, 1 truth value .*\n  row 3: True"),
        ([True, "yes"], r"1 truth value, 1 word"),
        (["a"] * 100 + [1] * 30, r"(?s)100 words, 30 numbers .*row 101: 1\n.*row 110: 1\n  and 20 more"),
    ],
)
def test_labels_of_several_kinds_are_refused(values: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        class_labels(table(values), "label")


def test_numbers_are_finite() -> None:
    found = numbers(table([1, "2.5", " -3e-2 ", np.float32(0.5)]), "label")
    assert found.dtype == np.float64 and found.tolist() == [1.0, 2.5, -0.03, 0.5]
    values = [1, "x", None, True, math.nan, math.inf, "1,5", "nan", "1e999", "１", [1]]
    with pytest.raises(InputError, match=r"10 of 11 values of 'label' are no finite numbers") as caught:
        numbers(table(values), "label")
    for row in range(2, 12):
        assert f"\n  row {row}: " in str(caught.value)


@pytest.mark.parametrize(
    ("values", "separator", "expected"),
    [
        ([["a", "b"], [], ("c",)], None, [["a", "b"], [], ["c"]]),
        (["a|b", "", "c, d"], None, [["a", "b"], [], ["c, d"]]),
        (["a, b", "", "c"], None, [["a", "b"], [], ["c"]]),
        (["a;b|c"], ";", [["a", "b|c"]]),
        (["喜、怒", "哀"], "、", [["喜", "怒"], ["哀"]]),
        (["a||a|"], None, [["a"]]),
        ([[1, "1", True]], None, [["1", "True"]]),
        ([np.array(["x", "y"])], None, [["x", "y"]]),
        (["1|2", 3], None, [["1", "2"], ["3"]]),
    ],
)
def test_lists_of_labels(values: list[Any], separator: str | None, expected: list[list[str]]) -> None:
    assert label_lists(table(values), "label", separator=separator) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([["a"], "b", ["c"]], r"2 lists and 1 text in 'label'; the odd ones:\n  row 2: 'b'\nWrite all"),
        (
            [["a"], None, ["b", None], [["c"]], {"d": 1}],
            r"4 of 5 values .*\n  row 2: None\n  row 3: .*\n  row 4: .*\n  row 5",
        ),
    ],
)
def test_lists_that_are_none(values: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        label_lists(table(values), "label")
    with pytest.raises(InputError, match="separator=' '"):
        label_lists(table(values), "label", separator=" ")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "b"], "classes"),
        ([1, 2], "classes"),
        (["1", "2.5"], "numbers"),
        ([1.5, 2], "numbers"),
        ([1.0, 2.0], "classes"),
        ([["a"], []], "lists"),
        (["a|b"], "classes"),
        ([True], "classes"),
        (["1.5", "x"], "classes"),
    ],
)
def test_the_kind_of_a_column(values: list[Any], kind: str) -> None:
    assert label_kind(table(values), "label") == kind


def test_labels_that_were_not_trained_are_listed() -> None:
    data = table(["a", "x", "b", "y", "x", "x", "x"])
    names = label_names(data, "label")
    check_known(names, ["a", "b", "x", "y"], data)
    with pytest.raises(InputError, match="2 labels of the data are not among the 2 that are trained") as caught:
        check_known(names, ["b", "a"], data)
    assert "\n  'x', 4 times: row 2; row 5; row 6; …\n  'y', 1 time: row 4\nTrained are 'a', 'b'." in str(caught.value)
    with pytest.raises(InputError, match="'z', 2 times: row 6; row 1"):
        check_known(["a", "z", "z"], ["a"], data, [0, 5, 0])
    with pytest.raises(InputError, match="and 90 more"):
        check_known([f"{index}" for index in range(100)], ["a"], table(list(range(100))))
