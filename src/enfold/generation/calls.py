"""From the arguments of a call to requests and a strategy, and from results to what the caller gets."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from enfold.errors import InputError
from enfold.generation.arguments import argument_problems, rows_of_ids
from enfold.generation.assisted import write_assisted
from enfold.generation.beam import Beam
from enfold.generation.beam_constrained import ConstrainedBeam
from enfold.generation.beam_groups import GroupBeam
from enfold.generation.config import GenerationConfig
from enfold.generation.context import context_of
from enfold.generation.contrastive import Contrastive
from enfold.generation.drafts import Assistant, Drafter, Lookup, check_assistant
from enfold.generation.guidance import GuidedSession, check_guidance
from enfold.generation.logits import shortlist_of
from enfold.generation.loop import Event, Request, Result, Strategy, write
from enfold.generation.prefixes import Prefixes
from enfold.generation.recipe import Recipe
from enfold.generation.results import record, sequences
from enfold.generation.rules import contradictions, mode
from enfold.generation.sampling import generator
from enfold.generation.select import Select
from enfold.generation.session import Session
from enfold.model import PreTrainedModel

__all__ = ["Call", "events", "generate", "generate_many", "stored_config"]


def stored_config(model: PreTrainedModel) -> GenerationConfig:
    """The options of the model's folder: generation_config.json, or else what its configuration says of them."""
    if model.source is not None and (model.source / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(model.source).unasked()
    return GenerationConfig.from_model_config(model.config.to_dict()).unasked()


@dataclass
class Call:
    """One call of ``generate``: what is to be written, and how.

    Attributes:
        model: the model that writes.
        config: its options and the call's.
        requests: one for each text to be written.
        given: (B, S) ids as the caller gave them, which a decoder-only model's results begin with, or lists of
            different lengths.
        mask: (B, S), which of them are no padding; None: all.
        recipe: the options made ready.
        assistant: a model that drafts, or None.
        streamer: told of tokens, or None.
    """

    model: PreTrainedModel
    config: GenerationConfig
    requests: list[Request]
    given: Any
    recipe: Recipe
    mask: Any = None
    assistant: PreTrainedModel | None = None
    streamer: Any = None

    @classmethod
    def of(
        cls,
        model: PreTrainedModel,
        inputs: Any,
        generation_config: GenerationConfig | None,
        options: Mapping[str, Any],
        *,
        attention_mask: Any = None,
        decoder_input_ids: Any = None,
        negative_prompt_ids: Any = None,
        negative_prompt_attention_mask: Any = None,
        assistant_model: Any = None,
        tokenizer: Any = None,
        streamer: Any = None,
        logits_processor: Iterable[Any] | None = None,
        stopping_criteria: Iterable[Any] | None = None,
        prefix_allowed_tokens_fn: Any = None,
    ) -> Call:
        """Checks and prepares everything; arguments and errors as :meth:`enfold.PreTrainedModel.generate` has them."""
        config = options_of(
            model,
            generation_config,
            options,
            assistant=assistant_model is not None,
            problems=argument_problems(
                generation_config=generation_config,
                logits_processor=logits_processor,
                stopping_criteria=stopping_criteria,
                prefix_allowed_tokens_fn=prefix_allowed_tokens_fn,
                assistant_model=assistant_model,
                streamer=streamer,
            ),
        )
        rows, given = rows_of_ids(model, inputs, attention_mask, "input_ids")
        if not rows:
            start = config.bos_token_id
            if start is None:
                raise InputError("nothing to go on from: give input_ids, or a model whose bos_token_id is known")
            rows, given = [[start]], [[start]]
        starts = None
        if decoder_input_ids is not None:
            starts, _ = rows_of_ids(model, decoder_input_ids, None, "decoder_input_ids", of_decoder=True)
        if starts is not None and len(starts) != len(rows):
            raise InputError(f"decoder_input_ids have {len(starts)} rows for {len(rows)} inputs: give one for each")
        negative = None
        if negative_prompt_ids is not None:
            negative = rows_of_ids(model, negative_prompt_ids, negative_prompt_attention_mask, "negative_prompt_ids")[0]
        check_guidance(model, config, rows, negative)
        requests = list(requests_of(model, config, rows, starts))
        for request in requests:
            request.negative = negative[request.index] if negative else None
        if assistant_model is not None:
            check_assistant(model, assistant_model)
        criteria = [*(stopping_criteria or ())]
        if streamer is not None:
            if len(requests) != 1:
                raise InputError(f"a streamer is told one text, not {len(requests)}: use generate_many for several")
            if hasattr(streamer, "closed"):
                criteria.append(lambda rows: streamer.closed)
        recipe = Recipe.of(
            model,
            config,
            tokenizer=tokenizer,
            own_processors=logits_processor or (),
            own_criteria=criteria,
            prefix_allowed_tokens_fn=prefix_allowed_tokens_fn,
        )
        return cls(model, config, requests, given, recipe, attention_mask, assistant_model, streamer)

    def events(
        self, slots: int | None = None, requests: Iterable[Request] | None = None
    ) -> Generator[Event, None, None]:
        """Writes; the news as they come."""
        given = self.requests if requests is None else requests
        return self.model.events(self, given, slots or max(1, len(self.requests)))


def events(call: Call, requests: Iterable[Request], slots: int) -> Generator[Event, None, None]:
    """Runs the loop that the options ask for."""
    if mode(call.config, assistant=call.assistant is not None) == "assisted":
        return write_assisted(session_of(call), call.recipe, requests, lambda: drafter_of(call))
    strategy = strategy_of(call)
    return write(session_of(call, strategy.width, strategy.wants_hidden), strategy, requests, slots=slots)


def session_of(call: Call, width: int = 1, wants_hidden: bool = False, prefixes: Prefixes | None = None) -> Session:
    """What runs the model, guided where the options say so; ``prefixes`` as for :class:`Session`."""
    config = call.config
    given: dict[str, Any] = {"width": width, "wants_hidden": wants_hidden}
    given["quantized"] = config.cache_implementation == "quantized" and config.asks_for("cache_implementation")
    given["shortlist"] = shortlist_of(config, call.model.arch.vocab_size)
    scale = config.guidance_scale
    if scale in (None, 1):
        return Session(call.model, **given, prefixes=prefixes)
    return GuidedSession(call.model, scale, **given)


def strategy_of(call: Call) -> Strategy:
    """What decides at each step, by the mode of the options."""
    match mode(call.config, assistant=call.assistant is not None):
        case "greedy" | "sample":
            return Select(call.recipe)
        case "beam" | "beam-sample":
            return Beam(call.recipe)
        case "group-beam":
            return GroupBeam(call.recipe)
        case "constrained-beam":
            return ConstrainedBeam(call.recipe)
        case "contrastive":
            return Contrastive(call.recipe, call.model.arch.vocab_size)
        case other:
            raise InputError(f"{other} search is not there")


def drafter_of(call: Call) -> Drafter:
    """What guesses how one text goes on."""
    if call.assistant is None:
        return Lookup(call.config)
    return Assistant(call.assistant, call.recipe, call.config.over(call.assistant.generation_config))


def options_of(
    model: PreTrainedModel,
    over: GenerationConfig | None,
    options: Mapping[str, Any],
    *,
    assistant: bool = False,
    problems: Iterable[str] = (),
) -> GenerationConfig:
    """The checkpoint's options with the call's over them; ``problems`` are those of other arguments.

    Raises:
        InputError: unknown, wrong or contradictory options, all listed, the other problems with them.
        UntrainedHeadError: the model's head was never trained.
    """
    if model.kind not in ("causal-lm", "seq2seq-lm"):
        raise InputError(
            f"a {model.blueprint.class_name} writes no text: load the checkpoint with AutoModelForCausalLM or "
            "AutoModelForSeq2SeqLM"
        )
    found = [*problems]
    config = over.over(model.generation_config) if isinstance(over, GenerationConfig) else model.generation_config
    try:
        config = config.updated(**options) if options else config
    except InputError as error:
        found.append(str(error))
    else:
        found += contradictions(config, {"assistant_model", *options}, assistant=True) if assistant else []
    if found:
        raise InputError("\n".join(found))
    return config


def requests_of(
    model: PreTrainedModel,
    config: GenerationConfig,
    rows: Sequence[list[int]],
    starts: Sequence[list[int]] | None,
    first: int = 0,
) -> Iterator[Request]:
    """One request for each text: several for an input of which several texts are sampled.

    ``first`` is the first row's number among all inputs: with a seed, that decides what is drawn for it.
    """
    copies = copies_of(config)
    for index, row in enumerate(rows, first):
        prompt, source = row, None
        if model.arch.encoder is not None:
            start = _decoder_start(config, index - first)
            given = starts[index - first] if starts else []
            prompt, source = given if given[:1] == [start] else [start, *given], row
            _check_source(model, row)
        _check_room(model, config, prompt)
        for number in range(copies):
            yield Request(index, prompt, source, generator(config.seed, index * copies + number), number)


def copies_of(config: GenerationConfig) -> int:
    """How many texts are written for an input by themselves; beams give several in one."""
    return int(config.num_return_sequences) if config.do_sample and config.num_beams == 1 else 1


def _check_room(model: PreTrainedModel, config: GenerationConfig, prompt: list[int]) -> None:
    """Raises InputError where a prompt leaves no room for the new tokens that are asked for."""
    limit = context_of(model.arch)
    if limit is not None and len(prompt) >= limit:
        raise InputError(
            f"the prompt has {len(prompt)} tokens, and this model reads {limit}, new ones included: shorten it "
            "(truncation=True, max_length=… of the tokenizer), or use a pipeline, whose long='truncate' does it"
        )
    wanted = config.length_limit(len(prompt), limit)
    if len(prompt) >= wanted:
        raise InputError(
            f"the prompt has {len(prompt)} tokens, and max_length is {config.max_length}, prompt included: "
            "say how many tokens to write with max_new_tokens"
        )
    if limit is not None and wanted > limit:
        raise InputError(
            f"the prompt's {len(prompt)} tokens and {wanted - len(prompt)} new ones are {wanted}, and this model reads "
            f"{limit}: shorten the prompt, or ask for at most max_new_tokens={limit - len(prompt)}"
        )


def _check_source(model: PreTrainedModel, source: list[int]) -> None:
    """Raises InputError where an encoder has no positions for so many tokens."""
    limit = None if model.arch.encoder is None else context_of(model.arch.encoder)
    if limit is not None and len(source) > limit:
        raise InputError(
            f"the input has {len(source)} tokens, and this model's encoder reads {limit}: shorten it "
            "(truncation=True, max_length=… of the tokenizer), or use a pipeline, whose long='truncate' does it"
        )


def _decoder_start(config: GenerationConfig, row: int) -> int:
    start = config.decoder_start_token_id if config.decoder_start_token_id is not None else config.bos_token_id
    if isinstance(start, list):
        if row >= len(start):
            raise InputError(f"decoder_start_token_id has {len(start)} tokens: give one, or one for each input")
        start = start[row]
    if start is None:
        raise InputError("nothing says what the decoder begins with: give decoder_start_token_id")
    return int(start)


# ── results ──────────────────────────────────────────────────────────────────


def generate(call: Call) -> Any:
    """Writes all texts of a call and hands them back as arrays."""
    call.model.require_trained()
    streamer = call.streamer
    if streamer is not None:
        streamer.put(np.asarray([call.requests[0].prompt]))
    found: dict[int, list[Numbered]] = {}
    for event in call.events():
        if streamer is not None and event.final:
            streamer.put(np.asarray(event.final))
        if event.results is not None:
            found.setdefault(event.request.index, []).extend(_numbered(event))
    if streamer is not None:
        streamer.end()
    ordered = [result for index in sorted(found) for result in _in_order(found[index])]
    return record(call, ordered) if call.config.return_dict_in_generate else sequences(call, ordered)


Numbered = tuple[tuple[int, int], Result]


def _numbered(event: Event) -> list[Numbered]:
    return [((event.request.number, place), result) for place, result in enumerate(event.results or ())]


def _in_order(numbered: Sequence[Numbered]) -> list[Result]:
    return [result for _, result in sorted(numbered, key=lambda each: each[0])]


def generate_many(
    model: PreTrainedModel,
    prompts: Iterable[Any],
    batch_size: int,
    tokenizer: Any,
    generation_config: GenerationConfig | None,
    options: Mapping[str, Any],
) -> Iterator[tuple[int, list[Result]]]:
    """See :meth:`enfold.generation.mixin.GenerationMixin.generate_many`."""
    model.require_trained()
    problems = [*argument_problems(generation_config=generation_config)]
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        problems.append(f"batch_size is {batch_size!r}, expected a whole number of 1 or more")
    config = options_of(model, generation_config, options, problems=problems)
    check_guidance(model, config, (), None)
    recipe = Recipe.of(model, config, tokenizer=tokenizer)
    call = Call(model, config, [], None, recipe)
    copies = copies_of(config)

    def requests() -> Iterator[Request]:
        for index, prompt in enumerate(prompts):
            if not isinstance(prompt, Iterable):
                raise InputError(f"prompt {index} is {prompt!r:.60}, expected a list of token ids")
            rows, _ = rows_of_ids(model, [list(prompt)], None, f"prompt {index}")
            yield from requests_of(model, config, rows, None, first=index)

    finished: dict[int, list[Numbered]] = {}
    for event in call.events(batch_size, requests()):
        if event.results is not None:
            together = finished.setdefault(event.request.index, [])
            together.extend(_numbered(event))
            if len(together) >= copies * len(event.results):
                del finished[event.request.index]
                yield event.request.index, _in_order(together)
