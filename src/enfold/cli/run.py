"""``enfold run``: a task on texts, files or a pipe."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

import click

from enfold.cli import options
from enfold.cli.inputs import read_inputs
from enfold.cli.main import COMMANDS
from enfold.cli.output import print_json, print_table, rows_of
from enfold.cli.task_options import PLAIN, RECORDS, choose, task_options

__all__ = ["command"]


@click.command()
@click.argument("task", required=False)
@click.argument("inputs", nargs=-1, metavar="[TEXT | FILE | -]...")
@options.model
@task_options
@click.option("--whole", is_flag=True, help="A file is one text, instead of one text per line.")
@click.option(
    "--long",
    type=click.Choice(["window", "truncate", "error"]),
    default=None,
    help="Texts over the model's limit: read in windows, cut or refuse; by default as the task does.",
)
@options.engine
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "int8", "int4", "blocks", "float16", "bfloat16"]),
    default="auto",
    help="Precision; int8, int4 and blocks (of GGUF) on the CPU engine, float16 and bfloat16 with torch.",
)
@options.as_json
@options.source
@options.debug
def command(
    task: str | None,
    inputs: tuple[str, ...],
    model: str | None,
    whole: bool,
    long: Any,
    engine: Any,
    dtype: str,
    as_json: bool,
    revision: str | None,
    offline: bool,
    **given: Any,
) -> None:
    """Runs TASK on texts; without a TASK, lists the tasks.

    A text is an argument, a line of a FILE or, with -, a line of standard input. A .jsonl file has a JSON string or
    object per line: {"text": …}, or the task's own keys, as {"question": …, "context": …}. With --json there is a
    line of JSON for each text, as soon as it is ready.

    \b
    enfold run embed "A text." --json
    enfold run zero-shot-by-embedding news.txt --labels sport,politics
    cat reviews.txt | enfold run sentiment-analysis --model FOLDER
    """
    from enfold.tasks import pipeline
    from enfold.tasks.registry import find

    if task is None:
        _print_tasks(as_json)
        return
    name, entry = find(task, named=model is not None)
    if name in COMMANDS:
        raise click.UsageError(f"{name} has a command of its own: enfold {name} --help")
    if model is None and entry.default is None:
        raise click.UsageError(f"{name} has no default model; name one with --model, as {' or '.join(entry.examples)}")
    arguments, record_values = choose(name, entry.load().__call__, given)
    record = RECORDS.get(name, PLAIN)
    items = (record.item(each, record_values) for each in read_inputs(inputs, whole=whole))
    first = next(items)  # what is wrong with the input is said before a model is loaded
    progress: Any = False if as_json and sys.stdout.isatty() else "auto"  # a bar and lines would spoil each other
    run = pipeline(
        task, model, engine=engine, dtype=dtype, long=long, progress=progress, **options.where(revision, offline)
    )
    shown: deque[str] = deque()

    def feed() -> Iterator[Any]:
        text, item = first
        shown.append(text)
        yield item
        for text, item in items:
            shown.append(text)
            yield item

    records = run(feed(), **arguments)
    if as_json:
        for each in records:
            print_json(each)
    else:
        print_table(_rows(records, shown), one_line=["text"])


def _rows(records: Iterator[Any], shown: deque[str]) -> Iterator[dict[str, Any]]:
    """Rows of each record beside its text; a record without any is a row of the text alone."""
    for record in records:
        text = shown.popleft()
        found = False
        for row in rows_of(record, text):
            found = True
            yield {"text": text, **row}
        if not found:
            yield {"text": text}


def _print_tasks(as_json: bool) -> None:
    from enfold.tasks.registry import ALIASES, TASKS

    names = {name: [alias for alias, of in ALIASES.items() if of == name] for name in TASKS}
    if as_json:
        for name, entry in TASKS.items():
            print_json({"task": name, "aliases": names[name], "summary": entry.summary, "default": entry.default})
        return
    print_table(
        {
            "task": " = ".join([name, *names[name]]),
            "gives": entry.summary,
            "default model": entry.default or (f"that of {entry.stand_in}" if entry.stand_in else "none: name one"),
        }
        for name, entry in TASKS.items()
    )
