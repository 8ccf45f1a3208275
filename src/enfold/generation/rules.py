"""Options that contradict each other: each rule names the options that must have been asked for to be judged."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Literal, TypeAlias

from enfold.generation.options import CACHES, OPTIONS, SAMPLING, ids_in

if TYPE_CHECKING:
    from enfold.generation.config import GenerationConfig

__all__ = ["Mode", "contradictions", "mode"]

Mode: TypeAlias = Literal[
    "greedy", "sample", "beam", "beam-sample", "group-beam", "contrastive", "constrained-beam", "assisted"
]
"""How tokens are chosen."""

Problem: TypeAlias = "tuple[tuple[str, ...], str]"  # the options concerned, and what is wrong


def mode(config: GenerationConfig, *, assistant: bool = False) -> Mode:
    """How a configuration chooses tokens; ``assistant`` says that a draft model was given."""
    base = _base_mode(config)
    drafts = assistant or config.prompt_lookup_num_tokens is not None
    return "assisted" if drafts and base in ("greedy", "sample") else base


def _base_mode(config: GenerationConfig) -> Mode:
    if config.constraints or config.force_words_ids:
        return "constrained-beam"
    if config.num_beams == 1:
        if config.do_sample:
            return "sample"
        return "contrastive" if config.penalty_alpha and config.top_k > 1 else "greedy"
    if config.num_beam_groups > 1:
        return "group-beam"
    return "beam-sample" if config.do_sample else "beam"


def contradictions(config: GenerationConfig, asked: Collection[str], *, assistant: bool = False) -> list[str]:
    """What is wrong between the options in ``asked`` and all that hold; nothing else is judged.

    A checkpoint's file may set a temperature and not sample: nobody asked for that temperature now.
    """
    found = [*_of_sampling(config), *_of_beams(config), *_of_constraints(config), *_of_drafts(config, assistant)]
    found += [*_of_lengths(config, asked), *_of_results(config), *_of_tokens(config), *_of_structure(config)]
    found += [*_of_caches(config)]
    return [text for options, text in found if not {*options}.isdisjoint(asked)]


def _of_sampling(config: GenerationConfig) -> Iterator[Problem]:
    contrastive = bool(config.penalty_alpha)
    if not config.do_sample:
        for name in SAMPLING:
            value = getattr(config, name)
            if value != OPTIONS[name].default and not (name == "top_k" and (contrastive or value == 0)):
                yield (name,), f"{name}={value} shapes what is sampled, and do_sample is false: set do_sample=True"
    if contrastive:
        if config.do_sample:
            yield ("penalty_alpha", "do_sample"), "penalty_alpha is for contrastive search, which doesn't sample"
        if config.num_beams > 1:
            text = f"penalty_alpha is for contrastive search, which has no beams (num_beams={config.num_beams})"
            yield ("penalty_alpha", "num_beams"), text
        if config.top_k < 2:
            yield ("penalty_alpha", "top_k"), f"contrastive search compares top_k=2 or more tokens, not {config.top_k}"


def _of_beams(config: GenerationConfig) -> Iterator[Problem]:
    beams, groups, diversity = config.num_beams, config.num_beam_groups, config.diversity_penalty
    if beams == 1:
        for name in ("early_stopping", "length_penalty", "num_beam_groups", "diversity_penalty"):
            value = getattr(config, name)
            if value != OPTIONS[name].default:
                yield (name,), f"{name}={value!r} is for beams, and num_beams is 1: set num_beams to 2 or more"
        return
    named = ("num_beams", "num_beam_groups", "diversity_penalty")
    if groups > 1:
        if beams % groups:
            yield named[:2], f"num_beams={beams} can't be divided into num_beam_groups={groups} of equal size"
        if config.do_sample:
            yield ("num_beam_groups", "do_sample"), f"num_beam_groups={groups} and do_sample=True: choose one"
        if not diversity:
            yield named[1:], f"num_beam_groups={groups} would all find the same texts: set diversity_penalty over 0"
    elif diversity:
        yield named[1:], f"diversity_penalty={diversity} is between groups of beams: set num_beam_groups to 2 or more"


def _of_constraints(config: GenerationConfig) -> Iterator[Problem]:
    named = ("force_words_ids", "constraints")
    if not config.constraints and not config.force_words_ids:
        return
    if config.constraints and config.force_words_ids:
        yield named, "constraints and force_words_ids: give one of them"
    if config.num_beams == 1:
        yield (*named, "num_beams"), "constraints and force_words_ids need beams: set num_beams to 2 or more"
    if config.do_sample:
        yield (*named, "do_sample"), "constraints and force_words_ids don't go with do_sample=True"
    if config.num_beam_groups > 1:
        yield (*named, "num_beam_groups"), "constraints and force_words_ids don't go with num_beam_groups"


def _of_drafts(config: GenerationConfig, assistant: bool) -> Iterator[Problem]:
    lookup = config.prompt_lookup_num_tokens is not None
    if not lookup and config.max_matching_ngram_size is not None:
        yield ("max_matching_ngram_size",), "max_matching_ngram_size is for prompt_lookup_num_tokens, which isn't set"
    if not lookup and not assistant:
        return
    asked = ("prompt_lookup_num_tokens", "assistant_model")
    if lookup and assistant:
        yield asked, "prompt_lookup_num_tokens and an assistant model: give one of them"
    if (base := _base_mode(config)) not in ("greedy", "sample"):
        options = (*asked, "num_beams", "penalty_alpha", "constraints", "force_words_ids")
        yield options, f"drafts (prompt_lookup_num_tokens, an assistant) go with greedy and sample, not with {base}"


def _of_lengths(config: GenerationConfig, asked: Collection[str]) -> Iterator[Problem]:
    for end in ("max", "min"):
        pair = (f"{end}_length", f"{end}_new_tokens")
        if {*pair} <= {*asked}:
            yield pair, f"{pair[0]} and {pair[1]} both say how long: give one of them"
    if config.min_new_tokens is not None and config.max_new_tokens is not None:
        if config.min_new_tokens > config.max_new_tokens:
            both = ("min_new_tokens", "max_new_tokens")
            yield both, f"min_new_tokens={config.min_new_tokens} is over max_new_tokens={config.max_new_tokens}"
    elif "max_length" in config and config.max_new_tokens is None:
        least = config.min_length if config.min_new_tokens is None else config.min_new_tokens
        if least > config.max_length:
            names = ("min_length", "min_new_tokens", "max_length")
            yield names, f"a least length of {least} is over max_length={config.max_length}"


def _of_results(config: GenerationConfig) -> Iterator[Problem]:
    count, beams = config.num_return_sequences, config.num_beams
    if count > 1 and beams > 1 and count > beams:
        yield ("num_return_sequences", "num_beams"), f"num_return_sequences={count} is over num_beams={beams}"
    if count > 1 and beams == 1 and not config.do_sample:
        text = (
            f"num_return_sequences={count} would all be the same: set do_sample=True, or num_beams to {count} or more"
        )
        yield ("num_return_sequences", "num_beams", "do_sample"), text
    if not config.return_dict_in_generate:
        for name in ("output_attentions", "output_hidden_states", "output_scores", "output_logits"):
            if getattr(config, name):
                yield (name,), f"{name}=True has no place in a bare result: set return_dict_in_generate=True"


def _of_tokens(config: GenerationConfig) -> Iterator[Problem]:
    suppressed = {*(config.suppress_tokens or ())}
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        value = getattr(config, name)
        forced = {value} if isinstance(value, int) else {*(value or ())}
        if forced and forced <= suppressed:
            yield (name, "suppress_tokens"), f"{name}={value} is also in suppress_tokens: nothing would be left"

    if config.shortlist is not None:
        if {*config.shortlist} <= suppressed:
            yield ("shortlist", "suppress_tokens"), "all of shortlist is in suppress_tokens: nothing would be left"
        others = sorted({*ids_in(config.force_words_ids)} - {*config.shortlist, *config.eos_token_ids})
        if others:
            text = f"force_words_ids has {', '.join(map(str, others[:10]))}, which shortlist leaves out"
            yield ("shortlist", "force_words_ids"), text


def _of_caches(config: GenerationConfig) -> Iterator[Problem]:
    name = config.cache_implementation
    if name is not None and name not in CACHES:
        text = f'cache_implementation is {name!r}, expected "quantized" (keys and values as bytes) or a name that '
        yield ("cache_implementation",), f"{text}changes nothing: {', '.join(sorted({*CACHES} - {'quantized'}))}"


def _of_structure(config: GenerationConfig) -> Iterator[Problem]:
    given = [name for name in ("json_schema", "regex", "grammar") if getattr(config, name) is not None]
    if len(given) > 1:
        yield tuple(given), f"{' and '.join(given)} each describe the whole output: give one of them"
