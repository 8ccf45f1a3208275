"""Small reference models whose random weights are the same whichever version of the reference makes them."""

import zlib
from typing import Any

import numpy as np
import torch
import transformers

COMMON = {"vocab_size": 61, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 64}),
    "llama": (
        "LlamaForCausalLM",
        "LlamaConfig",
        {
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 40,
            "max_position_embeddings": 64,
        },
    ),
    "bart": (
        "BartForConditionalGeneration",
        "BartConfig",
        {
            "d_model": 24,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 3,
            "encoder_ffn_dim": 30,
            "decoder_ffn_dim": 40,
            "max_position_embeddings": 64,
            "decoder_start_token_id": 2,
        },
    ),
    "t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {"d_model": 24, "num_layers": 2, "num_heads": 3, "d_kv": 8, "d_ff": 40, "decoder_start_token_id": 0},
    ),
}


def tiny(model_type: str, scale: float = 0.5) -> Any:
    """A reference model; every tensor is drawn by its name alone, biases and norms near their usual values."""
    model_name, config_name, values = CONFIGS[model_type]
    config = getattr(transformers, config_name)(**COMMON, **values)
    model = getattr(transformers, model_name)(config).eval()
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            generator = np.random.default_rng(zlib.crc32(name.encode()))
            drawn = generator.standard_normal(tuple(parameter.shape)).astype(np.float32)
            near = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
            parameter.copy_(torch.from_numpy(drawn) * (scale if parameter.ndim > 1 else 0.1) + near)
    return model


def prompts(seed: int, rows: int, longest: int) -> list[list[int]]:
    """Random prompts without special tokens, of different lengths; the first is the longest."""
    generator = np.random.default_rng(seed)
    lengths = [longest, *generator.integers(2, longest, rows - 1).tolist()]
    return [generator.integers(3, COMMON["vocab_size"], length).tolist() for length in lengths]
