"""A few numbers of the base model beside an adapter, by which another base is told.

Two models of one size take each other's adapters without a misshapen tensor, and answer nonsense. The sample survives
rounding to half precision and to a few bits; another model's numbers are far from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from enfold.checkpoint.files import read_json, write_json
from enfold.errors import ConfigError

__all__ = ["read_sample", "sample_differs", "write_sample"]

FILE: Final = "enfold_adapter.json"
_COUNT, _TOLERATED = 64, 0.3


def write_sample(folder: Path, tensor: str, values: NDArray[Any]) -> None:
    """Writes a sample of a stored tensor of the base model."""
    sample = [float(f"{value:.6g}") for value in _picked(values)]
    write_json(folder / FILE, {"base_sample": {"tensor": tensor, "values": sample}})


def read_sample(folder: Path) -> tuple[str, NDArray[np.float64]] | None:
    """The tensor's name and its sample; None where the folder has none, as those that ``peft`` wrote.

    Raises:
        ConfigError: the file can't be read.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    given = read_json(path, "what enfold knows of the adapter's base").get("base_sample")
    match given:
        case {"tensor": str(tensor), "values": list(values)} if all(type(each) in (int, float) for each in values):
            return tensor, np.array(values, np.float64)
    raise ConfigError(f"{path}: base_sample is {given!r:.80}, expected a tensor's name and numbers")


def sample_differs(sample: NDArray[np.float64], values: NDArray[Any]) -> bool:
    """Whether a tensor is clearly not the one that the sample is of."""
    own = _picked(values)
    if len(own) != len(sample):
        return True
    return bool(np.linalg.norm(own - sample) > _TOLERATED * max(np.linalg.norm(own), np.linalg.norm(sample)))


def _picked(values: NDArray[Any]) -> NDArray[np.float64]:
    flat = values.reshape(-1)
    places = np.unique(np.linspace(0, max(len(flat) - 1, 0), _COUNT).astype(int))
    picked: NDArray[np.float64] = flat[places].astype(np.float64)
    return picked
