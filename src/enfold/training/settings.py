"""How a training run goes: every choice in one frozen value, checked at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from enfold.arch import Dropout
from enfold.errors import InputError

__all__ = ["Long", "OptimizerName", "Order", "Precision", "ScheduleName", "Settings"]

OptimizerName = Literal["adamw", "adafactor", "sgd", "lion"]
ScheduleName = Literal["linear", "cosine", "constant"]
Order = Literal["bucketed", "random", "sequential"]
Precision = Literal["auto", "float32", "bfloat16"]
Long = Literal["truncate", "window", "error"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A training run's choices; those left at None are the task's own.

    Attributes:
        epochs: how often the data are gone through; a part is allowed.
        max_steps: steps of the optimizer, instead of ``epochs``.
        batch_size: examples of one step, over all processes.
        token_budget: tokens that go through the model at once. A step of more is computed in parts, with the same
            result (each part counts as much as it has labels): less memory, not other numbers.
        order: ``"bucketed"`` puts texts of like length together, in an order that changes with each epoch;
            ``"random"`` and ``"sequential"`` (the order of the data) don't look at lengths.
        learning_rate: the highest of the schedule.
        optimizer: ``"adamw"`` (https://arxiv.org/abs/1711.05101), ``"adafactor"`` (https://arxiv.org/abs/1804.04235),
            ``"sgd"`` or ``"lion"`` (https://arxiv.org/abs/2302.06675).
        betas: the averages' decay of AdamW and Lion; None: (0.9, 0.999) and (0.9, 0.99).
        epsilon: AdamW's.
        momentum: that of SGD.
        weight_decay: pulls matrices towards zero; never norms and biases.
        schedule: how the learning rate falls after its warm-up.
        warmup: steps in which it rises, or below 1 a share of all steps.
        layer_decay: the rate of each layer below the head is that of the layer above times this.
        max_grad_norm: longer gradients are shortened to this; None leaves them.
        dropout: one rate of every kind, or each its own (:class:`enfold.arch.Dropout`); None leaves the model's own.
        label_smoothing: share of a label that is spread over all (https://arxiv.org/abs/1512.00567).
        r_drop: how much two passes with other dropout must agree (https://arxiv.org/abs/2106.14448); 0: one pass.
        class_weights: ``"balanced"`` weighs labels by their rarity; or a weight for each label by name.
        long: what becomes of texts over the limit: cut with a count, read in windows, or refused.
        freeze: ``"encoder"`` trains the head alone, on features computed once; ``"embeddings"`` all but the tables.
        precision: bfloat16 where the hardware computes in it (``"auto"``: on GPUs and processors that do).
        compile: compiles the layers (``torch.compile``).
        checkpoint_activations: layers are computed again on the way back, not kept: less memory, a third slower.
        shard: several processes share out parameters, gradients and the optimizer's averages among them (fully sharded
            data parallel, https://arxiv.org/abs/2304.11277), for models that are too large for each to train whole.
        evaluate_every: steps between evaluations, and what is kept of them; None: each epoch.
        save_every: steps between checkpoints; None: at each evaluation.
        keep: checkpoints that are kept beside the best.
        patience: evaluations without a better one after which training stops; None: never.
        metric: what tells the best; a leading ``-`` says that less is better.
        log_every: steps between lines of metrics.jsonl.
        seed: of everything random.
    """

    epochs: float = 3.0
    max_steps: int | None = None
    batch_size: int = 16
    token_budget: int = 4096
    order: Order = "bucketed"
    learning_rate: float | None = None
    optimizer: OptimizerName = "adamw"
    betas: tuple[float, float] | None = None
    epsilon: float = 1e-8
    momentum: float = 0.9
    weight_decay: float = 0.01
    schedule: ScheduleName = "linear"
    warmup: float = 0.06
    layer_decay: float = 1.0
    max_grad_norm: float | None = 1.0
    dropout: float | Dropout | None = None
    label_smoothing: float = 0.0
    r_drop: float = 0.0
    class_weights: Literal["balanced"] | Mapping[str, float] | None = None
    long: Long | None = None
    freeze: Literal["encoder", "embeddings"] | None = None
    precision: Precision = "auto"
    compile: bool = False
    checkpoint_activations: bool = False
    shard: bool = False
    evaluate_every: int | None = None
    save_every: int | None = None
    keep: int = 1
    patience: int | None = None
    metric: str | None = None
    log_every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [*self._wrong_counts(), *self._wrong_numbers(), *self._wrong_choices()]
        if problems:
            raise InputError("these training settings can't be used:\n  " + "\n  ".join(problems))

    def _wrong_counts(self) -> Iterator[str]:
        counts = ("batch_size", "token_budget", "max_steps", "evaluate_every", "save_every", "keep", "log_every")
        for name in (*counts, "patience"):
            value = getattr(self, name)
            may_lack = name in ("max_steps", "evaluate_every", "save_every", "patience")
            if not (value is None and may_lack) and (
                isinstance(value, bool) or not isinstance(value, int) or value < 1
            ):
                yield f"{name} is {value!r}, expected a whole number of 1 or more{' or None' if may_lack else ''}"
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            yield f"seed is {self.seed!r}, expected a whole number from 0 to {2**32 - 1}"

    def _wrong_numbers(self) -> Iterator[str]:
        bounds: dict[str, tuple[float, float, str]] = {
            "epochs": (0, 1e6, "above 0"),
            "learning_rate": (0, 1e3, "above 0 and below 1000"),
            "epsilon": (0, 1, "above 0 and below 1"),
            "layer_decay": (0, 1.0000001, "above 0 and up to 1"),
            "max_grad_norm": (0, 1e30, "above 0"),
        }
        from_zero: dict[str, tuple[float, str]] = {
            "momentum": (1, "from 0 to below 1"),
            "weight_decay": (1e3, "of 0 or more"),
            "warmup": (1e12, "of 0 or more"),
            "label_smoothing": (1, "from 0 to below 1"),
            "r_drop": (1e3, "of 0 or more"),
        }
        for name, (low, high, words) in bounds.items():
            value = getattr(self, name)
            may_lack = name in ("learning_rate", "max_grad_norm")
            if not (value is None and may_lack) and not (_is_number(value) and low < value < high):
                yield f"{name} is {value!r}, expected a number {words}{' or None' if may_lack else ''}"
        for name, (high, words) in from_zero.items():
            value = getattr(self, name)
            if not (_is_number(value) and 0 <= value < high):
                yield f"{name} is {value!r}, expected a number {words}"
        if self.betas is not None and not (
            len(tuple(self.betas)) == 2 and all(_is_number(beta) and 0 <= beta < 1 for beta in self.betas)
        ):
            yield f"betas are {self.betas!r}, expected two numbers from 0 to below 1"
        if self.shard and self.freeze == "encoder":
            yield "shard is of no use with freeze='encoder': a head alone learns, and no process needs much memory"
        if self.shard and self.optimizer == "adafactor":
            yield "shard goes with the optimizers adamw, lion and sgd: adafactor looks at whole matrices"
        rate = self.dropout
        if not (rate is None or isinstance(rate, Dropout) or (_is_number(rate) and 0 <= rate < 1)):
            yield f"dropout is {rate!r}, expected a rate from 0 to below 1, an enfold.arch.Dropout, or None"

    def _wrong_choices(self) -> Iterator[str]:
        choices: dict[str, tuple[object, ...]] = {
            "order": get_args(Order),
            "optimizer": get_args(OptimizerName),
            "schedule": get_args(ScheduleName),
            "long": (*get_args(Long), None),
            "freeze": ("encoder", "embeddings", None),
            "precision": get_args(Precision),
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                yield f"{name} is {value!r}, expected one of {', '.join(map(repr, allowed))}"
        weights = self.class_weights
        if isinstance(weights, Mapping):
            wrong = {label: each for label, each in weights.items() if not _is_number(each) or each < 0}
            if wrong:
                yield f"class_weights has {wrong!r}, expected a number of 0 or more for each label"
        elif weights not in (None, "balanced"):
            yield f"class_weights is {weights!r}, expected 'balanced', a weight for each label, or None"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
