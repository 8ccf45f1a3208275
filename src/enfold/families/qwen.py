"""Qwen2 (https://arxiv.org/abs/2407.10671) and Qwen3 (https://arxiv.org/abs/2505.09388)."""

from dataclasses import replace

from enfold.arch import Architecture, Biases
from enfold.config import Config
from enfold.families.base import sibling
from enfold.families.llama import LLAMA
from enfold.families.mistral import windowed


def qwen2(config: Config) -> Architecture:
    """Biases on queries, keys and values, whatever the configuration says."""
    return replace(windowed(config), biases=Biases(project=True, output=False, feed_forward=False))


def qwen3(config: Config) -> Architecture:
    """A norm on every head's queries and keys."""
    return replace(windowed(config), head_norm=True)


DEFAULTS = {
    "vocab_size": 151936,
    "intermediate_size": 22016,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
    "bos_token_id": None,
    "eos_token_id": None,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
}
QWEN2 = sibling(replace(LLAMA, translate=qwen2), "qwen2", "Qwen2", tokenizer="qwen2", **DEFAULTS)
QWEN3 = sibling(replace(LLAMA, translate=qwen3), "qwen3", "Qwen3", tokenizer="qwen2", **DEFAULTS, head_dim=128)
