"""What the field's Trainer has and this one has not: an answer for each name, instead of silence."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

__all__ = ["ABSENT", "Named"]

_HUB = "save_model(folder) writes what `huggingface-cli upload` takes"
_PROCESSES = (
    "processes are torchrun's: torch.distributed knows of them, and trainer.is_world_process_zero() of the first"
)
_BATCHES = (
    "batches are packed, or a data_collator's: pass data_collator, and train_sampling_strategy for their order; "
    "trainer.collate(rows) shows one"
)
_STEP = "override compute_loss, or pass compute_loss_func; callbacks see each step"
_JUDGING = "override compute_loss, evaluate or predict, or pass preprocess_logits_for_metrics and compute_metrics"
_SEARCH = "enfold.tune searches for settings"
_FILES = "save_model(folder) and save_state() write files; callbacks set control.should_save"

ABSENT: Mapping[str, str] = {
    "accelerator": _PROCESSES,
    "autocast_smart_context_manager": "bf16=True says in which numbers matrices are multiplied",
    "call_model_init": "model_init is called once, when the Trainer is made",
    "callback_handler": "trainer.callbacks.members are the callbacks",
    "can_return_loss": "compute_loss says what the loss is",
    "compute_loss_context_manager": "bf16=True says in which numbers matrices are multiplied",
    "create_accelerator_and_postprocess": _PROCESSES,
    "create_model_card": "enfold.fit(…, out=folder) writes a card",
    "current_flos": "trainer.state.total_flos counts them",
    "current_gradient_accumulation_steps": "args.gradient_accumulation_steps is their number",
    "deepspeed": "bf16=True and activation_checkpointing=True save memory here",
    "evaluation_loop": _JUDGING,
    "floating_point_ops": "trainer.state.total_flos counts them",
    "gather_function": _PROCESSES,
    "get_batch_samples": _BATCHES,
    "get_cp_size": _PROCESSES,
    "get_optimizer_group": "trainer.optimizer.param_groups are its groups",
    "get_sp_size": _PROCESSES,
    "get_total_train_batch_size": "per_device_train_batch_size times gradient_accumulation_steps times the processes",
    "get_tp_size": _PROCESSES,
    "hp_name": _SEARCH,
    "hp_search_backend": _SEARCH,
    "hub_model_id": _HUB,
    "hyperparameter_search": _SEARCH,
    "init_hf_repo": _HUB,
    "is_distributed_loading_by_transformers": _PROCESSES,
    "is_fsdp_xla_enabled": _PROCESSES,
    "is_fsdp_xla_v1_enabled": _PROCESSES,
    "is_fsdp_xla_v2_enabled": _PROCESSES,
    "label_smoother": "args.label_smoothing_factor smooths",
    "loss_is_scaled_for_ga": "compute_loss gives the mean of a batch; parts of a step are weighed by their labels",
    "metrics_format": "log_metrics(split, metrics) prints them",
    "model_accepts_loss_kwargs": "compute_loss gets num_items_in_batch where it takes it",
    "neftune_noise_alpha": "embeddings learn without noise here",
    "num_examples": "len(dataset) is their number",
    "num_tokens": "trainer.state.num_input_tokens_seen counts them",
    "optimizer_cls": "get_optimizer_cls_and_kwargs gives it",
    "prediction_loop": _JUDGING,
    "prediction_step": _JUDGING,
    "push_to_hub": _HUB,
    "set_initial_training_values": "trainer.state.max_steps and num_train_epochs have them",
    "store_flos": "trainer.state.total_flos counts them",
    "training_step": _STEP,
    "_get_eval_sampler": "evaluations read the rows in their order",
    "_get_train_sampler": _BATCHES,
    "_inner_training_loop": _STEP,
    "_load_best_model": "load_best_model_at_end=True ends with the best weights",
    "_maybe_log_save_evaluate": "callbacks set control.should_log, should_evaluate and should_save",
    "_prepare_inputs": "trainer.collate(rows) makes a batch",
    "_remove_unused_columns": "args.remove_unused_columns=True leaves columns out",
    "_save": _FILES,
    "_save_checkpoint": _FILES,
}
"""Names, and what there is instead."""


class Named:
    """Says what there is instead of a name that a Trainer has not; what is asked in passing has an answer."""

    is_deepspeed_enabled: ClassVar[bool] = False
    is_fsdp_enabled: ClassVar[bool] = False
    is_model_parallel: ClassVar[bool] = False
    place_model_on_device: ClassVar[bool] = True

    if not TYPE_CHECKING:  # so that a type checker still sees mistakes

        def __getattr__(self, name: str) -> Any:
            if name in ABSENT:
                raise AttributeError(f"this Trainer has no {name}: {ABSENT[name]}")
            near = difflib.get_close_matches(name, [each for each in dir(type(self)) if each[0] != "_"], n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise AttributeError(f"a {type(self).__name__} has no attribute {name!r}{hint}")
