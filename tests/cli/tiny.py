"""A small random BERT in a folder, whose weights count as trained."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from enfold.blueprint import Blueprint
from enfold.checkpoint.names import checkpoint_names
from enfold.families import config_of
from enfold.heads import HeadKind
from enfold.leaves import tensor_shapes

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "good",
    "bad",
    "film",
    "book",
    "ada",
    "lives",
    "in",
    "london",
]
WORDS += [".", ",", "?", "who", "北", "京"]


def tiny_bert(
    folder: Path, kind: HeadKind = "sequence-classification", *, labels: tuple[str, ...] = ("no", "yes")
) -> Path:
    """Writes config.json, model.safetensors and vocab.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "model_type": "bert",
        "vocab_size": len(WORDS),
        "hidden_size": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 20,
        "max_position_embeddings": 40,
        "id2label": {str(index): name for index, name in enumerate(labels)},
    }
    blueprint = Blueprint.of(config_of(values), kind)
    shapes = tensor_shapes(blueprint.leaves)
    names = checkpoint_names(blueprint.family, blueprint.head, shapes)
    draw = np.random.default_rng(0)
    tensors = {
        theirs.replace("@", "bert."): draw.normal(0, 0.3, shapes[ours]).astype(np.float32)
        for ours, theirs in names.items()
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**values, "architectures": [blueprint.class_name]}))
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return folder
