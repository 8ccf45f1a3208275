"""``enfold translate``: texts of any length in another language."""

from __future__ import annotations

from typing import Any

import click

from enfold.cli import documents, writing

__all__ = ["command"]


@click.command()
@click.argument("inputs", nargs=-1, metavar="[TEXT | FILE | -]...")
@click.option("--from", "source", metavar="LANGUAGE", help="The language of the texts, as en.")
@click.option("--to", "target", metavar="LANGUAGE", help="The language to translate into, as zh.")
@click.option("--model", "-m", metavar="MODEL", help="A folder, a hub id or pypi:NAME[==VERSION]. There is no default.")
@click.option("--lines", is_flag=True, help="Each line is a text of its own, and so is its translation.")
@documents.document_options
@writing.task_writing
def command(
    inputs: tuple[str, ...], source: str | None, target: str | None, model: str | None, lines: bool, **given: Any
) -> None:
    """Translates a FILE, a TEXT or, with -, standard input; paragraphs, lists and blank lines stay.

    A model of several languages wants --from and --to, in its own codes or their beginnings: en, zh, en_XX, zho_Hans;
    one that was made for two languages needs neither.

    \b
    enfold translate --from en --to zh letter.txt --model Helsinki-NLP/opus-mt-en-zh --out letter.zh.txt
    enfold translate --from zh --to en - --model facebook/nllb-200-distilled-600M < letter.txt
    enfold translate --from en --to de sentences.txt --lines --json --model google-t5/t5-small
    """
    if model is None:
        pair = f"{source or 'en'}-{target or 'zh'}"
        raise click.UsageError(
            f"translation has no default model; name one with --model, as Helsinki-NLP/opus-mt-{pair} (fetched when it "
            "is first used), facebook/nllb-200-distilled-600M, or a folder"
        )
    texts = documents.read_documents(inputs)
    if lines:
        texts = [line for text in texts for line in text.removesuffix("\n").splitlines()]
    languages = {"src_lang": source, "tgt_lang": target}
    documents.run("translation", "translation_text", texts, {"model": model, **given}, languages, lines=lines)
