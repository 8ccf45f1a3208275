"""Names of TrainingArguments that are older, that make no difference here, or that this library has nothing for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["LACKING", "NO_DIFFERENCE", "OF_TEXTS", "OLDER"]

OLDER: Mapping[str, str] = {
    "evaluation_strategy": "eval_strategy",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "no_cuda": "use_cpu",
    "gradient_checkpointing": "activation_checkpointing",
}
"""Older names of arguments, and what they are now."""

NO_DIFFERENCE: Mapping[str, Any] = {
    "average_tokens_across_devices": True,
    "data_seed": None,
    "dataloader_in_order": True,
    "dataloader_multiprocessing_context": None,
    "dataloader_num_workers": 0,
    "dataloader_persistent_workers": False,
    "dataloader_pin_memory": True,
    "dataloader_prefetch_factor": None,
    "ddp_backend": None,
    "ddp_broadcast_buffers": None,
    "ddp_bucket_cap_mb": None,
    "ddp_find_unused_parameters": None,
    "ddp_static_graph": None,
    "ddp_timeout": 1800,
    "do_eval": False,
    "do_predict": False,
    "do_train": False,
    "eval_accumulation_steps": None,
    "full_determinism": False,
    "activation_checkpointing_kwargs": None,
    "gradient_checkpointing_kwargs": None,
    "ignore_data_skip": False,
    "local_rank": -1,
    "log_level": "passive",
    "log_level_replica": "warning",
    "log_on_each_node": True,
    "logging_nan_inf_filter": True,
    "overwrite_output_dir": False,
    "project": "huggingface",
    "resume_from_checkpoint": None,
    "restore_callback_states_from_checkpoint": False,
    "run_name": None,
    "save_on_each_node": False,
    "skip_memory_metrics": True,
    "torch_empty_cache_steps": None,
    "use_cache": False,
}
"""Names that change nothing here, and their defaults, so that they can be read."""

_HUB = "save_model(folder) writes what `huggingface-cli upload` takes"
_LESS_MEMORY = "bf16=True and activation_checkpointing=True save memory here"
_SHARED = "enfold.fit(…, settings=Settings(shard=True)) or enfold train --shard splits a model over processes"
LACKING: Mapping[str, tuple[Any, str]] = {
    "accelerator_config": (None, "torchrun alone says how many processes there are"),
    "auto_find_batch_size": (False, "a step is cut into parts of a token budget, so any batch size fits"),
    "batch_eval_metrics": (False, "compute_metrics gets all predictions at once"),
    "bf16_full_eval": (False, "evaluations are computed in float32, or under bf16=True as training is"),
    "dataloader_drop_last": (False, "the last step of an epoch has the examples that are left"),
    "debug": ("", ""),
    "deepspeed": (None, _LESS_MEMORY),
    "enable_jit_checkpoint": (False, "save_steps says how often checkpoints are written"),
    "eval_do_concat_batches": (True, "predictions of all batches are one array"),
    "eval_use_gather_object": (False, "each process evaluates all rows"),
    "fp16": (False, "bf16=True or float32 here: float16 needs a loss scale that these two do without"),
    "fp16_full_eval": (False, "evaluations are computed in float32, or under bf16=True as training is"),
    "fp16_opt_level": ("O1", "bf16=True or float32 here"),
    "half_precision_backend": ("auto", "bf16=True or float32 here"),
    "fsdp": (None, _SHARED),
    "fsdp_config": (None, _SHARED),
    "hub_always_push": (False, _HUB),
    "hub_model_id": (None, _HUB),
    "hub_private_repo": (None, _HUB),
    "hub_revision": (None, _HUB),
    "hub_strategy": ("every_save", _HUB),
    "hub_token": (None, _HUB),
    "push_to_hub": (False, _HUB),
    "include_inputs_for_metrics": (False, "include_for_metrics=['inputs']"),
    "include_num_input_tokens_seen": ("no", "trainer.state.num_input_tokens_seen is always counted"),
    "include_tokens_per_second": (False, "enfold.fit logs tokens per second"),
    "jit_mode_eval": (False, "torch_compile=True compiles"),
    "length_column_name": ("length", "lengths are counted"),
    "liger_kernel_config": (None, ""),
    "logging_dir": (None, "TensorBoard's files are written to output_dir/tensorboard"),
    "lr_scheduler_kwargs": (None, "lr_scheduler_type and the warm-up say all"),
    "neftune_noise_alpha": (None, ""),
    "optim_args": (None, "adam_beta1, adam_beta2, adam_epsilon and weight_decay say all"),
    "optim_target_modules": (None, "enfold.LoRA trains fewer parameters"),
    "parallelism_config": (None, _LESS_MEMORY),
    "save_only_model": (False, "checkpoints can always be gone on from"),
    "save_safetensors": (True, "pickle is never written: it runs code when it is read"),
    "split_batches": (None, "per_device_train_batch_size counts for each process"),
    "tf32": (None, "torch.backends.cuda.matmul.fp32_precision says so for the whole process"),
    "torch_compile_backend": (None, "torch_compile=True compiles with inductor"),
    "torch_compile_mode": (None, "torch_compile=True compiles in its usual mode"),
    "torchdynamo": (None, "torch_compile=True compiles"),
    "tpu_num_cores": (None, ""),
    "trackio_bucket_id": (None, "report_to='tensorboard' or 'none'"),
    "trackio_space_id": (None, "report_to='tensorboard' or 'none'"),
    "trackio_static_space_id": (None, "report_to='tensorboard' or 'none'"),
    "use_ipex": (False, ""),
    "use_legacy_prediction_loop": (False, ""),
    "use_liger_kernel": (False, "batches are packed here, without padding"),
    "use_mps_device": (False, "move the model yourself: model.to('mps')"),
}
"""Names that this library has nothing for: their defaults, and what there is instead."""

OF_TEXTS = (
    "generation_config",
    "generation_max_length",
    "generation_num_beams",
    "predict_with_generate",
    "sortish_sampler",
)
"""Names that only Seq2SeqTrainingArguments have."""
