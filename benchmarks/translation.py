"""Translation, fp32, beam 4: a Marian shape with random weights, 64 sentences of mixed length, against transformers.

6 + 6 layers, 512 wide, 58,101 words. Random weights never end a sentence: on both sides a text is made to end when it
is as long as its source, which is what translations do. transformers runs all 64 as one padded batch, and in its best
setting, sorted by length in batches of 16. Usage: ``python benchmarks/translation.py [--rounds 3]``.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SENTENCES, BEAMS, PAD, END = 64, 4, 58100, 0
SIDES = {
    "transformers, one batch": ("transformers", "64"),
    "transformers, sorted, batches of 16": ("transformers", "16"),
    "enfold, torch engine": ("enfold", "torch"),
}


def sources() -> list[list[int]]:
    """Sentences of 5 to 60 tokens, 20 on average, in random order, each with its end."""
    draw = random.Random(0)
    lengths = [min(60, max(5, round(draw.lognormvariate(2.85, 0.5)))) for _ in range(SENTENCES)]
    return [[*(draw.randrange(5, 58000) for _ in range(length - 1)), END] for length in lengths]


def make_model(folder: Path) -> None:
    """A checkpoint that both sides read."""
    import torch
    import transformers

    torch.manual_seed(0)
    sides = ("encoder", "decoder")
    config = transformers.MarianConfig(
        d_model=512,
        scale_embedding=True,
        activation_function="silu",
        **{f"{side}_layers": 6 for side in sides},
        **{f"{side}_attention_heads": 8 for side in sides},
        **{f"{side}_ffn_dim": 2048 for side in sides},
    )
    transformers.MarianMTModel(config).save_pretrained(folder)


def transformers_run(folder: str, batch: int):
    """A function that translates all sentences with the reference."""
    import torch
    import transformers

    model = transformers.MarianMTModel.from_pretrained(folder).eval()
    rows = sources()
    order = sorted(range(len(rows)), key=lambda index: len(rows[index])) if batch < len(rows) else range(len(rows))
    order = list(order)

    class EndWithSource(transformers.LogitsProcessor):
        def __init__(self, lengths: list[int]) -> None:
            self.lengths = torch.tensor(lengths).repeat_interleave(BEAMS)

        def __call__(self, ids, scores):
            over = ids.shape[1] >= self.lengths
            scores[over] = float("-inf")
            scores[over, END] = 0
            scores[~over, END] = float("-inf")
            return scores

    def run() -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for at in range(0, len(order), batch):
            chosen = order[at : at + batch]
            lengths = [len(rows[index]) for index in chosen]
            longest = max(lengths)
            ids = torch.tensor([rows[index] + [PAD] * (longest - len(rows[index])) for index in chosen])
            with torch.inference_mode():
                written = model.generate(
                    ids,
                    attention_mask=(ids != PAD).long(),
                    num_beams=BEAMS,
                    max_new_tokens=longest + 1,
                    do_sample=False,
                    logits_processor=transformers.LogitsProcessorList([EndWithSource(lengths)]),
                )
            found |= {index: [t for t in row if t != PAD] for index, row in zip(chosen, written.tolist(), strict=True)}
        return [found[index] for index in range(len(rows))]

    return run


def enfold_run(folder: str, engine: str):
    """The same with enfold."""
    import enfold

    model = enfold.AutoModelForSeq2SeqLM.from_pretrained(folder, engine=engine)
    rows = sources()

    def end_with_source(scores, written):
        lengths = np.array([len(tokens) for tokens in written.tokens])
        over = lengths >= np.array([len(source) for source in written.sources])
        scores[over] = -np.inf
        scores[over, END] = 0
        scores[~over, END] = -np.inf
        return scores

    def run() -> list[list[int]]:
        longest = max(len(row) for row in rows)
        written = model.generate(rows, num_beams=BEAMS, max_new_tokens=longest + 1, logits_processor=[end_with_source])
        return [[token for token in row if token != PAD] for row in written.tolist()]

    return run


def worker(library: str, setting: str, folder: str) -> None:
    """Translates once a line of input."""
    run = transformers_run(folder, int(setting)) if library == "transformers" else enfold_run(folder, setting)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        tokens = run()
        print(json.dumps({"seconds": time.perf_counter() - began, "tokens": tokens}), flush=True)


def main() -> None:
    from common import Contender, console, describe_machine, in_turns, median, show

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", nargs=3)
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker)
        return
    console.print(describe_machine(("enfold", "torch", "transformers", "numpy")))
    lengths = [len(row) for row in sources()]
    console.print(f"{len(lengths)} sentences, {sum(lengths)} tokens, {min(lengths)} to {max(lengths)} each")
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        contenders = {name: Contender(__file__, *side, folder) for name, side in SIDES.items()}
        results = in_turns(contenders, options.rounds)
        for contender in contenders.values():
            contender.close()
    seconds = {name: median([run["seconds"] for run in runs]) for name, runs in results.items()}
    theirs = [value for name, value in seconds.items() if name.startswith("transformers")]
    reference = results["transformers, one batch"][0]["tokens"]
    rows = []
    for name, value in seconds.items():
        same = sum(a == b for a, b in zip(results[name][0]["tokens"], reference, strict=True))
        first, best = theirs[0] / value, min(theirs) / value
        rows.append([name, f"{sum(lengths) / value:.0f}", f"{first:.2f}", f"{best:.2f}", f"{same}/{len(reference)}"])
    columns = ["", "tokens/s", "times one batch", "times their best", "texts equal"]
    show(f"Marian shape, beam {BEAMS}, fp32, median of {options.rounds}", columns, rows)


if __name__ == "__main__":
    main()
