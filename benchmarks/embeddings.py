"""all-MiniLM-L6-v2, from real short texts to embeddings: enfold, sentence-transformers and its peers.

Speed, and what int8 costs: the cosine of each embedding to transformers' in float32. The texts are the last column of
a file's lines; without ``--texts``, 1,000 tweets, reviews and messages of the tests' data, which lie where
ENFOLD_TEST_DATA says. Usage: ``python benchmarks/embeddings.py [--rounds 5] [--texts FILE] [--count 1000]``.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from common import console, describe_machine, make_parser, minilm_folder, shared_data
from embedders import compare

FILES = ("vader-tweets.tsv", "vader-amazonReviewSnippets.tsv", "vader-movieReviewSnippets.tsv", "sms-spam.tsv")
NAMES = {
    "transformers, batch of 32": "",
    "sentence-transformers": "sentence-tr.",
    "CTranslate2 int8": "CTr. int8",
    "onnxruntime int8": "ort int8",
    "onnxruntime int8-channels": "",
    "enfold, cpu engine": "",
    "enfold, cpu engine, int8": "",
}


def read_texts(paths: Sequence[Path], count: int) -> list[str]:
    """Texts drawn from the files, none of them twice."""
    lines = [line.rpartition("\t")[2].strip() for path in paths for line in path.read_text("utf-8").splitlines()]
    found = list(dict.fromkeys(line for line in lines if line))
    random.Random(0).shuffle(found)
    return found[:count]


def main() -> None:
    parser = make_parser(__doc__, rounds=5)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    texts = read_texts(
        [options.texts] if options.texts else [shared_data("data", name) for name in FILES], options.count
    )

    packages = ("enfold", "sentence-transformers", "torch", "transformers", "ctranslate2", "onnxruntime", "numpy")
    console.print(describe_machine(packages))
    console.print(f"{len(texts)} texts, {sum(map(len, texts)) / len(texts):.0f} characters each on average")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "model")
        shutil.copytree(minilm_folder(), folder)
        compare("all-MiniLM-L6-v2, end to end", folder, texts, ("texts", len(texts)), NAMES, options)


if __name__ == "__main__":
    main()
