"""Optimizers, what each of them may touch and how fast, and the schedule of the learning rate."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from enfold.training.settings import Settings

__all__ = ["Lion", "clip", "make_optimizer", "optimizer_kind", "rate_at", "set_rate", "waits_for_metric"]

Named = tuple[str, nn.Parameter]


class Lion(torch.optim.Optimizer):
    """Steps of one size, by the sign of two averages of the gradient (https://arxiv.org/abs/2302.06675)."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            (now, later), rate = group["betas"], group["lr"]
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["exp_avg"] = torch.zeros_like(parameter)
                average = state["exp_avg"]
                parameter.mul_(1 - rate * group["weight_decay"])
                parameter.add_(torch.lerp(gradient, average, now).sign_(), alpha=-rate)
                average.lerp_(gradient, 1 - later)


def make_optimizer(parameters: Iterable[Named], settings: Settings, rate: float, layers: int) -> torch.optim.Optimizer:
    """The optimizer of a run over the parameters that learn.

    Weight decay falls on matrices, not on norms and biases. Parameters of a layer have a share of the rate by their
    depth, where ``layer_decay`` says so.

    Args:
        parameters: by name.
        settings: which optimizer, and its numbers.
        rate: the learning rate.
        layers: of the model.
    """
    groups = list(_groups(list(parameters), settings, rate, layers))
    kind, options = optimizer_kind(settings, rate)
    return kind(groups, **options)


def optimizer_kind(settings: Settings, rate: float) -> tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]:
    """The class of a run's optimizer, and its options beside parameters."""
    match settings.optimizer:
        case "adamw":
            betas = settings.betas or (0.9, 0.999)
            return torch.optim.AdamW, {"lr": rate, "betas": betas, "eps": settings.epsilon, "fused": True}
        case "lion":
            return Lion, {"lr": rate, "betas": settings.betas or (0.9, 0.99)}
        case "sgd":
            return torch.optim.SGD, {"lr": rate, "momentum": settings.momentum, "fused": not settings.shard}
        case _:
            return torch.optim.Adafactor, {"lr": rate}


def _groups(parameters: list[Named], settings: Settings, rate: float, layers: int) -> Iterator[dict[str, Any]]:
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        scale = settings.layer_decay ** (layers + 1 - _depth(name, layers))
        found.setdefault((decay, scale), []).append(parameter)
    for (decay, scale), members in found.items():
        yield {"params": members, "weight_decay": decay, "scale": scale, "lr": rate * scale}


def _depth(name: str, layers: int) -> int:
    """0 for embeddings, 1 for the first layer, one above the last for the head."""
    if layer := re.search(r"\blayers\.(\d+)\.", name):
        return int(layer[1]) + 1
    return layers + 1 if ".head." in name else 0


def rate_at(step: int, total: int, settings: Settings) -> float:
    """The share of the learning rate that a step has, counted from 0, as the field's schedules have it."""
    warmup = math.ceil(settings.warmup * total) if settings.warmup < 1 else int(settings.warmup)
    if step < warmup:
        return step / max(1, warmup)
    done = (step - warmup) / max(1, total - warmup)
    match settings.schedule:
        case "linear":
            return max(0.0, 1 - done)
        case "cosine":
            return max(0.0, 0.5 * (1 + math.cos(math.pi * done)))
        case _:
            return 1.0


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Gives each group its share of a rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def waits_for_metric(scheduler: Any) -> bool:
    """Whether a scheduler goes on after evaluations, by their metric, as ReduceLROnPlateau does."""
    given = inspect.signature(scheduler.step).parameters.values()
    return any(each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD for each in given)


def clip(parameters: Iterable[Tensor], limit: float | None, total: Callable[[float], float] | None = None) -> float:
    """Shortens gradients that are longer than ``limit`` together; returns their length before.

    Args:
        parameters: whose gradients.
        limit: of their length; None leaves them.
        total: adds up the squares of all processes, where each has a share of the gradients.
    """
    gradients: list[Any] = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if total is not None:
        gradients = [gradient.to_local() for gradient in gradients]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if total is not None:
        norm = torch.tensor(total(float(norm) ** 2) ** 0.5)
    if limit is not None and norm > limit:
        torch._foreach_mul_(gradients, limit / (norm + 1e-6))
    return float(norm)
