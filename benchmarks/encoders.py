"""BERT-base's shape, 64 texts of mixed length, float32 and int8: enfold's engines, transformers and its peers.

Mean-pooled embeddings with random weights, from text to vector, texts in the order of arrival. Lengths are log-normal:
mean 34, at most 106 tokens. Usage: ``python benchmarks/encoders.py [--rounds 5]``.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from common import console, describe_machine, make_parser, minilm_folder
from embedders import compare

TEXTS, MEAN, LONGEST = 64, 34, 106
WORDS = ("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state")
NAMES = {
    "transformers, batch of 32": "batch of 32",
    "transformers, best": "their best",
    "CTranslate2 float32": "CTranslate2",
    "CTranslate2 int8": "CTr. int8",
    "onnxruntime float32": "",
    "onnxruntime int8": "ort int8",
    "onnxruntime int8-channels": "",
    "enfold, torch engine": "",
    "enfold, cpu engine": "",
    "enfold, cpu engine, int8": "",
}


def texts() -> list[str]:
    """Words of one token each, so that a text's length is what was drawn."""
    draw = random.Random(0)
    lengths = [min(LONGEST, max(4, round(draw.lognormvariate(3.3, 0.65)))) for _ in range(TEXTS)]
    scale = MEAN * TEXTS / sum(lengths)
    return [" ".join(draw.choices(WORDS, k=max(2, min(LONGEST, round(n * scale)) - 2))) for n in lengths]


def make_model(folder: Path) -> None:
    """A BERT-base with random weights and the real uncased vocabulary."""
    import torch
    import transformers

    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig()).save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm_folder())
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = make_parser(__doc__, rounds=5)
    options = parser.parse_args()
    console.print(describe_machine(("enfold", "torch", "transformers", "ctranslate2", "onnxruntime", "numpy")))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder)
        import enfold

        lengths = [len(ids) for ids in enfold.AutoTokenizer.from_pretrained(folder)(texts())["input_ids"]]
        console.print(f"{len(lengths)} texts, {sum(lengths)} tokens, {min(lengths)} to {max(lengths)} each")
        compare("BERT-base shape", folder, texts(), ("tokens", sum(lengths)), NAMES, options)


if __name__ == "__main__":
    main()
