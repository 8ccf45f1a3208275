"""Mistral (https://arxiv.org/abs/2310.06825): Llama whose layers may see a window of tokens only."""

from dataclasses import replace

from enfold.arch import Architecture, Biases
from enfold.config import Config
from enfold.families.base import sibling
from enfold.families.llama import HEADS, LLAMA, SPAN, translate
from enfold.heads import Head


def windowed(config: Config) -> Architecture:
    """Llama, but some layers, by their types or from ``max_window_layers`` on, see a window of tokens only."""
    arch = translate(config)
    if config.sliding_window is None or not config.get("use_sliding_window", True):
        return arch
    first = config.get("max_window_layers", 0)
    types = config.get("layer_types") or [f"{'full' if i < first else 'sliding'}_attention" for i in arch.layer_order]
    windows = tuple(config.sliding_window if kind == "sliding_attention" else None for kind in types)
    return replace(arch, windows=windows)


def mistral(config: Config) -> Architecture:
    """No biases, whatever the configuration says."""
    return replace(windowed(config), biases=Biases(project=False, output=False, feed_forward=False))


DEFAULTS = {
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "sliding_window": 4096,
}
MISTRAL = sibling(
    replace(LLAMA, translate=mistral, heads={**HEADS, "question-answering": Head((SPAN,))}),
    "mistral",
    "Mistral",
    tokenizer="llama",
    **DEFAULTS,
)
