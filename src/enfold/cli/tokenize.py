"""``enfold tokenize``: what a model reads of a text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import click

from enfold.cli import options
from enfold.cli.inputs import read_inputs
from enfold.cli.output import print_json, print_table
from enfold.cli.task_options import PLAIN
from enfold.errors import InputError

if TYPE_CHECKING:
    from enfold.tokenization import Encoded, Tokenizer

__all__ = ["command"]

_CHUNK = 256


@click.command()
@click.argument("inputs", nargs=-1, metavar="[TEXT | FILE | -]...")
@options.model
@click.option("--ids", "ids_only", is_flag=True, help="Print ids alone, a line for each text.")
@click.option("--decode", metavar="IDS", help="The other way: the text of ids, as '101,7592,102'.")
@click.option("--whole", is_flag=True, help="A file is one text, instead of one text per line.")
@options.as_json
@options.source
@options.debug
def command(
    inputs: tuple[str, ...],
    model: str | None,
    ids_only: bool,
    decode: str | None,
    whole: bool,
    as_json: bool,
    revision: str | None,
    offline: bool,
) -> None:
    """Shows how texts are cut into tokens: each with its id and the characters that it stands for.

    \b
    enfold tokenize "Unbelievable!" --model FOLDER
    enfold tokenize letters.txt --ids
    enfold tokenize --decode 101,7592,102
    """
    from enfold.tokenization import Tokenizer

    def load() -> Tokenizer:
        return Tokenizer.from_pretrained(model or options.default_model(), **options.where(revision, offline))

    if decode is not None:
        if inputs or ids_only:
            raise click.UsageError("--decode takes no texts and no --ids")
        numbers = _numbers(decode)
        text = _decoded(load(), numbers)
        print_json({"text": text}) if as_json else click.echo(text)
        return
    texts = (PLAIN.item(each, {})[0] for each in read_inputs(inputs, whole=whole))
    first = next(texts)  # what is wrong with the input is said before the tokenizer is loaded
    encoded = _encode(load(), chain([first], texts))
    if as_json:
        for text, each in encoded:
            print_json({"text": text, "ids": each.ids, "tokens": each.tokens, "offsets": each.offsets})
    elif ids_only:
        for _, each in encoded:
            click.echo(" ".join(map(str, each.ids)))
    else:
        _print_tokens(encoded)


def _encode(tokenizer: Tokenizer, texts: Iterator[str]) -> Iterator[tuple[str, Encoded]]:
    while chunk := list(islice(texts, _CHUNK)):
        yield from zip(chunk, tokenizer.encode_many(chunk), strict=True)


def _print_tokens(encoded: Iterator[tuple[str, Encoded]]) -> None:
    """The tokens of all texts as a table, then how many they are, on stderr."""
    counts: list[int] = []

    def rows() -> Iterator[dict[str, Any]]:
        for number, (text, each) in enumerate(encoded, 1):
            counts.append(len(each))
            for id, token, special, (start, end) in zip(
                each.ids.tolist(), each.tokens, each.special_mask, each.offsets.tolist(), strict=True
            ):
                place = (None, None, None) if special else (start, end, text[start:end])
                columns = ("text", "token", "id", "start", "end", "characters")
                yield dict(zip(columns, (number, token, id, *place), strict=True))

    print_table(rows())
    texts = f" of {len(counts)} texts" if len(counts) > 1 else ""
    click.echo(f"{sum(counts)} tokens{texts}", err=True)


def _numbers(given: str) -> list[int]:
    parts = [part for part in re.split(r"[\s,\[\]]+", given) if part]
    wrong = [part for part in parts if not part.isdecimal()]
    if wrong or not parts:
        problem = f"{', '.join(map(repr, wrong[:5]))} among them" if wrong else "none"
        raise InputError(f"--decode takes ids, as '101,7592,102'; got {problem}")
    return [int(part) for part in parts]


def _decoded(tokenizer: Tokenizer, ids: list[int]) -> str:
    tokens = tokenizer.convert_ids_to_tokens(ids)
    unknown = [id for id, token in zip(ids, tokens, strict=True) if token is None]
    if unknown:
        shown = ", ".join(map(str, unknown[:5]))
        raise InputError(f"the tokenizer has {len(tokenizer):,} tokens and none with the id {shown}")
    text: str = tokenizer.decode(ids)
    return text
