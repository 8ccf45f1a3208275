"""A Trainer's run: its features as examples or as called batches, and the loop that they go through."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from enfold.errors import InputError
from enfold.model import PreTrainedModel
from enfold.training import collators
from enfold.training.checkpoints import Checkpoints
from enfold.training.data.problems import counted
from enfold.training.examples import Examples, Ragged
from enfold.training.execution import Execution, compiled
from enfold.training.given import Called, CalledLoss, Masked, goal_of
from enfold.training.goals import Goal, Reading
from enfold.training.goals.base import IGNORED
from enfold.training.job import fingerprint_of_run
from enfold.training.loop import Run, State, restore_best, resume_run, train
from enfold.training.objective import Objective
from enfold.training.optim import make_optimizer
from enfold.training.predictions import as_inputs
from enfold.training.processes import Processes
from enfold.training.settings import Settings
from enfold.training.supervision import SupervisedCheckpoints, SupervisedSteps, Supervisor
from enfold.training.tokenized import FORMS, as_array, check_dataset, feature_at, read_examples
from enfold.training.trainer_loss import count_labels
from enfold.training.trainer_optimizers import described, extra_parameters, prepare, switch
from enfold.training.words import used_rows

if TYPE_CHECKING:
    from enfold.training.trainer import Trainer

__all__ = ["TrainerRun"]

logger = logging.getLogger("enfold")

Array = NDArray[Any]

_PADDING = {
    type(None),
    collators.DefaultDataCollator,
    collators.DataCollatorWithPadding,
    collators.DataCollatorForTokenClassification,
    collators.DataCollatorForSeq2Seq,
    collators.DataCollatorForMultipleChoice,
}
"""Collators that do nothing but pad."""
_NEVER = 10**9
_CALLED_WITH = {"decoder_input_ids", "decoder_attention_mask", "inputs_embeds", "position_ids", "encoder_outputs"}
"""Columns that only a call of the model knows what to do with."""


class TrainerRun:
    """What a Trainer is about to train.

    Args:
        trainer: whose run it is.
        supervisor: is told of its steps.
        group: the processes that share it.

    Raises:
        InputError: features that can't be learnt from.
    """

    def __init__(self, trainer: Trainer, supervisor: Supervisor, group: Processes) -> None:
        self.trainer, self.supervisor, self.group = trainer, supervisor, group
        dataset = trainer.train_dataset
        check_dataset(dataset, "train_dataset")
        self.calls = self._calls()
        self.examples, self.goal = self._called() if self.calls else self._packed()
        self.settings = self._settings()

    # ── features ─────────────────────────────────────────────────────────────

    def _calls(self) -> bool:
        """Whether the model must be called with a collator's batches, rather than given packed ones."""
        from enfold.training.trainer import Trainer

        trainer, model = self.trainer, self.trainer.model
        own_loss = type(trainer).compute_loss is not Trainer.compute_loss or trainer.compute_loss_func is not None
        own_forward = type(model).forward is not PreTrainedModel.forward
        both_stacks = model.arch.encoder is not None and model.kind != "seq2seq-lm"
        columns = set(feature_at(trainer.train_dataset, 0)) & _CALLED_WITH
        return own_loss or own_forward or both_stacks or bool(columns) or model.kind not in FORMS or not self._knows()

    def _knows(self) -> bool:
        """Whether the collator is one whose meaning is known."""
        collator, kind = self.trainer.data_collator, self.trainer.model.kind
        if isinstance(collator, collators.DataCollatorForLanguageModeling):
            usual = type(collator) is collators.DataCollatorForLanguageModeling and collator.seed is None
            replaced = (collator.mask_replace_prob, collator.random_replace_prob) == (0.8, 0.1)
            return usual and kind == ("masked-lm" if collator.mlm else "causal-lm") and (replaced or not collator.mlm)
        return collator is collators.default_data_collator or type(collator) in _PADDING

    def _packed(self) -> tuple[Examples, Goal]:
        trainer, model, collator = self.trainer, self.trainer.model, self.trainer.data_collator
        dataset, smoothing = trainer.train_dataset, trainer.args.label_smoothing_factor
        if not isinstance(collator, collators.DataCollatorForLanguageModeling):
            examples = read_examples(dataset, model, FORMS[model.kind])
            return examples, goal_of(model, examples, smoothing)
        tokenizer = collator.tokenizer
        if not collator.mlm:
            pad = tokenizer.pad_token_id
            examples = read_examples(
                dataset, model, "tokens", from_ids=lambda ids: np.where(ids == pad, IGNORED, ids).astype(np.int64)
            )
            return examples, goal_of(model, examples, smoothing)
        special = np.array(tokenizer.all_special_ids)
        examples = read_examples(
            dataset, model, "tokens", from_ids=lambda ids: (~np.isin(ids, special)).astype(np.int64)
        )
        assert collator.mlm_probability is not None
        return examples, Masked(collator.mlm_probability, tokenizer.mask_token_id, len(tokenizer), smoothing)

    def _called(self) -> tuple[Examples, Goal]:
        trainer, dataset = self.trainer, self.trainer.train_dataset
        if trainer.args.activation_checkpointing:
            raise InputError(
                "activation_checkpointing is not to be had with a compute_loss or a data_collator of one's own: "
                "lower per_device_train_batch_size and raise gradient_accumulation_steps"
            )
        if "input_ids" in feature_at(dataset, 0) and trainer.model.kind != "multiple-choice":
            examples = read_examples(dataset, trainer.model, "none")
        else:  # a collator that reads something else: nothing is known of lengths
            count = len(dataset)
            ids = Ragged(np.zeros(count, np.int32), np.arange(count + 1))
            examples = Examples(ids, None, np.zeros(count), np.arange(count))

        def collate(chosen: NDArray[np.int64]) -> dict[str, Any]:
            rows = [feature_at(dataset, int(index)) for index in chosen]
            return as_inputs(trainer.collate(rows), trainer.model.device)

        def count_of(inputs: Mapping[str, Any]) -> float:
            own = type(trainer).compute_loss is not _base().compute_loss
            return float(_rows(inputs) if own else count_labels(trainer.model, inputs))

        return examples, Called(collate, count_of)

    # ── the run ──────────────────────────────────────────────────────────────

    def _settings(self) -> Settings:
        args = self.trainer.args
        settings = args.to_settings(processes=self.group.count)
        per_epoch = -(-len(self.examples) // settings.batch_size)
        total = settings.max_steps or max(1, math.ceil(settings.epochs * per_epoch))
        every = {"steps": args.every("save", total), "epoch": per_epoch}.get(args.save_strategy, _NEVER)
        return replace(settings, max_steps=total, log_every=1, evaluate_every=None, save_every=every)

    def begin(self, resume: bool | str | Path | None) -> tuple[Run, State]:
        """The run, and where it stands.

        Raises:
            InputError: no checkpoint to go on from, or one of another run.
        """
        run = self._run()
        self.supervisor.run = run
        if resume:
            return run, self._resumed(run, resume)
        if run.checkpoints is not None and self.group.is_first:
            self._move_aside(run.checkpoints)
        self.group.wait()
        return run, State()

    def _run(self) -> Run:
        trainer, model, settings, goal, examples = (
            self.trainer,
            self.trainer.model,
            self.settings,
            self.goal,
            self.examples,
        )
        own = trainer.begin_run()  # an optimizer over the model's own parameters
        whole = own or settings.optimizer == "adafactor"  # which looks at whole matrices
        if not self.calls and goal.repeats and not whole:
            known = cast(Any, SimpleNamespace(all_special_ids=[]))
            trainer.words = used_rows(model, goal.ids(examples), known)
        named = {name: each for name, each in model.named_parameters() if each.requires_grad}
        if trainer.words is not None:
            named["tree.embeddings.words.used"] = trainer.words.weight
        if not named:
            raise InputError("nothing of the model learns: every parameter has requires_grad=False")
        execution = Execution(model, (), trainer.words, settings.precision, settings.checkpoint_activations)
        tables = sum(each.numel() for name, each in named.items() if ".embeddings." in name)
        self.supervisor.flops_of_token = 6.0 * (sum(each.numel() for each in named.values()) - tables)
        rate = float(trainer.args.learning_rate)
        of_run = None if own else make_optimizer(named.items(), settings, rate, model.arch.num_layers)
        steps = self._steps()
        optimizer, scheduler = prepare(trainer, steps.total, named, of_run)
        buffers: dict[str, Tensor] = {name: each for name, each in model.named_buffers() if name in model.state_dict()}
        return Run(
            goal=goal,
            reading=Reading(trainer.processing_class, model.arch, model.arch.max_length, "error"),
            examples=examples,
            place=lambda row: f"row {row}",
            held_out=None,
            execution=execution,
            objective=self._called_loss(execution) if self.calls else Objective(goal, execution),
            parameters=named,
            buffers={**buffers, **extra_parameters(optimizer, named, model, self.group.count)},
            optimizer=optimizer,
            scheduler=scheduler,
            steps=steps,
            rate=rate,
            settings=settings,
            checkpoints=self._checkpoints(),
            watch=self.supervisor,
            processes=self.group,
            fingerprint=fingerprint_of_run(self.examples, settings, named, described(optimizer, scheduler)),
        )

    def _called_loss(self, execution: Execution) -> CalledLoss:
        trainer = self.trainer

        def compute(inputs: dict[str, Any]) -> Tensor:
            with execution.cast():
                loss: Tensor = trainer.loss_of(dict(inputs))
            return loss.mean()

        return CalledLoss(self.goal, cast(Any, execution), compute=compute)

    def _steps(self) -> SupervisedSteps:
        trainer, settings = self.trainer, self.settings
        per_epoch = -(-len(self.examples) // settings.batch_size)

        def begins(step: int) -> None:
            switch(trainer.optimizer, "train")
            if step % per_epoch == 0:
                trainer.fire("on_epoch_begin")
            trainer.fire("on_step_begin")

        return SupervisedSteps(
            self.examples.lengths,
            settings.batch_size,
            settings.order,
            settings.seed,
            settings.epochs,
            settings.max_steps,
            begins=begins,
            part=trainer.args.per_device_train_batch_size if self.calls else None,
        )

    def _checkpoints(self) -> SupervisedCheckpoints | None:
        if self.trainer.args.save_strategy == "no":
            return None
        folder = Path(self.trainer.args.output_dir) / "checkpoints"
        folder.parent.mkdir(parents=True, exist_ok=True)
        return SupervisedCheckpoints(folder, self.settings.keep, self.supervisor)

    # ── where it stands ──────────────────────────────────────────────────────

    def _resumed(self, run: Run, resume: bool | str | Path) -> State:
        folder = Path(self.trainer.args.output_dir) / "checkpoints" if resume is True else Path(str(resume))
        place = _place_of(folder)
        checkpoints = SupervisedCheckpoints(place.parent, self.settings.keep, self.supervisor, int(place.name[5:]))
        state = resume_run(replace(run, checkpoints=checkpoints))
        assert state is not None
        found = checkpoints.newest()
        assert found is not None
        self.supervisor.take_up(found[1]["trainer"])
        state.stopped = ""  # what a callback ended goes on where it is asked for again
        logger.info("goes on after step %d of %d", state.step, run.steps.total)
        return state

    def _move_aside(self, checkpoints: Checkpoints) -> None:
        """A run that starts anew leaves what an earlier one kept, under another name."""
        steps = checkpoints.steps()
        if steps:
            aside = checkpoints.folder.with_name("earlier-checkpoints")
            found = counted(len(steps), "checkpoint of an earlier run is", "checkpoints of an earlier run are")
            logger.warning("%s moved to %s", found, aside)
            shutil.rmtree(aside, ignore_errors=True)
            checkpoints.folder.replace(aside)

    def train(self, run: Run, state: State) -> None:
        """Goes through the run."""
        with self.supervisor.shown(run.steps.total), compiled(self.trainer.model, self.settings.compile):
            train(run, state)

    def restore_best(self, run: Run, state: State) -> None:
        """The best evaluation's weights."""
        restore_best(run, state)
        if self.trainer.words is not None:
            self.trainer.words.write_back()


def _base() -> type[Trainer]:
    from enfold.training.trainer import Trainer

    return Trainer


def _rows(inputs: Mapping[str, Any]) -> int:
    return next((len(as_array(value)) for value in inputs.values() if isinstance(value, Tensor) and value.ndim), 1)


def _place_of(folder: Path) -> Path:
    """A checkpoint: the folder itself, or the newest in it.

    Raises:
        InputError: there is none.
    """
    if (folder / "state.json").is_file() and folder.name.startswith("step-"):
        return folder
    for each in (folder, folder / "checkpoints"):
        steps = Checkpoints(each, 1).steps()
        if steps:
            return Checkpoints(each, 1).path(steps[-1])
    if (folder / "trainer_state.json").is_file() and (folder / "config.json").is_file():
        raise InputError(
            f"{folder} holds a model, and no state to go on from: load the model from it, and train without "
            "resume_from_checkpoint"
        )
    raise InputError(f"there is no checkpoint in {folder} to go on from: train without resume_from_checkpoint")
