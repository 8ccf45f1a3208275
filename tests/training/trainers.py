"""Small models and features for both Trainers: ours, and the reference's as the oracle."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

import enfold

VOCABULARY, LABELS, STEPS, BATCH, RATE = 60, 3, 50, 4, 2e-3
BERT = {
    "vocab_size": 3 * VOCABULARY,  # of which features have a third
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 40,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "num_labels": LABELS,
    "initializer_range": 0.2,
}
GPT = {
    "vocab_size": VOCABULARY,
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 3,
    "n_positions": 40,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}
T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 24,
    "d_kv": 8,
    "d_ff": 40,
    "num_layers": 2,
    "num_heads": 3,
    "dropout_rate": 0.0,
    "decoder_start_token_id": 0,
}


@dataclass(frozen=True)
class Case:
    """A head, its configuration, how a feature is labelled, and how many tokens it has."""

    name: str
    config: Callable[[], Any]
    label: Callable[[random.Random, list[int]], dict[str, Any]]
    sizes: tuple[int, int] = (4, 14)


def _some_tokens(draw: random.Random, ids: list[int]) -> dict[str, Any]:
    return {"labels": [each if draw.random() < 0.4 or not at else -100 for at, each in enumerate(ids)]}


def _span(draw: random.Random, ids: list[int]) -> dict[str, Any]:
    start = draw.randrange(len(ids))
    return {"start_positions": start, "end_positions": min(len(ids) - 1, start + draw.randint(0, 3))}


CASES = [
    Case("SequenceClassification", lambda: transformers.BertConfig(**BERT), lambda _, ids: {"labels": ids[1] % LABELS}),
    Case(
        "TokenClassification",
        lambda: transformers.BertConfig(**BERT),
        lambda draw, ids: {"labels": [each % LABELS if draw.random() < 0.7 else -100 for each in ids]},
    ),
    # the reference has padding among the places where an answer may be: rows of one length have none
    Case("QuestionAnswering", lambda: transformers.BertConfig(**{**BERT, "num_labels": 2}), _span, (9, 9)),
    Case("MaskedLM", lambda: transformers.BertConfig(**BERT), _some_tokens),
    # the reference counts the first token, which nothing comes before, among what GPT-2 learns, unless it has no label
    Case("CausalLM", lambda: transformers.GPT2Config(**GPT), lambda _, ids: {"labels": [-100, *ids[1:]]}),
    Case("Seq2SeqLM", lambda: transformers.T5Config(**T5), lambda _, ids: {"labels": ids[::-1][: 1 + len(ids) // 2]}),
]


def features(case: Case, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Features of a few tokens."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        ids = [draw.randrange(5, VOCABULARY) for _ in range(draw.randint(*case.sizes))]
        made.append({"input_ids": ids, "attention_mask": [1] * len(ids), **case.label(draw, ids)})
    return made


def pad(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """A collator as users write them."""
    batch = {}
    for name in rows[0]:
        if isinstance(rows[0][name], list):
            filler = -100 if name == "labels" else 0
            longest = max(len(row[name]) for row in rows)
            batch[name] = torch.tensor([row[name] + [filler] * (longest - len(row[name])) for row in rows])
        else:
            batch[name] = torch.tensor([row[name] for row in rows])
    return batch


def both(case: Case, where: Path) -> tuple[Any, Any]:
    """The same model in the reference library and in this one."""
    folder = where / case.name
    if not folder.exists():
        torch.manual_seed(0)
        getattr(transformers, f"AutoModelFor{case.name}").from_config(case.config()).save_pretrained(folder)
    theirs = getattr(transformers, f"AutoModelFor{case.name}").from_pretrained(folder)
    return theirs, getattr(enfold, f"AutoModelFor{case.name}").from_pretrained(folder)


def arguments(where: Path, **changes: Any) -> dict[str, Any]:
    """What both Trainers are told."""
    return {
        "output_dir": str(where),
        "max_steps": STEPS,
        "per_device_train_batch_size": BATCH,
        "per_device_eval_batch_size": BATCH,
        "learning_rate": RATE,
        "weight_decay": 0.0,
        "warmup_steps": 5,
        "logging_steps": 1,
        "save_strategy": "no",
        "train_sampling_strategy": "sequential",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        **changes,
    }
