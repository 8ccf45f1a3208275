"""A model split over processes, layer by layer: fully sharded data parallel (https://arxiv.org/abs/2304.11277).

Each process keeps a share of every parameter, of its gradient and of the optimizer's averages. A layer's parameters
are whole while it computes, forwards and back, and what isn't within a layer while a batch does; gradients are summed
into the shares. Everything that one process computes the others compute too, in the same order: they wait for it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from enfold.engines.torch.model import TorchModel
from enfold.training.processes import Processes

__all__ = ["Shards"]

_MMAP_THRESHOLD = -3
"""Of ``mallopt``: blocks from this size on are the system's own."""


class _Part(nn.Module):
    """Modules whose parameters come and go together: they are whole while a part runs something."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.held = nn.ModuleList(modules)

    def forward(self, run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return run(*args, **kwargs)


class Shards:
    """Splits a model's parameters over the processes.

    Parameters become :class:`torch.distributed.tensor.DTensor`; the model computes with them only within
    :meth:`layer` and :meth:`__call__`.

    Args:
        model: the same in each process, and whole.
        group: the processes, two or more.
    """

    def __init__(self, model: TorchModel, group: Processes) -> None:
        self.model, self.group = model, group
        _give_memory_back()
        mesh = init_device_mesh(model.device.type, (group.count,))
        stacks = [model.tree, *([model.tree.encoder] if model.arch.encoder else [])]
        self._layers = {id(layer): _Part([layer]) for stack in stacks for layer in stack.layers.children()}
        rest = [part for stack in stacks for name, part in stack.named_children() if name not in ("layers", "encoder")]
        for part in self._layers.values():
            fully_shard(part, mesh=mesh)
        self._all = _Part([*rest, *self._layers.values()])
        fully_shard(self._all, mesh=mesh)

    def __call__(self, run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What ``run`` gives, which goes through the model once."""
        return self._all(run, *args, **kwargs)

    def layer(self, node: nn.Module) -> Callable[..., Any]:
        """Runs a function for which this layer's parameters must be whole."""
        return self._layers[id(node)]

    def wholes(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of all processes' shares, in the first process; every process must ask."""
        found = {}
        for name, tensor in tensors.items():
            full = _whole(tensor)
            if self.group.is_first:
                found[name] = full.cpu()
        return found

    @staticmethod
    def split(tensor: Tensor, other: Tensor) -> Tensor:
        """A whole tensor split as another of its shape is."""
        if not isinstance(other, DTensor) or tensor.shape != other.shape:
            return tensor
        return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """The whole model in each process, for what goes through it in other ways; it takes its memory."""
        kept = self._gather()
        try:
            yield
        finally:
            back = {id(after): before for before, after in kept.values()}
            self._swap(lambda parameter: back[id(parameter)])

    def give_back(self) -> None:
        """Makes the model whole for good."""
        self._gather()

    def _gather(self) -> dict[int, tuple[Any, nn.Parameter]]:
        return self._swap(lambda parameter: nn.Parameter(_whole(parameter), parameter.requires_grad))

    def _swap(self, make: Callable[[Any], nn.Parameter]) -> dict[int, tuple[Any, nn.Parameter]]:
        """Puts others in the parameters' places; those that are shared stay shared."""
        for part in (*self._layers.values(), self._all):
            part.reshard()  # type: ignore[operator]  # FSDP gives parts this method
        made: dict[int, tuple[Any, nn.Parameter]] = {}
        for module in self.model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    if id(parameter) not in made:
                        made[id(parameter)] = (parameter, make(parameter))
                    module._parameters[name] = made[id(parameter)][1]
        return made


def _give_memory_back() -> None:
    """Lets large blocks of memory return to the system when they are freed.

    glibc raises the size from which it does so up to 32 MB as a program goes on; what is gathered of layer after layer
    then stays with the process, and nothing is saved. Other systems need no such thing.
    """
    try:
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1 << 20)
    except (AttributeError, OSError, TypeError):
        return


def _whole(tensor: Tensor) -> Tensor:
    """A tensor of all processes' shares; every process must ask."""
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
