"""The optimizer and the scheduler of a Trainer: those of TrainingArguments, of the caller, or of a derived class."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.training.arguments import TrainingArguments
from enfold.training.optim import optimizer_kind, rate_at, waits_for_metric

__all__ = ["Optimizing", "check_optimizers", "described", "extra_parameters", "prepare", "switch"]

logger = logging.getLogger("enfold")

Kind = tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]

_OVERRIDABLE = (
    "create_optimizer",
    "create_optimizer_and_scheduler",
    "get_decay_parameter_names",
    "get_optimizer_cls_and_kwargs",
)
"""What makes an optimizer over the model's own parameters, where a derived class overrides it."""
_OVER_THE_MODEL = "make the optimizer of the parameters of the very model that the Trainer is given"


class Optimizing:
    """The half of a Trainer that makes its optimizer; a derived class may override each of these methods.

    Attributes:
        optimizer: the caller's, or the run's; None before the first.
        lr_scheduler: likewise.
    """

    args: TrainingArguments
    model: TorchModel
    optimizer: torch.optim.Optimizer | None
    lr_scheduler: Any
    optimizer_cls_and_kwargs: Kind | None
    _made: tuple[Any, Any] = (None, None)

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Sets ``optimizer`` and ``lr_scheduler`` where they are None."""
        made = self.create_optimizer()
        self.optimizer = made if self.optimizer is None else self.optimizer
        scheduler = self.create_scheduler(num_training_steps)
        self.lr_scheduler = scheduler if self.lr_scheduler is None else self.lr_scheduler

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Sets ``optimizer`` where it is None, as TrainingArguments say, and returns it.

        Args:
            model: whose parameters learn; None: the Trainer's.
        """
        if self.optimizer is None:
            model = self.model if model is None else model
            decays = set(self.get_decay_parameter_names(model))
            kind, options = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(self.args, model)
            groups: dict[float, list[nn.Parameter]] = {float(self.args.weight_decay): [], 0.0: []}
            for name, each in model.named_parameters():
                if each.requires_grad:
                    groups[float(self.args.weight_decay) if name in decays else 0.0].append(each)
            self.optimizer = kind(
                [{"params": members, "weight_decay": decay} for decay, members in groups.items() if members], **options
            )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """Sets ``lr_scheduler`` where it is None, as TrainingArguments say, and returns it.

        Args:
            num_training_steps: of the run.
            optimizer: whose rates it sets; None: the Trainer's.
        """
        if self.lr_scheduler is None:
            settings, total = self.args.to_settings(), num_training_steps
            optimizer = self.optimizer if optimizer is None else optimizer
            if optimizer is None:
                raise InputError("there is no optimizer to make a scheduler for: call create_optimizer before")
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: rate_at(step, total, settings)
            )
        return self.lr_scheduler

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """The parameters that weight decay falls on: matrices, not norms and biases."""
        return [name for name, each in model.named_parameters() if each.ndim > 1]

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: TrainingArguments, model: Any = None) -> Kind:
        """The class of the optimizer that TrainingArguments ask for, and its options beside parameters."""
        return optimizer_kind(args.to_settings(), float(args.learning_rate))

    def get_num_trainable_parameters(self) -> int:
        """How many numbers learn."""
        return sum(each.numel() for each in self.model.parameters() if each.requires_grad)

    def get_learning_rates(self) -> list[float]:
        """The learning rate of each group of the optimizer's parameters.

        Raises:
            InputError: there is no optimizer yet.
        """
        if self.optimizer is None:
            raise InputError("there is no optimizer before training: call train, or create_optimizer")
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def begin_run(self) -> bool:
        """Puts aside what an earlier run made; whether the optimizer is the caller's or a derived class's."""
        if self.optimizer is self._made[0]:
            self.optimizer = None
        if self.lr_scheduler is self._made[1]:
            self.lr_scheduler = None
        overridden = any(getattr(type(self), name) is not getattr(Optimizing, name) for name in _OVERRIDABLE)
        return overridden or self.optimizer is not None or self.optimizer_cls_and_kwargs is not None


def check_optimizers(given: Any, kind: Any, model_init: Any) -> tuple[Any, Any]:
    """The caller's optimizer and scheduler, or None for each.

    Args:
        given: ``optimizers``.
        kind: ``optimizer_cls_and_kwargs``.
        model_init: must be None where there are optimizers, which are over a model's parameters.

    Raises:
        InputError: all that is wrong with them.
    """
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise InputError(f"optimizers are {given!r:.80}, expected two: (optimizer, scheduler), None for either")
    optimizer, scheduler = given
    problems = []
    if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        hint = "; give a class as optimizer_cls_and_kwargs=(class, options)" if isinstance(optimizer, type) else ""
        problems.append(f"the optimizer is {optimizer!r:.80}, expected a torch.optim.Optimizer{hint}")
    elif optimizer is not None and _needs_closure(optimizer):
        problems.append(
            f"{type(optimizer).__name__} computes the loss several times in a step, which this Trainer does once: "
            "train with it in PyTorch's own loop"
        )
    if scheduler is not None and not all(callable(getattr(scheduler, name, None)) for name in ("step", "state_dict")):
        problems.append(f"the scheduler is {scheduler!r:.80}, expected one of torch.optim.lr_scheduler")
    elif scheduler is not None and optimizer is None:
        problems.append(
            "a scheduler sets the rates of the optimizer that it was made with, and that was not given: "
            "optimizers=(optimizer, scheduler)"
        )
    if kind is not None and optimizer is not None:
        problems.append("optimizers and optimizer_cls_and_kwargs were both given: they are two ways to say the same")
    if kind is not None and not (isinstance(kind, tuple | list) and len(kind) == 2 and callable(kind[0])):
        problems.append(f"optimizer_cls_and_kwargs is {kind!r:.80}, expected (class, options)")
    if model_init is not None and (optimizer is not None or scheduler is not None):
        problems.append(
            "optimizers are over the parameters of a model, and model_init makes another one: give model, or override "
            "create_optimizer_and_scheduler"
        )
    if problems:
        raise InputError("; ".join(problems))
    return optimizer, scheduler


def _needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is closure.empty


def prepare(
    trainer: Optimizing,
    total: int,
    parameters: Mapping[str, nn.Parameter],
    of_run: torch.optim.Optimizer | None = None,
) -> tuple[torch.optim.Optimizer, Any]:
    """The optimizer and the scheduler of a run.

    Args:
        trainer: has them, or makes them.
        total: steps of the run.
        parameters: what learns, by name.
        of_run: the optimizer, where the run makes it.

    Raises:
        InputError: a derived class made none, or one of them isn't for this model or run.
    """
    before = trainer.optimizer, trainer.lr_scheduler
    trainer.optimizer = trainer.optimizer if of_run is None else of_run
    trainer.create_optimizer_and_scheduler(total)
    optimizer, scheduler = trainer.optimizer, trainer.lr_scheduler
    if optimizer is None or scheduler is None:
        lacking = "lr_scheduler" if optimizer is not None else "optimizer"
        raise InputError(f"{type(trainer).__name__}.create_optimizer_and_scheduler set no self.{lacking}")
    check_optimizers((optimizer, scheduler), None, None)
    trainer._made = (None if before[0] is optimizer else optimizer, None if before[1] is scheduler else scheduler)
    held = {id(each) for group in optimizer.param_groups for each in group["params"]}
    left = [name for name, each in parameters.items() if id(each) not in held]
    if len(left) == len(parameters):
        raise InputError(f"the optimizer holds none of the model's parameters that learn: {_OVER_THE_MODEL}")
    if left:
        logger.info("%d of %d parameters are not the optimizer's, and stay as they are", len(left), len(parameters))
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise InputError(
            "the scheduler sets the rates of another optimizer than the one given: make it of that one, "
            "optimizers=(optimizer, LambdaLR(optimizer, …))"
        )
    args = trainer.args
    if waits_for_metric(scheduler) and (args.eval_strategy == "no" or args.metric_for_best_model is None):
        raise InputError(
            f"{type(scheduler).__name__} goes by the metric of evaluations: set eval_strategy and "
            "metric_for_best_model, such as 'loss'"
        )
    return optimizer, scheduler


def extra_parameters(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], model: nn.Module, processes: int
) -> dict[str, Tensor]:
    """What an optimizer holds beside a model's parameters, such as those of a loss: kept in checkpoints, too.

    Raises:
        InputError: several processes, which would each learn their own.
    """
    known = {id(each) for each in (*parameters.values(), *model.parameters())}
    found = {
        f"optimizer.{number}.{place}": each
        for number, group in enumerate(optimizer.param_groups)
        for place, each in enumerate(group["params"])
        if id(each) not in known
    }
    if found and processes > 1:
        raise InputError(
            f"{len(found)} of the optimizer's parameters are not the model's, and {processes} processes would each "
            f"learn their own: {_OVER_THE_MODEL}"
        )
    return found


def described(optimizer: torch.optim.Optimizer, scheduler: Any) -> tuple[Any, ...]:
    """What a checkpoint goes with: the kinds of both, and how many parameters each group has."""
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    return type(optimizer).__name__, type(scheduler).__name__, sizes


def switch(optimizer: Any, to: Literal["train", "eval"]) -> None:
    """Tells an optimizer that keeps other parameters to learn than to answer with (as ``schedulefree`` has them)."""
    method = getattr(optimizer, to, None)
    if callable(method):
        method()
