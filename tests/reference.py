"""Small random models of the reference library, for every family and head."""

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import torch
import transformers

from enfold.families import FAMILIES
from enfold.heads import HeadKind

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

CASES = [(model_type, kind) for model_type, family in FAMILIES.items() for kind in family.heads]

ACTIVATIONS = ["gelu", "gelu_new", "relu", "silu", "tanh"]


@dataclass(frozen=True)
class Reference:
    """A reference model, the folder that it was saved in, and inputs for it."""

    model: Any
    folder: Path
    inputs: dict[str, torch.Tensor]
    mask: torch.Tensor

    def outputs(self, **extra: Any) -> Any:
        """What the reference answers to the inputs."""
        with torch.no_grad():
            return self.model(**self.inputs, **extra)


def random_config(model_type: str, draw: random.Random) -> dict[str, Any]:
    """Odd sizes, one to three layers, one to many heads, each activation."""
    heads = draw.choice([1, 2, 3, 6, 12])
    width = heads * draw.choice([2, 3, 5, 8])
    common = {
        "vocab_size": draw.randint(40, 130),
        "hidden_size": width,
        "num_hidden_layers": draw.randint(1, 3),
        "num_attention_heads": heads,
        "intermediate_size": draw.randint(5, 70),
        "hidden_act": draw.choice(ACTIVATIONS),
        "max_position_embeddings": draw.randint(30, 50),
        "layer_norm_eps": draw.choice([1e-12, 1e-5]),
    }
    match model_type:
        case "distilbert":
            names = {
                "hidden_size": "dim",
                "num_hidden_layers": "n_layers",
                "num_attention_heads": "n_heads",
                "intermediate_size": "hidden_dim",
                "hidden_act": "activation",
            }
            return {names.get(k, k): v for k, v in common.items() if k != "layer_norm_eps"}
        case "electra":
            # the reference projects only where the widths differ
            return {**common, "embedding_size": draw.choice([width, draw.randint(3, 20)])}
        case "albert":
            layers = draw.choice([1, 2, 4])
            # the reference always has the projection, enfold where the widths differ: never equal in real checkpoints
            groups = draw.choice([g for g in (1, 2, 4) if g <= layers])
            return {
                **common,
                "embedding_size": width + draw.randint(1, 9),
                "num_hidden_layers": layers,
                "num_hidden_groups": groups,
            }
        case "mpnet":
            return {
                **common,
                "relative_attention_num_buckets": 32,
            }  # the reference computes buckets for 32 whatever it says
        case "deberta-v2":
            return {**common, **_deberta(draw)}
        case "bert":
            return {**common, "type_vocab_size": draw.choice([1, 2, 3])}
        case _:
            return common


def _deberta(draw: random.Random) -> dict[str, Any]:
    relative = draw.random() < 0.8
    return {
        "relative_attention": relative,
        "position_buckets": draw.choice([-1, 4, 8]),
        "max_relative_positions": draw.choice([-1, 6]),
        "pos_att_type": draw.choice([["c2p", "p2c"], ["c2p"], ["p2c"], "p2c|c2p", []]) if relative else [],
        "share_att_key": draw.random() < 0.5,
        "norm_rel_ebd": draw.choice(["layer_norm", "none"]) if relative else "none",
        "position_biased_input": draw.random() < 0.5,
        "type_vocab_size": draw.choice([0, 2]),
    }


def make_reference(
    model_type: str, kind: HeadKind, seed: int, folder: Path, padding: str = "right", **overrides: Any
) -> Reference:
    """A saved reference model with random weights, and padded inputs of several lengths."""
    draw = random.Random(f"{model_type} {kind} {seed}")
    torch.manual_seed(draw.randint(0, 2**31))
    name = FAMILIES[model_type].class_name(kind)
    model_class = getattr(transformers, name)
    labels = 2 if kind in ("question-answering", "pretraining") else draw.randint(1, 5)
    values = {**random_config(model_type, draw), "num_labels": labels, **overrides}
    config = model_class.config_class(**values)
    model = model_class._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
    model.save_pretrained(folder)
    ids, mask = _padded(config, draw, padding)
    inputs = {"input_ids": ids, "attention_mask": mask.long()}
    if config.to_dict().get("type_vocab_size", 0) > 1 and draw.random() < 0.7:
        inputs["token_type_ids"] = torch.randint(0, config.type_vocab_size, ids.shape) * mask
    if kind == "multiple-choice":
        inputs = {key: value.view(2, -1, value.shape[-1]) for key, value in inputs.items()}
    return Reference(model, folder, inputs, mask)


def _padded(config: Any, draw: random.Random, padding: str) -> tuple[torch.Tensor, torch.Tensor]:
    longest = draw.randint(9, 24)
    lengths = [longest, *(draw.randint(1, longest) for _ in range(3))]
    ids = torch.full((4, longest), config.pad_token_id)
    mask = torch.zeros(4, longest, dtype=torch.bool)
    for row, length in enumerate(lengths):
        span = slice(0, length) if padding == "right" else slice(longest - length, longest)
        ids[row, span] = torch.randint(config.pad_token_id + 1, config.vocab_size, (length,))
        mask[row, span] = True
    return ids, mask
