"""What an optimizer and its scheduler remember, as tensors and JSON: nothing of it is pickled.

::

    optimizer.safetensors   0.exp_avg, 0.exp_avg_sq …           a parameter's number, and a name
                            0.factors/1, scheduler/_last_lr/0   tensors inside lists, tuples and dictionaries
    state.json              optimizer {"0.count": 3, …}, groups [{"lr": …}, …], scheduler {…}, lost ["0.cache (set)"]

JSON has no tuples, no tensors and no keys but texts: ``{"tuple": […]}``, ``{"tensor": path, "dtype": …}`` and
``{"pairs": [[key, value], …]}`` stand for them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from enfold.checkpoint.safetensors import open_safetensors
from enfold.errors import InputError

__all__ = ["Memory", "Split", "itself", "memory_of", "restore_memory", "tell_lost", "tensor_of"]

logger = logging.getLogger("enfold")

_PLAIN = (bool, int, float, str, type(None))
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_STORED = (*_FLOATS, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
"""What safetensors files hold; bfloat16 as float32, which holds every value of it."""


Split = Callable[[Tensor, Tensor], Tensor]
"""Makes of a whole tensor what stands beside another: itself, or a share of it."""


def itself(tensor: Tensor, other: Tensor) -> Tensor:
    """A tensor of which this process has all."""
    return tensor


@dataclass(frozen=True)
class Memory:
    """An optimizer's memory in parts that can be written.

    Attributes:
        tensors: by name.
        plain: JSON.
        lost: what could not be written, with its type.
    """

    tensors: dict[str, Tensor]
    plain: dict[str, Any]
    lost: list[str]


def memory_of(optimizer: torch.optim.Optimizer, scheduler: Any = None) -> Memory:
    """What is to be kept of an optimizer, and of a scheduler where there is one."""
    told = optimizer.state_dict()
    writer = _Writer({}, [])
    state: dict[str, Any] = {}
    for number, values in told["state"].items():
        if not isinstance(number, int) or not isinstance(values, Mapping):
            writer.lost.append(f"{number} ({type(values).__name__})")
            continue
        for name, value in values.items():
            key = f"{number}.{name}"
            if _is_stored(value) and "/" not in key:
                writer.tensors[key] = value
            else:
                state |= writer.entries("", {key: value})
    groups = [
        writer.entries(f"groups/{number}/", {name: value for name, value in group.items() if name != "params"})
        for number, group in enumerate(told["param_groups"])
    ]
    plain: dict[str, Any] = {"optimizer": state, "groups": groups}
    if scheduler is not None:
        plain["scheduler"] = writer.entries("scheduler/", scheduler.state_dict())
    return Memory(writer.tensors, {**plain, "lost": writer.lost}, writer.lost)


def tell_lost(memory: Memory) -> None:
    """Warns of what checkpoints can't hold."""
    logger.warning(
        "checkpoints can't hold these parts of the optimizer, as they are no numbers, texts, tensors, or lists and "
        "dictionaries of such: %s. A run that goes on from one begins them anew",
        ", ".join(memory.lost),
    )


@dataclass(frozen=True)
class _Writer:
    """Puts values into JSON and their tensors aside.

    Attributes:
        tensors: by their path.
        lost: paths of values that JSON has nothing for.
    """

    tensors: dict[str, Tensor]
    lost: list[str]

    def entries(self, path: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values by name as JSON, without those that it has nothing for."""
        found = {}
        for name, value in values.items():
            try:
                found[name] = self.value(f"{path}{name}", value)
            except TypeError as error:
                self.lost.append(f"{path}{name} ({error})")
        return found

    def value(self, path: str, value: Any) -> Any:
        """A value as JSON.

        Raises:
            TypeError: JSON has nothing for it; the message is the name of its type.
        """
        if isinstance(value, np.generic):
            value = value.item()
        if type(value) in _PLAIN:
            return value
        if _is_stored(value):
            name = path if "/" in path else f"{path}/"
            self.tensors[name] = value
            return {"tensor": name, "dtype": str(value.dtype).removeprefix("torch.")}
        if type(value) in (list, tuple):
            items = [self.value(f"{path}/{number}", each) for number, each in enumerate(value)]
            return items if type(value) is list else {"tuple": items}
        if type(value) is dict and all(type(key) in _PLAIN for key in value):
            return {"pairs": [[key, self.value(f"{path}/{key}", each)] for key, each in value.items()]}
        raise TypeError(type(value).__name__)


def restore_memory(
    folder: Path, optimizer: torch.optim.Optimizer, scheduler: Any, kept: Mapping[str, Any], split: Split = itself
) -> None:
    """Gives an optimizer and a scheduler back what a checkpoint keeps of them.

    Args:
        folder: the checkpoint.
        optimizer: over the parameters that it was over.
        scheduler: or None.
        kept: the checkpoint's state.json.
        split: makes of a tensor what this process has of it.

    Raises:
        InputError: they are not those of the checkpoint.
    """
    stored = open_safetensors(folder / "optimizer.safetensors")
    tensors = {name: tensor_of(view) for name, view in stored.items()}
    told = optimizer.state_dict()
    groups = kept.get("groups", [{}] * len(told["param_groups"]))
    if len(groups) != len(told["param_groups"]) or (scheduler is not None and "scheduler" not in kept):
        raise InputError(
            f"{folder} is of a run with another optimizer or scheduler: it has {len(groups)} groups of parameters "
            f"{'and' if 'scheduler' in kept else 'without'} a scheduler, and this run's optimizer "
            f"{len(told['param_groups'])}. Give the same optimizers, or train without resume_from_checkpoint"
        )
    state: dict[int, dict[str, Any]] = {}
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    plain = {name: tensor for name, tensor in tensors.items() if "/" not in name}
    flat: dict[str, Any] = {name: split(each, parameters[int(name.partition(".")[0])]) for name, each in plain.items()}
    for key, value in {**flat, **_read(kept["optimizer"], tensors)}.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    merged = [{**now, **_read(then, tensors)} for now, then in zip(told["param_groups"], groups, strict=True)]
    optimizer.load_state_dict({"state": state, "param_groups": merged})
    if scheduler is not None:
        scheduler.load_state_dict({**scheduler.state_dict(), **_read(kept["scheduler"], tensors)})
    if kept.get("lost"):
        logger.warning(
            "%s holds no %s: they begin anew, so that the run goes on with other numbers than without a break",
            folder,
            ", ".join(kept["lost"]),
        )


def tensor_of(view: Any) -> Tensor:
    """A stored tensor's values, as a tensor of their own."""
    return torch.from_numpy(view.numpy(view.dtype).copy())


def _is_stored(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in _STORED and value.layout is torch.strided


def _read(entries: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: _value(each, tensors) for name, each in entries.items()}


def _value(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """A value of JSON as it was before it was written."""
    if isinstance(value, list):
        return [_value(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]].to(getattr(torch, value["dtype"]))
    if "tuple" in value:
        return tuple(_value(each, tensors) for each in value["tuple"])
    return {key: _value(each, tensors) for key, each in value["pairs"]}
