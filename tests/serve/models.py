"""Tiny models of every kind that a server can hold: folders with weights, configuration and a tokenizer of letters."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.reference import make_reference

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", ".", ":", "user", "assistant"]
TEMPLATE = "{% for message in messages %}{{ message['role'] }} : {{ message['content'] }} . {% endfor %}assistant :"
KINDS: dict[str, tuple[str, str]] = {
    "reader": ("bert", "masked-lm"),
    "judge": ("bert", "sequence-classification"),
    "tagger": ("distilbert", "token-classification"),
    "answerer": ("bert", "question-answering"),
    "writer": ("llama", "causal-lm"),
    "translator": ("t5", "seq2seq-lm"),
}
"""Name → family and head."""
LIMIT = 60


@cache
def _home() -> TemporaryDirectory[str]:
    return TemporaryDirectory()


@cache
def folder(name: str) -> Path:
    """Where the model of this name is, until the tests end."""
    family, kind = KINDS[name]
    return build(Path(_home().name) / name, family, kind)


@cache
def slow_writer() -> Path:
    """A model that takes milliseconds for a token, and may write thousands."""
    values = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 6}
    values |= {"num_key_value_heads": 6, "head_dim": 64, "max_position_embeddings": 4096}
    return build(Path(_home().name) / "slow", "llama", "causal-lm", limit=4096, **values)


def build(home: Path, family: str, kind: Any, seed: int = 0, limit: int = LIMIT, **more: Any) -> Path:
    """A model with random weights in a folder that is made; ``more`` goes into its configuration."""
    home.mkdir(parents=True)
    values: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": WORDS.index("[SEP]")}
    values |= {"decoder_start_token_id": 0} if kind == "seq2seq-lm" else {}
    values |= {"bos_token_id": WORDS.index("[CLS]")} if kind == "causal-lm" else {}
    values |= {"type_vocab_size": 2} if family == "bert" else {}
    values |= {"max_position_embeddings": 128} if family != "t5" else {}
    values |= {"vocab_size": len(WORDS), "initializer_range": 0.3}
    make_reference(family, kind, seed, home, **{**values, **more})
    (home / "vocab.txt").write_text("\n".join(WORDS))
    settings: dict[str, Any] = {"tokenizer_class": "BertTokenizer", "model_max_length": limit}
    if kind == "causal-lm":
        settings["chat_template"] = TEMPLATE
    (home / "tokenizer_config.json").write_text(json.dumps(settings))
    return home
