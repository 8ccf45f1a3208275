"""Adapters: small trained changes of a frozen model, LoRA, DoRA and IA3, in the format of ``peft``.

::

    model = AutoModelForSequenceClassification.from_pretrained("org/base", num_labels=3)
    add_adapter(model, LoRA(rank=8, targets="all-linear"))     what trains now is the adapter and the head
    ...                                                        any training loop over model.parameters()
    save_adapter(model, "adapter")                             a few megabytes, which peft reads too
    pipeline("text-classification", "adapter")                 finds the base, merges, answers; on either engine

A folder with an adapter is a model: loading it finds its base by the name in adapter_config.json.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from enfold.adapters.settings import IA3, LoRA, Settings
from enfold.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from enfold.adapters.saving import AdapterDtype

__all__ = [
    "IA3",
    "LoRA",
    "ParameterCount",
    "add_adapter",
    "count_parameters",
    "load_adapter",
    "merge_adapter",
    "save_adapter",
]


@dataclass(frozen=True)
class ParameterCount:
    """How many numbers of a model train, and how many there are, the adapter's included.

    >>> print(ParameterCount(trainable=12_345, total=1_000_000))
    12,345 of 1,000,000 parameters train (1.23 %)
    """

    trainable: int
    total: int

    def __str__(self) -> str:
        share = 100 * self.trainable / max(self.total, 1)
        return f"{self.trainable:,} of {self.total:,} parameters train ({share:.2f} %)"


def add_adapter(model: Any, settings: Settings) -> ParameterCount:
    """Puts a fresh adapter on a model, in place: from now on only the adapter and the head train.

    The model answers as before until it is trained. Parameters keep their names but for the adapted leaves', whose own
    weight becomes ``base_weight`` and which have ``lora_A``, ``lora_B`` and ``magnitude``, or ``factors``, beside it.
    Of a head over the vocabulary only what was made fresh trains. ``save_pretrained`` writes the merged model.

    Args:
        model: on the PyTorch engine.
        settings: :class:`LoRA` or :class:`IA3`.

    Returns:
        What trains now.

    Raises:
        InputError: targets that the model doesn't have, a model that has an adapter, or one of another engine.
        MissingDependencyError: PyTorch is not installed.
    """
    _check(model)
    from enfold.engines.torch.adapters import add

    if not isinstance(settings, LoRA | IA3):
        raise InputError(f"settings is {settings!r:.80}, expected LoRA(…) or IA3(…)")
    add(model, settings)
    return count_parameters(model)


def load_adapter(
    model: Any, folder: str | os.PathLike[str], *, trainable: bool = False, base: Literal["same", "any"] = "same"
) -> ParameterCount:
    """Puts the adapter of a folder on a model, in place and unmerged; its head takes the place of the model's.

    Args:
        model: the adapter's base, on the PyTorch engine, with the head that the adapter was trained for.
        folder: from :func:`save_adapter` or ``peft``.
        trainable: whether the adapter goes on training; otherwise nothing of the model does.
        base: ``"any"`` takes the adapter of another base whose layers have the same sizes.

    Returns:
        What trains now.

    Raises:
        TensorMismatchError: tensors that the model has no place for or of another size, another head or another base;
            all listed.
        ConfigError, CheckpointError, SourceError: the folder can't be read. A pickle never is.
        InputError: a model that has an adapter, or one of another engine.
    """
    _check(model)
    from enfold.adapters.loading import load

    load(model, folder, trainable=trainable, base=base)
    return count_parameters(model)


def save_adapter(
    model: Any,
    folder: str | os.PathLike[str],
    *,
    dtype: AdapterDtype = "float32",
    base: str | None = None,
    revision: str | None = None,
) -> None:
    """Writes a model's adapter and head as ``peft`` reads them, and the configuration; all of it or nothing.

    The folder is a model for enfold, as long as the base is found: by its hub id and commit, its package and version,
    or the folder where it lies. Put the tokenizer into it with ``tokenizer.save_pretrained(folder)``, or the base's is
    taken.

    Args:
        model: with an adapter.
        folder: made where it is missing.
        dtype: ``"float32"``, ``"float16"``, or ``"int8"``: matrices as bytes with a scale for each row (see
            :mod:`enfold.adapters.rounding`), a quarter of the size, which only enfold reads.
        base: the base model as it should be looked for; by default where it came from.
        revision: the base's branch, tag or commit on a hub, with ``base``.

    Raises:
        InputError: no adapter, a base that was made in memory, a folder that holds a model, or a change that the
            format has no form for.
    """
    _check(model)
    from enfold.adapters.saving import save

    save(model, folder, dtype=dtype, base=base, revision=revision)


def merge_adapter(model: Any) -> None:
    """Folds a model's adapter into its weights, in place: it answers the same and is plain again, and all of it trains.

    Raises:
        InputError: the model has no adapter.
    """
    _check(model)
    from enfold.engines.torch.adapters import merge, state_of

    if state_of(model) is None:
        raise InputError("the model has no adapter that could be merged")
    merge(model)


def count_parameters(model: Any) -> ParameterCount:
    """How many of a model's parameters train, and how many there are; shared ones count once."""
    parameters = list(model.parameters())
    trainable = sum(each.numel() for each in parameters if each.requires_grad)
    return ParameterCount(trainable, sum(each.numel() for each in parameters))


def _check(model: Any) -> None:
    if importlib.util.find_spec("torch") is None:
        raise MissingDependencyError(
            "adapters are trained with PyTorch, which is not installed: pip install 'enfold[train]'"
        )
    from enfold.engines.torch.model import TorchModel

    if not isinstance(model, TorchModel):
        raise InputError(
            f"got a {type(model).__name__}, expected a model on the PyTorch engine (engine='torch'); to answer with an "
            "adapter on the CPU engine load its folder: from_pretrained(folder, engine='cpu')"
        )
