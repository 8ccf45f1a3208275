"""Which options of ``enfold run`` go to which task: two tables, and the task's own signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from enfold.cli.inputs import Given
from enfold.errors import InputError

__all__ = ["PLAIN", "RECORDS", "Record", "choose", "task_options"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class TaskOption:
    """An option for the tasks whose call has ``parameter``, and whether these need it."""

    flag: str
    parameter: str
    type: Any
    help: str
    needed: bool = False


@dataclass(frozen=True)
class Record:
    """How a task's input is made from a text and options.

    Attributes:
        text: the key that the text has.
        options: other keys → the options that fill them; without any, the input is the text itself.
        needed: whether those keys have to be there.
        listed: whether the text stands in its record as a list, of one where it is given alone.
    """

    text: str = "text"
    options: Mapping[str, str] = field(default_factory=dict)
    needed: bool = True
    listed: bool = False

    def item(self, given: Given, values: Mapping[str, str]) -> tuple[str, Any]:
        """The text of an input, to show, and what the task is asked.

        Raises:
            InputError: a record of a file without the keys that are needed, or whose text is none.
        """
        found = given.value if isinstance(given.value, dict) else {self.text: given.value}
        key = self.text if self.text in found else "text"
        record = {**values, **{name: found[name] for name in self.options if name in found}}
        lacking = [] if key in found else [repr(self.text)]
        if self.needed:
            lacking += [f"{name!r} (or {flag})" for name, flag in self.options.items() if name not in record]
        if lacking:
            raise InputError(f"{given.place}: no {' and no '.join(lacking)}; its keys are {', '.join(found) or 'none'}")
        text = found[key]
        texts = text if self.listed and isinstance(text, list) else [text]
        if not texts or not all(isinstance(each, str) and each.strip() for each in texts):
            raise InputError(f"{given.place}: {key!r} is {text!r:.60}; expected a text")
        shown = " | ".join(texts)
        return shown, {**record, self.text: texts if self.listed else text} if self.options else text


PLAIN = Record()

RECORDS = {
    "question-answering": Record("context", {"question": "--question"}),
    "sentence-similarity": Record("sentences", {"source_sentence": "--source"}, listed=True),
    "text-classification": Record("text", {"text_pair": "--pair"}, needed=False),
}
"""The tasks whose input is more than a text."""

_RECORD_OPTIONS = {
    "--question": "What is asked of each text.",
    "--source": "The sentence that each text is compared with.",
    "--pair": "The second text beside each text.",
}


def _commas(value: str) -> list[str]:
    from enfold.tasks.labels import split_labels

    return split_labels(value)


_TASK_OPTIONS = (
    TaskOption("--top-k", "top_k", click.IntRange(min=1), "Answers per text, best first."),
    TaskOption("--labels", "candidate_labels", _commas, "Labels to choose from, as 'sport,politics'.", needed=True),
    TaskOption("--multi-label", "multi_label", bool, "Judge each label by itself."),
    TaskOption("--template", "hypothesis_template", str, "The sentence that a label is put into, at {}."),
    TaskOption("--aggregation", "aggregation_strategy", str, "How tokens make entities: none, simple, first …"),
    TaskOption("--targets", "targets", _commas, "Words that may fill the mask, as 'good,bad'."),
    TaskOption("--function", "function_to_apply", str, "From logits to scores: softmax, sigmoid or none."),
    TaskOption("--normalize/--no-normalize", "normalize", bool, "Vectors of length 1, or as they are."),
    TaskOption("--truncate-dim", "truncate_dim", click.IntRange(min=1), "Keep the first numbers of each vector."),
    TaskOption("--prompt-name", "prompt_name", str, "Which of the model's prompts stands before each text."),
)


def task_options(command: F) -> F:
    """Adds the options of both tables to a command; what is not given arrives as None."""
    for option in reversed(_TASK_OPTIONS):
        kind = {"is_flag": True} if option.type is bool else {"type": option.type, "metavar": "VALUE"}
        add = click.option(option.flag, option.parameter, default=None, help=option.help, **kind)
        command = add(command)
    for flag, text in reversed(_RECORD_OPTIONS.items()):
        command = click.option(flag, _keyword(flag), metavar="TEXT", help=text)(command)
    return command


def _keyword(flag: str) -> str:
    return flag.removeprefix("--")


def choose(task: str, call: Callable[..., Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Splits the options that were given into a task's keyword arguments and the values of its records.

    Args:
        task: its name.
        call: what it is called by; its parameters say which options it takes.
        given: the values of :func:`task_options` by keyword.

    Raises:
        click.UsageError: options that the task doesn't take, or lacks; it names those it takes.
    """
    parameters = inspect.signature(call).parameters
    record = RECORDS.get(task, PLAIN)
    own = {option.parameter: option for option in _TASK_OPTIONS if option.parameter in parameters}
    keys = {_keyword(flag): key for key, flag in record.options.items()}
    flags = {option.parameter: option.flag for option in _TASK_OPTIONS} | {_keyword(f): f for f in _RECORD_OPTIONS}
    wrong = [flags[name] for name, value in given.items() if value is not None and name not in {*own, *keys}]
    lacking = [option.flag for name, option in own.items() if option.needed and given[name] is None]
    if wrong or lacking:
        taken = [*record.options.values(), *(option.flag for option in own.values())]
        problems = [f"doesn't take {', '.join(wrong)}"] * bool(wrong) + [f"needs {', '.join(lacking)}"] * bool(lacking)
        raise click.UsageError(f"{task} {' and '.join(problems)}; it takes {', '.join(taken) or 'none'}.")
    arguments = {name: given[name] for name in own if given[name] is not None}
    return arguments, {key: given[name] for name, key in keys.items() if given[name] is not None}
