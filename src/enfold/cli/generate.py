"""``enfold generate``: a model writes on from texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import click

from enfold.cli import options, writing
from enfold.cli.inputs import read_inputs
from enfold.cli.output import print_json
from enfold.cli.task_options import Record
from enfold.cli.writing import Tally, Writer, is_cut, show

__all__ = ["command"]


@click.command()
@click.argument("inputs", nargs=-1, metavar="[TEXT | FILE | -]...")
@writing.model
@click.option("--lines", is_flag=True, help="Each line of a file is a prompt, and each text is printed on a line.")
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Texts written at once.")
@options.as_json
@writing.free_writing
def command(
    inputs: tuple[str, ...],
    model: str,
    lines: bool,
    batch_size: int,
    as_json: bool,
    others: tuple[str, ...],
    stats: bool,
    engine: Any,
    dtype: str,
    revision: str | None,
    offline: bool,
    **given: Any,
) -> None:
    """Writes on from a prompt: a TEXT, a whole FILE or, with -, standard input; a last line end is left out.

    What is new is printed as it is written. Of several prompts, and with --lines or --json, each text is printed when
    it and those before it are finished. To ask a model that answers, use enfold chat: prompts go to the model as they
    are.

    \\b
    enfold generate "Once upon a time" --max-new-tokens 50
    enfold generate "The capital of France is" --regex " [A-Z][a-z]{1,20}" --stats
    enfold generate letter.txt --json-schema letter.schema.json
    cat questions.txt | enfold generate --lines --json --model FOLDER
    """
    generation = writing.chosen(given, others)
    prompts = _prompts(inputs, lines)
    first = list(islice(prompts, 2))  # what is wrong with the input is said before a model is loaded
    writer = writing.load(model, engine=engine, dtype=dtype, where=options.where(revision, offline))
    alone = len(first) == 1 and not lines and not as_json and generation.get("num_return_sequences", 1) == 1
    tally = Tally()
    if alone:
        _stream(writer, first[0], generation, tally)
    else:
        for written in in_order(writer, chain(first, prompts), generation, batch_size, tally):
            _print(written, as_json=as_json, one_line=lines)
    if "max_new_tokens" not in generation or not {"json_schema", "grammar", "regex"}.isdisjoint(generation):
        tally.report_cut()
    if stats:
        tally.report()


def _prompts(inputs: tuple[str, ...], lines: bool) -> Iterator[str]:
    """What to write on from."""
    record = Record("prompt")
    for each in read_inputs(inputs, whole=not lines):
        text = record.item(each, {})[1]
        # what follows a line end is another matter than what follows a word
        yield text.removesuffix("\n").removesuffix("\r")


def _stream(writer: Writer, prompt: str, generation: dict[str, Any], tally: Tally) -> None:
    """Prints one text while it is written."""
    ids = writer.ids(prompt)
    call = writer.call(ids, writer.sized(generation, len(ids)))
    last = ""
    try:
        with closing(writer.pieces(call, call.events(), tally)) as pieces:
            for last in pieces:
                show(last)
    finally:
        if not last.endswith("\n"):
            show("\n")


@dataclass(frozen=True)
class Written:
    """What was written on from a prompt; ``cut`` if it did not end by itself."""

    prompt: str
    text: str
    tokens: int
    cut: bool


def in_order(
    writer: Writer, prompts: Iterable[str], generation: dict[str, Any], batch_size: int, tally: Tally
) -> Iterator[Written]:
    """Writes several texts at once, and gives each when it and those before it are finished."""
    waiting: dict[int, tuple[str, int]] = {}
    done: dict[int, list[Written]] = {}
    due = 0

    def read() -> Iterator[list[int]]:
        for number, prompt in enumerate(prompts):
            ids = writer.ids(prompt)
            waiting[number] = prompt, len(ids)
            tally.prompt_tokens += len(ids)
            yield ids

    generation = writer.sized(generation)
    config = writer.model.generation_config.updated(**generation)
    for number, results in writer.model.generate_many(
        read(), batch_size=batch_size, tokenizer=writer.tokenizer, **generation
    ):
        prompt, length = waiting.pop(number)
        start = length if writer.model.arch.encoder is None else 1
        done[number] = []
        for result in results:
            new = result.tokens[start:]
            cut = is_cut(config, result.tokens, start)
            tally.new_tokens += len(new)
            tally.cut += cut
            text = writer.tokenizer.decode(new, skip_special_tokens=True)
            done[number].append(Written(prompt, text, len(new), cut))
        while due in done:
            yield from done.pop(due)
            due += 1


def _print(written: Written, *, as_json: bool, one_line: bool) -> None:
    if as_json:
        print_json({"prompt": written.prompt, "text": written.text, "tokens": written.tokens, "cut": written.cut})
    else:
        show((" ".join(written.text.splitlines()) if one_line else written.text.removesuffix("\n")) + "\n")
