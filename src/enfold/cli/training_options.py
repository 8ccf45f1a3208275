"""Options of the commands that train, and what they are to :func:`enfold.fit` and :func:`enfold.tune`."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from enfold.cli import options
from enfold.errors import InputError
from enfold.training.settings import Settings

if TYPE_CHECKING:
    from enfold.adapters import IA3, LoRA
    from enfold.config import Config
    from enfold.tokenization import Tokenizer

__all__ = ["SHOWN", "arguments_of", "run_options", "setting_options"]

F = TypeVar("F", bound=Callable[..., Any])

SHOWN = ("loss", "accuracy", "f1", "pearson", "exact_match", "perplexity", "bleu", "rougeL", "accuracy@1")
"""Metrics that a table shows, where an evaluation has them."""
_ADAPTERS = ("lora", "dora", "ia3")
_ALGORITHMS = ("wordpiece", "bpe", "unigram")


def setting_options(command: F) -> F:
    """An option for each of the run's settings, named, explained and defaulting as in :class:`Settings`."""
    for name, explained in reversed(list(_explained())):
        command = _option(name, explained)(command)
    return command


def _explained() -> Iterator[tuple[str, str]]:
    """Names of settings and what the class says of them."""
    text = inspect.getdoc(Settings) or ""
    part = text[text.index("Attributes:") :]
    for match in re.finditer(r"^    (\w+): (.+(?:\n        .+)*)", part, re.MULTILINE):
        words = " ".join(match[2].split()).replace("``", "")
        yield match[1], re.sub(r" ?\(https://\S+\)|:class:`enfold\.arch\.(\w+)`", r"\1", words)


def _option(name: str, explained: str) -> Callable[[F], F]:
    hint = typing.get_type_hints(Settings)[name]
    default = next(field.default for field in dataclasses.fields(Settings) if field.name == name)
    flag = f"--{name.replace('_', '-')}"
    first = explained[0].upper() + explained[1:]
    if hint is bool:
        return click.option(flag, name, is_flag=True, help=first)
    kinds = [kind for kind in _members(hint) if kind is not type(None)]
    choices = [choice for kind in kinds if typing.get_origin(kind) is Literal for choice in typing.get_args(kind)]
    if choices and all(typing.get_origin(kind) is Literal for kind in kinds):
        kind: Any = click.Choice(choices)
    elif kinds == [int]:
        kind = int
    elif set(kinds) <= {int, float} or name == "dropout":
        kind = float
    elif name == "betas":
        return click.option(flag, name, type=float, nargs=2, default=None, help=first)
    else:
        kind = str
    return click.option(flag, name, type=kind, default=default, show_default=default is not None, help=first)


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


_RUN = (
    click.argument("task", required=False),
    click.option("--data", required=True, multiple=True, metavar="FILE", help="Rows to learn from; may be repeated."),
    click.option(
        "--base",
        metavar="MODEL",
        help="What to start from: a folder, a hub id or pypi:NAME; by default all-MiniLM-L6-v2.",
    ),
    click.option(
        "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="The trained model's folder."
    ),
    click.option(
        "--columns",
        metavar="NAMES",
        help="label,text names the columns of a file without a header; text=review,label=stars says which column is "
        "which.",
    ),
    click.option(
        "--evaluation", metavar="FILE|SHARE", default="0.1", show_default=True, help="Rows to judge by; 0: none."
    ),
    click.option("--max-length", type=int, help="Tokens of a text; by default the model's limit, and 512 at most."),
    click.option("--adapter", type=click.Choice(_ADAPTERS), help="Train a few parameters beside the frozen model's."),
    click.option("--rank", type=int, help="Of LoRA and DoRA; by default 8."),
    click.option(
        "--targets",
        metavar="NAMES",
        help="Leaves with an adapter of LoRA or DoRA; by default query,value; all-linear: all.",
    ),
    click.option("--teacher", metavar="MODEL", help="A trained model to agree with."),
    click.option(
        "--architecture",
        metavar="TEXT",
        help="Start from random weights: a family with its sizes, as bert:hidden_size=256,num_hidden_layers=4, "
        "or a config.json.",
    ),
    click.option(
        "--tokenizer",
        metavar="MODEL|KIND",
        help="A model's, or wordpiece, bpe or unigram to train one on the data's texts; with wordpiece:8000 of that "
        "size.",
    ),
    click.option("--resume/--no-resume", default=True, show_default=True, help="Go on where a run in OUT was stopped."),
    click.option(
        "--language", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Of card and report."
    ),
)


def run_options(command: F) -> F:
    """What is trained, from what and where to."""
    for option in reversed(_RUN):
        command = option(command)
    return command


def arguments_of(given: dict[str, Any]) -> dict[str, Any]:
    """The options of :func:`run_options` and :func:`setting_options` as :func:`enfold.fit` takes them.

    Raises:
        click.UsageError: options that exclude each other, or need another.
    """
    from enfold.training.results import command_line

    base, architecture, columns = given.pop("base"), given.pop("architecture"), given.pop("columns")
    if base and architecture:
        raise click.UsageError("--base and --architecture exclude each other: weights are a model's, or random")
    task, data = given.pop("task"), given.pop("data")
    tokenizer = given.pop("tokenizer")
    model: Any
    if architecture:
        model, tokenizer = _new_model(architecture, tokenizer, data, columns)
    elif tokenizer and tokenizer.partition(":")[0] in _ALGORITHMS:
        raise click.UsageError(
            f"--tokenizer {tokenizer} trains a new tokenizer, and a trained model goes with its own: "
            "begin a new model with --architecture, or leave --tokenizer away"
        )
    else:
        model = base or options.default_model()
    return {
        "model": model,
        "data": list(data),
        "task": task,
        "out": given.pop("out"),
        "evaluation": _evaluation(given.pop("evaluation")),
        "columns": _columns(columns),
        "tokenizer": tokenizer,
        "max_length": given.pop("max_length"),
        "adapter": _adapter(given.pop("adapter"), given.pop("rank"), given.pop("targets")),
        "teacher": _teacher(given.pop("teacher"), task),
        "resume": given.pop("resume"),
        "language": given.pop("language"),
        "command": command_line(),
        "settings": Settings(**{**given, "class_weights": _class_weights(given["class_weights"])}),
    }


def _columns(given: str | None) -> tuple[str, ...] | dict[str, str] | None:
    if given is None:
        return None
    parts = [part.strip() for part in given.split(",")]
    if any("=" in part for part in parts):
        pairs = [part.partition("=") for part in parts]
        if not all(ours and theirs for ours, _, theirs in pairs):
            raise click.BadParameter(
                f"{given!r}: expected text=review,label=stars, or names alone", param_hint="--columns"
            )
        return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}
    return tuple(parts)


def _class_weights(given: str | None) -> Any:
    """``balanced``, or a weight for each label: yes=2,no=1."""
    if given is None or "=" not in given:
        return given
    pairs = [part.rpartition("=") for part in given.split(",")]
    try:
        return {label.strip(): float(weight) for label, _, weight in pairs}
    except ValueError:
        raise click.BadParameter(
            f"{given!r}: expected balanced, or a number for each label, as yes=2,no=1", param_hint="--class-weights"
        ) from None


def _evaluation(given: str) -> Any:
    try:
        return float(given)
    except ValueError:
        return given


def _adapter(kind: str | None, rank: int | None, targets: str | None) -> LoRA | IA3 | None:
    for flag, value in (("--rank", rank), ("--targets", targets)):
        if value is not None and kind not in ("lora", "dora"):
            raise click.UsageError(f"{flag} is of --adapter lora or dora, and there is {kind or 'no --adapter'}")
    if kind is None:
        return None
    from enfold.adapters import IA3, LoRA

    if kind == "ia3":
        return IA3()
    names = tuple(name.strip() for name in (targets or "query,value").split(","))
    rank = 8 if rank is None else rank
    return LoRA(rank=rank, alpha=2 * rank, targets=names, kind=kind)  # type: ignore[arg-type]


def _teacher(name: str | None, task: str | None) -> Any:
    if name is None:
        return None
    from enfold.auto import load_model
    from enfold.training.goals import find_goal
    from enfold.training.objective import Teacher

    if task is None:
        raise click.UsageError("--teacher needs the TASK to be named")
    return Teacher(load_model(name, find_goal(task).head))  # type: ignore[arg-type]


def _new_model(given: str, tokenizer: str | None, data: tuple[str, ...], columns: str | None) -> tuple[Config, Any]:
    """A model of random weights by its configuration, and the tokenizer whose vocabulary it has."""
    from enfold.checkpoint.files import read_json
    from enfold.families import config_of, family_of
    from enfold.tokenization import Tokenizer

    if tokenizer is None:
        raise click.UsageError("--architecture needs --tokenizer: a model's, or wordpiece, bpe or unigram to train one")
    if given.endswith(".json"):
        config, sizes = config_of(read_json(given, "a model's configuration")), {}
    else:
        name, _, text = given.partition(":")
        config, sizes = family_of(name).config({}), dict(map(_pair, text.split(",") if text else ()))
    wanted = config.updated(**sizes)  # what can't be is refused before a tokenizer is trained
    kind, _, size = tokenizer.partition(":")
    if kind in _ALGORITHMS:
        words = _new_tokenizer(kind, size, wanted, data, columns)
    else:
        words = Tokenizer.from_pretrained(tokenizer)
    return config.for_tokenizer(words).updated(**sizes), words


def _new_tokenizer(kind: str, size: str, config: Config, data: tuple[str, ...], columns: str | None) -> Tokenizer:
    """A tokenizer trained on the data's texts, that puts around a text what a model of this kind expects."""
    from enfold.families import family_of
    from enfold.tokenization.training import train_tokenizer
    from enfold.training.data import read_table

    if size and not size.isdecimal():
        raise click.BadParameter(
            f"{kind}:{size}: expected a number of tokens after the colon", param_hint="--tokenizer"
        )
    family = family_of(config.model_type)
    arch = family.translate(config)
    writes_on, of_pairs = arch.causal and arch.encoder is None, arch.encoder is not None
    if writes_on and kind != "bpe":
        raise click.UsageError(
            f"a {kind} tokenizer ends each text, and {config.model_type} goes on with what it is given: --tokenizer bpe"
        )
    styles = {"bpe": "gpt2" if writes_on else "roberta", "unigram": "t5" if of_pairs else "xlm-roberta"}
    gaps = [f"<extra_id_{index}>" for index in range(100)] if family.tokenizer == "t5" else []
    table = read_table(list(data), columns=_columns(columns))
    texts = [value for row in table.records for value in row if isinstance(value, str) and value.strip()]
    return train_tokenizer(
        texts,
        kind=kind,  # type: ignore[arg-type]
        style=styles.get(kind),  # type: ignore[arg-type]
        vocab_size=int(size or 8000),
        special_tokens=gaps,
    )


def _pair(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise InputError(f"--architecture has {text!r}; expected name=value, as in bert:hidden_size=256")
    for kind in (int, float):
        try:
            return name.strip(), kind(value)
        except ValueError:
            continue
    return name.strip(), {"true": True, "false": False}.get(value.lower(), value)
