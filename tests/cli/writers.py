"""Tiny random models that write, in folders: a tokenizer of letters and words, a chat template, weights that count as
trained."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from enfold.auto import make_model
from enfold.families import config_of
from enfold.leaves import tensor_shapes

SPECIAL = ["<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
WORDS = ["and", "the", "fox", "ran", "home", "saw", "tree", "old", "night", "was", "Hello", "you", "café", "北京"]
SIGNS = [chr(code) for code in (10, *range(32, 127))]
VOCABULARY = [*SPECIAL, *SIGNS, *WORDS]
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'system' and 'refused' in message.content %}{{ raise_exception('no system') }}{% endif %}"
    "<|{{ message.role }}|>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SIZES: dict[str, dict[str, Any]] = {
    "llama": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    },
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 48},
    "t5": {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 1},
}


def tiny_writer(folder: Path, family: str = "llama", *, chat: bool = True, **values: Any) -> Path:
    """Writes a model of a family; ``values`` are more of its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": family,
        "vocab_size": len(VOCABULARY),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        **SIZES[family],
        **values,
    }
    model = make_model(config_of(config), "seq2seq-lm" if family == "t5" else "causal-lm", engine="cpu")
    draw = np.random.default_rng(0)
    for name in tensor_shapes(model.blueprint.leaves):
        values_of = model.tensor(name)
        noise = draw.normal(0, 0.6, values_of.shape)
        values_of[...] = 1 + 0.1 * noise if "norm" in name else noise
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({**_ends(config), "suppress_tokens": [0, 1, 3, 4, 5]}))
    _write_tokenizer(folder, TEMPLATE if chat else None, model.arch.max_length)
    return folder


def _ends(config: dict[str, Any]) -> dict[str, Any]:
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    return {name: config[name] for name in names if name in config}


def _write_tokenizer(folder: Path, template: str | None, limit: int) -> None:
    """Characters and a few words, joined without spaces of their own."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({token: id for id, token in enumerate(VOCABULARY)}, unk_token="<unk>"))
    words = "|".join(WORDS)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{words}|[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    settings |= {"unk_token": "<unk>", "pad_token": "<unk>", "model_max_length": limit} | (
        {"chat_template": template} if template else {}
    )
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
