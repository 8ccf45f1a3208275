"""Which column of a table is which: the roles of a goal, found by the names that data in the field have."""

from __future__ import annotations

from collections.abc import Sequence

from enfold.errors import InputError, TaskError
from enfold.training.data import Table, label_kind
from enfold.training.goals import GOALS, Goal

__all__ = ["guess_task", "with_roles"]

_LONG = 40
"""Characters of what is hardly a column's name."""

_ORDER = (
    "question-answering",
    "multiple-choice",
    "token-classification",
    "text-classification",
    "embed",
    "text2text-generation",
)
"""Goals as a table is compared with their roles: those first that need columns which others don't have."""


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
        if any(len(name) > _LONG or " " in name.strip() for name in table.columns):  # a row taken for a header
            needed = ",".join(role for role in goal.roles if role not in goal.optional)
            advice = f"If its first row is no header, name its columns in their order, as --columns {needed}"
        else:
            example = f"columns={{{missing[0]!r}: {table.columns[0]!r}}}"
            advice = f"Say which column is which, as in {example}, or --columns {missing[0]}={table.columns[0]}"
        shown = ", ".join(name if len(name) <= _LONG else f"{name[:_LONG]}…" for name in table.columns)
        raise InputError(f"{table.name} has the columns {shown}, and {goal.name} needs {wanted}. {advice}")
    return table.select(found)


def guess_task(table: Table, heads: Sequence[str]) -> str:
    """What the data look as if they were for.

    Args:
        table: the training data.
        heads: that the model's family has.

    Raises:
        TaskError: they could be for nothing that is known.
    """
    fitting = [name for name in _ORDER if _fits(table, GOALS[name])]
    if "seq2seq-lm" in heads and "text2text-generation" in fitting and "embed" in fitting:
        fitting.remove("embed")  # a question and its answer, say
    if fitting[:1] == ["text-classification"]:
        kinds = {"numbers": "regression", "lists": "multi-label-classification", "classes": fitting[0]}
        return kinds[label_kind(with_roles(table, GOALS[fitting[0]]), "label")]
    if fitting:
        return fitting[0]
    if len(table.columns) == 1:  # where there are more, one of them may be a label under a name of its own
        known = {"masked-lm": "masked-lm", "causal-lm": "causal-lm", "seq2seq-lm": "span-corruption"}
        return next((task for head, task in known.items() if head in heads), "causal-lm")
    raise TaskError(
        f"{table.name} has the columns {', '.join(table.columns)}, which don't say what is to be learnt: "
        f"name a task ({', '.join(GOALS)})"
    )


def _fits(table: Table, goal: type[Goal]) -> bool:
    try:
        with_roles(table, goal)
    except InputError:
        return False
    return True
