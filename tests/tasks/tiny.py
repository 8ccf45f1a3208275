"""Tiny models with weights that every machine makes alike: folders that both enfold and the reference load.

Needs numpy and safetensors alone, so that the reference's own environment can import it.
"""

import json
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

LIMIT = 128
WIDTH, LAYERS, HEADS, INNER, BUCKETS = 32, 2, 4, 64, 16

Shapes = Iterator[tuple[str, tuple[int, ...]]]

CLASSES = {"bert": "Bert", "roberta": "Roberta", "distilbert": "DistilBert", "deberta-v2": "DebertaV2"}
HEAD_CLASSES = {
    "masked-lm": "ForMaskedLM",
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
    "sequence-classification": "ForSequenceClassification",
}
TOKENIZERS = {
    "uncased": {"do_lower_case": True},
    "chinese": {"do_lower_case": False},
    "roberta": {},
}
FILES = ("vocab.txt", "vocab.json", "merges.txt")


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """Which model: ``vocabulary`` is a key of TOKENIZERS; ``labels`` are the head's; ``spread`` is the weights'."""

    family: str
    head: str
    vocabulary: str
    labels: tuple[str, ...] = ("LABEL_0", "LABEL_1")
    problem_type: str | None = None
    spread: float = 0.3


def build(tiny: Tiny, vocabulary: Path, folder: Path) -> Path:
    """Writes the model and the tokenizer, whose vocabulary files lie in ``vocabulary``, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (vocabulary / name).exists():
            shutil.copy(vocabulary / name, folder / name)
    size = _vocabulary_size(folder)
    tensors = {name: _values(name, shape, tiny.spread) for name, shape in _shapes(tiny, size)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _write(folder / "config.json", _config(tiny, size))
    base = "Roberta" if tiny.vocabulary == "roberta" else "DistilBert" if tiny.family == "distilbert" else "Bert"
    settings = {"tokenizer_class": f"{base}Tokenizer", "model_max_length": LIMIT, **TOKENIZERS[tiny.vocabulary]}
    _write(folder / "tokenizer_config.json", settings)
    return folder


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2), encoding="utf-8")


def _vocabulary_size(folder: Path) -> int:
    if (folder / "vocab.txt").exists():
        return len((folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1])
    return len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))


def _values(name: str, shape: tuple[int, ...], spread: float) -> np.ndarray:
    """Norms near 1, the rest normal and, by default, so wide that no two labels are alike."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    norm = "norm" in name.lower() and name.endswith("weight")
    return (1 + 0.1 * values if norm else spread * values).astype(np.float32)


def _config(tiny: Tiny, size: int) -> dict[str, Any]:
    common = {
        "model_type": tiny.family,
        "architectures": [CLASSES[tiny.family] + HEAD_CLASSES[tiny.head]],
        "vocab_size": size,
        "id2label": dict(enumerate(tiny.labels)),
        "label2id": {name: index for index, name in enumerate(tiny.labels)},
        "pad_token_id": 1 if tiny.family == "roberta" else 0,
    }
    if tiny.problem_type:
        common["problem_type"] = tiny.problem_type
    if tiny.family == "distilbert":
        own = {"dim": WIDTH, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": INNER}
        return {**common, **own, "max_position_embeddings": LIMIT}
    sizes = {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": LIMIT + 2 if tiny.family == "roberta" else LIMIT,
        "type_vocab_size": {"bert": 2, "roberta": 1, "deberta-v2": 0}[tiny.family],
    }
    if tiny.family != "deberta-v2":
        return {**common, **sizes}
    relative = {
        "relative_attention": True,
        "position_buckets": BUCKETS,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": "p2c|c2p",
        "position_biased_input": False,
        "max_relative_positions": -1,
        "pooler_hidden_size": WIDTH,
        "pooler_hidden_act": "gelu",
    }
    return {**common, **sizes, **relative}


def _linear(name: str, rows: int, columns: int) -> Shapes:
    yield f"{name}.weight", (rows, columns)
    yield f"{name}.bias", (rows,)


def _norm(name: str) -> Shapes:
    yield f"{name}.weight", (WIDTH,)
    yield f"{name}.bias", (WIDTH,)


def _shapes(tiny: Tiny, size: int) -> Shapes:
    yield from _distilbert(size) if tiny.family == "distilbert" else _bert(tiny.family, size)
    yield from HEAD_SHAPES[tiny.head](tiny, size)


def _bert(family: str, size: int) -> Shapes:
    prefix = "deberta" if family == "deberta-v2" else family
    yield f"{prefix}.embeddings.word_embeddings.weight", (size, WIDTH)
    if family == "deberta-v2":
        yield f"{prefix}.encoder.rel_embeddings.weight", (2 * BUCKETS, WIDTH)
        yield from _norm(f"{prefix}.encoder.LayerNorm")
    else:
        yield f"{prefix}.embeddings.position_embeddings.weight", (LIMIT + 2 * (family == "roberta"), WIDTH)
        yield f"{prefix}.embeddings.token_type_embeddings.weight", (1 if family == "roberta" else 2, WIDTH)
    yield from _norm(f"{prefix}.embeddings.LayerNorm")
    suffix = "_proj" if family == "deberta-v2" else ""
    for layer in range(LAYERS):
        at = f"{prefix}.encoder.layer.{layer}"
        for name in ("query", "key", "value"):
            yield from _linear(f"{at}.attention.self.{name}{suffix}", WIDTH, WIDTH)
        yield from _linear(f"{at}.attention.output.dense", WIDTH, WIDTH)
        yield from _norm(f"{at}.attention.output.LayerNorm")
        yield from _linear(f"{at}.intermediate.dense", INNER, WIDTH)
        yield from _linear(f"{at}.output.dense", WIDTH, INNER)
        yield from _norm(f"{at}.output.LayerNorm")


def _distilbert(size: int) -> Shapes:
    yield "distilbert.embeddings.word_embeddings.weight", (size, WIDTH)
    yield "distilbert.embeddings.position_embeddings.weight", (LIMIT, WIDTH)
    yield from _norm("distilbert.embeddings.LayerNorm")
    for layer in range(LAYERS):
        at = f"distilbert.transformer.layer.{layer}"
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            yield from _linear(f"{at}.attention.{name}", WIDTH, WIDTH)
        yield from _norm(f"{at}.sa_layer_norm")
        yield from _linear(f"{at}.ffn.lin1", INNER, WIDTH)
        yield from _linear(f"{at}.ffn.lin2", WIDTH, INNER)
        yield from _norm(f"{at}.output_layer_norm")


def _masked_lm(tiny: Tiny, size: int) -> Shapes:
    dense, norm, bias = {
        "roberta": ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
        "distilbert": ("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
    }.get(
        tiny.family,
        ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"),
    )
    yield from _linear(dense, WIDTH, WIDTH)
    yield from _norm(norm)
    yield bias, (size,)


def _sequence(tiny: Tiny, size: int) -> Shapes:
    dense, output = {
        "bert": ("bert.pooler.dense", "classifier"),
        "roberta": ("classifier.dense", "classifier.out_proj"),
        "distilbert": ("pre_classifier", "classifier"),
        "deberta-v2": ("pooler.dense", "classifier"),
    }[tiny.family]
    yield from _linear(dense, WIDTH, WIDTH)
    yield from _linear(output, len(tiny.labels), WIDTH)


HEAD_SHAPES = {
    "masked-lm": _masked_lm,
    "sequence-classification": _sequence,
    "token-classification": lambda tiny, size: _linear("classifier", len(tiny.labels), WIDTH),
    "question-answering": lambda tiny, size: _linear("qa_outputs", 2, WIDTH),
}
