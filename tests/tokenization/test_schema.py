"""Functions are described to a model as the reference describes them."""

import enum
from typing import Any, Literal, Optional, Union

import pytest
from transformers.utils import get_json_schema as reference

from enfold.errors import InputError
from enfold.tokenization import get_json_schema


class Colour(enum.Enum):
    RED = "red"
    NONE = None


def plain(a: int, b: float, c: str, d: bool = True) -> str:
    """Adds things.

    More words, over
    two lines.

    Args:
        a: first
        b: second, with: a colon
        c (str): third
        d: fourth
           goes on here

    Returns:
        str: What they are
        together.

    Raises:
        ValueError: never
    """
    raise AssertionError


plain.__doc__ = (plain.__doc__ or "").replace("c (str):", "c:")


def nested(
    a: list[dict[str, list[int]]],
    b: tuple[int, str],
    c: Optional[int] = None,  # noqa: UP045 the older forms are met as well
    d: Union[int, str, None] = None,  # noqa: UP007
    e: list | dict[str, int] = [],  # noqa: B006
    f: Any = None,
    g: Literal["x", "y", 3] = "x",
    h: Colour = Colour.RED,
    i: dict = {},  # noqa: B006
) -> dict[str, Any]:
    """
    Nested things.
    Args:
      a: one
      b: two
      c: three
      d: four
      e: five

      f: six
      g: seven
      h: eight
      i: nine
    """
    raise AssertionError


def choices(drink: str, size: int = 1) -> None:
    """Serves a drink
    Args:
        drink: What to drink (choices: ["tea", " coffee"])
        size: how much (Choices: [1, 2])"""


def nothing() -> object:
    """Does nothing."""


class Tool:
    def method(self, x: int) -> int:
        """A method.

        Args:
            x: number
        """
        raise AssertionError


@pytest.mark.parametrize("function", [plain, nested, choices, nothing, Tool().method])
def test_equal_to_the_reference(function: Any) -> None:
    assert get_json_schema(function) == reference(function)


def undocumented(x: int) -> None:
    pass


def half(x, y: int, z: set):  # type: ignore[no-untyped-def]
    """Half said.

    Args:
        y: told
        z: a set
    """


def single(x: tuple[int]) -> None:
    """One.

    Args:
        x: it
    """


def unread(x: str) -> None:
    """One.

    Args:
        x: it (choices: [a, b])
    """


def test_what_is_missing_is_listed() -> None:
    with pytest.raises(InputError, match="tool undocumented has no docstring"):
        get_json_schema(undocumented)
    with pytest.raises(InputError, match=r"tool half .*: no type hint of x; no description of x in the docstring\."):
        get_json_schema(half)
    with pytest.raises(
        InputError, match=r"single\(x\) has the type tuple\[int\]; for any number of one kind, use list"
    ):
        get_json_schema(single)
    with pytest.raises(InputError, match="in a docstring is not JSON"):
        get_json_schema(unread)
