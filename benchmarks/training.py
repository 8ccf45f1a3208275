"""Fine-tuning of a classifier: enfold's fit and the reference's Trainer, at its defaults and grouped by length.

MiniLM's shape and weights, 2,000 real texts of mixed length (film and product reviews, editorials, tweets), one epoch,
batches of 8, AdamW, dropout 0.1, float32. Each side starts from the same checkpoint, in a process of its own; a run is
one epoch, without loading and saving. Usage: ``python benchmarks/training.py [--rounds 3] [--texts 2000]``.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from typing import Any

from common import Contender, StartError, console, describe_machine, make_parser, minilm_folder, shared_data, show

SOURCES = ("movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets", "tweets")
SIDES = {
    "transformers, default": "transformers random",
    "transformers, grouped": "transformers group_by_length",
    "torch, bucketed": "torch",
    "enfold, Trainer's order": "enfold random",
    "enfold": "enfold bucketed",
}
BATCH, RATE = 8, 5e-5


def rows(count: int) -> list[dict[str, Any]]:
    """Texts of four sources in turns, and whether they are favourable."""
    columns = [shared_data("data", f"vader-{name}.tsv").read_text(encoding="utf-8").splitlines() for name in SOURCES]
    found = []
    for index in range(count):
        _, rating, text = columns[index % 4][index // 4].split("\t", 2)
        found.append({"text": text, "label": int(float(rating) > 0)})
    return found


def with_transformers(sampling: str, count: int) -> float:
    """Seconds of the reference's Trainer."""
    import tempfile

    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm_folder())
    model = transformers.AutoModelForSequenceClassification.from_pretrained(minilm_folder(), num_labels=2)
    features = [
        {**tokenizer(row["text"], truncation=True, max_length=256), "labels": row["label"]} for row in rows(count)
    ]
    for feature in features:
        feature["length"] = len(feature["input_ids"])
    with tempfile.TemporaryDirectory() as out:
        chosen = transformers.TrainingArguments(
            output_dir=out,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            train_sampling_strategy=sampling,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        collator = transformers.DataCollatorWithPadding(tokenizer)
        trainer = transformers.Trainer(model, chosen, train_dataset=features, data_collator=collator)
        trainer.remove_callback(transformers.PrinterCallback)  # it would print between the answers
        began = time.perf_counter()
        trainer.train()
        return time.perf_counter() - began


def with_torch(_: str, count: int) -> float:
    """Seconds of a loop by hand over the reference's model: texts sorted by length, batches shuffled."""
    import random

    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm_folder())
    model = transformers.AutoModelForSequenceClassification.from_pretrained(minilm_folder(), num_labels=2)
    data = sorted(rows(count), key=lambda row: len(tokenizer(row["text"])["input_ids"]))
    batches = [data[begin : begin + BATCH] for begin in range(0, count, BATCH)]
    random.Random(0).shuffle(batches)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    model.train()
    began = time.perf_counter()
    for batch in batches:
        texts = [row["text"] for row in batch]
        inputs = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        model(**inputs, labels=torch.tensor([row["label"] for row in batch])).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - began


def with_enfold(order: str, count: int) -> float:
    """Seconds of enfold's training loop."""
    from enfold.training.fit import fit
    from enfold.training.settings import Settings

    data = [{**row, "label": str(row["label"])} for row in rows(count)]
    settings = Settings(
        epochs=1,
        batch_size=BATCH,
        learning_rate=RATE,
        weight_decay=0.0,
        warmup=0,
        order=order,  # type: ignore[arg-type]
        precision="float32",  # as the others compute
        log_every=500,
    )
    fitted = fit(minilm_folder(), data, task="text-classification", evaluation=None, max_length=256, settings=settings)
    return fitted.seconds


def work(library: str, setting: str, count: int) -> None:
    """A worker: a line when ready, then a run for each line that is read."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    train = {"transformers": with_transformers, "torch": with_torch, "enfold": with_enfold}[library]
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        seconds = train(setting, count)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mb": peak}), flush=True)


def main() -> None:
    """Runs the contest and prints its table."""
    parser = make_parser(__doc__, rounds=3, worker=3)
    parser.add_argument("--texts", type=int, default=2000, help="texts of an epoch")
    options = parser.parse_args()
    if options.worker:
        library, setting, texts = options.worker
        work(library, setting, int(texts))
        return
    count = 160 if options.quick else options.texts
    console.print(describe_machine(("enfold", "torch", "transformers", "accelerate", "numpy")))
    wanted = [word.strip() for word in options.only.split(",") if word.strip()]
    found: dict[str, list[dict]] = {}
    for side in SIDES:
        if not wanted or any(word in side for word in wanted):
            found[side] = []
    for round_ in range(options.rounds):
        for side in found:
            library, _, setting = SIDES[side].partition(" ")
            try:
                contender = Contender(__file__, library, setting or "-", str(count))
                found[side].append(contender.run())
                contender.close()
            except StartError as error:
                console.print(f"{side} can't take part: {error}")
                continue
            console.print(f"round {round_ + 1}: {side}: {count / found[side][-1]['seconds']:.1f} texts/s")
    speeds = {side: count / statistics.median(run["seconds"] for run in runs) for side, runs in found.items() if runs}
    lines = []
    for side, speed in speeds.items():
        ratios = [f"{speed / speeds[peer]:.2f}" if peer in speeds else "-" for peer in list(SIDES)[:2]]
        peak = statistics.median(run["peak_mb"] for run in found[side])
        lines.append([side, f"{speed:.1f}", f"{peak:.0f}", *ratios])
    show(f"{count} texts, one epoch", ["side", "texts/s", "peak MB", "times default", "times grouped"], lines)


if __name__ == "__main__":
    main()
