"""A model's configuration: the values of its config.json, checked by type, under the names that the field knows."""

from __future__ import annotations

import copy
import difflib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from enfold.errors import ConfigError

__all__ = ["UNTRAINED_KEY", "Config"]

UNTRAINED_KEY = "enfold_untrained"
"""config.json: names of the tensors that were made fresh and never trained."""

_COMMON: Mapping[str, Any] = {
    "architectures": None,
    "problem_type": None,
    "output_attentions": False,
    "output_hidden_states": False,
    "return_dict": True,
    "dtype": None,
    "torch_dtype": None,
    "id2label": None,
    "label2id": None,
    "num_labels": None,
    "finetuning_task": None,
    "is_decoder": False,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    UNTRAINED_KEY: None,
    "quantization_config": None,
}
"""Keys that every family has, with their defaults."""


_NULLABLE = {"pad_token_id", "bos_token_id", "eos_token_id", "sliding_window", *_COMMON}
"""Keys that files set to null although their default is not."""


class Config:
    """Configuration values by attribute, as ``config.hidden_size``.

    Keys that enfold does not use are kept and written back. Made by a family's class (``BertConfig(...)``), by
    ``AutoConfig.from_pretrained`` or from a dictionary.

    Args:
        model_type: the family's name in config.json.
        values: what config.json or the caller gave.
        defaults: the family's keys and their defaults; a value must have its default's type.
        aliases: other names for keys, as ``hidden_size`` for DistilBERT's ``dim``.

    Raises:
        ConfigError: values of a wrong type, all listed.
    """

    _values: dict[str, Any]

    def __init__(
        self,
        model_type: str,
        values: Mapping[str, Any],
        *,
        defaults: Mapping[str, Any],
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        own = {**_COMMON, **defaults}
        names = dict(aliases or {})
        given = {names.get(key, key): value for key, value in copy.deepcopy(dict(values)).items()}
        given["model_type"] = model_type
        set_ = object.__setattr__
        set_(self, "_defaults", own)
        set_(self, "_aliases", names)
        set_(self, "_values", given)
        self._check()

    def _check(self) -> None:
        problems = [
            f"{key} is {value!r} ({type(value).__name__}), expected {expected}"
            for key, value in self._values.items()
            if (expected := _mismatch(value, self._defaults.get(key))) and not _is_allowed(key, value)
        ]
        problems += self._label_problems()
        if problems:
            raise ConfigError(
                f"the configuration of this {self._values['model_type']} model has values of a wrong type:\n  "
                + "\n  ".join(problems)
            )

    def _label_problems(self) -> Iterator[str]:
        values = self._values
        count = values.get("num_labels")
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
            yield f"num_labels is {count!r}, expected a whole number of 1 or more"
        labels = values.get("id2label")
        if labels is None:
            return
        if not isinstance(labels, dict) or not all(str(key).isdecimal() for key in labels):
            yield f"id2label is {labels!r}, expected label ids (0, 1, …) mapped to names"
        elif sorted(int(key) for key in labels) != list(range(len(labels))):
            yield f"id2label has the ids {sorted(int(key) for key in labels)}, expected 0 to {len(labels) - 1}"
        elif isinstance(count, int) and count != len(labels):
            if all(str(name) == f"LABEL_{key}" for key, name in labels.items()):
                del values["id2label"]
                values.pop("label2id", None)
            else:
                yield f"num_labels is {count} and id2label names {len(labels)}: give one of them, or equal ones"

    @property
    def num_labels(self) -> int:
        """How many labels the model's head has; 2 where nothing says otherwise."""
        labels = self._values.get("id2label")
        return len(labels) if labels else self._values.get("num_labels") or 2

    @property
    def id2label(self) -> dict[int, str]:
        """Label names by id; ``LABEL_0`` … where nobody named them."""
        labels = self._values.get("id2label")
        if labels:
            return {int(key): str(name) for key, name in sorted(labels.items(), key=lambda item: int(item[0]))}
        return {index: f"LABEL_{index}" for index in range(self.num_labels)}

    @property
    def label2id(self) -> dict[str, int]:
        """Label ids by name."""
        return {name: index for index, name in self.id2label.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_values" not in self.__dict__:
            raise AttributeError(name)
        key = self._aliases.get(name, name)
        if key in self._values:
            return self._values[key]
        if key in self._defaults:
            return copy.copy(self._defaults[key])
        near = difflib.get_close_matches(name, [*self._values, *self._defaults, *self._aliases], n=3)
        hint = f"; near names: {', '.join(near)}" if near else ""
        raise AttributeError(f"a {self._values['model_type']} configuration has no {name!r}{hint}")

    def __setattr__(self, name: str, value: Any) -> None:
        changed = copy.copy(self)  # checked before it is taken
        if name in ("num_labels", "id2label"):
            for key in ("num_labels", "id2label", "label2id"):
                changed._values.pop(key, None)
        changed._values[self._aliases.get(name, name)] = value
        changed._check()
        object.__setattr__(self, "_values", changed._values)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of ``name``, or ``default`` where neither file nor family has one."""
        value = getattr(self, name, None)
        return default if value is None else value

    def updated(self, **changes: Any) -> Config:
        """A copy with other values; a name that this family does not know is an error.

        Raises:
            ConfigError: unknown names (with near ones) or wrong types, all listed.
        """
        known = {*self._values, *self._defaults, *self._aliases}
        unknown = [name for name in changes if name not in known]
        if unknown:
            near = {name: difflib.get_close_matches(name, known, n=2) for name in unknown}
            listed = ", ".join(f"{n!r}" + (f" (near: {', '.join(near[n])})" if near[n] else "") for n in unknown)
            sizes = sorted(name for name, value in self._defaults.items() if isinstance(value, int | float | str))
            there = "" if all(near.values()) else f"; it has {', '.join(sizes)}"
            raise ConfigError(
                f"unknown configuration or loading options for a {self.model_type} model: {listed}{there}"
            )
        result = copy.copy(self)
        if {"num_labels", "id2label"} & set(changes):
            for key in ("num_labels", "id2label", "label2id"):
                result._values.pop(key, None)
        result._values.update({self._aliases.get(name, name): copy.deepcopy(value) for name, value in changes.items()})
        result._check()
        return result

    def for_tokenizer(self, tokenizer: Any) -> Config:
        """A copy with a tokenizer's vocabulary, for a model that begins with random weights.

        ``vocab_size`` is the tokenizer's, and every id of a special token becomes the tokenizer's for what it stood for
        here: where decoding began with the padding (Marian, T5) it still does, where it began with the end (BART) too.
        A tokenizer without begin and end has ``cls_token`` and ``sep_token`` in their places.

        Args:
            tokenizer: whose length is its number of tokens.
        """
        before = {key: getattr(self, key) for key in {**self._defaults, **self._values} if key.endswith("token_id")}
        now = {key: getattr(tokenizer, key) for key in ("pad_token_id", "bos_token_id", "eos_token_id")}
        for key, instead in (("bos_token_id", "cls_token_id"), ("eos_token_id", "sep_token_id")):
            if now[key] is None and before.get(key) is not None:
                now[key] = getattr(tokenizer, instead)
        meant = {before[key]: value for key, value in now.items() if isinstance(before.get(key), int)}
        stood = {key: meant[value] for key, value in before.items() if isinstance(value, int) and value in meant}
        changes = {key: value for key, value in {**stood, **now}.items() if value is not None and key in before}
        return self.updated(vocab_size=len(tokenizer), **changes)

    def to_dict(self) -> dict[str, Any]:
        """What config.json holds: the family's defaults and what was given."""
        plain = {key: value for key, value in self._defaults.items() if key not in _COMMON and value is not None}
        result = {**plain, **self._values}
        result.pop("num_labels", None)
        if self.num_labels != 2 or self._values.get("id2label"):
            result["id2label"] = {str(index): name for index, name in self.id2label.items()}
            result["label2id"] = self.label2id
        return {key: value for key, value in result.items() if value is not None or key in _NULLABLE - {*_COMMON}}

    def to_json_string(self) -> str:
        """config.json's text."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes config.json into ``folder``, which is made where it is missing."""
        from enfold.checkpoint.files import write_json

        Path(folder).mkdir(parents=True, exist_ok=True)
        write_json(Path(folder) / "config.json", dict(sorted(self.to_dict().items())))

    def __contains__(self, name: str) -> bool:
        return self._aliases.get(name, name) in self._values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Config {self.to_json_string()}"

    def __copy__(self) -> Config:
        result = object.__new__(Config)
        result.__dict__.update(self.__dict__, _values=copy.deepcopy(self._values))
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> Config:
        return copy.copy(self)


def _is_allowed(key: str, value: Any) -> bool:
    """Whether files give this key a value of another type than its default's."""
    several = key in _LISTABLE and isinstance(value, list) and all(isinstance(each, int) for each in value)
    return several or (value is None and key in _NULLABLE)


_LISTABLE = {"eos_token_id", "forced_eos_token_id"}
"""Keys that are an id or several."""


def _mismatch(value: Any, default: Any) -> str | None:
    """What was expected, where ``value`` has not the type of ``default``."""
    if default is None:
        return None
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, int):
        return None if isinstance(value, int) and not isinstance(value, bool) else "a whole number"
    if isinstance(default, float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if number and math.isfinite(value) else "a finite number"
    return None if isinstance(value, type(default)) else f"a {type(default).__name__}"
