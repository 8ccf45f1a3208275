"""The compiled kernels, or why numpy does their work.

``native`` is the module of kernels, told how many threads to use, or None. ENFOLD_ISA chooses among the instruction
sets that were built, for tests and for measurements; ``ENFOLD_ISA=numpy`` goes without kernels.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError
from enfold.machine import available_cores

__all__ = ["available", "empty", "isa", "native", "reason"]


def _load() -> tuple[Any, str | None]:
    """The module of kernels, or why there is none."""
    name = "enfold.engines.cpu._native"
    if os.environ.get("ENFOLD_ISA") == "numpy":
        return None, "ENFOLD_ISA is numpy"
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        return None, "enfold was installed without a compiler"
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        return None, f"the kernels can't be loaded: {error}"
    try:
        module.isa()
    except ValueError as error:
        raise InputError(str(error)) from None
    module.set_threads(available_cores())
    return module, None


native: Any
native, reason = _load()
available = native is not None
isa: str | None = native.isa() if native is not None else None

_LENT_FROM = 1 << 16
"""Numbers from which memory that was used before is worth asking for."""


def empty(rows: int, columns: int) -> NDArray[np.float32]:
    """An array (rows, columns) to write a result into."""
    if native is None or rows * columns < _LENT_FROM:
        return np.empty((rows, columns), np.float32)
    taken: NDArray[np.float32] = native.take(rows, columns)
    return taken
