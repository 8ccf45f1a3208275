"""Seq2SeqTrainer and its arguments: a Trainer that judges a model by the texts that it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from enfold.errors import InputError
from enfold.generation.config import GenerationConfig
from enfold.training.argument_names import LACKING
from enfold.training.arguments import TrainingArguments
from enfold.training.generating import generation_config_of, pad_token_of, texts_of
from enfold.training.predictions import PredictionOutput, Said
from enfold.training.trainer import Trainer
from enfold.training.trainer_loss import loss_of_outputs

__all__ = ["Seq2SeqTrainer", "Seq2SeqTrainingArguments"]


@dataclass(init=False)
class Seq2SeqTrainingArguments(TrainingArguments):
    """How a :class:`enfold.Seq2SeqTrainer` trains and judges: the field's names, with the field's defaults.

    Attributes:
        predict_with_generate: metrics are computed of the texts that the model writes, and not of its scores.
        generation_max_length: ``max_length`` of these texts; None: the model's own.
        generation_num_beams: ``num_beams``; None: the model's own.
        generation_config: options in place of the model's own: an :class:`enfold.GenerationConfig`, or a folder, a hub
            id or a file that has them.
    """

    predict_with_generate: bool = False
    generation_max_length: int | None = None
    generation_num_beams: int | None = None
    generation_config: str | Path | GenerationConfig | None = None

    lacking: ClassVar[Mapping[str, tuple[Any, str]]] = {
        **LACKING,
        "sortish_sampler": (False, "train_sampling_strategy='group_by_length' puts texts of like length together"),
    }

    def _wrong(self) -> Iterator[str]:
        yield from super()._wrong()
        for name in ("generation_max_length", "generation_num_beams"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                yield f"{name} is {value!r}, expected a whole number of 1 or more, or None"
        config: Any = self.generation_config
        if config is not None and not isinstance(config, str | Path | GenerationConfig):
            yield (
                f"generation_config is a {type(config).__name__}, expected an enfold.GenerationConfig, "
                "a folder, a hub id, or None"
            )

    def to_dict(self) -> dict[str, Any]:
        """The arguments by name, as JSON has them."""
        config = self.generation_config
        plain = config.to_dict() if isinstance(config, GenerationConfig) else config and str(config)
        return {**super().to_dict(), "generation_config": plain}


class Seq2SeqTrainer(Trainer):
    """A :class:`enfold.Trainer` whose metrics may be those of texts that the model writes.

    With ``predict_with_generate`` the predictions of ``compute_metrics`` and :meth:`predict` are ids (B, L), padded
    with the pad token to the ``max_length`` of ``model.generation_config`` (20 where it has none); labels likewise,
    with -100 where the collator has put it. The loss beside them is the model's own. Of all evaluations' losses every
    batch is a part of equal weight, a smaller last one, too, as the field has it for this class alone.

    Args:
        model: see :class:`enfold.Trainer`, as for all others.
        args: :class:`enfold.Seq2SeqTrainingArguments`; None: all defaults.

    Raises:
        InputError: a model that writes no texts is to be judged by them, or what a Trainer refuses.
    """

    args: Seq2SeqTrainingArguments
    losses_by = "batches"

    def __init__(
        self,
        model: Any = None,
        args: Seq2SeqTrainingArguments | None = None,
        data_collator: Callable[..., Any] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        model_init: Callable[[], Any] | None = None,
        compute_loss_func: Callable[..., Tensor] | None = None,
        compute_metrics: Callable[[Any], Mapping[str, Any]] | None = None,
        callbacks: Sequence[Any] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
        tokenizer: Any = None,
    ) -> None:
        chosen = Seq2SeqTrainingArguments() if args is None else args
        if not isinstance(chosen, Seq2SeqTrainingArguments):
            raise InputError(
                f"args are {type(chosen).__name__}, expected Seq2SeqTrainingArguments, which have the same names and "
                "those of generation"
            )
        self._options: dict[str, Any] = {}
        super().__init__(
            model,
            chosen,
            data_collator,
            train_dataset,
            eval_dataset,
            processing_class,
            model_init,
            compute_loss_func,
            compute_metrics,
            callbacks,
            optimizers,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
            tokenizer=tokenizer,
        )
        if chosen.predict_with_generate and self.model.kind not in ("seq2seq-lm", "causal-lm"):
            raise InputError(
                "predict_with_generate needs a model that writes, and this is a "
                f"{self.model.blueprint.class_name}: load it with AutoModelForSeq2SeqLM"
            )
        if chosen.generation_config is not None:
            self.model.generation_config = generation_config_of(chosen.generation_config)

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: Sequence[str] | None = None,
        metric_key_prefix: str = "eval",
        **gen_kwargs: Any,
    ) -> dict[str, Any]:
        """The metrics of a dataset; see :meth:`enfold.Trainer.evaluate`.

        Args:
            eval_dataset: instead of the Trainer's own.
            ignore_keys: outputs of the model that metrics don't want.
            metric_key_prefix: of the names.
            gen_kwargs: options of generation for this call, such as ``max_length`` and ``num_beams``.

        Raises:
            InputError: there is no dataset, or options that ``generate`` doesn't have.
        """
        with self._asking(gen_kwargs):
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)

    def predict(
        self,
        test_dataset: Any,
        ignore_keys: Sequence[str] | None = None,
        metric_key_prefix: str = "test",
        **gen_kwargs: Any,
    ) -> PredictionOutput:
        """What the model writes or says; see :meth:`enfold.Trainer.predict`.

        Args:
            test_dataset: features.
            ignore_keys: outputs of the model that are not wanted.
            metric_key_prefix: of the metrics' names.
            gen_kwargs: as for :meth:`evaluate`.
        """
        with self._asking(gen_kwargs):
            return super().predict(test_dataset, ignore_keys, metric_key_prefix)

    @contextmanager
    def _asking(self, options: Mapping[str, Any]) -> Iterator[None]:
        """Keeps a call's options for its batches; those of several datasets are the same."""
        before = self._options
        self._options = {**before, **options}
        try:
            yield
        finally:
            self._options = before

    def _generation_options(self) -> dict[str, Any]:
        """The options of a call, and those of the arguments where it has none."""
        args, options = self.args, {name: value for name, value in self._options.items() if value is not None}
        if "max_new_tokens" not in options:
            options.setdefault("max_length", args.generation_max_length)
        options.setdefault("num_beams", args.generation_num_beams)
        return options

    def _say(self, arrays: bool, ignored: tuple[str, ...]) -> Callable[[dict[str, Any]], Said]:
        if not (self.args.predict_with_generate and arrays):
            return super()._say(arrays, ignored)

        def loss_of(inputs: dict[str, Any]) -> Tensor:
            return loss_of_outputs(self.model, self.model(**inputs), inputs, self.args.label_smoothing_factor)

        pad = pad_token_of(self.model, self.processing_class)
        return texts_of(self.model, self._generation_options(), pad, loss_of)
