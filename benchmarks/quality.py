"""How good models are after training: enfold's fit and the reference's Trainer, from the same weights on the same rows.

Four sets of real texts: messages (spam or ham), snippets of film reviews (a rating from -4 to 4), tweets with their
entities, and Chinese reviews of hotels, books and laptops, the last from scratch: a tokenizer of their own texts,
random weights, a masked language model of them, then a classifier. Both sides have the same batch size, epochs,
learning rate, decay and dropout, and float32; nothing is chosen by the rows that judge, which neither side sees before
the end. Seconds are those of training. Usage: ``python benchmarks/quality.py [--rounds 1] [--tasks messages,ratings]``.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import Contender, console, describe_machine, make_parser, minilm_folder, shared_data, show

SIDES = ("transformers", "enfold")
Row = dict[str, Any]
Rows = list[Row]


@dataclass(frozen=True)
class Contest:
    """A set of texts, and how both sides learn from it.

    Attributes:
        task: what is learnt, as :func:`enfold.fit` calls it.
        read: rows to learn from, and rows to judge by.
        metric: what the figure is called.
        epochs: how often the rows are gone through.
        rate: the highest learning rate.
        asked: what the figure should reach.
        pretrained: whether MiniLM's weights are begun from; otherwise random ones, and the texts themselves.
    """

    task: str
    read: Callable[[], tuple[Rows, Rows]]
    metric: str
    epochs: int
    rate: float
    asked: float
    pretrained: bool = True


BATCH, DECAY, WARMUP, LENGTH = 16, 0.01, 0.06, 128
MASKED_EPOCHS, MASKED_RATE = 2, 1e-3
SMALL = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
VOCABULARY = 6000


def _lines(name: str) -> list[str]:
    return shared_data("data", name).read_text(encoding="utf-8").splitlines()


def _apart(rows: Rows) -> tuple[Rows, Rows]:
    """A fifth to judge by, by the texts' checksums, so that equal texts are on one side."""
    sides: tuple[Rows, Rows] = ([], [])
    for row in rows:
        digest = hashlib.sha256(row["text"].casefold().encode()).hexdigest()
        sides[int(digest[:8], 16) % 5 == 0].append(row)
    return sides


def messages() -> tuple[Rows, Rows]:
    """The SMS Spam Collection."""
    pairs = (line.split("\t", 1) for line in _lines("sms-spam.tsv"))
    return _apart([{"text": text, "label": label} for label, text in pairs])


def ratings() -> tuple[Rows, Rows]:
    """VADER's film reviews."""
    triples = (line.split("\t", 2) for line in _lines("vader-movieReviewSnippets.tsv"))
    return _apart([{"text": text, "label": float(rating)} for _, rating, text in triples])


def entities() -> tuple[Rows, Rows]:
    """WNUT 2017, its own parts."""
    found: list[Rows] = []
    for name in ("wnut17.train.conll", "wnut17.dev.conll"):
        rows: Rows = [{"tokens": [], "tags": []}]
        for line in _lines(name):
            if line.strip():
                word, tag = line.split("\t")[:2]
                rows[-1]["tokens"].append(word)
                rows[-1]["tags"].append(tag)
            elif rows[-1]["tokens"]:
                rows.append({"tokens": [], "tags": []})
        found.append([row for row in rows if row["tokens"]])
    return found[0], found[1]


def chinese() -> tuple[Rows, Rows]:
    """ChnSentiCorp, its own parts."""
    found: list[Rows] = []
    for name in ("chnsenticorp.train.tsv", "chnsenticorp.dev.tsv"):
        pairs = (line.split("\t", 1) for line in _lines(name)[1:])
        found.append([{"text": text, "label": label} for label, text in pairs])
    return found[0], found[1]


CONTESTS = {
    "messages": Contest("text-classification", messages, "accuracy", 3, 5e-5, 0.985),
    "ratings": Contest("regression", ratings, "pearson", 2, 5e-5, 0.75),
    "entities": Contest("token-classification", entities, "entity f1", 5, 1e-4, 0.35),
    "chinese": Contest("text-classification", chinese, "accuracy", 3, 3e-4, 0.85, pretrained=False),
}


def judged(contest: Contest, said: list[Any], rows: Rows) -> float:
    """The figure, by libraries that neither side is made of."""
    if contest.metric == "entity f1":
        from seqeval.metrics import f1_score

        return float(f1_score([row["tags"] for row in rows], said))
    meant = [row["label"] for row in rows]
    if contest.metric == "pearson":
        from scipy.stats import pearsonr

        return float(pearsonr(said, meant)[0])
    return sum(one == other for one, other in zip(said, meant, strict=True)) / len(rows)


# ── enfold ───────────────────────────────────────────────────────────────────


def with_enfold(contest: Contest, start: str, train: Rows, test: Rows, seed: int) -> tuple[float, float]:
    """The figure, and seconds of training."""
    import enfold
    from enfold.training import Settings

    common: dict[str, Any] = {
        "batch_size": BATCH,
        "weight_decay": DECAY,
        "warmup": WARMUP,
        "precision": "float32",
        "seed": seed,
    }
    seconds, base = 0.0, start
    with tempfile.TemporaryDirectory() as folder:
        if not contest.pretrained:
            settings = Settings(epochs=MASKED_EPOCHS, learning_rate=MASKED_RATE, **common)
            base = f"{folder}/masked"
            texts = [{"text": row["text"]} for row in train]
            seconds += enfold.fit(
                start, texts, task="masked-lm", out=base, evaluation=None, max_length=LENGTH, settings=settings
            ).seconds
        settings = Settings(epochs=contest.epochs, learning_rate=contest.rate, **common)
        out = f"{folder}/model"
        seconds += enfold.fit(
            base, train, task=contest.task, out=out, evaluation=None, max_length=LENGTH, settings=settings
        ).seconds
        return judged(contest, _enfold_says(contest, out, test), test), seconds


def _enfold_says(contest: Contest, folder: str, rows: Rows) -> list[Any]:
    from bisect import bisect_right
    from itertools import accumulate

    import enfold

    if contest.task == "regression":
        rate = enfold.pipeline("text-classification", folder, function_to_apply="none", long="truncate")
        return [record["score"] for record in rate([row["text"] for row in rows])]
    if contest.task == "text-classification":
        classify = enfold.pipeline("text-classification", folder, long="truncate")
        return [record["label"] for record in classify([row["text"] for row in rows])]
    ner = enfold.pipeline("ner", folder, is_split_into_words=True)
    said = []
    for row, found in zip(rows, ner([row["tokens"] for row in rows]), strict=True):
        starts = list(accumulate((len(word) + 1 for word in row["tokens"]), initial=0))
        tags = ["O"] * len(row["tokens"])
        for one in reversed(found):  # a word's first piece speaks for it
            tags[bisect_right(starts, one["start"]) - 1] = one["entity"]
        said.append(tags)
    return said


# ── transformers ─────────────────────────────────────────────────────────────


def with_transformers(contest: Contest, start: str, train: Rows, test: Rows, seed: int) -> tuple[float, float]:
    """The figure, and seconds of training."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(start)
    seconds, base = 0.0, start
    with tempfile.TemporaryDirectory() as folder:
        if not contest.pretrained:
            transformers.set_seed(seed)
            model = transformers.AutoModelForMaskedLM.from_pretrained(start)
            features = [tokenizer(row["text"], truncation=True, max_length=LENGTH) for row in train]
            collator = transformers.DataCollatorForLanguageModeling(tokenizer)
            trainer = _trainer(model, folder, features, collator, MASKED_EPOCHS, MASKED_RATE, seed)
            seconds += _seconds(trainer)
            base = f"{folder}/masked"
            model.save_pretrained(base)
            tokenizer.save_pretrained(base)
        transformers.set_seed(seed)
        model, features, collator = _transformers_learns(contest, base, tokenizer, train)
        trainer = _trainer(model, folder, features, collator, contest.epochs, contest.rate, seed)
        seconds += _seconds(trainer)
        return judged(contest, _transformers_says(contest, trainer, tokenizer, test), test), seconds


def _trainer(model: Any, folder: str, features: list[Any], collator: Any, epochs: int, rate: float, seed: int) -> Any:
    import transformers

    chosen = transformers.TrainingArguments(
        output_dir=folder,
        num_train_epochs=epochs,
        per_device_train_batch_size=BATCH,
        learning_rate=rate,
        weight_decay=DECAY,
        warmup_steps=WARMUP,
        seed=seed,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = transformers.Trainer(model, chosen, train_dataset=features, data_collator=collator)
    trainer.remove_callback(transformers.PrinterCallback)  # it would print between the answers
    return trainer


def _seconds(trainer: Any) -> float:
    began = time.perf_counter()
    trainer.train()
    return time.perf_counter() - began


def _labels(rows: Rows) -> list[str]:
    return sorted({row["label"] for row in rows})


def _tags(rows: Rows) -> list[str]:
    return sorted({tag for row in rows for tag in row["tags"]})


def _transformers_learns(contest: Contest, base: str, tokenizer: Any, train: Rows) -> tuple[Any, list[Any], Any]:
    """The model, its features and its collator."""
    import transformers

    if contest.task == "token-classification":
        names = _tags(train)
        model = transformers.AutoModelForTokenClassification.from_pretrained(base, num_labels=len(names))
        features = [_aligned(row, tokenizer, names) for row in train]
        return model, features, transformers.DataCollatorForTokenClassification(tokenizer)
    number = contest.task == "regression"
    labels = [] if number else _labels(train)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1 if number else len(labels), problem_type="regression" if number else None
    )
    features = [
        {
            **tokenizer(row["text"], truncation=True, max_length=LENGTH),
            "labels": row["label"] if number else labels.index(row["label"]),
        }
        for row in train
    ]
    return model, features, transformers.DataCollatorWithPadding(tokenizer)


def _aligned(row: Row, tokenizer: Any, names: list[str]) -> Row:
    """A feature whose labels stand at the first piece of each word."""
    feature = dict(tokenizer(row["tokens"], is_split_into_words=True, truncation=True, max_length=LENGTH))
    words = tokenizer(row["tokens"], is_split_into_words=True, truncation=True, max_length=LENGTH).word_ids()
    before: int | None = None
    feature["labels"] = []
    for word in words:
        new = word is not None and word != before
        feature["labels"].append(names.index(row["tags"][word]) if new else -100)
        before = word
    return feature


def _transformers_says(contest: Contest, trainer: Any, tokenizer: Any, rows: Rows) -> list[Any]:
    import numpy as np

    if contest.task == "token-classification":
        names = _tags(contest.read()[0])
        features = [_first_pieces(row, tokenizer) for row in rows]
        scores = trainer.predict([{key: feature[key] for key in feature if key != "places"} for feature in features])
        chosen = scores.predictions.argmax(-1)
        said = []
        for row, feature, line in zip(rows, features, chosen, strict=True):
            tags = ["O"] * len(row["tokens"])
            for word, place in feature["places"].items():
                tags[word] = names[line[place]]
            said.append(tags)
        return said
    features = [tokenizer(row["text"], truncation=True, max_length=LENGTH) for row in rows]
    scores = np.asarray(trainer.predict(features).predictions)
    if contest.task == "regression":
        return scores[:, 0].tolist()
    labels = _labels(contest.read()[0])
    return [labels[index] for index in scores.argmax(-1)]


def _first_pieces(row: Row, tokenizer: Any) -> Row:
    """A feature, and where the first piece of each word stands in it."""
    encoded = tokenizer(row["tokens"], is_split_into_words=True, truncation=True, max_length=LENGTH)
    places: dict[int, int] = {}
    for place, word in enumerate(encoded.word_ids()):
        if word is not None:
            places.setdefault(word, place)
    return {**encoded, "places": places}


# ── the contest ──────────────────────────────────────────────────────────────


def start_of(contest: Contest, folder: Path) -> str:
    """What both sides begin from: MiniLM, or random weights with a tokenizer of the rows to learn from."""
    if contest.pretrained:
        return minilm_folder()
    import torch

    import enfold

    place = folder / "random"
    if not place.exists():
        torch.manual_seed(0)
        texts = [row["text"] for row in contest.read()[0]]
        tokenizer = enfold.train_tokenizer(texts, vocab_size=VOCABULARY, progress=False)
        config = enfold.AutoConfig.for_model("bert", vocab_size=len(tokenizer), **SMALL)
        enfold.AutoModelForMaskedLM.from_config(config).save_pretrained(place)
        tokenizer.save_pretrained(place)
    return str(place)


def work(side: str, name: str, start: str) -> None:
    """A worker: a line when ready, then a run for each line that is read, each with a seed of its own."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    contest = CONTESTS[name]
    train, test = contest.read()
    learn = {"enfold": with_enfold, "transformers": with_transformers}[side]
    print(json.dumps({"ready": True}), flush=True)
    for seed, _ in enumerate(sys.stdin):
        figure, seconds = learn(contest, start, train, test, seed)
        print(json.dumps({"figure": figure, "seconds": seconds}), flush=True)


def main() -> None:
    """Runs the contests and prints their table."""
    parser = make_parser(__doc__, rounds=1, worker=3)
    parser.add_argument("--tasks", default=",".join(CONTESTS), help="contests to run, split by commas")
    options = parser.parse_args()
    if options.worker:
        work(*options.worker)
        return
    console.print(describe_machine(("enfold", "torch", "transformers", "accelerate", "numpy")))
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.tasks.split(","):
            contest = CONTESTS[name]
            start = start_of(contest, Path(folder))
            found: dict[str, list[dict]] = {side: [] for side in SIDES}
            for side in SIDES:
                contender = Contender(__file__, side, name, start)
                for round_ in range(options.rounds):
                    found[side].append(contender.run())
                    last = found[side][-1]
                    console.print(f"{name}, seed {round_}: {side} {last['figure']:.4f} ({last['seconds']:.0f} s)")
                contender.close()
            figures = [" ".join(f"{run['figure']:.3f}" for run in found[side]) for side in SIDES]
            seconds = [f"{statistics.median(run['seconds'] for run in found[side]):.0f}" for side in SIDES]
            train, test = (len(rows) for rows in contest.read())
            lines.append([name, f"{train} / {test}", contest.metric, f"{contest.asked:g}", *figures, *seconds])
    columns = ["rows", "learnt / judged", "figure", "asked", *SIDES, *(f"{side}, s" for side in SIDES)]
    show("after training", columns, lines)


if __name__ == "__main__":
    main()
