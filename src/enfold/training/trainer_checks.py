"""What a Trainer is made of, checked before anything is done with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.model import PreTrainedModel

__all__ = ["checked_model", "checked_subclass"]

_NEVER_CALLED = (
    "evaluation_loop",
    "floating_point_ops",
    "get_batch_samples",
    "get_eval_dataloader",
    "get_test_dataloader",
    "get_train_dataloader",
    "hyperparameter_search",
    "prediction_loop",
    "prediction_step",
    "push_to_hub",
    "training_step",
    "_get_eval_sampler",
    "_get_train_sampler",
    "_inner_training_loop",
    "_load_best_model",
    "_maybe_log_save_evaluate",
    "_prepare_inputs",
    "_save",
    "_save_checkpoint",
)
"""Methods that the field's Trainer has and that this one has no use for."""


def checked_model(model: Any, model_init: Callable[[], Any] | None) -> TorchModel:
    """The model that is to be trained.

    Raises:
        InputError: there is none, two, or one of another library or engine.
    """
    if (model is None) == (model_init is None):
        raise InputError(
            "a Trainer takes a model, or model_init, which makes one" + ("; both were given" if model else "")
        )
    made = model if model is not None or model_init is None else model_init()
    if isinstance(made, TorchModel):
        return made
    load = "enfold.AutoModelForSequenceClassification.from_pretrained(NAME, num_labels=2)"
    if isinstance(made, PreTrainedModel):
        raise InputError("a model on the CPU engine can't learn: load it with engine='torch'")
    if isinstance(made, str):
        raise InputError(f"model is {made!r}, expected a loaded model, such as {load}")
    if isinstance(made, nn.Module):
        raise InputError(
            f"model is a {type(made).__module__}.{type(made).__qualname__}, and this Trainer trains models of enfold. "
            f"If it can be saved in the field's format, load it again: {load}. "
            "Any other module trains in PyTorch's own loop"
        )
    raise InputError(f"model is a {type(made).__name__}, expected a model, such as {load}")


def checked_subclass(kind: type, base: type) -> None:
    """Refuses what would be ignored.

    Raises:
        InputError: a derived class overrides what is never called.
    """
    between = kind.__mro__[: kind.__mro__.index(base)]
    ignored = sorted({name for each in between for name in _NEVER_CALLED if name in vars(each)})
    if ignored:
        raise InputError(
            f"{kind.__name__} overrides {', '.join(ignored)}, which this Trainer never calls: override compute_loss, "
            "create_optimizer, create_scheduler, evaluate, predict or log, pass data_collator, compute_metrics, "
            "optimizers or callbacks, or use TrainingArguments"
        )
