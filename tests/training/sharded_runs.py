"""Runs of several kinds, as one process or as one of several that torchrun started; their curves go into a file."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import enfold
from enfold.training import loop
from enfold.training.fit import Fitted, fit
from enfold.training.settings import Settings
from tests.cli.tiny import WORDS
from tests.training.support import reviews

SMALL = {"hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 20}
BERT = {**SMALL, "vocab_size": len(WORDS), "max_position_embeddings": 40, "initializer_range": 0.2}
T5 = {"vocab_size": len(WORDS), "d_model": 12, "d_kv": 4, "d_ff": 20, "num_layers": 2, "num_heads": 3}
GPT = {"vocab_size": len(WORDS), "n_embd": 12, "n_layer": 2, "n_head": 3, "n_positions": 40, "initializer_range": 0.2}
COMMON: dict[str, Any] = {
    "batch_size": 5,
    "max_steps": 12,
    "learning_rate": 3e-3,
    "dropout": 0.0,
    "precision": "float32",
    "log_every": 1,
    "warmup": 0,
}

CASES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any], dict[str, Any]]] = {
    "bert in parts": ("bert", BERT, "text-classification", {"token_budget": 30, "r_drop": 0.5}, {}),
    "one layer's weights for all": ("albert", {**BERT, "embedding_size": 8}, "text-classification", {}, {}),
    "layers computed again": ("gpt2", GPT, "causal-lm", {"checkpoint_activations": True}, {}),
    "encoder and decoder": ("t5", {**T5, "decoder_start_token_id": 0}, "text2text-generation", {}, {}),
    "distances": ("deberta-v2", {**BERT, "relative_attention": True}, "text-classification", {}, {}),
    "an adapter": ("bert", {}, "text-classification", {}, {"adapter": enfold.LoRA(rank=2, dropout=0.0)}),
    "frozen tables": ("bert", BERT, "text-classification", {"freeze": "embeddings"}, {}),
    "gone on from": ("bert", BERT, "text-classification", {"save_every": 3}, {}),
    "lion": ("bert", BERT, "text-classification", {"optimizer": "lion", "learning_rate": 1e-3}, {}),
    "sgd": ("bert", BERT, "text-classification", {"optimizer": "sgd", "learning_rate": 0.1}, {}),
}


def rows(task: str) -> list[dict[str, Any]]:
    """Data for a task, made of the same texts."""
    texts = reviews(43)
    if task == "text2text-generation":
        return [{"source": row["text"], "target": row["label"] + " film"} for row in texts]
    return texts if task == "text-classification" else [{"text": row["text"]} for row in texts]


class Killed(BaseException):
    """In the place of whatever ends a process."""


def run(name: str, tokenizer: str, out: Path) -> dict[str, Any]:
    """A case's lines of metrics, sums that tell its weights, and how many of them this process had while it learnt."""
    model_type, values, task, settings, options = CASES[name]
    base = enfold.AutoConfig.for_model(model_type, **values) if values else tokenizer
    chosen, data = Settings(**{**COMMON, **settings}, shard=True), rows(task)

    def train() -> Fitted:
        return fit(base, data, task=task, out=out, tokenizer=tokenizer, settings=chosen, evaluation=0.25, **options)

    held: list[int] = []
    try:
        with watched(held, stop=8 if name == "gone on from" else None):
            fitted = train()
    except Killed:
        with watched(held):
            fitted = train()
    weights = {key: value.detach().double() for key, value in fitted.model.named_parameters()}
    # a key's bias adds the same to every score of a query: it changes nothing, and its gradient is rounding alone
    sums = {key: float(value.abs().sum()) for key, value in weights.items() if not key.endswith("key.bias")}
    count = sum(value.numel() for value in weights.values())
    return {
        "lines": fitted.history,
        "metrics": dict(fitted.metrics),
        "sums": sums,
        "share": held[-1] / count,
    }


@contextmanager
def watched(held: list[int], stop: int | None = None) -> Iterator[None]:
    """Counts what the process has after each step, and ends it after one of them."""
    plain = loop._after

    def after(run: loop.Run, state: loop.State, rate: float, norm: float) -> None:
        local = [each.to_local() if hasattr(each, "to_local") else each for each in run.execution.model.parameters()]
        held.append(sum(each.numel() for each in local))
        plain(run, state, rate, norm)
        if state.step == stop:
            raise Killed

    loop._after = after
    try:
        yield
    finally:
        loop._after = plain


if __name__ == "__main__":
    torch.set_num_threads(1)
    tokenizer, folder, target, *wanted = sys.argv[1:]
    found = {name: run(name, tokenizer, Path(folder) / name) for name in wanted or CASES}
    if os.environ.get("RANK", "0") == "0":
        Path(target).write_text(json.dumps(found))
