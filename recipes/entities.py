"""Named entities in English: the model that answers where none is named.

    python recipes/entities.py --out entities --data FOLDER

Data: WNUT 2017, emerging and rare entities (Derczynski et al. 2017), CC BY 4.0, from
https://github.com/leondz/emerging_entities_17 (wnut17train.conll, emerging.dev.conll): tweets and forum posts.
``--data`` names a folder with ``wnut17.train.conll`` and ``wnut17.dev.conll``, or with those two names.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

import enfold
from common import BASE, arguments, ship
from enfold.training import Settings, metrics
from enfold.training.data import read_table


def files(folder: Path | None) -> tuple[Path, Path]:
    """The sentences to learn from, and those to judge by."""
    if folder is None:
        sys.exit(
            "download wnut17train.conll and emerging.dev.conll from the address above, and name their --data folder"
        )
    names = (("wnut17.train.conll", "wnut17.dev.conll"), ("wnut17train.conll", "emerging.dev.conll"))
    for train, dev in names:
        if (folder / train).exists() and (folder / dev).exists():
            return folder / train, folder / dev
    sys.exit(f"{folder} has neither {' nor '.join(train for train, _ in names)}")


CARD = """---
license: apache-2.0
language: en
library_name: enfold
pipeline_tag: token-classification
base_model: sentence-transformers/all-MiniLM-L6-v2
tags: [enfold, named-entity-recognition, lora]
---

# Named entities in English texts

What `enfold.pipeline("ner")` answers with where no model is named: LoRA matrices of rank 24 and a head on
all-MiniLM-L6-v2 (Apache 2.0), as bytes with a scale for each row. Labels: person, location, corporation, group,
product, creative-work, each with its beginning (B-) and inside (I-).

## Data

WNUT 2017, emerging and rare entities in tweets and forum posts (L. Derczynski, E. Nichols, M. van Erp and N.
Limsopatham, "Results of the WNUT2017 Shared Task on Novel and Emerging Entity Recognition"), CC BY 4.0: 3,394
sentences to learn from, for six epochs. The 1,009 sentences of the development part were judged at the end, and chose
nothing.

## Figures

Of whole entities, found at their exact place with their label, by the files that are here on the development part:

| entities | precision | recall | F1 |
|---|---|---|---|
{figures}

## Limits

It finds about half of the entities of such texts; persons and locations far more surely than the rest, and a company is
often called a product. Its base does not tell upper from lower case. Six kinds alone: no dates, no amounts. English
alone. What its data hold, it has learnt, their prejudices too.

## Again

`python recipes/entities.py --out FOLDER --data FOLDER --ship FOLDER`, in enfold's repository.
"""


def figures(model: str, dev: Path) -> dict[str, str]:
    """Precision, recall and F1 of whole entities, all and of each kind, by asking the model as its users do."""
    table = read_table(dev, columns=("tokens", "tags"))
    ner = enfold.pipeline("ner", model, engine="cpu", is_split_into_words=True)
    said, meant = [], []
    for row, found in zip(table.rows, ner([list(row["tokens"]) for row in table.rows]), strict=True):
        starts = list(accumulate((len(word) + 1 for word in row["tokens"]), initial=0))
        tags = ["O"] * len(row["tokens"])
        for one in reversed(found):  # the first piece of a word speaks for it
            tags[bisect_right(starts, one["start"]) - 1] = one["entity"]
        said.append(tags)
        meant.append(list(row["tags"]))
    found = {}
    for kind in ("all", *sorted({tag[2:] for tags in meant for tag in tags if tag != "O"})):
        metric = metrics.Entities()
        metric.update(*([_only(kind, tags) for tags in side] for side in (said, meant)))
        found[kind] = " | ".join(f"{metric.result()[name]:.3f}" for name in ("precision", "recall", "f1"))
    return found


def _only(kind: str, tags: list[str]) -> list[str]:
    """Tags of one kind, the others left out."""
    return tags if kind == "all" else [tag if tag[2:] == kind else "O" for tag in tags]


def main() -> None:
    """Trains, judges and writes the model."""
    given = arguments(__doc__ or "", data="the folder with the two files")
    train, dev = files(given.data)
    fitted = enfold.fit(
        BASE,
        train,
        task="token-classification",
        out=given.out,
        evaluation=None,
        columns=("tokens", "tags"),
        adapter=enfold.LoRA(rank=24, alpha=48, dropout=0.1, targets="all-linear"),
        max_length=128,
        settings=Settings(epochs=6, batch_size=16, learning_rate=5e-4, weight_decay=0.05, precision="float32"),
        command="python recipes/entities.py --out FOLDER --data FOLDER",
    )
    if given.ship:
        enfold.save_adapter(fitted.model, given.ship, dtype="int8", base=BASE)
    told = figures(str(given.ship or given.out), dev)
    print("\n".join(f"{kind}: {value}" for kind, value in told.items()))
    if given.ship:
        ship(given.ship, CARD, told)


if __name__ == "__main__":
    main()
