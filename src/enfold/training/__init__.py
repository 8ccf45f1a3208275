"""Training: the :class:`Settings` of :func:`enfold.fit`, goals for every task, and the one loop under them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enfold.training.fit import Fitted
    from enfold.training.objective import Teacher
    from enfold.training.settings import Settings
    from enfold.training.space import Range
    from enfold.training.tune import Tuned

__all__ = ["Fitted", "Range", "Settings", "Teacher", "Tuned"]

_HOMES = {"Fitted": "fit", "Range": "space", "Settings": "settings", "Teacher": "objective", "Tuned": "tune"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'enfold.training' has no attribute {name!r}")
    return getattr(importlib.import_module(f"enfold.training.{_HOMES[name]}"), name)
