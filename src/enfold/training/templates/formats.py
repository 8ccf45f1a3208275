"""How numbers and texts of a run are written down: short, exact where that matters, and never as markup."""

from __future__ import annotations

import math
import re
from numbers import Integral, Real
from typing import Any, Final, Literal

__all__ = ["Language", "clean", "cut", "duration", "figure", "one_line", "rate", "setting", "share"]

Language = Literal["en", "zh"]

_FLAW: Final = "\ufffd"
_LINE_ENDS: Final = re.compile(r"\r\n|[\r\v\f\x85\u2028\u2029]")
# Control characters, halves of surrogate pairs, marks that turn the direction of what follows, and no characters.
_UNSEEN: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def clean(text: object) -> str:
    """A text without what can't be seen or would move what stands beside it; its lines end with ``\\n``."""
    return _UNSEEN.sub(_FLAW, _LINE_ENDS.sub("\n", str(text)))


def cut(text: object, most: int) -> tuple[str, int]:
    """The first ``most`` characters, cleaned, and how many more there are."""
    whole = str(text)
    return clean(whole[:most]), max(len(whole) - most, 0)


def one_line(text: object, most: int = 200) -> str:
    """A text in one line; of a longer one the beginning and how much is left out."""
    shown, more = cut(text, most)
    return " ".join(shown.split()) + (f" … (+{more:,})" if more else "")


def figure(value: Any) -> str:
    """A number with four significant digits; whole ones, and those from 1000 on, with all digits before the point.

    >>> figure(0.93), figure(12345), figure(0.0000123456), figure(float("nan"))
    ('0.9300', '12,345', '1.235e-05', 'NaN')
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return one_line(value)
    if isinstance(value, Integral):
        return f"{int(value):,}"
    number = float(value)
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "∞" if number > 0 else "-∞"
    size = abs(float(f"{number:.3e}"))
    if size == 0:
        return "0"
    if 1e-4 <= size < 1e3:
        return f"{number:#.4g}".removesuffix(".")
    return f"{number:,.0f}" if 1e3 <= size < 1e15 else f"{number:.3e}"


def rate(value: Any) -> str:
    """A learning rate: scientific, without digits that say nothing.

    >>> rate(5e-5), rate(0.00123456)
    ('5e-05', '1.235e-03')
    """
    if not isinstance(value, Real) or not math.isfinite(float(value)) or not value:
        return figure(value)
    digits, _, power = f"{float(value):.3e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{power}"


def share(part: float, whole: float) -> str:
    """A part of a whole in percent.

    >>> share(1, 3), share(0, 0)
    ('33.3 %', '–')
    """
    return f"{100 * part / whole:.1f} %" if whole else "–"


def duration(seconds: float, language: Language = "en") -> str:
    """A time in the two units that matter.

    >>> duration(0.42), duration(312), duration(3725), duration(3725, "zh")
    ('0.42 s', '5 min 12 s', '1 h 02 min', '1 小时 02 分')
    """
    day, hour, minute, second = ("天", "小时", "分", "秒") if language == "zh" else ("d", "h", "min", "s")
    if not math.isfinite(seconds):
        return figure(seconds)
    if seconds < 9.995:
        return f"{seconds:.2f} {second}"
    if seconds < 59.95:
        return f"{seconds:.1f} {second}"
    if round(seconds) < _HOUR:
        whole, rest = divmod(round(seconds), _MINUTE)
        return f"{whole} {minute} {rest:02} {second}"
    minutes = round(seconds / _MINUTE) * _MINUTE
    if minutes < _DAY:
        return f"{minutes // _HOUR} {hour} {minutes % _HOUR // _MINUTE:02} {minute}"
    hours = round(seconds / _HOUR)
    return f"{hours // 24} {day} {hours % 24:02} {hour}"


def setting(value: Any) -> str:
    """A setting exactly as Python writes it, numbers not rounded; a text without quotes.

    >>> setting(5e-05), setting("adamw"), setting((0.9, 0.999)), setting(None)
    ('5e-05', 'adamw', '(0.9, 0.999)', 'None')
    """
    return one_line(value if isinstance(value, str) else repr(value))
