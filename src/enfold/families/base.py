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

__all__ = ["Family", "Names", "activation", "depth", "require", "sibling"]

Names = tuple[tuple[str, str], ...]
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

    def config(self, values: Mapping[str, Any]) -> Config:
        """A configuration of this family."""
        return Config(self.model_type, values, defaults=self.defaults, aliases=self.aliases)

    def head(self, kind: HeadKind) -> Head:
        """The family's head of a kind.

        Raises:
            ConfigError: it has none; the message lists those it has.
        """
        if kind not in self.heads:
            raise ConfigError(f"{self.model_type} models have no {kind} head; they have {', '.join(self.heads)}")
        return self.heads[kind]

    def class_name(self, kind: HeadKind) -> str:
        """``BertForMaskedLM``."""
        return self.class_prefix + CLASS_SUFFIXES[kind]


def sibling(of: Family, model_type: str, class_prefix: str, *, tokenizer: str, **defaults: Any) -> Family:
    """A family that differs from another by names, tokenizer and defaults alone."""
    merged = {**of.defaults, **defaults}
    return replace(of, model_type=model_type, class_prefix=class_prefix, tokenizer=tokenizer, defaults=merged)


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
