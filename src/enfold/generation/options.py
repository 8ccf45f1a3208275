"""Every option of generation: its default, and what a value of it must be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["ARGUMENTS", "CACHES", "OPTIONS", "OWN", "SAMPLING", "Option", "ids_in", "plain"]

Check = Callable[[Any], bool]


@dataclass(frozen=True)
class Option:
    """An option's default, what its values are (None is always allowed, and means the default), and in words."""

    default: Any
    fits: Check
    expected: str


def _is_whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _flag(default: bool = False) -> Option:
    return Option(default, lambda value: isinstance(value, bool), "true or false")


def _whole(default: int | None, least: int) -> Option:
    return Option(default, lambda value: _is_whole(value, least), f"a whole number of {least} or more")


def _number(default: float | None, fits: Check, expected: str) -> Option:
    return Option(default, lambda value: _is_number(value) and math.isfinite(value) and fits(value), expected)


def _share(default: float | None, expected: str = "a number from 0 to 1") -> Option:
    return _number(default, lambda value: 0 <= value <= 1, expected)


def _positive(default: float | None, hint: str = "") -> Option:
    return _number(default, lambda value: value > 0, f"a number over 0{hint}")


_PENALTY: Final = _positive(1.0, "; 1 is no penalty")


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(_is_whole(token) for token in value)


def _is_phrases(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(bool(each) and _is_ids(each) for each in value)


def _is_forced(value: Any) -> bool:
    phrases = value if isinstance(value, list) else []
    return bool(phrases) and all(bool(each) and (_is_ids(each) or _is_phrases(each)) for each in phrases)


def _is_biases(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(pair, list) and len(pair) == 2 for pair in value)
        and all(bool(ids) and _is_ids(ids) and _is_number(bias) for ids, bias in value)
    )


def _is_decay(value: Any) -> bool:
    pair = isinstance(value, list) and len(value) == 2
    return pair and _is_whole(value[0]) and _is_number(value[1]) and value[1] > 0


def _is_texts(value: Any) -> bool:
    texts = [value] if isinstance(value, str) else value
    return isinstance(texts, list) and bool(texts) and all(isinstance(text, str) and text for text in texts)


def _is_schema(value: Any) -> bool:
    if isinstance(value, dict):
        return True
    try:
        return isinstance(json.loads(value), dict)
    except (TypeError, ValueError):
        return False


_IDS: Final = Option(None, _is_ids, "a list of token ids")
_TOKEN: Final = _whole(None, 0)
_TOKENS: Final = Option(None, lambda value: _is_whole(value) or _is_ids(value), "a token id or a list of them")
_TEXT: Final = Option(None, lambda value: isinstance(value, str) and bool(value), "a text")

CACHES: Final = (
    "dynamic",
    "dynamic_full",
    "hybrid",
    "hybrid_chunked",
    "offloaded",
    "offloaded_hybrid",
    "offloaded_hybrid_chunked",
    "offloaded_static",
    "paged",
    "quantized",
    "sliding_window",
    "static",
)
"""Names that can be asked for; all but "quantized" mean enfold's one cache, which grows."""

OPTIONS: Final[Mapping[str, Option]] = {
    # How long
    "max_length": _whole(20, 1),
    "max_new_tokens": _whole(None, 1),
    "min_length": _whole(0, 0),
    "min_new_tokens": _whole(None, 0),
    "early_stopping": Option(
        False, lambda value: isinstance(value, bool) or value == "never", 'true, false or "never"'
    ),
    "max_time": _positive(None, " (seconds)"),
    "stop_strings": Option(None, _is_texts, "a text or a list of texts, none of them empty"),
    # How
    "do_sample": _flag(),
    "num_beams": _whole(1, 1),
    "num_beam_groups": _whole(1, 1),
    "diversity_penalty": _number(0.0, lambda value: value >= 0, "a number of 0 or more"),
    "penalty_alpha": _share(None),
    "use_cache": _flag(True),
    "cache_implementation": Option(None, lambda value: isinstance(value, str), "a name"),
    "seed": _whole(None, 0),
    # What is sampled
    "temperature": _positive(1.0, "; for the likeliest token each time: do_sample=False"),
    "top_k": _whole(50, 0),
    "top_p": _share(1.0),
    "min_p": _share(None),
    "top_h": _number(None, lambda value: 0 < value <= 1, "a number over 0, up to 1"),
    "typical_p": _number(1.0, lambda value: 0 < value <= 1, "a number over 0, up to 1"),
    "epsilon_cutoff": _number(0.0, lambda value: 0 <= value < 1, "a number from 0 to below 1"),
    "eta_cutoff": _number(0.0, lambda value: 0 <= value < 1, "a number from 0 to below 1"),
    # What is favoured, forbidden or forced
    "repetition_penalty": _PENALTY,
    "encoder_repetition_penalty": _PENALTY,
    "length_penalty": _number(1.0, lambda value: True, "a number"),
    "no_repeat_ngram_size": _whole(0, 0),
    "encoder_no_repeat_ngram_size": _whole(0, 0),
    "bad_words_ids": Option(None, _is_phrases, "a list of lists of token ids, none of them empty"),
    "force_words_ids": Option(
        None, _is_forced, "a list of phrases (lists of token ids), or of lists of phrases of which one is enough"
    ),
    "constraints": Option(None, lambda value: isinstance(value, list) and bool(value), "a list of constraints"),
    "renormalize_logits": _flag(),
    "forced_bos_token_id": _TOKEN,
    "forced_eos_token_id": _TOKENS,
    "remove_invalid_values": _flag(),
    "exponential_decay_length_penalty": Option(
        None, _is_decay, "[tokens before it starts, factor over 0], as [20, 1.05]"
    ),
    "suppress_tokens": _IDS,
    "shortlist": Option(None, lambda value: _is_ids(value) and bool(value), "a list of token ids, not empty"),
    "begin_suppress_tokens": _IDS,
    "sequence_bias": Option(None, _is_biases, "[[token ids], bias] pairs, or {(token ids): bias}"),
    "guidance_scale": _number(None, lambda value: True, "a number"),
    "json_schema": Option(None, _is_schema, "a JSON schema: a dict, its JSON text, or a pydantic class"),
    "regex": _TEXT,
    "grammar": _TEXT,
    # What is returned
    "num_return_sequences": _whole(1, 1),
    "output_attentions": _flag(),
    "output_hidden_states": _flag(),
    "output_scores": _flag(),
    "output_logits": _flag(),
    "return_dict_in_generate": _flag(),
    # Special tokens
    "pad_token_id": Option(None, lambda value: _is_whole(value, -1), "a token id (-1: there is none)"),
    "bos_token_id": _TOKEN,
    "eos_token_id": _TOKENS,
    "decoder_start_token_id": _TOKENS,
    # Drafts
    "num_assistant_tokens": _whole(20, 1),
    "num_assistant_tokens_schedule": Option(
        "constant",
        lambda value: value in ("constant", "heuristic", "heuristic_transient"),
        '"constant", "heuristic" or "heuristic_transient"',
    ),
    "assistant_confidence_threshold": _share(0.4),
    "prompt_lookup_num_tokens": _whole(None, 1),
    "max_matching_ngram_size": _whole(None, 1),
}

SAMPLING: Final = (*("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"),)
"""Options that only mean something where tokens are sampled."""

OWN: Final = ("seed", "json_schema", "regex", "grammar", "shortlist")
"""Options that only enfold has: never read from a model's config.json, where such a key means something else."""

ARGUMENTS: Final = (
    "assistant_model",
    "logits_processor",
    "negative_prompt_attention_mask",
    "negative_prompt_ids",
    "prefix_allowed_tokens_fn",
    "stopping_criteria",
    "streamer",
    "tokenizer",
)
"""What ``generate()`` takes beside options."""


def plain(name: str, value: Any) -> Any:
    """A value as JSON has it: lists for tuples and arrays, pairs for ``sequence_bias``, a pydantic class's schema."""
    if name == "sequence_bias" and isinstance(value, dict):
        return [[list(ids) if isinstance(ids, tuple) else ids, bias] for ids, bias in value.items()]
    if name == "json_schema" and hasattr(value, "model_json_schema"):
        return value.model_json_schema()
    if name == "constraints":
        return list(value) if isinstance(value, tuple) else value
    if name == "shortlist" and isinstance(value, set | frozenset | range):
        return sorted(value)
    return _as_lists(value)


def ids_in(value: Any) -> Iterator[int]:
    """The whole numbers in nested lists."""
    if isinstance(value, int):
        yield value
    for each in value if isinstance(value, list | tuple) else ():
        yield from ids_in(each)


def _as_lists(value: Any) -> Any:
    if hasattr(value, "tolist"):  # a number or an array of numpy or torch
        return value.tolist()
    return [_as_lists(each) for each in value] if isinstance(value, list | tuple) else value
