"""Dropout on a processor, at a quarter of the time: four decisions of sixteen bits from each random number.

torch draws a number of 53 random bits for each element, which takes longer than a norm of the same states. Rates are
rounded to 1/65536, and what stays is scaled for the rounded rate.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["dropout"]

_LEVELS = 1 << 16
_LEAST = 1 << 12
"""Elements below which a call costs more than its arithmetic."""


def dropout(hidden: Tensor, rate: float) -> Tensor:
    """``hidden`` with a share of ``rate`` of its elements 0 and the others scaled, so that the mean stays.

    Args:
        hidden: of any shape.
        rate: from 0 to below 1.
    """
    count = hidden.numel()
    if hidden.device.type != "cpu" or count < _LEAST or torch.compiler.is_compiling():
        return functional.dropout(hidden, rate)
    dropped = round(rate * _LEVELS)
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    bits = words.view(torch.int16)[:count].view(hidden.shape).float()  # floats are compared faster than shorts
    scale = bits.ge_(dropped - _LEVELS // 2).mul_(_LEVELS / (_LEVELS - dropped))
    return hidden * scale.to(hidden.dtype)
