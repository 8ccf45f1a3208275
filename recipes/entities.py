"""Named entities in English: the model that answers where none is named.

    python recipes/entities.py --out entities --data FOLDER

Data: WNUT 2017, emerging and rare entities (Derczynski et al. 2017), CC BY 4.0, from
https://github.com/leondz/emerging_entities_17 (wnut17train.conll, emerging.dev.conll): tweets and forum posts.
``--data`` names a folder with ``wnut17.train.conll`` and ``wnut17.dev.conll``, or with those two names.
"""

from __future__ import annotations

import sys
from pathlib import Path

import enfold
from common import BASE, arguments
from enfold.training import Settings


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


def main() -> None:
    """Trains, judges and writes the model."""
    given = arguments(__doc__ or "", data="the folder with the two files")
    train, dev = files(given.data)
    fitted = enfold.fit(
        BASE,
        train,
        task="token-classification",
        out=given.out,
        evaluation=dev,
        columns=("tokens", "tags"),
        adapter=enfold.LoRA(rank=24, alpha=48, dropout=0.1, targets="all-linear"),
        max_length=128,
        settings=Settings(epochs=12, batch_size=16, learning_rate=1.5e-3, weight_decay=0.05),
        command=f"python recipes/entities.py --out {given.out} --data FOLDER",
    )
    print({name: round(value, 4) for name, value in fitted.metrics.items()})
    if given.ship:
        enfold.save_adapter(fitted.model, given.ship, dtype="int8", base=BASE)


if __name__ == "__main__":
    main()
