"""``enfold summarize``: the gist of texts of any length."""

from __future__ import annotations

from typing import Any

import click

from enfold.cli import documents, writing

__all__ = ["command"]


@click.command()
@click.argument("inputs", nargs=-1, metavar="[TEXT | FILE | -]...")
@writing.model
@click.option("--prompt", metavar="TEXT", help="What a model that chats is asked, with {} where the text is to stand.")
@documents.document_options
@writing.task_writing
def command(inputs: tuple[str, ...], prompt: str | None, **given: Any) -> None:
    """Summarises a FILE, a TEXT or, with -, standard input, each as a whole.

    A text over the model's limit is read in parts, whose summaries are summarised together. MODEL is one that was
    trained for it, or one that chats. Between the summaries of several texts there is a blank line; with --json each
    is a line of JSON.

    \b
    enfold summarize report.txt
    enfold summarize report.txt --prompt "Which dates does this text name? {}"
    enfold summarize letters/*.txt --model sshleifer/distilbart-cnn-12-6 --json --out summaries.jsonl
    """
    texts = documents.read_documents(inputs)
    documents.run("summarization", "summary_text", texts, given, {"prompt": prompt}, between="\n")
