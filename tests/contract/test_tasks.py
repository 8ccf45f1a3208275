"""Every family that classifies does so as a task: texts of a batch get the reference's logits, each its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import enfold
from enfold.auto import load_model
from tests.reference import CASES, make_reference

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
TEXTS = ["a b c", "d", "e f g h i j k l", "m n"]


def _tokenizer(folder: Path) -> Any:
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "model_max_length": 20}')
    return enfold.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("model_type", [name for name, kind in CASES if kind == "sequence-classification"])
def test_texts_of_a_batch_have_the_references_labels(model_type: str, engine: Any, tmp_path: Path) -> None:
    ends = {"eos_token_id": WORDS.index("[SEP]"), "pad_token_id": 0}
    reference = make_reference(model_type, "sequence-classification", 0, tmp_path / "model", **ends)
    (tmp_path / "words").mkdir()
    tokenizer = _tokenizer(tmp_path / "words")
    model = load_model(tmp_path / "model", "sequence-classification", engine=engine)
    classify = enfold.pipeline("text-classification", model=model, tokenizer=tokenizer)
    found = classify(TEXTS, function_to_apply="none", top_k=None)
    for text, records in zip(TEXTS, found, strict=True):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            logits = reference.model(input_ids=ids).logits[0]
        names = reference.model.config.id2label
        scores = {record["label"]: record["score"] for record in records}
        np.testing.assert_allclose([scores[names[index]] for index in range(len(logits))], logits, atol=1e-4)
