"""adapter_config.json, as ``peft`` writes and reads it: checked by type, and anything that isn't understood refused."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from enfold.adapters.changes import Change, LowRank, Rescaled
from enfold.checkpoint.files import ADAPTER_CONFIG, read_json
from enfold.errors import ConfigError
from enfold.heads import HeadKind

__all__ = ["CONFIG_FILE", "AdapterConfig", "config_values", "read_adapter_config"]

CONFIG_FILE: Final = ADAPTER_CONFIG

_TASKS: Final[Mapping[HeadKind, str]] = {
    "sequence-classification": "SEQ_CLS",
    "token-classification": "TOKEN_CLS",
    "question-answering": "QUESTION_ANS",
    "causal-lm": "CAUSAL_LM",
    "seq2seq-lm": "SEQ_2_SEQ_LM",
    "base": "FEATURE_EXTRACTION",
    "encoder": "FEATURE_EXTRACTION",
}
_REFUSED: Final = (
    "layer_replication", "target_parameters", "trainable_token_indices", "lora_bias", "use_qalora", "use_bdlora",
    "megatron_config", "alora_invocation_tokens", "arrow_config", "kasa_config", "velora_config", "monteclora_config",
)  # fmt: skip
"""Settings that make the tensors mean something else."""
_STARTS: Final = (True, False, None, "gaussian", "orthogonal", "eva")
"""``init_lora_weights`` that leave the base model as it is."""


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """What adapter_config.json says, as far as it matters to a reader.

    Attributes:
        kind: of adapter.
        base: the model that it was trained on, as its author named it.
        revision: branch, tag or commit of the base.
        head: the head that it was trained with; None where the file doesn't tell.
        alpha: a scale's numerator, unless ``alpha_pattern`` has one for the end of the module's name.
        use_rslora: whether scales divide by √rank.
        dropout: on what enters A.
    """

    kind: Literal["lora", "ia3"]
    base: str | None = None
    revision: str | None = None
    head: HeadKind | None = None
    alpha: float = 8.0
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    use_rslora: bool = False
    dropout: float = 0.0

    def scale(self, module: str, rank: int) -> float:
        """What B A is multiplied by at a module of the file."""
        ends = (pattern for pattern in self.alpha_pattern if _ends(module, pattern))
        alpha = self.alpha_pattern.get(next(ends, ""), self.alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def _ends(module: str, pattern: str) -> bool:
    return module == pattern.removeprefix("^") or (pattern[:1] != "^" and module.endswith(f".{pattern}"))


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Reads a folder's adapter_config.json.

    Raises:
        ConfigError: an adapter of another kind, values of a wrong type or settings that aren't supported; all listed.
    """
    path = folder / CONFIG_FILE
    values = read_json(path, "the adapter's configuration")
    kind = values.get("peft_type")
    if kind not in ("LORA", "IA3"):
        raise ConfigError(f"{path}: peft_type is {kind!r}, expected 'LORA' or 'IA3', which enfold knows")
    problems = [*_wrong_types(values), *(_unsupported(values) if kind == "LORA" else ())]
    if problems:
        raise ConfigError(f"{path} can't be used:\n  " + "\n  ".join(problems))
    task = values.get("task_type")
    return AdapterConfig(
        kind="lora" if kind == "LORA" else "ia3",
        base=values.get("base_model_name_or_path") or None,
        revision=values.get("revision") or None,
        head=next((head for head, name in _TASKS.items() if name == task), None),
        alpha=values.get("lora_alpha", 8),
        alpha_pattern=values.get("alpha_pattern") or {},
        use_rslora=bool(values.get("use_rslora")),
        dropout=values.get("lora_dropout") or 0.0,
    )


def _wrong_types(values: Mapping[str, Any]) -> Iterator[str]:
    rules: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
        (("r",), lambda value: type(value) is int and value > 0, "a whole number of 1 or more"),
        (("lora_alpha",), _is_positive, "a positive number"),
        (("lora_dropout",), lambda value: value == 0 or (_is_positive(value) and value < 1), "0 or more, less than 1"),
        (("use_dora", "use_rslora", "fan_in_fan_out"), lambda value: isinstance(value, bool), "true or false"),
        (("base_model_name_or_path", "revision", "task_type"), lambda value: isinstance(value, str), "a text"),
        (("alpha_pattern",), _is_pattern_table, "module names, without wildcards, and positive numbers"),
    )
    for names, is_right, expected in rules:
        for name in names:
            if values.get(name) is not None and not is_right(values[name]):
                yield f"{name} is {values[name]!r:.200}, expected {expected}"


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _is_pattern_table(value: object) -> bool:
    return isinstance(value, dict) and all(
        bool(re.fullmatch(r"\^?[\w.]+", name)) and _is_positive(number) for name, number in value.items()
    )


def _unsupported(values: Mapping[str, Any]) -> Iterator[str]:
    for name in _REFUSED:
        if values.get(name):
            yield f"{name} is {values[name]!r:.200}, which enfold doesn't support"
    start = values.get("init_lora_weights", True)
    if not any(start is known or (isinstance(start, str) and start == known) for known in _STARTS):
        yield (
            f"init_lora_weights is {start!r:.60}, which changes the base model: "
            "save the adapter with peft's path_initial_model_for_weight_conversion"
        )


def config_values(
    changes: Mapping[str, Change],
    whole: Collection[str],
    modules: Collection[str],
    *,
    head: HeadKind,
    base: str | None,
    revision: str | None,
    use_rslora: bool,
    dropout: float,
    transposed: bool,
) -> dict[str, Any]:
    """What adapter_config.json holds, for ``peft`` to make the same adapter of.

    Args:
        changes: full module name → its change.
        whole: modules that are stored whole.
        modules: every module of the model, so that short names are used where they are unmistakable.
        head: the model's.
        base: the base model's source.
        revision: its revision.
        use_rslora: how the scale depends on the rank.
        dropout: on what enters A.
        transposed: whether the changed matrices are stored as (inputs, outputs).
    """
    common = {
        "task_type": _TASKS.get(head),
        "base_model_name_or_path": base,
        "revision": revision,
        "inference_mode": True,
        "target_modules": _short_names(changes, modules),
        "modules_to_save": sorted(whole) or None,
        "fan_in_fan_out": transposed,
    }
    low = {module: change for module, change in changes.items() if isinstance(change, LowRank)}
    if not low:
        inputs = [module for module, each in changes.items() if isinstance(each, Rescaled) and each.side == "inputs"]
        return {"peft_type": "IA3", **common, "feedforward_modules": _short_names(inputs, modules)}
    ranks = {module: change.rank for module, change in low.items()}
    alphas = {module: each.scale * (math.sqrt(each.rank) if use_rslora else each.rank) for module, each in low.items()}
    rank, alpha = _most(ranks.values()), _most(map(_plain, alphas.values()))
    return {
        "peft_type": "LORA",
        **common,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {module: own for module, own in ranks.items() if own != rank},
        "alpha_pattern": {module: _plain(own) for module, own in alphas.items() if _plain(own) != alpha},
        "lora_dropout": dropout,
        "use_rslora": use_rslora,
        "use_dora": any(change.magnitude is not None for change in low.values()),
        "bias": "none",
    }


def _plain(number: float) -> float:
    """Without the last digits, which division made; whole where it is."""
    rounded = float(f"{number:.12g}")
    return int(rounded) if rounded.is_integer() else rounded


def _most(numbers: Any) -> Any:
    return Counter(numbers).most_common(1)[0][0]


def _short_names(chosen: Collection[str], modules: Collection[str]) -> list[str]:
    """Ends of names that mean these modules and no others; whole names where an end would mean more."""
    ends = {name.rpartition(".")[2] for name in chosen}
    meant = {module for module in modules if module.rpartition(".")[2] in ends}
    return sorted(ends) if meant == set(chosen) else sorted(chosen)
