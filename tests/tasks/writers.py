"""Tiny models that write, over real vocabularies: folders that enfold and any version of the reference load alike."""

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

CHAT = (
    "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
LIMIT = 128
_BART = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": LIMIT,
}  # fmt: skip
WRITERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": (
        "GPT2",
        "LMHeadModel",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": LIMIT, "bos_token_id": 50256, "eos_token_id": 50256},
    ),
    "t5": (
        "T5",
        "ForConditionalGeneration",
        {
            "vocab_size": 32128, "d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 48,
            "n_positions": 512, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1,
            "task_specific_params": {
                "summarization": {"prefix": "summarize: ", "num_beams": 2, "no_repeat_ngram_size": 3, "max_length": 9},
                "translation_en_to_de": {"prefix": "translate English to German: ", "num_beams": 3, "max_length": 9},
                "translation_en_to_fr": {"prefix": "translate English to French: ", "num_beams": 3, "max_length": 9},
            },
        },
    ),
    "marian": (
        "Marian",
        "MTModel",
        {
            **_BART, "vocab_size": 32001, "decoder_vocab_size": 32001, "pad_token_id": 32000, "eos_token_id": 0,
            "forced_eos_token_id": 0, "decoder_start_token_id": 32000, "bad_words_ids": [[32000]], "num_beams": 2,
            "scale_embedding": True, "static_position_embeddings": True, "activation_function": "swish",
        },
    ),
}  # fmt: skip
FILES = {
    "gpt2": {"vocab.json": "vocab.json", "merges.txt": "merges.txt"},
    "t5": {"tokenizer.json": "tokenizer.json", "tokenizer_config.json": "tokenizer_config.json"},
    "marian": {
        "source.spm": "vocab.joint.spm",
        "target.spm": "vocab.joint.spm",
        "vocab.json": "vocab.json",
        "tokenizer_config.json": "tokenizer_config.json",
    },
}
VOCABULARIES = {"gpt2": "gpt2", "t5": "t5-small", "marian": "nmt-joint"}


def build(kind: str, vocabulary: Path, folder: Path, **overrides: Any) -> Path:
    """Writes the model, every tensor drawn by its name alone, and the tokenizer, whose files lie in ``vocabulary``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in FILES[kind].items():
        shutil.copyfile(vocabulary / file, folder / name)
    if kind == "gpt2":
        settings = {"tokenizer_class": "GPT2Tokenizer", "model_max_length": LIMIT, "chat_template": CHAT}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if kind == "marian":
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": LIMIT}))
    save(*WRITERS[kind][:2], {**WRITERS[kind][2], **overrides}, folder)
    return folder


def save(prefix: str, suffix: str, values: dict[str, Any], folder: Path) -> None:
    """Writes a reference model whose tensors are wide enough that no two tokens are alike."""
    config = getattr(transformers, f"{prefix}Config")(**values)
    model = getattr(transformers, prefix + suffix)(config).eval()
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "embed_positions" in name:  # Marian's are computed
                continue
            drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(parameter.shape))
            near = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
            parameter.copy_(torch.from_numpy(drawn.astype(np.float32)) * (0.5 if parameter.ndim > 1 else 0.1) + near)
    model.save_pretrained(folder)
