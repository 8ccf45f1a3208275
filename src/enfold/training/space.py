"""What a search varies: settings by name, and the values that each of them may have."""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any

from enfold.errors import InputError
from enfold.training.settings import Settings

__all__ = ["Dimension", "Range", "Space", "apart", "check_space", "default_space", "plain"]

_OF_ADAPTER = "adapter."
_FIXED = {"metric": "trials are compared by it"}
_AROUND = (0.2, 10.0)
"""Where a learning rate is looked for: from these shares of the usual one."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both among them.

    >>> Range(1e-5, 1e-3, log=True)
    Range(low=1e-05, high=0.001, log=True, step=None)

    Attributes:
        low: the least.
        high: the greatest.
        log: each order of magnitude is as likely as another, as suits learning rates.
        step: only ``low``, ``low + step`` and so on.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None


Space = Mapping[str, Range | Sequence[Any]]
"""Settings by name, each with a :class:`Range` or a list of values; ``adapter.rank`` and others of the adapter, too."""


@dataclass(frozen=True)
class Dimension:
    """One setting that is searched, checked.

    Attributes:
        name: of the setting.
        values: a range, or a value for each choice.
        whole: only whole numbers.
    """

    name: str
    values: Range | tuple[Any, ...]
    whole: bool = False

    @property
    def choices(self) -> tuple[Any, ...] | None:
        """All values, where they can be counted."""
        if not isinstance(self.values, Range):
            return self.values
        low, high, step = self.values.low, self.values.high, self.values.step or (1 if self.whole else None)
        if step is None:
            return (low,) if low == high else None
        return tuple(low + step * index for index in range(math.floor((high - low) / step + 1e-9) + 1))

    def holds(self, value: Any) -> bool:
        """Whether a value is one of these."""
        if (choices := self.choices) is not None:
            return plain(value) in map(plain, choices)
        assert isinstance(self.values, Range)
        return _is_number(value) and self.values.low <= value <= self.values.high

    def restored(self, value: Any) -> Any:
        """A value as it was before JSON."""
        choices = self.choices or ()
        return next((each for each in choices if plain(each) == value), value)

    def __str__(self) -> str:
        if not isinstance(self.values, Range):
            return ", ".join(map(str, map(plain, self.values)))
        more = " (log)" if self.values.log else f" (step {self.values.step:g})" if self.values.step else ""
        return f"{self.values.low:g} to {self.values.high:g}{more}"


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, tuple | list) else value


def apart(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values of the run's settings, and values of the adapter's."""
    own = {name: value for name, value in values.items() if not name.startswith(_OF_ADAPTER)}
    return own, {name.removeprefix(_OF_ADAPTER): value for name, value in values.items() if name not in own}


def default_space(settings: Settings, rate: float, everything: bool) -> tuple[Dimension, ...]:
    """What is searched where nobody says: what differs most from data to data.

    Settings that are no longer at their defaults were chosen, and stay. How long to train is not searched: longer is
    better more often than not, and a trial of few epochs, whose learning rate falls early, would always seem ahead.

    Args:
        settings: of the trials.
        rate: the usual learning rate.
        everything: all of the model learns, and not an adapter or a head alone.

    Raises:
        InputError: everything was chosen.
    """
    low, high = (float(f"{rate * share:.1e}") for share in _AROUND)
    found: dict[str, Range | tuple[Any, ...]] = {
        "learning_rate": Range(low, high, log=True),
        "batch_size": (8, 16, 32),
        "weight_decay": Range(1e-3, 0.3, log=True),
        "warmup": Range(0.0, 0.2),
    }
    if everything:
        found["dropout"] = (None, 0.0, 0.2, 0.3)
    usual = Settings()
    left = {name: values for name, values in found.items() if getattr(settings, name) == getattr(usual, name)}
    if not left:
        raise InputError(f"nothing is left to search: settings say {', '.join(found)}. Name what is, space={{…}}")
    return tuple(Dimension(name, values) for name, values in left.items())


def check_space(space: Space, settings: Settings, adapter: Any) -> tuple[Dimension, ...]:
    """The dimensions of a space.

    Args:
        space: as a caller gives it.
        settings: of the trials, apart from what is searched.
        adapter: of the model, or None.

    Raises:
        InputError: lists everything that can't be searched, and why.
    """
    problems: list[str] = []
    found = []
    for name, values in space.items():
        owner, field = (adapter, name[len(_OF_ADAPTER) :]) if name.startswith(_OF_ADAPTER) else (settings, name)
        wrong = _wrong_name(name, field, owner) or _wrong_values(field, values, owner)
        problems += [each if each.startswith(name) else f"{name}: {each}" for each in wrong]
        if not wrong:
            whole = isinstance(values, Range) and float not in _kinds(owner, field)
            found.append(Dimension(name, values if isinstance(values, Range) else tuple(values), whole))
    if not space:
        problems.append('it is empty; expected settings with their values, as {"learning_rate": Range(1e-5, 1e-3)}')
    if problems:
        raise InputError("this space can't be searched:\n  " + "\n  ".join(problems))
    return tuple(found)


def _wrong_name(name: str, field: str, owner: Any) -> list[str]:
    if owner is None:
        return [f"{name} is searched, and there is no adapter: pass adapter=enfold.LoRA()"]
    if name in _FIXED:
        return [f"{name} can't be searched: {_FIXED[name]}"]
    known = [each.name for each in fields(owner)]
    if field in known:
        return []
    near = difflib.get_close_matches(field, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return [f"{name} is no setting of a {type(owner).__name__}: {hint}"]


def _wrong_values(field: str, values: Any, owner: Any) -> list[str]:
    if isinstance(values, Range):
        return list(_wrong_range(field, values, owner)) or _refused(field, [values.low, values.high], owner)
    if isinstance(values, str) or not isinstance(values, Sequence):
        return [f"{field} has {values!r}, expected a list of values or a Range"]
    if not values:
        return [f"{field} has no value to choose from"]
    forms = [repr(plain(value)) for value in values]
    twice = sorted({form for form in forms if forms.count(form) > 1})
    return [f"{field} has {', '.join(twice)} twice"] * bool(twice) + _refused(field, values, owner)


def _wrong_range(field: str, values: Range, owner: Any) -> Iterator[str]:
    kinds = _kinds(owner, field)
    numbers = [values.low, values.high, *([] if values.step is None else [values.step])]
    if not kinds & {int, float}:
        yield f"{field} is no number, and has a range: list the values to choose from"
    elif not all(map(_is_number, numbers)):
        yield f"{field} has {values}, expected finite numbers"
    elif float not in kinds and not all(isinstance(each, int) for each in numbers):
        yield f"{field} has {values}, and is counted in whole numbers"
    elif values.low > values.high:
        yield f"{field} goes from {values.low:g} to {values.high:g}, which is less"
    elif values.log and values.low <= 0:
        yield f"{field} goes from {values.low:g} with log=True: there is no logarithm of it; begin above 0"
    elif values.log and values.step is not None:
        yield f"{field} has log=True and a step: leave one of them away"
    elif values.step is not None and values.step <= 0:
        yield f"{field} has steps of {values.step:g}, expected more than 0"


def _refused(field: str, values: Sequence[Any], owner: Any) -> list[str]:
    """What the settings themselves say against values."""
    found: list[str] = []
    for value in values:
        try:
            replace(owner, **{field: value})
        except InputError as error:
            head, *lines = str(error).split("\n")
            found += [line.strip() for line in lines] or [head]
    return list(dict.fromkeys(found))


def _kinds(owner: Any, field: str) -> set[Any]:
    """The types that a setting's values may have."""
    hint = typing.get_type_hints(type(owner))[field]
    return set(typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
