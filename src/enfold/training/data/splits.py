"""Rows kept aside to judge a model, without letting it see them while it learns."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from enfold.errors import InputError
from enfold.training.data.labels import label_names, label_order
from enfold.training.data.table import Table

__all__ = ["split"]


def split(
    table: Table, fraction: float, *, by: str | None = None, seed: int = 0, together: Sequence[str] = ()
) -> tuple[Table, Table]:
    """Rows to train with, and rows that are held out; each in the order of the table.

    With ``by`` each label keeps its share, by the largest remainders: a label with two rows or more has one on each
    side, unless so few rows are held out that there isn't one for each of them; a label with one row stays in training.

    With ``together`` as many whole groups of equal rows are held out as have room in the fraction, and at least one.
    A group counts for the label that most of its rows have.

    Args:
        table: the rows.
        fraction: of them that are held out, between 0 and 1.
        by: a column of classes.
        seed: the same one chooses the same rows, on every machine.
        together: columns; rows that are equal in all of them stay on one side (texts that occur twice, say, or the
            paragraph of several questions).

    Returns:
        The rows to train with, and those that are held out.

    Raises:
        InputError: a fraction that leaves no row on one side, no such column, labels that are no classes.

    >>> from enfold.training.data import read_table
    >>> train, held_out = split(read_table([{"text": str(i), "label": i % 2} for i in range(10)]), 0.2, by="label")
    >>> len(train), sorted(held_out.column("label"))
    (8, [0, 1])
    """
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < 1:
        raise InputError(f"fraction={fraction!r}: expected a number between 0 and 1, such as 0.1")
    if isinstance(together, str):
        together = (together,)
    groups = _groups(table, together)
    strata = _strata(groups, label_names(table, by) if by is not None else [""] * len(table))
    share = Fraction(str(float(fraction)))
    quotas = _quotas({label: [len(group) for group in own] for label, own in strata.items()}, share)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed={seed!r}: expected a whole number from 0")
    lots = np.random.PCG64(seed)
    held = np.zeros(len(table), bool)
    for label in label_order(strata):
        for group in _drawn(strata[label], quotas[label], lots):
            held[group] = True
    if held.all() or not held.any():
        raise _nothing_left(table, fraction, by, together, len(groups), len(strata))
    return table.take(np.flatnonzero(~held)), table.take(np.flatnonzero(held))


def _groups(table: Table, together: Sequence[str]) -> list[list[int]]:
    """The rows that stay on one side, by their first row."""
    if not together:
        return [[index] for index in range(len(table))]
    columns = [[_hashable(value) for value in table.column(name)] for name in together]
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for index, values in enumerate(zip(*columns, strict=True)):
        groups[values].append(index)
    return list(groups.values())


def _hashable(value: Any) -> Hashable:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return tuple(sorted((str(key), _hashable(each)) for key, each in value.items()))
    if isinstance(value, np.ndarray):
        return _hashable(value.tolist())
    if isinstance(value, list | tuple):
        return tuple(_hashable(each) for each in value)
    return value if isinstance(value, Hashable) else repr(value)


def _strata(groups: Sequence[list[int]], labels: Sequence[str]) -> dict[str, list[list[int]]]:
    """The groups of each label: of the one that most of a group's rows have, the first of these."""
    strata: defaultdict[str, list[list[int]]] = defaultdict(list)
    for group in groups:
        label = labels[group[0]] if len(group) == 1 else Counter(labels[row] for row in group).most_common(1)[0][0]
        strata[label].append(group)
    return dict(strata)


def _quotas(sizes: Mapping[str, Sequence[int]], share: Fraction) -> dict[str, int]:
    """How many rows of each label are held out, by the largest remainders.

    Args:
        sizes: of each label's groups.
        share: of all rows that are held out.
    """
    exact = {label: sum(own) * share for label, own in sizes.items()}
    upper = {label: sum(own) - 1 if len(own) > 1 else 0 for label, own in sizes.items()}
    total = min(int(sum(exact.values()) + Fraction(1, 2)), sum(upper.values()))
    lower = {label: min(1, upper[label]) for label in sizes}
    if sum(lower.values()) > total:  # not one for each: the largest remainders decide
        lower = dict.fromkeys(sizes, 0)
    quotas = {label: min(max(int(exact[label]), lower[label]), upper[label]) for label in sizes}
    order = label_order(sizes)
    while (missing := total - sum(quotas.values())) > 0:
        open_labels = [label for label in order if quotas[label] < upper[label]]
        open_labels.sort(key=lambda label: quotas[label] - exact[label])
        for label in open_labels[:missing]:
            quotas[label] += 1
    while (over := sum(quotas.values()) - total) > 0:
        open_labels = [label for label in order if quotas[label] > lower[label]]
        open_labels.sort(key=lambda label: exact[label] - quotas[label])
        for label in open_labels[:over]:
            quotas[label] -= 1
    return quotas


def _drawn(groups: Sequence[list[int]], quota: int, lots: np.random.PCG64) -> list[list[int]]:
    """Groups by lot that have room in the quota; the smallest one where none has."""
    # numpy promises the generator's raw numbers for every version, and none of what it makes of them
    order = [groups[index] for index in np.argsort(lots.random_raw(len(groups)), kind="stable").tolist()]
    if quota == 0:
        return []
    chosen = []
    room = quota
    for group in order:
        if len(group) <= room:
            chosen.append(group)
            room -= len(group)
    return chosen or [min(order, key=len)]


def _nothing_left(
    table: Table, fraction: float, by: str | None, together: Sequence[str], groups: int, labels: int
) -> InputError:
    what = f"{table.name} has {len(table)} row{'s' * (len(table) != 1)}"
    if together:
        what += f" in {groups} group{'s' * (groups != 1)} of equal {' and '.join(together)}"
    if by is not None:
        what += f" with {labels} label{'s' * (labels != 1)} in {by!r}"
    advice = ["add rows", "choose another fraction", "pass data to evaluate on yourself"]
    if by is not None:
        advice.insert(0, "leave out by= (it is for classes of several rows each)")
    return InputError(
        f"{what}; fraction={fraction} leaves no row on one side: {', '.join(advice[:-1])}, or {advice[-1]}"
    )
