"""The same losses as the reference's Trainer, step by step, on the same batches."""

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import enfold
from enfold.training.fit import fit
from enfold.training.settings import Settings
from tests.cli.tiny import WORDS
from tests.training.support import reviews, tiny

STEPS, BATCH, RATE = 50, 8, 4e-3


class Recording(transformers.Trainer):  # type: ignore[misc]
    """Keeps each step's loss, unrounded."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.losses: list[float] = []

    def training_step(self, *args: Any, **options: Any) -> torch.Tensor:
        loss = super().training_step(*args, **options)
        self.losses.append(float(loss))
        return loss


def small_bert(where: Path) -> str:
    """A small BERT as the reference makes one, with a classifier of its own."""
    folder = tiny(where)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=40,
        id2label={0: "no", 1: "yes"},
        label2id={"no": 0, "yes": 1},
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def reference_losses(folder: str, rows: list[dict[str, str]], where: Path, **arguments: Any) -> list[float]:
    config = transformers.AutoConfig.from_pretrained(folder)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, config=config)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    labels = {"no": 0, "yes": 1}
    features = [{**tokenizer(row["text"]), "labels": labels[row["label"]]} for row in rows]
    chosen = transformers.TrainingArguments(
        output_dir=str(where),
        max_steps=STEPS,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        train_sampling_strategy="sequential",
        **arguments,
    )
    trainer = Recording(
        model, chosen, train_dataset=features, data_collator=transformers.DataCollatorWithPadding(tokenizer)
    )
    trainer.train()
    return trainer.losses


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_losses_are_those_of_the_references_trainer(tmp_path: Path, schedule: str) -> None:
    folder, rows = small_bert(tmp_path), reviews(400)
    expected = reference_losses(
        folder,
        rows,
        tmp_path / "theirs",
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        weight_decay=0.02,
        warmup_steps=5,
        max_grad_norm=1.0,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(schedule, schedule),
    )
    fitted = fit(
        folder,
        rows,
        evaluation=None,
        settings=Settings(
            precision="float32",
            max_steps=STEPS,
            batch_size=BATCH,
            learning_rate=RATE,
            weight_decay=0.02,
            warmup=5,
            order="sequential",
            schedule=schedule,  # type: ignore[arg-type]
            dropout=0.0,
            log_every=1,
        ),
    )
    ours = [line["loss"] for line in fitted.history]
    assert len(ours) == len(expected) == STEPS
    assert ours == pytest.approx(expected, abs=1e-4)
    assert expected[-1] < 0.5 * expected[0], "the curve is one of learning"


def test_parts_of_a_step_add_up_to_the_references_whole_one(tmp_path: Path) -> None:
    """Whole, since the reference's own accumulation sums a classifier's means over the parts."""
    folder, rows = small_bert(tmp_path), reviews(600)
    expected = reference_losses(
        folder,
        rows,
        tmp_path / "theirs",
        per_device_train_batch_size=12,
        learning_rate=1e-3,
        weight_decay=0.0,
    )
    settings = Settings(
        precision="float32",
        max_steps=STEPS,
        batch_size=12,
        token_budget=60,
        learning_rate=1e-3,
        weight_decay=0.0,
        warmup=0,
        order="sequential",
        dropout=0.0,
        log_every=1,
    )
    fitted = fit(folder, rows, evaluation=None, settings=settings)
    assert [line["loss"] for line in fitted.history] == pytest.approx(expected, abs=1e-4)


def test_plain_pytorch_learns_the_same(tmp_path: Path) -> None:
    folder, rows = tiny(tmp_path), reviews(64)
    settings = Settings(
        precision="float32",
        max_steps=8,
        batch_size=BATCH,
        learning_rate=1e-2,
        warmup=0,
        schedule="constant",
        weight_decay=0.0,
        max_grad_norm=None,
        optimizer="sgd",  # AdamW makes steps of noise, where keys' biases have no gradient but rounding's
        order="sequential",
        dropout=0.0,
        log_every=1,
    )
    fitted = fit(folder, rows, evaluation=None, settings=settings)
    model = enfold.AutoModelForSequenceClassification.from_pretrained(
        folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    tokenizer = enfold.AutoTokenizer.from_pretrained(folder)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    model.train()
    losses = []
    for begin in range(0, 64, BATCH):
        part = rows[begin : begin + BATCH]
        inputs = tokenizer([row["text"] for row in part], padding=True, return_tensors="pt")
        loss = model(**inputs, labels=torch.tensor([model.config.label2id[row["label"]] for row in part])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert [line["loss"] for line in fitted.history] == pytest.approx(losses, abs=1e-5)
    trained = dict(fitted.model.named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.allclose(trained[name], parameter, atol=2e-5), name


def test_random_choices_change_nothing(tmp_path: Path) -> None:
    """What a step is cut into is arithmetic's own affair."""
    folder, rows = tiny(tmp_path), reviews(96)
    draw = random.Random(0)
    base = Settings(
        precision="float32",
        max_steps=10,
        batch_size=16,
        learning_rate=1e-3,
        dropout=0.0,
        log_every=1,
        order="sequential",
    )
    curves = []
    for budget in (4096, draw.randint(30, 60), draw.randint(60, 200)):
        fitted = fit(folder, rows, evaluation=None, settings=replace(base, token_budget=budget))
        curves.append([line["loss"] for line in fitted.history])
    assert curves[1] == pytest.approx(curves[0], abs=1e-5)
    assert curves[2] == pytest.approx(curves[0], abs=1e-5)


COMPILED = """
import json, sys
from pathlib import Path
import enfold
from enfold.training import Settings
from tests.training.support import reviews, tiny

folder = tiny(Path(sys.argv[1]))
for compiled in (False, True):
    settings = Settings(
        precision="float32", max_steps=3, batch_size=4, learning_rate=1e-3, dropout=0.0, log_every=1, compile=compiled
    )
    fitted = enfold.fit(folder, reviews(16), evaluation=None, settings=settings)
    print(json.dumps([line["loss"] for line in fitted.history]))
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_parts_learn_the_same(tmp_path: Path) -> None:
    """In a process of its own: the compiler imports packages that mind what was imported before them."""
    root, cache = Path(__file__).parents[2], {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled")}
    command = [sys.executable, "-c", COMPILED, str(tmp_path)]
    done = subprocess.run(command, cwd=root, env={**os.environ, **cache}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plain, compiled = map(json.loads, done.stdout.splitlines())
    assert compiled == pytest.approx(plain, abs=1e-6)
