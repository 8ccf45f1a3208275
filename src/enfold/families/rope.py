"""Rotary positions as configurations describe them: ``rope_parameters``, ``rope_theta`` and ``rope_scaling``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from enfold.arch import Rotary, RotaryScaling
from enfold.config import Config
from enfold.errors import ConfigError

__all__ = ["rotary"]

_KINDS = ("default", "linear", "dynamic", "yarn", "llama3", "longrope")


def rotary(config: Config, head_size: int, *, share: float = 1.0) -> Rotary:
    """The rotary positions of a configuration.

    Args:
        config: has any of the keys above.
        head_size: width of a head.
        share: of each head that is turned, where the configuration doesn't say.

    Raises:
        ConfigError: an unknown kind of scaling, or numbers that it lacks.
    """
    given: Mapping[str, Any] = config.get("rope_parameters") or config.get("rope_scaling") or {}
    base = given.get("rope_theta") or config.get("rope_theta") or config.get("rotary_emb_base") or 10000.0
    share = given.get("partial_rotary_factor") or config.get("partial_rotary_factor") or share
    kind = given.get("rope_type") or given.get("type") or "default"
    if kind not in _KINDS:
        raise ConfigError(f"rope_type is {kind!r}, expected one of {', '.join(_KINDS)}")
    try:
        scaling = None if kind == "default" else _scaling(kind, given, config)
        return Rotary(size=int(head_size * float(share)), base=float(base), scaling=scaling)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"rope_parameters are {dict(given)!r}, which lack or misstate {error} for {kind}") from error


def _scaling(kind: Any, given: Mapping[str, Any], config: Config) -> RotaryScaling:
    longest = config.max_position_embeddings
    original = (
        config.get("original_max_position_embeddings") or given.get("original_max_position_embeddings") or longest
    )
    factor = given.get("factor")
    if factor is None and kind in ("yarn", "longrope"):
        factor = longest / original
    attention = given.get("attention_factor")
    return RotaryScaling(
        kind=kind,
        factor=float(given["factor"] if factor is None else factor),
        original_length=int(original),
        attention_factor=_attention_factor(kind, float(factor or 1), original, given)
        if attention is None
        else attention,
        beta_fast=float(given.get("beta_fast") or 32),
        beta_slow=float(given.get("beta_slow") or 1),
        whole_turns=bool(given.get("truncate", True)),
        low=float(given["low_freq_factor"]) if kind == "llama3" else 1.0,
        high=float(given["high_freq_factor"]) if kind == "llama3" else 4.0,
        short=tuple(map(float, given["short_factor"])) if kind == "longrope" else (),
        long=tuple(map(float, given["long_factor"])) if kind == "longrope" else (),
    )


def _attention_factor(kind: str, factor: float, original: int, given: Mapping[str, Any]) -> float:
    """What the papers multiply queries and keys by: section 3.4 of YaRN, section 3.3 of LongRoPE."""
    if factor <= 1 or kind not in ("yarn", "longrope"):
        return 1.0
    if kind == "longrope":
        return math.sqrt(1 + math.log(factor) / math.log(original))
    above, below = given.get("mscale"), given.get("mscale_all_dim")
    if above and below:
        return float((0.1 * above * math.log(factor) + 1) / (0.1 * below * math.log(factor) + 1))
    return 0.1 * math.log(factor) + 1
