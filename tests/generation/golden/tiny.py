"""Small models whose weights depend on a seed alone, the same in every version of the reference library."""

from typing import Any

import numpy as np
import torch
import transformers

VOCABULARY = 60
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

_BART: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 24,
    **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": 32 for side in ("encoder", "decoder")},
    "max_position_embeddings": 64,
    "decoder_start_token_id": 2,
    **SPECIAL,
}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": (
        "GPT2LMHeadModel",
        {"vocab_size": VOCABULARY, "n_embd": 24, "n_layer": 2, "n_head": 2, "n_positions": 64, **SPECIAL},
    ),
    "llama": (
        "LlamaForCausalLM",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
            **SPECIAL,
        },
    ),
    "bart": ("BartForConditionalGeneration", _BART),
    "marian": ("MarianMTModel", {**_BART, "pad_token_id": 59, "eos_token_id": 0, "decoder_start_token_id": 59}),
    "t5": (
        "T5ForConditionalGeneration",
        {
            "vocab_size": VOCABULARY,
            "d_model": 24,
            "d_kv": 12,
            "d_ff": 40,
            "num_heads": 2,
            "num_layers": 2,
            "num_decoder_layers": 2,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "decoder_start_token_id": 0,
        },
    ),
}


def tiny(model_type: str, seed: int) -> Any:
    """The reference's model."""
    name, values = CONFIGS[model_type]
    model_class = getattr(transformers, name)
    model = model_class(model_class.config_class(**values)).eval()
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if model_type != "marian" or "embed_positions" not in name:  # which Marian's files leave out
                parameter.copy_(torch.from_numpy(generator.standard_normal(parameter.shape) * 0.3))
    return model
