"""``enfold``: the list of commands, and how each of them ends.

Exit codes: 0 done, 1 an :class:`~enfold.errors.EnfoldError` (its message on stderr), 2 wrong usage, 130 Ctrl-C,
141 nobody reads the output any more.
"""

from __future__ import annotations

import difflib
import importlib
import io
import os
import sys
from typing import Any

import click

from enfold import __version__
from enfold.cli.options import DEBUG_KEY
from enfold.errors import EnfoldError

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS = {
    "chat": "Talk with a model, or ask it one question.",
    "generate": "Let a model write on from texts.",
    "summarize": "Say in short what texts of any length say.",
    "translate": "Translate texts of any length.",
    "run": "Run a task on texts; without a task, list the tasks.",
    "search": "Find the passages of files that answer a query.",
    "info": "Say what a model is, and what is wrong with it.",
    "serve": "Put models behind HTTP.",
    "key": "Make a key for a server.",
    "train": "Train a model on the rows of a file.",
    "tune": "Search the settings that a model learns best with.",
    "quantize": "Save a model rounded to bytes, and say what that gives up.",
    "tokenize": "Show how a text is cut into tokens.",
}
"""Name → summary. A command is ``command`` in the module of its name, imported when it is run."""

_INTERRUPTED = 130
_BROKEN_PIPE = 141


class LazyGroup(click.Group):
    """Commands that are imported when they are run, so that ``--help`` answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"enfold.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise click.UsageError(_unknown(name), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except KeyboardInterrupt:
            click.echo(err=True)
            ctx.exit(_INTERRUPTED)
        except BrokenPipeError:
            # What is still buffered would raise again when the interpreter closes the stream.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(_BROKEN_PIPE)
        except (EnfoldError, MemoryError, OSError) as error:
            if ctx.meta.get(DEBUG_KEY):
                raise
            lacking = "there is not enough memory: " if isinstance(error, MemoryError) else ""
            click.echo(f"Error: {lacking}{error}", err=True)
            ctx.exit(1)


def _unknown(name: str) -> str:
    from enfold.tasks.registry import ALIASES, TASKS

    if name in TASKS or name in ALIASES:
        return f"{name!r} is a task: enfold run {name} …"
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"there is no command {name!r}.{hint} The commands are {', '.join(COMMANDS)}."


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="enfold")
def cli() -> None:
    """Language models on ordinary machines.

    \b
    enfold chat                                     a conversation
    enfold run embed "A text."                      a vector
    enfold run ner --model FOLDER letters.txt       entities of each line
    enfold search "who pays?" --in contracts/       passages by meaning
    enfold train --data reviews.csv --out FOLDER    a model of your own
    enfold info org/name                            what a model is
    """


def main() -> None:
    """Runs the command line on ``sys.argv``; texts are written as UTF-8 whatever the locale says."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    cli(prog_name="enfold")
