"""Translation, beam 4: a Marian shape with random weights, 64 sentences of mixed length, against its peers.

6 + 6 layers, 512 wide, 58,101 words. Random weights never end a sentence: on all sides a text is made to end when it is
as long as its source, which is what translations do. transformers runs all 64 as one padded batch, and in its best
setting, sorted by length in batches of 16. CTranslate2 ends all texts of a call at one length: so sentences have one of
five lengths, and it gets each length as a call, which saves it all padding. Usage:
``python benchmarks/translation.py [--rounds 3]``.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from common import THREADS, Side, console, contest, describe_machine, make_parser, median_seconds, show, times
from peers import make_ctranslate2

SENTENCES, BEAMS, PAD, END = 64, 4, 58100, 0
LENGTHS = {8: 6, 13: 10, 20: 16, 32: 26, 60: 44}  # up to 8 tokens drawn: 6, up to 13: 10, and so on
SIDES = {
    "transformers, one batch": Side("transformers", ("64",)),
    "transformers, sorted, batches of 16": Side("transformers", ("16",)),
    "CTranslate2 int8": Side(
        "ctranslate2",
        tuple(f"int8 {streams}" for streams in range(1, THREADS + 1)),
    ),
    "enfold, torch engine": Side("torch", ("float32",)),
    "enfold, cpu engine": Side("cpu", ("float32",)),
    "enfold, cpu engine, int8": Side("cpu", ("int8",)),
}

Translate = Callable[[], list[list[int]]]


def sources() -> list[list[int]]:
    """Sentences of 6 to 44 tokens, in random order, each with its end."""
    draw = random.Random(0)
    drawn = [min(60, max(5, round(draw.lognormvariate(2.85, 0.5)))) for _ in range(SENTENCES)]
    lengths = [next(length for most, length in LENGTHS.items() if number <= most) for number in drawn]
    return [[*(draw.randrange(5, 58000) for _ in range(length - 1)), END] for length in lengths]


def make_model(folder: Path) -> None:
    """A checkpoint that all sides read."""
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
    make_ctranslate2(folder, folder / "ctranslate2", END)


def transformers_run(folder: str, batch: int) -> Translate:
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


def ctranslate2_run(folder: str, setting: str) -> Translate:
    """The same with CTranslate2: a call for each length, the longest first, as many at once as the setting says."""
    kind, streams = setting.split()
    import ctranslate2

    model = ctranslate2.Translator(
        f"{folder}/ctranslate2", compute_type=kind, inter_threads=int(streams), intra_threads=THREADS // int(streams)
    )
    rows = sources()
    words = [[str(token) for token in row] for row in rows]

    def run() -> list[list[int]]:
        calls = {}
        for length in sorted(LENGTHS.values(), reverse=True):
            chosen = [index for index, row in enumerate(rows) if len(row) == length]
            calls |= zip(
                chosen,
                model.translate_batch(
                    [words[index] for index in chosen],
                    asynchronous=True,
                    beam_size=BEAMS,
                    min_decoding_length=length,
                    max_decoding_length=length,
                ),
                strict=True,
            )
        return [[int(word) for word in calls[index].result().hypotheses[0]] for index in range(len(rows))]

    return run


def enfold_run(folder: str, engine: str, dtype: str) -> Translate:
    """The same with enfold."""
    import enfold

    model = enfold.AutoModelForSeq2SeqLM.from_pretrained(folder, engine=engine, dtype=dtype)
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


def beginning(tokens: list[int], reference: list[int]) -> float:
    """The share of a text before the first token that differs, its end left out."""
    most = len(reference) - 1
    same = next((at for at in range(most) if at >= len(tokens) or tokens[at] != reference[at]), most)
    return same / most


def worker(library: str, setting: str, folder: str) -> None:
    """Translates once a line of input."""
    if library == "transformers":
        run = transformers_run(folder, int(setting))
    elif library == "ctranslate2":
        run = ctranslate2_run(folder, setting)
    else:
        run = enfold_run(folder, library, setting)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        tokens = run()
        print(json.dumps({"seconds": time.perf_counter() - began, "tokens": tokens}), flush=True)


def main() -> None:
    options = make_parser(__doc__, rounds=3, worker=3).parse_args()
    if options.worker:
        worker(*options.worker)
        return
    console.print(describe_machine(("enfold", "torch", "transformers", "ctranslate2", "numpy")))
    lengths = [len(row) for row in sources()]
    console.print(f"{len(lengths)} sentences, {sum(lengths)} tokens, {min(lengths)} to {max(lengths)} each")
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        results = contest(__file__, SIDES, folder, options)
    seconds = median_seconds(results)
    first, *_ = SIDES
    best = min((name for name in seconds if name.startswith("transformers")), key=lambda name: seconds[name])
    reference = results[first][0]["tokens"]
    rows = []
    for name, value in seconds.items():
        ratios = [times(seconds, other, name) for other in (first, best, "CTranslate2 int8")]
        pairs = zip(results[name][0]["tokens"], reference, strict=True)
        same = sum(beginning(ours, theirs) for ours, theirs in pairs) / len(reference)
        rows.append([name, f"{sum(lengths) / value:.0f}", *ratios, f"{100 * same:.0f} %"])
    columns = ["", "tokens/s", "times one batch", "times their best", "times CTranslate2", "equal beginning"]
    show(f"Marian shape, beam {BEAMS}, median of {options.rounds}", columns, rows)


if __name__ == "__main__":
    main()
