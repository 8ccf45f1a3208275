"""What the tasks that write have in common: options of generation, prompts, records and streams."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, takewhile
from typing import Any, ClassVar

from enfold.arch import RelativeBias
from enfold.errors import InputError, TextTooLongError
from enfold.generation.calls import Call
from enfold.generation.config import GenerationConfig
from enfold.generation.loop import Result
from enfold.generation.options import ARGUMENTS, OPTIONS
from enfold.model import PreTrainedModel
from enfold.tasks.base import Options, Task, check_count, check_text, respond
from enfold.tasks.preset import KNOWN_ELSEWHERE
from enfold.tasks.progress import track
from enfold.tasks.scripts import Ids, Script, in_order
from enfold.tokenization import Tokenizer
from enfold.tokenization.incremental import IncrementalDecoder
from enfold.tokenization.settings import NO_LIMIT

__all__ = ["Ask", "Writing"]

logger = logging.getLogger("enfold")


@dataclass(frozen=True)
class Ask:
    """What one call asks for.

    Attributes:
        config: options of generation, those of the task and the checkpoint included.
        tokens: ids are wanted instead of texts.
        clean_up: whether spaces before punctuation are removed; None is as the tokenizer says.
        batch_size: texts that are written at once.
        stream: pieces of text are wanted instead of records.
    """

    config: GenerationConfig
    tokens: bool = False
    clean_up: bool | None = None
    batch_size: int = 16
    stream: bool = False


class Writing(Task):
    """A task whose model writes.

    ``usual`` are the options of generation where neither the checkpoint nor the call has others.
    """

    usual: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, options: Options | None = None) -> None:
        super().__init__(model, tokenizer, options)
        self.defaults = self._config_of(self.name)
        self.prefix = self._prefix_of(self.name)
        self._fixed: dict[str, Any] = {}

    @property
    def max_length(self) -> int:
        """Tokens that the model reads at once, those that it writes included where it only has a decoder."""
        arch = self.model.arch.encoder or self.model.arch
        stated = self.tokenizer.model_max_length
        if isinstance(arch.relative, RelativeBias) and arch.positions is None and stated < NO_LIMIT:
            return stated  # T5 reads any length, if less and less well
        return min(arch.max_length, stated)

    # ── options ──────────────────────────────────────────────────────────────

    def _params(self, task: str) -> dict[str, Any]:
        """What older checkpoints say about a task in ``task_specific_params``."""
        params = self.model.config.get("task_specific_params") or {}
        return dict(params.get(task) or {})

    def _prefix_of(self, task: str) -> str:
        return str(self._params(task).get("prefix", self.model.config.get("prefix") or ""))

    def _usual(self) -> Mapping[str, Any]:
        return self.usual

    def _config_of(self, task: str) -> GenerationConfig:
        """The task's usual options, those of the checkpoint over them, and those of its ``task_specific_params``."""
        own = self.model.generation_config
        if "max_length" in own and own.max_length == OPTIONS["max_length"].default:
            own = own.updated(max_length=None)  # older files state the library's default, which nobody meant
        config = own.over(GenerationConfig.from_dict(self._usual()).unasked())
        params = {name: value for name, value in self._params(task).items() if name in OPTIONS}
        if config.max_new_tokens is not None:  # as in the reference: gpt2's 50 tokens would count the prompt's
            params.pop("max_length", None)
        config = GenerationConfig.from_dict(params).unasked().over(config)
        if config.pad_token_id is None and self.tokenizer.pad_token_id is not None:
            config = GenerationConfig.from_dict({"pad_token_id": self.tokenizer.pad_token_id}).over(config)
        return config

    def adopt(self, options: Mapping[str, Any]) -> dict[str, Any]:
        own = _own_options(type(self))
        self._fixed = {name: options[name] for name in options if name not in own}
        self._updated(self.defaults, self._fixed)  # what is wrong with them is said at once
        return {name: options[name] for name in options if name in own}

    def _updated(self, config: GenerationConfig, options: Mapping[str, Any]) -> GenerationConfig:
        """``config`` with a call's options over it, and its ``generation_config`` between.

        Raises:
            InputError: unknown options, wrong values, contradictions: all in one.
        """
        options = dict(options)
        given = options.pop("generation_config", None)
        if given is not None:
            if not isinstance(given, GenerationConfig):
                raise InputError(f"generation_config is a {type(given).__name__}, expected an enfold.GenerationConfig")
            config = given.over(config)
        try:
            return config.updated(**options)
        except InputError as error:
            hints = [hint for name in options if (hint := _hint(type(self), name))]
            raise InputError("\n  ".join([f"{self.name}: {error}", *hints])) from None

    def _ask(
        self,
        options: Mapping[str, Any],
        *,
        over: Mapping[str, Any] | None = None,
        tokens: bool = False,
        clean_up: bool | None = None,
        stop_sequence: str | None = None,
        batch_size: int = 16,
        stream: bool = False,
    ) -> Ask:
        """Checks what a call was given. ``over`` goes over the checkpoint's options, and under those of callers."""
        stop = {} if stop_sequence is None else {"stop_strings": stop_sequence}
        config = GenerationConfig.from_dict(over or {}).unasked().over(self.defaults)
        config = self._updated(self._updated(config, self._fixed), {**stop, **options})
        if stream and config.num_return_sequences > 1:
            raise InputError(
                f"num_return_sequences is {config.num_return_sequences}, and a stream is one text: leave one out"
            )
        return Ask(config, tokens, clean_up, check_count("batch_size", batch_size), stream)

    # ── writing ──────────────────────────────────────────────────────────────

    def write(self, scripts: Iterable[Script[Any]], ask: Ask, total: int | None = None) -> Iterator[Any]:
        """The records of scripts, in their order."""

        def generate(prompts: Iterable[Ids]) -> Iterator[tuple[int, list[Result]]]:
            return self.model.generate_many(
                prompts, batch_size=ask.batch_size, tokenizer=self.tokenizer, generation_config=ask.config
            )

        self._require_head()
        with track(self.name, total, self.options.progress) as advance:
            for record in in_order(scripts, generate):
                advance(1)
                yield record

    def respond(
        self, given: Any, ask: Ask, script: Callable[[str], Script[list[Any]]], pieces: Callable[[str], Iterator[str]]
    ) -> Any:
        """What the tasks return that read a text and write another: records, or a stream of pieces.

        Args:
            given: a text, or many.
            ask: what was asked.
            script: a text to its script, which returns a list of records.
            pieces: a text to the pieces of what is written of it.
        """
        single = isinstance(given, str)
        if ask.stream:
            if not single:
                raise InputError("stream=True yields the pieces of one text: pass one text")
            return pieces(check_text(given))

        def records(items: Iterable[Any], total: int | None) -> Iterator[list[Any]]:
            return self.write((script(check_text(item)) for item in items), ask, total)

        answer = respond(given, records, single=single)
        if isinstance(given, list | tuple) and all(len(each) == 1 for each in answer):  # as in the reference
            return [each[0] for each in answer]
        return answer

    def pieces(self, prompt: Ids, ask: Ask, *, follows: bool = False) -> Iterator[str]:
        """What is written on from one prompt, piece by piece.

        Args:
            prompt: token ids.
            ask: what was asked.
            follows: the text goes on from the prompt's, as a decoder's does, whose spaces depend on it.
        """
        self._require_head()
        call = Call.of(self.model, [prompt], ask.config, {}, tokenizer=self.tokenizer)
        decoder = IncrementalDecoder(self.tokenizer, clean_up_tokenization_spaces=ask.clean_up)
        skip = len(self._decode(prompt, ask)) - len(decoder.push_many(prompt)) if follows else 0
        return _pieces(call, decoder, skip)

    def _decode(self, tokens: Sequence[int], ask: Ask) -> str:
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=ask.clean_up)
        return text

    def too_long(self, count: int, text: str, limit: int) -> TextTooLongError:
        """What to raise for a text over the limit."""
        others = "'truncate' to cut its end" + (" or 'window' to read it in parts" if self.long == "window" else "")
        return TextTooLongError(
            f"the text has {count} tokens and the limit is {limit}; it begins {text[:40]!r}: pass long={others}, or, "
            "where the model can read more, raise tokenizer.model_max_length"
        )

    def _fit(self, ids: Ids, text: str, encode: Callable[[str], Ids]) -> Ids:
        """The ids of a text that can't be read in parts: as they are, or cut as the task's ``long`` says.

        Raises:
            TextTooLongError: it is over the limit and may not be cut.
        """
        limit = self.max_length
        if len(ids) <= limit:
            return ids
        if self.options.long != "truncate":
            raise self.too_long(len(ids), text, limit)
        end = ids[len(ids) - _common_end(ids, encode("")) :]
        logger.warning("cut a text at %d tokens: %d tokens were not read", limit, len(ids) - limit)
        return [*ids[: limit - len(end)], *end]


def _pieces(call: Call, decoder: IncrementalDecoder, skip: int) -> Iterator[str]:
    """Texts as they become final, without the first ``skip`` characters, which are the prompt's."""
    for text in chain((decoder.push_many(event.final) for event in call.events()), _rest(decoder)):
        piece, skip = text[skip:], max(0, skip - len(text))
        if piece:
            yield piece


def _rest(decoder: IncrementalDecoder) -> Iterator[str]:
    yield decoder.finish()


def _common_end(ids: Ids, around: Ids) -> int:
    """How many special tokens stand behind a text: those that an empty one ends with, too."""
    pairs = zip(reversed(ids), reversed(around), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _own_options(task: type[Task]) -> list[str]:
    """What a task's call takes by name, beside options of generation."""
    parameters = inspect.signature(task.__call__).parameters.values()
    return [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]


def _hint(task: type[Task], name: str) -> str:
    if name in OPTIONS or name in ARGUMENTS:
        return ""
    if name in KNOWN_ELSEWHERE:
        return f"{name}: {KNOWN_ELSEWHERE[name]}"
    near = difflib.get_close_matches(name, _own_options(task), n=1)
    return f"{name}: did you mean {near[0]}?" if near else ""
