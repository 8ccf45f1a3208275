"""What a family is: data that turns a checkpoint's names and configuration into ours, and back.

A family file holds no tensor arithmetic. Every historical quirk lives there, beside the checkpoint that forces it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from enfold.arch import Activation, Architecture
from enfold.config import Config
from enfold.errors import ConfigError
from enfold.heads import CLASS_SUFFIXES, Head, HeadKind

__all__ = ["Family", "Names", "Stored", "activation", "depth", "require", "sibling"]


@dataclass(frozen=True)
class Stored:
    """Where a checkpoint keeps a leaf's tensors, when they are not simply its own.

    Attributes:
        name: the checkpoint's leaf, as in :data:`Names`, or a whole tensor's name where ``row``.
        part: which of the ``parts`` that the stored tensor consists of, along its first axis.
        parts: query, key and value in one (GPT-2).
        by_head: parts alternate for each head instead of following each other (GPT-NeoX).
        transposed: matrices are (inputs, outputs), as GPT-2's convolutions have them.
        row: a vector stands as a matrix of one row, under the full ``name`` (BART's ``final_logits_bias``).
    """

    name: str
    part: int = 0
    parts: int = 1
    by_head: bool = False
    transposed: bool = False
    row: bool = False


Names = tuple[tuple[str, str | Stored], ...]
"""Pairs of a leaf's name and its name in checkpoints. ``{}`` stands for the layer's number; ``@`` for the base
model, which is a prefix (``bert.``) in checkpoints with a head and nothing in bare ones."""

_ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}

_MOST_LAYERS = 1000


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of model that shares names, quirks and heads.

    Attributes:
        model_type: the name in config.json.
        class_prefix: how its class names begin.
        prefix: the base model's prefix in checkpoints with a head, without the dot.
        defaults: configuration keys and the values that files may leave out.
        translate: configuration → architecture.
        names: the encoder's name table; heads bring their own rows.
        heads: the heads that the family has.
        tokenizer: the kind of its tokenizer.
        aliases: the field's common configuration names → this family's.
        known: beginnings of tensor names that its public checkpoints hold and no model here uses.
        copies: leaves whose weight files hold a second time, and the other name.
        renamed: older beginnings of tensor names, and the ones that they have now.
        rereads: hidden states of a text alone are the decoder's, which reads the text once more (BART); where this is
            False those of an encoder-decoder model are its encoder's, as what asks for them means (T5).
        class_names: heads whose class is not named as :data:`enfold.heads.CLASS_SUFFIXES` says.
    """

    model_type: str
    class_prefix: str
    prefix: str
    defaults: Mapping[str, Any]
    translate: Callable[[Config], Architecture]
    names: Names
    heads: Mapping[HeadKind, Head]
    tokenizer: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    known: tuple[str, ...] = ()
    copies: tuple[tuple[str, str], ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    rereads: bool = False
    class_names: Mapping[HeadKind, str] = field(default_factory=dict)

    def config(self, values: Mapping[str, Any]) -> Config:
        """A configuration of this family."""
        return Config(self.model_type, values, defaults=self.defaults, aliases=self.aliases)

    def head(self, kind: HeadKind) -> Head:
        """The family's head of a kind.

        Raises:
            ConfigError: it has none; the message lists those it has.
        """
        if kind not in self.heads:
            raise ConfigError(
                f"{self.model_type} models have no {kind} head; they have {', '.join(self.heads)}: "
                "name a model of another family"
            )
        return self.heads[kind]

    def class_name(self, kind: HeadKind) -> str:
        """``BertForMaskedLM``."""
        return self.class_names.get(kind) or self.class_prefix + CLASS_SUFFIXES[kind]

    def saved_kind(self, config: Config) -> HeadKind | None:
        """The head that a checkpoint was saved with, by the class that its configuration names."""
        saved_as = (config.get("architectures") or [None])[0]
        return next((kind for kind in self.heads if self.class_name(kind) == saved_as), None)


def sibling(of: Family, model_type: str, class_prefix: str, *, tokenizer: str, **defaults: Any) -> Family:
    """A family that differs from another by names, tokenizer and defaults alone."""
    merged = {**of.defaults, **defaults}
    names = {kind: name.replace(of.class_prefix, class_prefix) for kind, name in of.class_names.items()}
    return replace(
        of, model_type=model_type, class_prefix=class_prefix, tokenizer=tokenizer, defaults=merged, class_names=names
    )


def activation(config: Config, key: str) -> Activation:
    """The activation that ``config`` names.

    Raises:
        ConfigError: it names none that is known here.
    """
    name = getattr(config, key)
    if name not in _ACTIVATIONS:
        raise ConfigError(f"{key} is {name!r}, expected one of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]


def depth(config: Config, key: str) -> int:
    """How many layers ``config`` names; a count that no model has is refused before anything of its size is made.

    Raises:
        ConfigError: it is not between 1 and 1,000.
    """
    count: int = getattr(config, key)
    if not 1 <= count <= _MOST_LAYERS:
        raise ConfigError(f"{key} is {count}, expected 1 to {_MOST_LAYERS}")
    return count


def require(config: Config, **supported: Any) -> None:
    """Checks keys that exist in the field but have one value only here.

    Raises:
        ConfigError: lists the keys that have another value.
    """
    found = [
        f"{key} = {config.get(key)!r} (supported: {value!r})"
        for key, value in supported.items()
        if config.get(key, value) != value
    ]
    if found:
        raise ConfigError(f"this {config.model_type} configuration asks for what enfold lacks: {', '.join(found)}")
