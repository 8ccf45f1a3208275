"""Broken rows, gathered so that one error names them all."""

from __future__ import annotations

from collections.abc import Callable

from enfold.errors import InputError

__all__ = ["Problems", "beginning", "counted", "listed"]

_SHOWN = 10


class Problems:
    """What is wrong in a file: the first ten, and how many there are."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, problem: str | Callable[[], str]) -> None:
        """Takes one more; what is costly to say is called only where it is shown."""
        self.count += 1
        if self.count <= _SHOWN:
            self._first.append(problem if isinstance(problem, str) else problem())

    def check(self, what: str, advice: str) -> None:
        """Raises what was gathered.

        Args:
            what: before the list, such as "3 of 100 rows of a.csv are broken".
            advice: after it.

        Raises:
            InputError: there were problems.
        """
        if self.count:
            raise InputError(f"{what}:\n  {listed(self._first, self.count)}\n{advice}")


def listed(first: list[str], count: int, between: str = "\n  ") -> str:
    """The first ten problems of ``count``, and how many more there are."""
    more = [f"and {count - _SHOWN} more"] if count > _SHOWN else []
    return between.join(first[:_SHOWN] + more)


def counted(count: int, one: str, many: str = "") -> str:
    """A number with what it counts; without ``many`` that ends in -s.

    >>> counted(1, "row"), counted(2, "row"), counted(0, "row is", "rows are")
    ('1 row', '2 rows', '0 rows are')
    """
    return f"{count} {one if count == 1 else many or one + 's'}"


def beginning(value: object, length: int = 60) -> str:
    """How a value begins, on one line."""
    shown = repr(value[: length + 1] if isinstance(value, str | bytes) else value).replace("\n", " ")
    return shown if len(shown) <= length + 2 else f"{shown[:length]}…"
