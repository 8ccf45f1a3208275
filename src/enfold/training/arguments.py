"""TrainingArguments: the names and defaults that the field knows, and what they are here.

A name is one of four kinds: it does what it does elsewhere (the fields of :class:`TrainingArguments`); it is an older
name of one of those; it makes no difference here, whatever it is set to; or this library has nothing of the kind, and
any other value than the default is an error with a hint. Any other name is a mistake, and near names are told.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from enfold.errors import InputError
from enfold.training.argument_names import LACKING, NO_DIFFERENCE, OF_TEXTS, OLDER
from enfold.training.settings import OptimizerName, Order, ScheduleName, Settings

__all__ = ["TrainingArguments"]

logger = logging.getLogger("enfold")

_OPTIMIZERS: Mapping[str, OptimizerName] = {
    "adamw_torch_fused": "adamw",
    "adamw_torch": "adamw",
    "adamw_hf": "adamw",
    "adafactor": "adafactor",
    "sgd": "sgd",
    "lion_32bit": "lion",
}
_SCHEDULES: Mapping[str, ScheduleName] = {
    "linear": "linear",
    "cosine": "cosine",
    "constant": "constant",
    "constant_with_warmup": "constant",
}
_ORDERS: Mapping[str, Order] = {"random": "random", "sequential": "sequential", "group_by_length": "bucketed"}


@dataclass(init=False)
class TrainingArguments:
    """How a :class:`enfold.Trainer` trains: the field's names, with the field's defaults.

    Attributes:
        output_dir: for checkpoints and the model.
        per_device_train_batch_size: examples that a process learns from at once.
        per_device_eval_batch_size: examples of an evaluation's batch.
        num_train_epochs: how often the data are gone through; a part is allowed.
        max_steps: steps of the optimizer, instead of the epochs where it is above 0.
        gradient_accumulation_steps: batches of one step. Their losses add up exactly, target by target.
        learning_rate: the highest of the schedule.
        lr_scheduler_type: linear, cosine, constant or constant_with_warmup.
        warmup_steps: steps in which the rate rises; below 1 a share of all steps.
        warmup_ratio: that share, under its older name.
        optim: adamw_torch_fused, adamw_torch, adafactor, sgd or lion_32bit.
        weight_decay: pulls matrices towards zero; never norms and biases.
        adam_beta1: decay of AdamW's and Lion's first average.
        adam_beta2: decay of the second.
        adam_epsilon: AdamW's.
        max_grad_norm: longer gradients are shortened to this; 0 leaves them.
        label_smoothing_factor: share of a label that is spread over all.
        bf16: matrices are multiplied in bfloat16.
        activation_checkpointing: layers are computed again on the way back; ``gradient_checkpointing`` is the same.
        torch_compile: compiles what stands between matrix products.
        logging_strategy: no, steps or epoch.
        logging_steps: steps between lines of the log; below 1 a share of all steps.
        logging_first_step: logs the first step, too.
        eval_strategy: no, steps or epoch.
        eval_steps: likewise for evaluations; None: as for the log.
        eval_delay: evaluations begin after so many epochs or steps.
        eval_on_start: evaluates before the first step.
        prediction_loss_only: evaluations give the loss alone.
        include_for_metrics: what compute_metrics gets besides: ``"inputs"``, ``"loss"``.
        save_strategy: no, steps, epoch, or best (where an evaluation is better than all before).
        save_steps: likewise for checkpoints.
        save_total_limit: checkpoints that are kept beside the best; None keeps all.
        load_best_model_at_end: ends with the best evaluation's weights.
        metric_for_best_model: what tells it; ``"loss"`` where load_best_model_at_end is set.
        greater_is_better: of that metric; None: unless its name ends with loss.
        train_sampling_strategy: random, sequential or group_by_length.
        remove_unused_columns: columns that the model doesn't know are left out.
        label_names: the columns that are labels; None: the head's own.
        seed: of everything random.
        use_cpu: where there is a GPU.
        report_to: ``"none"`` or ``"tensorboard"``.
        disable_tqdm: no bar on the terminal.
    """

    output_dir: str = "trainer_output"
    per_device_train_batch_size: int = 8
    per_device_eval_batch_size: int = 8
    num_train_epochs: float = 3.0
    max_steps: int = -1
    gradient_accumulation_steps: int = 1
    learning_rate: float = 5e-5
    lr_scheduler_type: str = "linear"
    warmup_steps: float = 0
    warmup_ratio: float | None = None
    optim: str = "adamw_torch_fused"
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    label_smoothing_factor: float = 0.0
    bf16: bool = False
    activation_checkpointing: bool | None = None
    torch_compile: bool = False
    logging_strategy: str = "steps"
    logging_steps: float = 500
    logging_first_step: bool = False
    eval_strategy: str = "no"
    eval_steps: float | None = None
    eval_delay: float = 0
    eval_on_start: bool = False
    prediction_loss_only: bool = False
    include_for_metrics: list[str] = dataclasses.field(default_factory=list)
    save_strategy: str = "steps"
    save_steps: float = 500
    save_total_limit: int | None = None
    load_best_model_at_end: bool = False
    metric_for_best_model: str | None = None
    greater_is_better: bool | None = None
    train_sampling_strategy: str = "random"
    remove_unused_columns: bool = True
    label_names: list[str] | None = None
    seed: int = 42
    use_cpu: bool = False
    report_to: str | list[str] = "none"
    disable_tqdm: bool | None = None

    lacking: ClassVar[Mapping[str, tuple[Any, str]]] = LACKING
    """Names that there is nothing for: their defaults, and what there is instead."""

    def __init__(self, output_dir: str | None = None, **options: Any) -> None:
        for field in dataclasses.fields(self):
            made = field.default_factory
            setattr(self, field.name, field.default if made is dataclasses.MISSING else made())
        self._others = {**NO_DIFFERENCE, **{name: default for name, (default, _) in self.lacking.items()}}
        if output_dir is not None:
            self.output_dir = str(output_dir)
        problems = [*self._take(options), *self._wrong()]
        if problems:
            raise InputError("these TrainingArguments can't be used:\n  " + "\n  ".join(problems))
        self._conclude()

    def _take(self, options: Mapping[str, Any]) -> Iterator[str]:
        """Sets what was given; what is wrong with names and with what there isn't."""
        fields = {field.name for field in dataclasses.fields(self)}
        for given, raw in options.items():
            value = getattr(raw, "value", raw)  # an enumeration's name for itself
            name = OLDER.get(given, given)
            if name != given and raw is None:
                continue
            if name != given and options.get(name, raw) != raw:
                yield f"{given} and {name} were both given: they are one"
            elif name in fields:
                setattr(self, name, list(value) if isinstance(value, tuple) else value)
            elif name == "group_by_length":
                if value and options.get("train_sampling_strategy", "group_by_length") != "group_by_length":
                    yield "group_by_length and train_sampling_strategy contradict each other: give the latter alone"
                elif value:
                    self.train_sampling_strategy = "group_by_length"
            elif name in NO_DIFFERENCE:
                self._others[name] = value
                if value != NO_DIFFERENCE[name]:
                    logger.info("%s=%r makes no difference here", name, value)
            elif name in self.lacking:
                default, hint = self.lacking[name]
                if value != default and not (not value and not default):
                    yield f"{name}={value!r} is not to be had{f': {hint}' if hint else ''}"
            elif name in OF_TEXTS:
                yield f"{name} is one of Seq2SeqTrainingArguments, for a Seq2SeqTrainer"
            else:
                known = [*fields, *OLDER, *NO_DIFFERENCE, *self.lacking, "group_by_length"]
                near = " or ".join(difflib.get_close_matches(given, known, n=2))
                yield f"{given} is unknown{f'; did you mean {near}?' if near else ''}"

    def _wrong(self) -> Iterator[str]:
        """What is wrong with values."""
        for name in ("eval_strategy", "save_strategy", "logging_strategy"):
            if getattr(self, name) is False:  # what YAML makes of no
                setattr(self, name, "no")
        choices: dict[str, tuple[str, ...]] = {
            "lr_scheduler_type": tuple(_SCHEDULES),
            "optim": tuple(_OPTIMIZERS),
            "train_sampling_strategy": tuple(_ORDERS),
            "logging_strategy": ("no", "steps", "epoch"),
            "eval_strategy": ("no", "steps", "epoch"),
            "save_strategy": ("no", "steps", "epoch", "best"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                yield f"{name} is {getattr(self, name)!r}, expected one of {', '.join(allowed)}"
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            if not _is_whole(getattr(self, name)) or getattr(self, name) < 1:
                yield f"{name} is {getattr(self, name)!r}, expected a whole number of 1 or more"
        for name in ("logging_steps", "eval_steps", "save_steps"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value > 0 and (value < 1 or value == int(value))):
                yield f"{name} is {value!r}, expected a whole number, or a share below 1 of all steps"
        for name in ("num_train_epochs", "learning_rate"):
            if not (_is_number(getattr(self, name)) and getattr(self, name) > 0):
                yield f"{name} is {getattr(self, name)!r}, expected a number above 0"
        for name in ("warmup_steps", "warmup_ratio", "weight_decay", "max_grad_norm", "eval_delay"):
            value = getattr(self, name)
            if not (_is_number(value) and value >= 0) and not (name in ("warmup_ratio", "max_grad_norm") and not value):
                yield f"{name} is {value!r}, expected a number of 0 or more"
        if not (_is_number(self.warmup_ratio or 0.0) and 0 <= (self.warmup_ratio or 0.0) < 1):
            yield f"warmup_ratio is {self.warmup_ratio!r}, expected a share below 1"
        if not (_is_number(self.label_smoothing_factor) and 0 <= self.label_smoothing_factor < 1):
            yield f"label_smoothing_factor is {self.label_smoothing_factor!r}, expected a number from 0 to below 1"
        if not _is_whole(self.max_steps):
            yield f"max_steps is {self.max_steps!r}, expected a whole number"
        if self.save_total_limit is not None and not _is_whole(self.save_total_limit):
            yield f"save_total_limit is {self.save_total_limit!r}, expected a whole number or None"
        yield from self._wrong_reports()
        yield from self._wrong_best()

    def _wrong_reports(self) -> Iterator[str]:
        given = [self.report_to] if isinstance(self.report_to, str) else list(self.report_to or ())
        for each in given:
            if each not in ("none", "all", "tensorboard"):
                yield f"report_to={each!r} is not to be had: 'tensorboard' or 'none'"
        self.report_to = [each for each in given if each == "tensorboard"]
        for each in self.include_for_metrics:
            if each not in ("inputs", "loss"):
                yield f"include_for_metrics has {each!r}, expected 'inputs' and 'loss'"

    def _wrong_best(self) -> Iterator[str]:
        """What load_best_model_at_end needs."""
        needs = "load_best_model_at_end" if self.load_best_model_at_end else "save_strategy='best'"
        if not self.load_best_model_at_end and self.save_strategy != "best":
            return
        if self.eval_strategy == "no":
            yield f"{needs} needs evaluations: set eval_strategy"
        elif self.save_strategy != "best" and self.save_strategy != self.eval_strategy:
            yield (
                f"{needs} needs checkpoints where evaluations are: eval_strategy is {self.eval_strategy!r} and "
                f"save_strategy {self.save_strategy!r}"
            )
        elif self.save_strategy == "steps" and _is_number(self.save_steps):
            every = self.eval_steps or self.logging_steps
            parts = self.save_steps / every if _is_number(every) and every > 0 else 1.0
            if (self.save_steps < 1) != (every < 1) or abs(parts - round(parts)) > 1e-9 or parts < 1:
                yield f"{needs} needs a save_steps that is a multiple of eval_steps: {self.save_steps} and {every}"

    def _conclude(self) -> None:
        """Fills in what follows from other choices."""
        self.eval_steps = self.eval_steps or self.logging_steps
        self.activation_checkpointing = bool(self.activation_checkpointing)
        if self.metric_for_best_model is None and (self.load_best_model_at_end or self.save_strategy == "best"):
            self.metric_for_best_model = "loss"
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = not self.metric_for_best_model.endswith("loss")
        if self.lr_scheduler_type == "constant" and (self.warmup_steps or self.warmup_ratio):
            logger.warning("lr_scheduler_type='constant' has no warm-up; 'constant_with_warmup' has one")

    def __getattr__(self, name: str) -> Any:
        if name in OLDER:
            return getattr(self, OLDER[name])
        others = self.__dict__.get("_others", {})
        if name in others:
            return others[name]
        raise AttributeError(f"TrainingArguments have no {name!r}")

    def to_settings(self, *, processes: int = 1) -> Settings:
        """The settings of the training loop that these arguments are.

        Intervals that are shares of all steps, and those in epochs, are None: they depend on the data.

        Args:
            processes: that share a step.
        """
        warmup = self.warmup_steps or self.warmup_ratio or 0
        limit = self.save_total_limit
        return Settings(
            epochs=float(self.num_train_epochs),
            max_steps=self.max_steps if self.max_steps > 0 else None,
            batch_size=self.per_device_train_batch_size * self.gradient_accumulation_steps * processes,
            order=_ORDERS[self.train_sampling_strategy],
            learning_rate=float(self.learning_rate),
            optimizer=_OPTIMIZERS[self.optim],
            betas=(self.adam_beta1, self.adam_beta2),
            epsilon=self.adam_epsilon,
            momentum=0.0,
            weight_decay=float(self.weight_decay),
            schedule=_SCHEDULES[self.lr_scheduler_type],
            warmup=0 if self.lr_scheduler_type == "constant" else warmup,
            max_grad_norm=float(self.max_grad_norm) if self.max_grad_norm else None,
            label_smoothing=float(self.label_smoothing_factor),
            precision="bfloat16" if self.bf16 else "float32",
            compile=bool(self.torch_compile),
            checkpoint_activations=bool(self.activation_checkpointing),
            evaluate_every=_steps(self.eval_strategy, self.eval_steps),
            save_every=_steps(self.save_strategy, self.save_steps),
            keep=limit if limit is not None and limit > 0 else 10**9,
            metric=self._metric(),
            log_every=_steps(self.logging_strategy, self.logging_steps) or 10**9,
            seed=self.seed,
        )

    def _metric(self) -> str | None:
        name = self.metric_for_best_model
        return None if name is None else f"{'' if self.greater_is_better else '-'}{name.removeprefix('eval_')}"

    def due(
        self, what: Literal["logging", "eval", "save"], at: Literal["steps", "epoch"], step: int, total: int
    ) -> bool:
        """Whether a line, an evaluation or a checkpoint is due after a step, or at the end of an epoch."""
        if getattr(self, f"{what}_strategy") != at:
            return False
        if at == "epoch":
            return True
        return step % self.every(what, total) == 0 or (what == "eval" and step == total)

    def every(self, what: Literal["logging", "eval", "save"], total: int) -> int:
        """The steps from one to the next, of a run of so many."""
        value = getattr(self, f"{what}_steps")
        return math.ceil(total * value) if value < 1 else int(value)

    def to_dict(self) -> dict[str, Any]:
        """The arguments by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def to_json_string(self) -> str:
        """The arguments as JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    @property
    def train_batch_size(self) -> int:
        """Examples that a process learns from at once."""
        return self.per_device_train_batch_size

    @property
    def eval_batch_size(self) -> int:
        """Examples of an evaluation's batch."""
        return self.per_device_eval_batch_size

    @property
    def device(self) -> Any:
        """Where the model runs, a torch.device."""
        import torch

        return torch.device("cuda" if torch.cuda.is_available() and not self.use_cpu else "cpu")


def _steps(strategy: str, every: float | None) -> int | None:
    return int(every) if strategy == "steps" and every is not None and every >= 1 else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
