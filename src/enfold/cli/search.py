"""``enfold search``: the passages of files that are nearest to a query in meaning."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import click

from enfold.cli import options
from enfold.cli.inputs import text_files
from enfold.cli.output import print_json, print_table
from enfold.errors import InputError

__all__ = ["Passage", "command", "passages"]

_SHOWN = 5


@dataclass(frozen=True)
class Passage:
    """A part of a file's text; ``line`` is where it begins, from 1."""

    text: str
    file: Path
    line: int


@click.command()
@click.argument("query")
@click.option(
    "--in",
    "paths",
    metavar="FILE|FOLDER",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="What to search, of a folder all text files under it; may be given several times.",
)
@options.model
@click.option(
    "--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Passages to print, best first."
)
@click.option(
    "--max-chars", type=click.IntRange(min=1), default=500, show_default=True, help="Characters of a passage at most."
)
@options.engine
@options.as_json
@options.source
@options.debug
def command(
    query: str,
    paths: tuple[Path, ...],
    model: str | None,
    top_k: int,
    max_chars: int,
    engine: Any,
    as_json: bool,
    revision: str | None,
    offline: bool,
) -> None:
    """Finds the passages that answer QUERY, by meaning rather than by words.

    Files are cut into passages of whole sentences, and each is embedded, so that the first answer takes a while. With
    --json there is a line for each passage: its rank, score, text, file and line.

    \b
    enfold search "Who pays the rent?" --in contracts/
    enfold search "如何退款" --in faq.txt --model intfloat/multilingual-e5-small
    """
    from enfold.tasks import pipeline

    if not query.strip():
        raise InputError("the query is empty: there is nothing to search for")
    found = _gather(paths, max_chars)
    search = pipeline("search", model, engine=engine, **options.where(revision, offline))
    search.index([passage.text for passage in found])
    hits = [(rank, hit["score"], found[hit["index"]]) for rank, hit in enumerate(search(query, top_k=top_k), 1)]
    if as_json:
        for rank, score, hit in hits:
            print_json({"rank": rank, "score": score, "text": hit.text, "file": str(hit.file), "line": hit.line})
    else:
        print_table(
            {"rank": rank, "score": score, "passage": hit.text, "place": f"{hit.file}:{hit.line}"}
            for rank, score, hit in hits
        )


def _gather(paths: tuple[Path, ...], max_chars: int) -> list[Passage]:
    """The passages of all files; those that hold no text are counted on stderr.

    Raises:
        InputError: a file or folder that is not there, or no text at all.
    """
    found: list[Passage] = []
    left_out: list[str] = []
    for path in paths:
        for file, text in text_files(path):
            if text is None:
                left_out.append(str(file))
            else:
                found += passages(text, file, max_chars)
    if left_out:
        more = ", …" if len(left_out) > _SHOWN else ""
        count = f"{len(left_out)} {'files that are' if len(left_out) > 1 else 'file that is'} not UTF-8 text"
        click.echo(f"left out {count}: {', '.join(left_out[:_SHOWN])}{more}", err=True)
    if not found:
        raise InputError(f"there is no text in {', '.join(map(str, paths))}; expected UTF-8 text files")
    return found


def passages(text: str, file: Path, max_chars: int) -> Iterator[Passage]:
    """The passages of a file's text, with the lines where they begin.

    Cutting changes nothing but white space, so that the characters before a passage that are none tell its line.
    """
    from enfold.tasks.search import split_passages

    ends = list(accumulate(map(_ink, text.split("\n"))))
    before = 0
    for passage in split_passages(text, max_chars=max_chars):
        yield Passage(passage, file, bisect_right(ends, before) + 1)
        before += _ink(passage)


def _ink(text: str) -> int:
    """How many characters are no white space."""
    return len("".join(text.split()))
