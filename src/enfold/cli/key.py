"""``enfold key``: a key for a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from enfold.cli import options
from enfold.cli.writing import say

__all__ = ["command"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("name")
@click.option("--priority", type=click.Choice(["high", "normal", "low"]), help="Before whom its requests are answered.")
@click.option("--requests-per-minute", type=click.IntRange(1), metavar="N")
@click.option("--tokens-per-minute", type=click.IntRange(1), metavar="N")
@click.option("--operator", is_flag=True, default=None, help="May load models anew, by /reload.")
@options.debug
def command(file: Path, name: str, priority: Literal["high", "normal", "low"] | None, **limits: Any) -> None:
    """Adds a key called NAME to FILE, for 'enfold serve --keys FILE', and prints it; the file keeps its hash alone.

    A server that runs takes the new key at once. To take one back, remove its entry from the file.

    \b
    enfold key keys.json ann --tokens-per-minute 100000
    """
    from enfold.serve.keys import new_key

    click.echo(new_key(file, name, priority=priority, **limits))
    say(f"This is the only time that the key of {name} is shown; {file} has its hash.")
