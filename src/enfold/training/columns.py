"""Which column of a table is which: the roles of a goal, found by the names that data in the field have."""

from __future__ import annotations

from collections.abc import Sequence

from enfold.errors import InputError, TaskError
from enfold.training.data import Table, label_kind
from enfold.training.goals import GOALS, Goal

__all__ = ["guess_task", "with_roles"]


def with_roles(table: Table, goal: type[Goal]) -> Table:
    """The table with its columns called as the goal's roles are; others are left out.

    A role's own name comes first, then the other names it may have, in their order.

    Raises:
        InputError: no column for a role that is needed; the columns and what to do are said.
    """
    found: dict[str, str] = {}
    lower = {name.strip().casefold(): name for name in reversed(table.columns)}
    for role, names in goal.roles.items():
        for name in (role, *names):
            if name in lower and lower[name] not in found.values():
                found[role] = lower[name]
                break
    missing = [role for role in goal.roles if role not in found and role not in goal.optional]
    if len(missing) == 1 and len(goal.roles) - len(goal.optional) == 1 and len(table.columns) == 1:
        found[missing.pop()] = table.columns[0]  # one column, and one that is wanted
    if missing:
        wanted = "; ".join(f"{role} (or {', '.join(goal.roles[role][:6])})" for role in missing)
        example = f"columns={{{missing[0]!r}: {table.columns[0]!r}}}"
        raise InputError(
            f"{table.name} has the columns {', '.join(table.columns)}, and {goal.name} needs {wanted}. "
            f"Say which column is which, as in {example}, or --columns {missing[0]}={table.columns[0]}"
        )
    return table.select(found)


def guess_task(table: Table, heads: Sequence[str]) -> str:
    """What the data look as if they were for.

    Args:
        table: the training data.
        heads: that the model's family has.

    Raises:
        TaskError: they could be for nothing that is known.
    """
    order = ("question-answering", "multiple-choice", "token-classification", "text-classification", "embed")
    for name in order:
        goal = GOALS[name]
        try:
            fitting = with_roles(table, goal)
        except InputError:
            continue
        if name == "question-answering" and "answers" not in fitting.columns:
            continue
        if name == "text-classification":
            kinds = {"numbers": "regression", "lists": "multi-label-classification"}
            return kinds.get(label_kind(fitting, "label"), name)
        return name
    if any(column.casefold() in ("source", "target", "summary", "translation") for column in table.columns):
        return "text2text-generation"
    if "text" in table.columns or len(table.columns) == 1:
        return "masked-lm" if "masked-lm" in heads else "causal-lm"
    raise TaskError(
        f"{table.name} has the columns {', '.join(table.columns)}, which don't say what is to be learnt: "
        f"name a task ({', '.join(GOALS)})"
    )
