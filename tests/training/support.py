"""A tiny model and data that it can learn in seconds."""

import random
from pathlib import Path
from typing import Any

from enfold.heads import HeadKind
from tests.cli.tiny import WORDS, tiny_bert

FILLERS = ["a", "film", "book", "ada", "lives", "in", "london", ".", ","]


def reviews(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows whose label is which of two words they have; texts of 3 to 25 words."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        label = draw.choice(["good", "bad"])
        words = draw.choices(FILLERS, k=draw.randint(2, 24))
        words.insert(draw.randrange(len(words) + 1), label)
        rows.append({"text": " ".join(words), "label": "yes" if label == "good" else "no"})
    return rows


def tiny(folder: Path, kind: HeadKind = "sequence-classification", **options: Any) -> str:
    """The folder of a tiny BERT."""
    return str(tiny_bert(folder / f"tiny-{kind}", kind, **options))


def apt(folder: Path) -> str:
    """The folder of a small BERT with values as fresh models have them, which learns what :func:`reviews` mean."""
    import torch

    import enfold

    home = tiny(folder)
    values = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    torch.manual_seed(0)
    config = enfold.AutoConfig.for_model("bert", vocab_size=len(WORDS), max_position_embeddings=40, **values)
    enfold.AutoModel.from_config(config).save_pretrained(home)
    return home
