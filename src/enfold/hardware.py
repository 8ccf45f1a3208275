"""What this machine has, asked without importing torch."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

__all__ = ["has_gpu"]

_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/proc/driver/nvidia/version")


@lru_cache(maxsize=1)
def has_gpu() -> bool:
    """Whether there is a GPU that an installed torch can use; torch is imported only where a driver is."""
    if importlib.util.find_spec("torch") is None or not any(Path(device).exists() for device in _DEVICES):
        return False
    import torch

    return bool(torch.cuda.is_available())
