"""Sentiment of English texts: the model that answers where none is named.

    python recipes/sentiment.py --out sentiment [--data FOLDER]

Data: the ratings that came with VADER (Hutto and Gilbert 2014), MIT licence, in the source distribution of the PyPI
package vaderSentiment 3.3.2: snippets of film reviews, product reviews, editorials and tweets, each rated by ten or
more people from -4 to 4. What lies within 0.5 of neutral is left out. ``--data`` names a folder with the four files as
tab-separated ``id, mean, text`` (``vader-movieReviewSnippets.tsv`` …) instead.

A sixth of the texts, by their checksum, is kept aside and judged at the end; sentences of one review stay together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import enfold
from common import BASE, apart, arguments, from_pypi, lines, ship, unpack
from enfold.training import Settings

NAMES = {
    "movieReviewSnippets": "film reviews",
    "amazonReviewSnippets": "product reviews",
    "nytEditorialSnippets": "editorials",
    "tweets": "tweets",
}
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
NEUTRAL, CLEAR, SHARE = 0.5, 1.0, 1 / 6


def rows(folder: Path | None) -> list[dict[str, Any]]:
    """Every rated text with its source, its rating and its label."""
    if folder is None:
        unpacked = from_pypi("vaderSentiment", "3.3.2", SHA256)
        (archive,) = unpacked.rglob("hutto_ICWSM_2014.tar.gz")
        unpack(archive, unpacked)
        files = {name: next(unpacked.rglob(f"{name}_GroundTruth.txt")) for name in NAMES}
    else:
        files = {name: folder / f"vader-{name}.tsv" for name in NAMES}
    found = []
    for name, path in files.items():
        for line in lines(path):
            number, rating, text = line.split("\t", 2)
            found.append({"source": name, "id": number, "rating": float(rating), "text": text.strip()})
    decided = [row for row in found if abs(row["rating"]) >= NEUTRAL and row["text"]]
    return [{**row, "label": "positive" if row["rating"] > 0 else "negative"} for row in decided]


def document(row: dict[str, Any]) -> str:
    """What must stay on one side: a text, or the review that a sentence is of."""
    of_review = row["source"] in ("amazonReviewSnippets", "nytEditorialSnippets")
    return f"{row['source']} {row['id'].partition('_')[0]}" if of_review else row["text"].casefold()


CARD = """---
license: apache-2.0
language: en
library_name: enfold
pipeline_tag: text-classification
base_model: sentence-transformers/all-MiniLM-L6-v2
tags: [enfold, sentiment-analysis, lora]
---

# Sentiment of English texts

What `enfold.pipeline("sentiment-analysis")` answers with where no model is named: LoRA matrices of rank 16 and a head
on all-MiniLM-L6-v2 (Apache 2.0), as bytes with a scale for each row. Labels: `positive`, `negative`.

## Data

Snippets of film reviews, product reviews, newspaper editorials and tweets with their ratings, published with VADER
(C.J. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text",
ICWSM 2014), MIT licence, in the PyPI package vaderSentiment 3.3.2. Ratings within 0.5 of neutral, on a scale from -4
to 4, were left out. A sixth, by checksum, sentences of one review together, was kept aside.

## Figures

Accuracy on what was kept aside, of the files that are here, computed by the CPU engine in float32:

| texts | accuracy |
|---|---|
{figures}

## Limits

English alone; one or two sentences, read up to 256 tokens in a window; there is no label for neutral texts, and a
text without an opinion gets one of the two. Irony, mixed opinions and comparisons are often taken wrongly. What its
data hold, it has learnt, their prejudices too; nobody looked for any.

## Again

`python recipes/sentiment.py --out FOLDER --ship FOLDER`, in enfold's repository.
"""


def figures(model: str, aside: list[dict[str, Any]]) -> dict[str, str]:
    """Accuracy of each source, of what is rated clearly and of what is less so."""
    classify = enfold.pipeline("text-classification", model, engine="cpu")
    found = {}
    for name, words in NAMES.items():
        for least, how in ((CLEAR, "clearly"), (NEUTRAL, "at all")):
            part = [row for row in aside if row["source"] == name and abs(row["rating"]) >= least]
            said = classify([row["text"] for row in part])
            right = sum(one["label"] == row["label"] for one, row in zip(said, part, strict=True))
            found[f"{words}, rated {how} ({least} or more from neutral), {len(part)}"] = f"{right / len(part):.3f}"
    return found


def main() -> None:
    """Trains, judges each source on its own, and writes the model."""
    given = arguments(__doc__ or "", data="a folder with the four files")
    learnt, aside = apart(rows(given.data), document, SHARE)
    settings = Settings(epochs=4, batch_size=32, learning_rate=1.5e-3, weight_decay=0.05, label_smoothing=0.05)
    fitted = enfold.fit(
        BASE,
        learnt,
        task="text-classification",
        out=given.out,
        evaluation=aside,
        adapter=enfold.LoRA(rank=16, alpha=32, dropout=0.1, targets="all-linear"),
        max_length=128,
        settings=settings,
        command="python recipes/sentiment.py --out FOLDER",
    )
    if given.ship:
        enfold.save_adapter(fitted.model, given.ship, dtype="int8", base=BASE)
    told = figures(str(given.ship or given.out), aside)
    print("\n".join(f"{value}  {name}" for name, value in told.items()))
    if given.ship:
        ship(given.ship, CARD, told)


if __name__ == "__main__":
    main()
