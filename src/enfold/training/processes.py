"""One process or several: who learns from what, and how gradients and sums come together.

``torchrun --nproc-per-node N`` starts the processes and says who is who; torch.distributed carries the numbers.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["Processes", "processes"]


@dataclass(frozen=True)
class Processes:
    """This process among ``count``, its ``rank`` from 0."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's examples of a step: every ``count``-th, so that all have about as many tokens."""
        return chosen[self.rank :: self.count]

    def total(self, value: float) -> float:
        """The sum of all processes' values, the same to the last bit in each."""
        if self.count == 1:
            return value
        values = torch.zeros(self.count, dtype=torch.float64)
        values[self.rank] = value
        distributed.all_reduce(values)
        return float(values.sum())

    def gathered(self, value: Any) -> list[Any]:
        """What each process has, by rank."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        distributed.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            distributed.barrier()

    def together(self, step: nn.Module) -> Callable[..., Tensor]:
        """A module whose gradients are the mean over all processes after its backward pass."""
        if self.count == 1:
            return step
        return DistributedDataParallel(step, find_unused_parameters=True, broadcast_buffers=False)

    def apart(self, step: Any, wanted: bool) -> AbstractContextManager[Any]:
        """A context in which a module's gradients are this process's own: those of others are added later."""
        return step.no_sync() if wanted and self.count > 1 else nullcontext()


def processes() -> Processes:
    """The processes that torchrun started; one where it didn't.

    They stay together until they end: a group that one of them makes anew may meet what the others left of the last.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(_part)
    return Processes(distributed.get_rank(), distributed.get_world_size())


def _part() -> None:
    """Ends the group, unless somebody has."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
