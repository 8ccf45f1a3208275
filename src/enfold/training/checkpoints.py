"""What a run needs to go on where it was: tensors and numbers in a folder that is whole or absent.

::

    OUT/checkpoints/step-00000120/
        parameters.safetensors    what learns, and what a norm counts
        optimizer.safetensors     its averages
        state.json                step, sums, best, what the run was started with, and what of the optimizer and its
                                  scheduler is no tensor

A checkpoint is written aside and renamed, so a process that is killed leaves the one before. No pickle: safetensors
and JSON. Dropout and masks are drawn anew from the seed and the step, so that no generator has to be kept.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from enfold.checkpoint.atomic import atomic_folder
from enfold.checkpoint.files import read_json, write_json
from enfold.checkpoint.safetensors import open_safetensors, write_safetensors
from enfold.errors import CheckpointError, CorruptFileError, InputError
from enfold.training.optimizer_state import Split, itself, tensor_of

__all__ = ["Checkpoints", "restore_parameters"]

_NAME = re.compile(r"step-(\d{8})")


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run, in ``folder``; ``keep`` of them beside the best."""

    folder: Path
    keep: int

    def steps(self) -> list[int]:
        """Steps that have a whole checkpoint, in their order."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is."""
        return self.folder / f"step-{step:08d}"

    def save(
        self, step: int, tensors: Mapping[str, Tensor], averages: Mapping[str, Tensor], state: Mapping[str, Any]
    ) -> None:
        """Writes a checkpoint, then removes those that are not kept.

        Args:
            step: its number.
            tensors: what learns, and what a norm counts.
            averages: the optimizer's tensors, of :func:`enfold.training.optimizer_state.memory_of`.
            state: everything else.

        Raises:
            CheckpointError: it can't be written (a full disk); those before it are as they were.
        """
        place = self.path(step)
        if place.is_dir():
            _remove(place)
        try:
            with atomic_folder(place) as aside:
                _write(aside / "parameters.safetensors", tensors)
                _write(aside / "optimizer.safetensors", averages)
                write_json(aside / "state.json", state)
        except OSError as error:
            raise CheckpointError(
                f"the checkpoint of step {step} can't be written to {place}: {error.strerror or error}. "
                f"{self._resumable()}Make room, then call again with resume"
            ) from error
        self.tidy(state.get("best_step"))

    def _resumable(self) -> str:
        steps = self.steps()
        return f"That of step {steps[-1]} is whole. " if steps else ""

    def tidy(self, best: int | None) -> None:
        """Removes what an interrupted save left, and all but the newest checkpoints and the best."""
        for path in self.folder.glob(".step-*.tmp"):
            shutil.rmtree(path, ignore_errors=True)
        for step in self.steps()[: -self.keep]:
            if step != best:
                _remove(self.path(step))

    def clear(self) -> None:
        """Removes all checkpoints."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def newest(self) -> tuple[int, dict[str, Any]] | None:
        """The newest checkpoint's step and state; None where there is none."""
        steps = self.steps()
        if not steps:
            return None
        return steps[-1], read_json(
            self.path(steps[-1]) / "state.json", "the state of a training run", CorruptFileError
        )


def _remove(checkpoint: Path) -> None:
    """Removes a checkpoint, which is whole until it is gone by its name."""
    aside = checkpoint.with_name(f".{checkpoint.name}.removed.tmp")
    checkpoint.replace(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    arrays = {name: _array(tensor) for name, tensor in tensors.items()}
    write_safetensors(path, {name: (array, array.dtype.name) for name, array in arrays.items()})


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    tensor = tensor.detach().cpu()
    array = (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
    return np.ascontiguousarray(array).reshape(array.shape)  # which makes a row of a single number


def restore_parameters(folder: Path, named: Mapping[str, Tensor], split: Split = itself) -> None:
    """Fills tensors with a checkpoint's.

    Raises:
        InputError: the checkpoint is of another model.
    """
    stored = open_safetensors(folder / "parameters.safetensors")
    wrong = [name for name in {*stored, *named} if name not in stored or name not in named]
    wrong += [name for name in named if name in stored and tuple(named[name].shape) != tuple(stored[name].shape)]
    if wrong:
        raise InputError(
            f"{folder} is the checkpoint of another model; it differs in {', '.join(sorted(set(wrong))[:8])}. "
            "Start in another folder, or without resume"
        )
    with torch.no_grad():
        for name, tensor in named.items():
            tensor.copy_(split(tensor_of(stored[name]), tensor))
