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

REFERENCE_FAMILIES = [name for name in FAMILIES if name != "enfold"]
"""The families that the reference library has, too: ours is tested in ``families/test_enfold.py``."""

CASES = [(name, kind) for name in REFERENCE_FAMILIES for kind in FAMILIES[name].heads]

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
        case "gpt2":
            names = {
                "hidden_size": "n_embd",
                "num_hidden_layers": "n_layer",
                "num_attention_heads": "n_head",
                "intermediate_size": "n_inner",
                "hidden_act": "activation_function",
                "max_position_embeddings": "n_positions",
                "layer_norm_eps": "layer_norm_epsilon",
            }
            return {**{names.get(k, k): v for k, v in common.items()}, **IDS}
        case "llama" | "mistral" | "qwen2" | "qwen3":
            return {**common, **IDS, **_llama(model_type, draw)}
        case "bart" | "mbart" | "pegasus" | "marian" | "m2m_100":
            return _bart(model_type, draw)
        case "t5" | "mt5":
            return _t5(draw)
        case "gpt_neox":
            head_size = draw.choice([4, 8, 16])
            share = draw.choice([0.5, 1.0])
            return {
                **common,
                **IDS,
                "hidden_size": heads * head_size,
                "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": share},
                "use_parallel_residual": draw.random() < 0.7,
                "attention_bias": draw.random() < 0.7,
            }
        case "bert":
            return {**common, "type_vocab_size": draw.choice([1, 2, 3])}
        case _:
            return common


IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def _bart(model_type: str, draw: random.Random) -> dict[str, Any]:
    """Stacks of different depths, heads and widths; special ids where the family has them."""
    vocab = draw.randint(40, 130)
    pad, eos, start = {"marian": (vocab - 1, 0, vocab - 1), "pegasus": (0, 1, 0)}.get(model_type, (1, 2, 2))
    own = {"decoder_vocab_size": vocab, "share_encoder_decoder_embeddings": draw.random() < 0.5}
    return {
        "vocab_size": vocab,
        "d_model": draw.choice([24, 36]),
        "activation_function": draw.choice(ACTIVATIONS),
        "max_position_embeddings": draw.randint(30, 50),
        "scale_embedding": draw.random() < 0.5,
        **{f"{side}_layers": draw.randint(1, 3) for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": draw.choice([1, 2, 4]) for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": draw.randint(5, 70) for side in ("encoder", "decoder")},
        "encoder_layerdrop": 0.0,
        "decoder_layerdrop": 0.0,
        "pad_token_id": pad,
        "eos_token_id": eos,
        "decoder_start_token_id": start,
        "bos_token_id": 0,
        **(own if model_type == "marian" else {}),
    }


def _t5(draw: random.Random) -> dict[str, Any]:
    heads = draw.choice([1, 2, 4])
    return {
        "vocab_size": draw.randint(40, 130),
        "d_model": draw.choice([16, 30]),
        "d_kv": draw.choice([4, 7]),
        "d_ff": draw.randint(5, 70),
        "num_heads": heads,
        "num_layers": draw.randint(1, 3),
        "num_decoder_layers": draw.randint(1, 3),
        "relative_attention_num_buckets": draw.choice([8, 32]),
        "relative_attention_max_distance": draw.choice([20, 128]),
        "feed_forward_proj": draw.choice(["relu", "gated-gelu", "gated-silu"]),
        "decoder_start_token_id": 0,
    }


def _llama(model_type: str, draw: random.Random) -> dict[str, Any]:
    """Grouped heads, every scaling of rotary positions, windows; widths that heads don't add up to."""
    kv_heads, groups, head_size = draw.choice([1, 2, 3]), draw.choice([1, 2, 4]), draw.choice([4, 6, 8])
    layers = draw.randint(1, 3)
    return {
        "num_key_value_heads": kv_heads,
        "num_attention_heads": kv_heads * groups,
        "head_dim": head_size,
        "hidden_size": kv_heads * groups * (head_size if model_type == "qwen2" else draw.choice([4, 5])),
        "num_hidden_layers": layers,
        "rms_norm_eps": draw.choice([1e-6, 1e-5]),
        "rope_parameters": _rope(draw, head_size),
        "attention_bias": draw.random() < 0.3,
        **({"mlp_bias": draw.random() < 0.3} if model_type == "llama" else {}),
        **({"sliding_window": draw.choice([3, 7, None])} if model_type == "mistral" else {}),
        **(
            {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": draw.randint(0, layers)}
            if model_type.startswith("qwen") and draw.random() < 0.5
            else {}
        ),
    }


def _rope(draw: random.Random, head_size: int) -> dict[str, Any]:
    base = {"rope_theta": draw.choice([50.0, 10000.0])}
    half = [1 + 3 * draw.random() for _ in range(head_size // 2)]
    return draw.choice(
        [
            {**base, "rope_type": "default"},
            {**base, "rope_type": "linear", "factor": 2.5},
            {**base, "rope_type": "dynamic", "factor": 3.0},
            {**base, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 10},
            {
                **base,
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 12,
            },
            {
                **base,
                "rope_type": "longrope",
                "short_factor": half,
                "long_factor": [2 * value for value in half],
                "factor": 3.0,
                "original_max_position_embeddings": 1000,
            },
        ]
    )


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
        for name, parameter in model.named_parameters():
            if model_type != "marian" or "embed_positions" not in name:  # which Marian's files leave out
                parameter.normal_(0.0, 0.3)
    model.save_pretrained(folder)
    ids, mask = _padded(config, draw, padding)
    if config.is_encoder_decoder:
        ids[mask & (mask.flip(1).cumsum(1).flip(1) == 1)] = config.eos_token_id  # every text ends so
    inputs = {"input_ids": ids, "attention_mask": mask.long()}
    if config.to_dict().get("type_vocab_size", 0) > 1 and draw.random() < 0.7:
        inputs["token_type_ids"] = torch.randint(0, config.type_vocab_size, ids.shape) * mask
    if config.is_encoder_decoder and kind in ("base", "seq2seq-lm"):
        inputs["decoder_input_ids"] = torch.randint(3, config.vocab_size - 1, (4, draw.randint(1, 12)))
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
        lowest = 3 if config.is_encoder_decoder else config.pad_token_id + 1  # no end before the end
        highest = config.vocab_size - (config.pad_token_id > lowest)
        ids[row, span] = torch.randint(lowest, highest, (length,))
        mask[row, span] = True
    return ids, mask
