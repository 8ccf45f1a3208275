"""What a Trainer writes and shows: the model, its state, and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from enfold.checkpoint.files import read_json, write_json
from enfold.engines.torch.model import TorchModel
from enfold.errors import CorruptFileError
from enfold.training.arguments import TrainingArguments
from enfold.training.callbacks import TrainerState
from enfold.training.words import UsedRows

__all__ = ["Recording"]


class Recording:
    """The half of a Trainer that writes; of several processes the first does."""

    args: TrainingArguments
    model: TorchModel
    state: TrainerState
    processing_class: Any
    words: UsedRows | None

    def save_model(self, output_dir: str | Path | None = None) -> None:
        """Writes the model, its tokenizer where there is one, and the arguments, to a folder."""
        if not self.state.is_world_process_zero:
            return
        folder = Path(output_dir or self.args.output_dir)
        if self.words is not None:
            self.words.write_back()
        self.model.save_pretrained(folder)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)
        write_json(folder / "training_args.json", self.args.to_dict())

    def save_state(self) -> None:
        """Writes ``trainer_state.json``, the log among it, to ``output_dir``."""
        self._write("trainer_state.json", asdict(self.state))

    def save_metrics(self, split: str, metrics: Mapping[str, Any], combined: bool = True) -> None:
        """Writes metrics to ``SPLIT_results.json`` in ``output_dir``.

        Args:
            split: train, eval, test, or another name.
            metrics: by name.
            combined: they go into ``all_results.json``, too, beside those of other splits.

        Raises:
            CorruptFileError: there is an ``all_results.json`` that is no JSON.
        """
        self._write(f"{split}_results.json", metrics)
        if combined:
            path = Path(self.args.output_dir) / "all_results.json"
            others = read_json(path, "the metrics of all splits", CorruptFileError) if path.is_file() else {}
            self._write(path.name, {**others, **metrics})

    def _write(self, name: str, values: Mapping[str, Any]) -> None:
        if self.state.is_world_process_zero:
            Path(self.args.output_dir).mkdir(parents=True, exist_ok=True)
            write_json(Path(self.args.output_dir) / name, dict(values))

    def log_metrics(self, split: str, metrics: Mapping[str, Any]) -> None:
        """Prints metrics, one a line."""
        if not self.state.is_world_process_zero:
            return
        print(f"***** {split} metrics *****")
        width = max(map(len, metrics), default=0)
        for name in sorted(metrics):
            value = metrics[name]
            print(f"  {name:<{width}} = {value:.4f}" if isinstance(value, float) else f"  {name:<{width}} = {value}")
