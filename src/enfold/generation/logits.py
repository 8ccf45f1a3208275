"""The list of processors that a configuration asks for, in the order that the reference applies them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from enfold.errors import InputError
from enfold.generation import masks, penalties, warpers
from enfold.generation.config import GenerationConfig
from enfold.generation.foreign import adapt_processor
from enfold.generation.numerics import log_softmax
from enfold.generation.options import ids_in
from enfold.generation.rows import Processor, Rows, Scores

__all__ = ["Processor", "Rows", "apply", "guide", "processors", "shortlist_of"]


def processors(
    config: GenerationConfig,
    vocabulary: int,
    *,
    own: Sequence[Any] = (),
    prefix_allowed_tokens_fn: Callable[[int, list[int]], Any] | None = None,
    grammar: Processor | None = None,
    positions: int | None = None,
) -> list[Processor]:
    """What the scores of a step go through, one after another.

    Guidance comes before all of these (:func:`guide`): it needs a second pass of the model.

    Args:
        config: the options.
        vocabulary: V, the number of scores in a row.
        own: the caller's processors, enfold's or transformers'; they come before the warpers.
        prefix_allowed_tokens_fn: (index of the input, tokens so far) to the ids that may follow.
        grammar: the mask of :func:`enfold.generation.grammar.grammar_mask`; it comes after ``own``.
        positions: how many the model has, where that limits a text without a length of its own.

    Raises:
        InputError: options that name ids outside the vocabulary, all listed, or end tokens that aren't known.
    """
    _check_ids(config, vocabulary)
    ends = _ends(config, vocabulary)
    chain = [*_by_history(config, ends), *_by_position(config, ends, prefix_allowed_tokens_fn, positions)]
    chain += [adapt_processor(processor) for processor in own]
    if grammar is not None:
        chain.append(grammar)
    listed = shortlist_of(config, vocabulary)
    if listed is not None and (config.remove_invalid_values or prefix_allowed_tokens_fn or grammar or own):
        chain.append(masks.Only(listed))  # these make numbers of -inf, or allow what is forbidden
    if config.do_sample:
        chain += _warpers(config, ends)
    if config.renormalize_logits:
        chain.append(warpers.Normalize())
    return chain


def apply(chain: Sequence[Processor], scores: Scores, rows: Rows) -> Scores:
    """Puts scores ``(R, V)``, which may be overwritten, through processors."""
    for processor in chain:
        scores = processor(scores, rows)
    return scores


def guide(conditional: Scores, unconditional: Scores, scale: float) -> Scores:
    """Classifier-free guidance (arXiv 2306.17806): log-probabilities pushed away from the unconditional ones.

    What has no conditional probability has none afterwards. Both arguments ``(R, V)`` are overwritten.
    """
    given, free = log_softmax(conditional), log_softmax(unconditional)
    impossible = given == -np.inf
    with np.errstate(invalid="ignore"):
        given -= free
        given *= np.float32(scale)
        given += free
    given[impossible] = -np.inf
    return given


def shortlist_of(config: GenerationConfig, vocabulary: int) -> tuple[int, ...] | None:
    """The tokens whose scores are computed: the shortlist and what ends a text; None without a shortlist."""
    if config.shortlist is None:
        return None
    return tuple(sorted({*config.shortlist, *_ends(config, vocabulary)}))


def _ends(config: GenerationConfig, vocabulary: int) -> tuple[int, ...]:
    """End tokens that have a score: one without can't be written, and there is nothing to forbid or to favour."""
    return tuple(token for token in config.eos_token_ids if token < vocabulary)


def _by_history(config: GenerationConfig, ends: tuple[int, ...]) -> Iterator[Processor]:
    """What depends on the tokens so far."""
    if config.sequence_bias:
        yield penalties.SequenceBias(config.sequence_biases)
    if config.diversity_penalty > 0:
        yield penalties.Diversity(config.diversity_penalty)
    if config.encoder_repetition_penalty != 1:
        yield penalties.Repetition(config.encoder_repetition_penalty, of="sources")
    if config.repetition_penalty != 1:
        yield penalties.Repetition(config.repetition_penalty)
    if config.no_repeat_ngram_size:
        yield penalties.NoRepeat(config.no_repeat_ngram_size)
    if config.encoder_no_repeat_ngram_size:
        yield penalties.NoRepeat(config.encoder_no_repeat_ngram_size, of="sources")
    if config.bad_words_ids:
        words = {tuple(word) for word in config.bad_words_ids} - {(token,) for token in ends}
        yield penalties.SequenceBias(dict.fromkeys(words, -np.inf))


def _by_position(
    config: GenerationConfig,
    ends: tuple[int, ...],
    allowed: Callable[[int, list[int]], Any] | None,
    positions: int | None,
) -> Iterator[Processor]:
    """What depends on how far a row is, or on nothing."""
    if ends and config.min_new_tokens is not None:
        yield masks.MinNewTokens(config.min_new_tokens, ends)
    elif ends and config.min_length:
        yield masks.MinLength(config.min_length, ends)
    if allowed is not None:
        yield masks.AllowedTokens(allowed)
    if config.forced_bos_token_id is not None:
        yield masks.ForcedStart(config.forced_bos_token_id)
    if config.forced_eos_token_id is not None:
        forced = config.forced_eos_token_id
        tokens = (forced,) if isinstance(forced, int) else tuple(forced)
        yield masks.ForcedEnd(tokens, lambda given: config.length_limit(given, positions))
    if config.remove_invalid_values:
        yield masks.RemoveInvalid()
    if config.exponential_decay_length_penalty is not None:
        if not ends:
            raise InputError("exponential_decay_length_penalty raises the end token, and eos_token_id is not known")
        start, factor = config.exponential_decay_length_penalty
        yield penalties.EndDecay(start, factor, ends)
    if config.suppress_tokens:
        yield masks.Suppress(tuple(config.suppress_tokens))
    if config.begin_suppress_tokens:
        yield masks.BeginSuppress(tuple(config.begin_suppress_tokens), config.forced_bos_token_id is not None)


def _warpers(config: GenerationConfig, ends: tuple[int, ...]) -> Iterator[Processor]:
    """The shaping of a distribution that is sampled."""
    # Beams need one way on beside every end token.
    least = 1 if config.num_beams == 1 else max(len(ends), 1) + 1
    if config.temperature != 1:
        yield warpers.Temperature(config.temperature)
    if config.top_h is not None:
        yield warpers.TopH(config.top_h)
    if config.top_k:
        yield warpers.TopK(config.top_k, least)
    if config.top_p < 1:
        yield warpers.TopP(config.top_p, least)
    if config.min_p is not None:
        yield warpers.MinP(config.min_p, least)
    if config.typical_p < 1:
        yield warpers.Typical(config.typical_p, least)
    if 0 < config.epsilon_cutoff < 1:
        yield warpers.Epsilon(config.epsilon_cutoff, least)
    if 0 < config.eta_cutoff < 1:
        yield warpers.Eta(config.eta_cutoff, least)


_ID_OPTIONS = (
    "bad_words_ids",
    "begin_suppress_tokens",
    "force_words_ids",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "shortlist",
    "suppress_tokens",
)


def _check_ids(config: GenerationConfig, vocabulary: int) -> None:
    named = {name: ids_in(getattr(config, name)) for name in _ID_OPTIONS}
    named["sequence_bias"] = itertools.chain.from_iterable(config.sequence_biases)
    if config.asks_for("eos_token_id"):  # checkpoints state end tokens that their vocabulary lacks, and do no harm
        named["eos_token_id"] = iter(config.eos_token_ids)
    outside = {name: sorted({token for token in ids if token >= vocabulary}) for name, ids in named.items()}
    problems = [f"{name} has {', '.join(map(str, ids[:10]))}" for name, ids in outside.items() if ids]
    if problems:
        raise InputError(f"ids outside the model's vocabulary of {vocabulary}: {'; '.join(problems)}")
