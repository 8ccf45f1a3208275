"""Trainer: the calls that the field knows, over the one loop.

::

    features ──read once, without padding──▶ Examples ──▶ the loop ──each step──▶ log, evaluations, checkpoints
    evaluate, predict: features ──collator──▶ padded batch ──model──▶ padded arrays ──▶ compute_metrics

Where a class of one's own computes the loss, or a collator of one's own makes the batches, the model is called with
those padded batches instead, and takes the padding away itself.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.training.arguments import TrainingArguments
from enfold.training.callbacks import Callbacks, TrainerControl, TrainerState
from enfold.training.execution import autocast
from enfold.training.predictions import (
    EvalPrediction,
    PredictionOutput,
    Said,
    gather,
    named_metrics,
    outputs_of,
    speed,
)
from enfold.training.processes import processes
from enfold.training.supervision import Supervisor
from enfold.training.tokenized import check_dataset, label_columns, rows_of
from enfold.training.trainer_batches import Batching
from enfold.training.trainer_checks import checked_model, checked_subclass
from enfold.training.trainer_loss import count_labels, loss_of_outputs
from enfold.training.trainer_names import Named
from enfold.training.trainer_optimizers import Optimizing, check_optimizers, switch
from enfold.training.trainer_records import Recording
from enfold.training.trainer_run import TrainerRun
from enfold.training.words import UsedRows

__all__ = ["TrainOutput", "Trainer"]


class TrainOutput(NamedTuple):
    """What :meth:`Trainer.train` gives: steps done, their mean loss, and how long they took."""

    global_step: int
    training_loss: float
    metrics: dict[str, float]


class Trainer(Optimizing, Batching, Recording, Named):
    """Trains a model on features that a tokenizer made, judges it, and predicts with it.

    A class derived from it may override ``compute_loss``, ``log``, ``evaluate`` and ``predict``, and the methods that
    make the optimizer and its scheduler (:class:`enfold.training.trainer_optimizers.Optimizing`).

    Args:
        model: of this library, on the PyTorch engine, with the head that is to be trained.
        args: :class:`enfold.TrainingArguments`; None: all defaults.
        data_collator: makes batches of features; None: pads what there is. Those of this library tell what is wanted
            and are not called; any other is called for each batch.
        train_dataset: anything with ``len`` and ``[]`` whose items are dictionaries: input_ids, attention_mask,
            labels … It is read once.
        eval_dataset: likewise; or several by name.
        processing_class: the tokenizer, saved beside the model.
        model_init: makes the model, instead of ``model``.
        compute_loss_func: the loss of a model's outputs, the labels and ``num_items_in_batch``.
        compute_metrics: metrics by name, of an :class:`enfold.training.predictions.EvalPrediction`.
        callbacks: see :class:`enfold.TrainerCallback`.
        optimizers: a PyTorch optimizer over the model's parameters and a scheduler of it, used as they are; None for
            the scheduler or for both: as TrainingArguments say.
        optimizer_cls_and_kwargs: the optimizer's class and options, instead of those that TrainingArguments say.
        preprocess_logits_for_metrics: makes less of a batch's logits, given the labels, before they are kept.
        tokenizer: the older name of ``processing_class``.

    Raises:
        InputError: a model that can't be trained, datasets that are none, methods overridden that are never called.
    """

    losses_by: ClassVar[Literal["rows", "batches"]] = "rows"
    """What the loss of an evaluation is the mean of."""

    def __init__(
        self,
        model: Any = None,
        args: TrainingArguments | None = None,
        data_collator: Callable[..., Any] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        model_init: Callable[[], Any] | None = None,
        compute_loss_func: Callable[..., Tensor] | None = None,
        compute_metrics: Callable[[Any], Mapping[str, Any]] | None = None,
        callbacks: Sequence[Any] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        optimizer_cls_and_kwargs: tuple[Any, dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
        tokenizer: Any = None,
    ) -> None:
        self.args = args if args is not None else TrainingArguments()
        checked_subclass(type(self), Trainer)
        self.optimizer, self.lr_scheduler = check_optimizers(optimizers, optimizer_cls_and_kwargs, model_init)
        self.optimizer_cls_and_kwargs, self.model_init = optimizer_cls_and_kwargs, model_init
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.args.seed)
            self.model: TorchModel = checked_model(model, model_init)
        self.model.to(self.args.device)
        self.data_collator, self.processing_class = data_collator, processing_class or tokenizer
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.compute_loss_func, self.compute_metrics = compute_loss_func, compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        if self.args.eval_strategy != "no" and eval_dataset is None:
            raise InputError(f"eval_strategy is {self.args.eval_strategy!r}, and there is no eval_dataset")
        self.label_names = tuple(self.args.label_names or label_columns(self.model.kind))
        self.state, self.control = TrainerState(), TrainerControl()
        self.callbacks = Callbacks(callbacks or ())
        self.words: UsedRows | None = None
        self._supervisor: Supervisor | None = None
        self._ignored: Sequence[str] | None = None
        self._columns = {*inspect.signature(type(self.model).forward).parameters, "label", "label_ids"}
        self._columns |= set(self.label_names)
        self.fire("on_init_end")

    # ── training ─────────────────────────────────────────────────────────────

    def train(
        self,
        resume_from_checkpoint: bool | str | Path | None = None,
        *,
        ignore_keys_for_eval: Sequence[str] | None = None,
    ) -> TrainOutput:
        """Trains the model.

        Args:
            resume_from_checkpoint: True goes on from the newest checkpoint in ``output_dir``; a folder from that one.
            ignore_keys_for_eval: ``ignore_keys`` of the evaluations meanwhile.

        Raises:
            InputError: features that can't be learnt from, or no checkpoint to go on from.
            NumericalError: a loss that is no number; the step and its rows are named.
            CheckpointError: a checkpoint can't be written.
        """
        if self.train_dataset is None:
            raise InputError("there is nothing to learn from: Trainer(…, train_dataset=…)")
        group = processes()
        first = group.is_first
        self.state = TrainerState(is_local_process_zero=first, is_world_process_zero=first)
        self.control = TrainerControl()
        board = Path(self.args.output_dir) / "tensorboard" if self.args.report_to and first else None
        show = "auto" if first and not self.args.disable_tqdm else False
        self._ignored = ignore_keys_for_eval
        self._supervisor = Supervisor(self, show, board)  # type: ignore[arg-type]
        try:
            return self._trained(TrainerRun(self, self._supervisor, group), resume_from_checkpoint)
        finally:
            if self.words is not None:
                self.words.give_back()
            self.words = self._supervisor = self._ignored = None
            self.model.eval()

    def _trained(self, made: TrainerRun, resume: bool | str | Path | None) -> TrainOutput:
        run, state = made.begin(resume)
        self.state.max_steps = run.steps.total
        self.state.num_train_epochs = math.ceil(run.steps.total / run.steps.per_epoch)
        began, before = time.perf_counter(), state.step
        self.fire("on_train_begin")
        if self.args.eval_on_start and not before:
            self.evaluate()
        made.train(run, state)
        watch = made.supervisor
        loss = watch.all_losses / watch.all_count if watch.all_count else float("nan")
        steps = state.step - before
        rows = len(self.train_dataset) * steps / run.steps.per_epoch
        metrics: dict[str, float] = speed("train", began, rows, steps)
        metrics |= {"total_flos": self.state.total_flos, "train_loss": loss}
        self.log(metrics)
        if self.args.load_best_model_at_end:
            made.restore_best(run, state)
        self.model.eval()
        self.fire("on_train_end")
        return TrainOutput(state.step, loss, metrics)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The mean loss of a batch of the model's arguments; override it for a loss of your own.

        Args:
            model: is called.
            inputs: its arguments.
            return_outputs: gives ``(loss, outputs)``.
            num_items_in_batch: labels of the batch.
        """
        outputs = model(**inputs)
        if self.compute_loss_func is not None:
            loss = self.compute_loss_func(outputs, inputs.get("labels"), num_items_in_batch=num_items_in_batch)
        else:
            loss = loss_of_outputs(self.model, outputs, inputs, self.args.label_smoothing_factor)
        return (loss, outputs) if return_outputs else loss

    # ── judging ──────────────────────────────────────────────────────────────

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Sequence[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, Any]:
        """The metrics of a dataset, by names that begin with the prefix.

        Args:
            eval_dataset: instead of the Trainer's own; several by name; or the name of one of its own.
            ignore_keys: outputs of the model that metrics don't want.
            metric_key_prefix: of the names.

        Raises:
            InputError: there is no dataset.
        """
        ignore_keys = self._ignored if ignore_keys is None else ignore_keys
        dataset = self.dataset_of(eval_dataset)
        if type(dataset) is dict and "input_ids" not in dataset:
            metrics: dict[str, Any] = {}
            for name, each in dataset.items():
                metrics |= self.evaluate(each, ignore_keys, f"{metric_key_prefix}_{name}")
            return metrics
        arrays = self.compute_metrics is not None and not self.args.prediction_loss_only
        found = self._judged(dataset, metric_key_prefix, arrays, ignore_keys)
        self.log(found.metrics)
        self.fire("on_evaluate", metrics=found.metrics)
        return found.metrics

    def predict(
        self, test_dataset: Any, ignore_keys: Sequence[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """What the model says of a dataset, with or without labels: arrays padded with -100.

        Args:
            test_dataset: features.
            ignore_keys: outputs of the model that are not wanted.
            metric_key_prefix: of the metrics' names.
        """
        found = self._judged(test_dataset, metric_key_prefix, not self.args.prediction_loss_only, ignore_keys)
        self.fire("on_predict", metrics=found.metrics)
        return found

    def _judged(self, dataset: Any, prefix: str, arrays: bool, ignored: Sequence[str] | None) -> PredictionOutput:
        check_dataset(dataset, "the dataset")
        if self.words is not None:
            self.words.write_back()
        switch(self.optimizer, "eval")
        began, size = time.perf_counter(), self.args.per_device_eval_batch_size
        cast = autocast(self.model.device, "bfloat16" if self.args.bf16 else "float32")
        with torch.random.fork_rng(devices=[]), cast():
            torch.manual_seed(self.args.seed)  # collators that mask do so alike each time
            found = gather(
                self.model,
                (self.collate(rows) for rows in rows_of(dataset, size)),
                self._say(arrays, tuple(ignored or ())),
                inputs="inputs" in self.args.include_for_metrics,
                by=self.losses_by,
                preprocess=self.preprocess_logits_for_metrics,
                after=lambda: self.fire("on_prediction_step"),
            )
        own = None
        if self.compute_metrics is not None and found.predictions is not None and found.label_ids is not None:
            losses = found.losses if "loss" in self.args.include_for_metrics else None
            own = self.compute_metrics(EvalPrediction(found.predictions, found.label_ids, found.inputs, losses))
        metrics = named_metrics(found, own, prefix)
        metrics |= speed(prefix, began, found.count, math.ceil(found.count / size))
        return PredictionOutput(found.predictions, found.label_ids, metrics)

    def _say(self, arrays: bool, ignored: tuple[str, ...]) -> Callable[[dict[str, Any]], Said]:
        """What the model says of a batch; ``arrays``: predictions and labels are wanted, and not the loss alone."""

        def loss_of(inputs: dict[str, Any]) -> Any:
            return self.loss_of(inputs, return_outputs=True)

        return outputs_of(self.model, loss_of, self.label_names, arrays=arrays, ignored=ignored)

    def loss_of(self, inputs: dict[str, Any], *, return_outputs: bool = False) -> Any:
        """``compute_loss`` of a batch, with the number of its labels where that is asked for."""
        wanted = inspect.signature(self.compute_loss).parameters
        takes = "num_items_in_batch" in wanted or any(each.kind is each.VAR_KEYWORD for each in wanted.values())
        count = {"num_items_in_batch": torch.tensor(count_labels(self.model, inputs))} if takes else {}
        found = self.compute_loss(self.model, inputs, return_outputs=return_outputs, **count)
        if not return_outputs and isinstance(found, tuple):
            found = found[0]
        loss = found[0] if return_outputs and isinstance(found, tuple) else found
        if not isinstance(loss, Tensor) or (return_outputs and not isinstance(found, tuple)):
            raise InputError(
                f"compute_loss gave a {type(found).__name__} for return_outputs={return_outputs}; expected a tensor, "
                "or with return_outputs=True the tuple (loss, outputs)"
            )
        return found

    # ── what is told and kept ────────────────────────────────────────────────

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """Adds a line to ``state.log_history``, with its epoch and step, and tells the callbacks."""
        logs["epoch"] = self.state.epoch
        record = {**logs, "step": self.state.global_step}
        self.state.log_history.append(record)
        if self._supervisor is not None:
            self._supervisor.told(record, self.state.global_step)
        self.fire("on_log", logs=logs)

    def fire(self, event: str, **values: Any) -> None:
        """Calls a method of every callback."""
        known = {
            "model": self.model,
            "processing_class": self.processing_class,
            "optimizer": self.optimizer,
            "lr_scheduler": self.lr_scheduler,
            "train_dataset": self.train_dataset,
            "eval_dataset": self.eval_dataset,
        }
        if self.words is not None and self.callbacks.hear(event):
            self.words.write_back()
        self.callbacks.fire(event, self.args, self.state, self.control, **known, **values)

    def add_callback(self, callback: Any) -> None:
        """One callback more: an object, or a class to be made."""
        self.callbacks.add(callback)

    def pop_callback(self, callback: Any) -> Any:
        """Takes a callback out and gives it; None where it isn't there."""
        return self.callbacks.pop(callback)

    def remove_callback(self, callback: Any) -> None:
        """Takes a callback out."""
        self.callbacks.pop(callback)

    def is_world_process_zero(self) -> bool:
        """Whether this process is the first of all."""
        return self.state.is_world_process_zero

    def is_local_process_zero(self) -> bool:
        """Whether this process is its machine's first."""
        return self.state.is_local_process_zero

    @property
    def model_wrapped(self) -> TorchModel:
        """The model: nothing is wrapped around it here."""
        return self.model

    @property
    def tokenizer(self) -> Any:
        """The older name of ``processing_class``."""
        return self.processing_class

    @property
    def is_in_train(self) -> bool:
        """Whether the model is being trained."""
        return self._supervisor is not None

    def end(self) -> None:
        """Nothing: processes that :meth:`train` joined part when the program ends."""
