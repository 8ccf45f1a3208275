"""Evaluations by the texts that a model writes: a batch's ids, as wide as the model's options say.

::

    batch ──generate, all rows at once──▶ ids (B, L) ──pad token──▶ (B, the options' max_length or more)
          ──call──▶ loss                    labels (B, S) ──pad token──▶ likewise

Batches of different widths come together padded with -100, as all arrays of the Trainer do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from enfold.checkpoint.files import read_json
from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.generation.config import GenerationConfig
from enfold.training.predictions import Said

__all__ = ["generation_config_of", "pad_token_of", "texts_of"]

_OF_FILL = ("num_beams", "pad_token_id", "eos_token_id")
_READ = {"input_ids", "attention_mask", "decoder_input_ids"}
_UNREAD = {"labels", "decoder_attention_mask", "token_type_ids", "length", "special_tokens_mask"}
"""Arguments of a call that writing has no use for."""


def generation_config_of(given: str | Path | GenerationConfig) -> GenerationConfig:
    """The options of generation that TrainingArguments name.

    Args:
        given: themselves; or a folder, a hub id, or a file of theirs.

    Raises:
        SourceError: they can't be found or fetched.
        ConfigError: values of a wrong type.
        InputError: they don't say what a text begins with.
    """
    if isinstance(given, GenerationConfig):
        config = given.updated()
    elif Path(given).is_file() and Path(given).suffix == ".json":
        config = GenerationConfig.from_dict(read_json(given, "the options of generation"), origin=str(given)).unasked()
    else:
        config = GenerationConfig.from_pretrained(given).unasked()
    if config.decoder_start_token_id is None and config.bos_token_id is None:
        raise InputError(
            "generation_config stands in place of the model's own, and has neither decoder_start_token_id nor "
            "bos_token_id: model.generation_config.updated(…) keeps what you don't change"
        )
    return config


def pad_token_of(model: TorchModel, tokenizer: Any) -> int:
    """What texts are padded with: the tokenizer's, or else the model's, pad token.

    Raises:
        InputError: neither has one.
    """
    names = ("pad_token_id", "eos_token_id") if hasattr(tokenizer, "pad_token_id") else ()
    known = [getattr(tokenizer, name, None) for name in names] or [model.config.get("pad_token_id")]
    found = next((each for each in known if each is not None), None)
    if found is None:
        raise InputError("nothing says what texts are padded with: set model.config.pad_token_id, or processing_class")
    return int(found)


def texts_of(
    model: TorchModel, options: Mapping[str, Any], pad: int, loss_of: Callable[[dict[str, Any]], Tensor]
) -> Callable[[dict[str, Any]], Said]:
    """What a model writes for a batch, with the loss of its labels where it has some.

    Args:
        model: writes.
        options: of generation; those of the model's own stand behind them.
        pad: what texts and labels are padded with.
        loss_of: the loss of a model's arguments.
    """
    own = model.generation_config
    chosen = {name: value for name, value in options.items() if value is not None}
    lengths = {"max_length", "max_new_tokens"}
    unlimited = model.arch.encoder is not None and not any(name in chosen or name in own for name in lengths)
    over = GenerationConfig(max_length=own.max_length).unasked() if unlimited else None
    fill = _fill_of_beams(own.updated(**{name: chosen[name] for name in _OF_FILL if name in chosen}))

    def widened(ids: Tensor) -> Tensor:
        short = int(own.max_length) - ids.shape[-1]
        if short <= 0 and own.max_new_tokens is not None:
            short = int(own.max_new_tokens) + 1 - ids.shape[-1]
        return functional.pad(ids, (0, max(0, short)), value=pad)

    def say(given: dict[str, Any]) -> Said:
        labels = given.get("labels")
        inputs = _inputs(given, labels)
        written = model.generate(generation_config=over, **inputs, **chosen)
        if fill:
            written = _filled(written, _begin(model, inputs), fill)
        loss = None if labels is None else loss_of(given)
        return Said(loss, widened(written), None if labels is None else widened(labels))

    return say


def _fill_of_beams(config: GenerationConfig) -> tuple[int, ...]:
    """The end tokens of which the first fills rows up, where beams are searched and the pad token is 0.

    The field's beam search takes a pad token of 0, which T5 has, for none; metrics that count tokens see it.
    """
    return config.eos_token_ids if config.num_beams > 1 and config.pad_token_id == 0 else ()


def _begin(model: TorchModel, inputs: Mapping[str, Tensor]) -> int:
    """The place of the first token that is new in every row."""
    if model.arch.encoder is None:
        return inputs["input_ids"].shape[-1]
    return inputs["decoder_input_ids"].shape[-1] if "decoder_input_ids" in inputs else 1


def _filled(ids: Tensor, begin: int, ends: tuple[int, ...]) -> Tensor:
    """Ids (B, L) with the first end token at each place after a row's end."""
    is_end = torch.isin(ids, torch.tensor(ends, device=ids.device))
    is_end[:, :begin] = False
    return ids.masked_fill(is_end.cumsum(1) > is_end.long(), ends[0])


def _inputs(given: Mapping[str, Any], labels: Tensor | None) -> dict[str, Any]:
    """What a model that writes is given of a batch; a decoder's ids that were made of labels are not.

    Raises:
        InputError: arguments that only a call of the model knows what to do with.
    """
    others = sorted({*given} - _READ - _UNREAD)
    if others:
        raise InputError(
            f"predict_with_generate writes on from {', '.join(sorted(_READ))}, and the batch has {', '.join(others)}: "
            "leave them out in the data_collator, or judge by the loss alone, prediction_loss_only=True"
        )
    chosen = {name: given[name] for name in _READ & {*given}}
    begun = chosen.get("decoder_input_ids")
    if begun is not None and labels is not None and begun.shape == labels.shape:
        del chosen["decoder_input_ids"]
    return chosen
