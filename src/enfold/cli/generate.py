"""``enfold generate``: a model writes on from texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import click

from enfold.cli import options, writing
from enfold.cli.inputs import read_inputs
from enfold.cli.output import print_json
from enfold.cli.task_options import Record
from enfold.cli.writing import Tally, Writer, is_cut, show

if TYPE_CHECKING:
    from enfold.generation.loop import Result

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

    \b
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
        for written in _written(writer, chain(first, prompts), generation, batch_size, tally):
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
    call = writer.call(ids, generation)
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


def _written(
    writer: Writer, prompts: Iterable[str], generation: dict[str, Any], batch_size: int, tally: Tally
) -> Iterator[Written]:
    """Writes several texts at once, and gives each when it and those before it are finished."""
    from enfold.tasks.scripts import Script, in_order

    config = writer.config(generation)
    decoder_only = writer.model.arch.encoder is None

    def script(prompt: str) -> Script[list[Written]]:
        ids = writer.ids(prompt)
        (results,) = yield [ids]
        begin = len(ids) if decoder_only else 1
        tally.prompt_tokens += len(ids)
        return [written(prompt, result.tokens, begin) for result in results]

    def written(prompt: str, tokens: list[int], begin: int) -> Written:
        new, cut = tokens[begin:], is_cut(writer.model, config, tokens, begin)
        tally.new_tokens += len(new)
        tally.cut += cut
        return Written(prompt, writer.tokenizer.decode(new, skip_special_tokens=True), len(new), cut)

    def write(ids: Iterable[list[int]]) -> Iterator[tuple[int, list[Result]]]:
        return writer.model.generate_many(
            ids, batch_size=batch_size, tokenizer=writer.tokenizer, generation_config=config
        )

    for each in in_order(map(script, prompts), write):
        yield from each


def _print(written: Written, *, as_json: bool, one_line: bool) -> None:
    if as_json:
        print_json({"prompt": written.prompt, "text": written.text, "tokens": written.tokens, "cut": written.cut})
    else:
        show((" ".join(written.text.splitlines()) if one_line else written.text.removesuffix("\n")) + "\n")
