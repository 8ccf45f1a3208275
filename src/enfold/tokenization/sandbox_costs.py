"""What operators, filters and methods cost, known before they run: the work that they do, and the size of the result.

Everything is looked at once, which the meter counts anyway; the table has what looks at more, or makes more than it is
given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from string import Formatter
from typing import Any, Literal, TypeAlias

from enfold.tokenization.sandbox_meter import MAX_NUMBER, PER_STEP, TooMuchError, limit, size_of, spend

__all__ = ["COSTS", "FORBIDDEN", "Cost", "Given", "check_call", "check_operation", "formatted_by_percent"]


@dataclass(frozen=True)
class Given:
    """What a filter or method is called with; ``value`` is what it is applied to."""

    kind: Literal["filter", "method"]
    value: Any
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]

    @property
    def everything(self) -> tuple[Any, ...]:
        """All arguments."""
        return (*self.arguments, *self.named.values())

    def argument(self, place: int, name: str, default: Any = "") -> Any:
        """One argument, however it was given."""
        return self.arguments[place] if place < len(self.arguments) else self.named.get(name, default)


Count: TypeAlias = Callable[[Given], int]


def _nothing(given: Given) -> int:
    return 0


@dataclass(frozen=True)
class Cost:
    """What a filter or method costs.

    Attributes:
        work: steps beside those of looking at everything once.
        size: of what it makes, where that may be more than it is given; it may raise TooMuchError itself.
        looks: what a filter looks at: all of its value, or nothing; or it applies another filter or a test to each
            entry when that is asked for, which looks at the arguments as often.
    """

    work: Count = _nothing
    size: Count = _nothing
    looks: Literal["all", "each", "nothing"] = "all"


def check_call(name: str, given: Given) -> None:
    """Counts the work of a method or filter, and refuses one whose result would be too large, before it runs."""
    cost = COSTS.get(name)
    if cost is not None:
        spend(cost.work(given))
        limit(cost.size(given))


def check_operation(operation: str, left: Any, right: Any) -> None:
    """Refuses a multiplication or format whose result would be too large, before it is made."""
    if operation == "**" and isinstance(left, int) and isinstance(right, int):
        limit(left.bit_length() * abs(right) // 8, MAX_NUMBER)
    elif operation == "*" and isinstance(left, int) and isinstance(right, int):
        limit(size_of(left) + size_of(right), MAX_NUMBER)
    elif operation == "*" and isinstance(left, int) != isinstance(right, int):
        times, what = (left, right) if isinstance(left, int) else (right, left)
        limit(times * size_of(what) if isinstance(what, str | list | tuple) else 0)
    elif operation == "%" and isinstance(left, str):
        limit(formatted_by_percent(left, right))


# ── formats ──────────────────────────────────────────────────────────────────

_WIDTH = r"[-+ #0_^]*(?:\d*\.)?(?:\d{5}|\*)"
_WIDE = re.compile("%" + _WIDTH)
_WIDE_BEHIND_NAME = re.compile(r"[%)]" + _WIDTH)
_WIDE_FORM = re.compile(r"\d{5}|\{")


def formatted_by_percent(text: str, arguments: Any) -> int:
    """The most characters that ``text % arguments`` or ``strftime`` can make.

    Raises:
        TooMuchError: a field is very wide, or its width is itself an argument, which can't be foreseen.
    """
    if (_WIDE_BEHIND_NAME if "%(" in text else _WIDE).search(text):
        raise TooMuchError(f"it formats with a very large or unknown width: {text[:60]!r}")
    return len(text) + text.count("%") * (size_of(arguments) + MAX_NUMBER)


def _by_braces(text: str, arguments: Any) -> int:
    """The same of ``text.format(*arguments)``."""
    try:
        wide = any(_WIDE_FORM.search(form or "") for _, _, form, _ in Formatter().parse(text))
    except ValueError:  # what comes before the mistake has been looked at, and no more of it is made
        wide = False
    if wide:
        raise TooMuchError(f"it formats with a very large or unknown width: {text[:60]!r}")
    return len(text) + text.count("{") * (size_of(arguments) + MAX_NUMBER)


# ── the table ────────────────────────────────────────────────────────────────


def _times(copies: Count) -> Cost:
    """A cost whose size is the largest number among the arguments, ``copies`` times."""

    def size(given: Given) -> int:
        number = max((each if isinstance(each, int) else size_of(each) for each in given.everything), default=0)
        if number > MAX_NUMBER:
            raise TooMuchError(f"it takes {number:,} for a width or count")
        return number * copies(given)

    return Cost(size=size)


def _product(given: Given) -> int:
    """Looks at the whole argument for every character, at worst."""
    return size_of(given.value) * sum(len(each) for each in given.everything if isinstance(each, str)) // PER_STEP


def _comparing(given: Given) -> int:
    """Calls Python for every entry, and compares entries a dozen times."""
    return len(given.value) if isinstance(given.value, Sized) else 0


def _adding(given: Given) -> int:
    """Copies a list that grows, where that is what is added."""
    lists = any(isinstance(each, list | tuple) for each in given.everything)
    return len(given.value) * size_of(given.value) // PER_STEP if lists and isinstance(given.value, Sized) else 0


def _replaced(given: Given) -> int:
    text, old, new = str(given.value), str(given.argument(0, "old")), str(given.argument(1, "new"))
    return len(text) + text.count(old) * len(new)


def _joined(given: Given) -> int:
    """The filter's value is the parts, the method's what stands between them."""
    parts, between = given.value, given.argument(0, "d")
    if given.kind == "method":
        parts, between = between, parts
    return (len(parts) if isinstance(parts, Sized) else 1) * size_of(between) + size_of(parts)


def _formatted(given: Given) -> int:
    """The filter formats by percent signs, the method by braces."""
    of = formatted_by_percent if given.kind == "filter" else _by_braces
    return of(str(given.value), given.everything)


COSTS: Mapping[str, Cost] = {
    **dict.fromkeys(("length", "count", "first", "last", "default", "d", "safe"), Cost(looks="nothing")),
    **dict.fromkeys(("map", "select", "reject", "selectattr", "rejectattr"), Cost(looks="each")),
    **dict.fromkeys(("rfind", "rindex", "rsplit", "rpartition", "strip", "lstrip", "rstrip", "trim"), Cost(_product)),
    **dict.fromkeys(("sort", "dictsort", "unique", "groupby", "min", "max"), Cost(_comparing)),
    "sum": Cost(_adding),
    **dict.fromkeys(("round", "center", "batch", "slice", "ljust", "rjust", "zfill"), _times(lambda given: 1)),
    "indent": _times(lambda given: str(given.value).count("\n") + 1),
    "tojson": _times(lambda given: size_of(given.value)),
    "replace": Cost(size=_replaced),
    "join": Cost(size=_joined),
    "format": Cost(size=_formatted),
}
"""The cost of filters and methods by name; those that aren't here look at everything once and make no more."""

FORBIDDEN = frozenset(
    {"lipsum", "urlize", "xmlattr", "wordwrap", "striptags", "pprint"}
    | {"translate", "format_map", "expandtabs", "encode", "to_bytes"}
)
"""Filters and methods whose cost can't be foreseen, and which no chat template needs."""
