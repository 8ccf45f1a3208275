"""The architectures of GGUF files that are read: the names of their tensors, and how their layout differs.

A table per architecture maps GGUF's names of modules to those of the Hugging Face checkpoint it was converted from;
``.weight`` and ``.bias`` stay. `Naming.interleaved` and `Naming.transposed` say what the conversion did to the values.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["NAMINGS", "Naming", "RowOrder"]

_IN_LAYER: Final = re.compile(r"blk\.(\d+)\.(.+)")


@dataclass(frozen=True)
class RowOrder:
    """Rows of heads that the file holds in another order than the checkpoint: paired up instead of in two halves.

    Rotary embeddings turn pairs of dimensions. A checkpoint pairs a head's dimension *i* with *i + D/2*, ggml pairs
    neighbours for the architecture ``llama``, so its rows of queries and keys are stored as 0, D/2, 1, D/2 + 1, ….
    Only rows move: a row's blocks stay what they are, and quantized blocks may be ordered without a look inside.
    """

    heads: int

    def fits(self, rows: int) -> bool:
        """Whether so many rows are heads of an even width."""
        return rows % (2 * self.heads) == 0

    def stored(self, rows: int) -> npt.NDArray[np.intp]:
        """For every row of the checkpoint the row of the file that holds it, (rows,)."""
        return np.arange(rows).reshape(self.heads, -1, 2).swapaxes(1, 2).reshape(rows)

    def apply(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Rows of values or of blocks, (rows, …), in the order of the checkpoint."""
        return stored[self.stored(len(stored))]


@dataclass(frozen=True)
class Naming:
    """How the tensors of one architecture are called.

    Attributes:
        model_type: the checkpoint's name of the architecture.
        class_name: its class with a language model's head.
        prefix: what the checkpoint puts before the names within a layer.
        outside: GGUF's module → the checkpoint's, outside of the layers.
        inside: the same within a layer, ``blk.N.`` and `prefix` left out.
        interleaved: modules within a layer whose rows have a `RowOrder` → the configuration's count of their heads.
        transposed: modules within a layer whose weight the checkpoint stores as (inputs, outputs).
    """

    model_type: str
    class_name: str
    prefix: str
    outside: Mapping[str, str]
    inside: Mapping[str, str]
    interleaved: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    transposed: frozenset[str] = frozenset()

    def checkpoint_name(self, name: str) -> str:
        """The checkpoint's name of a tensor; one that no table knows keeps its own."""
        module, _, suffix = name.rpartition(".")
        if match := _IN_LAYER.fullmatch(module):
            inside = self.inside.get(match[2])
            return f"{self.prefix.format(match[1])}{inside}.{suffix}" if inside else name
        outside = self.outside.get(module)
        return f"{outside}.{suffix}" if outside else name

    def row_order(self, name: str, config: Mapping[str, Any]) -> RowOrder | None:
        """The order in which a tensor's rows are stored; None for that of the checkpoint."""
        heads = self.interleaved.get(_module_in_layer(name))
        return RowOrder(config[heads]) if heads else None

    def is_transposed(self, name: str) -> bool:
        """Whether the checkpoint's tensor is the transpose of the stored one."""
        return name.endswith(".weight") and _module_in_layer(name) in self.transposed


def _module_in_layer(name: str) -> str:
    match = _IN_LAYER.fullmatch(name.rpartition(".")[0])
    return match[2] if match else ""


_DECODER: Final = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_DECODER_LAYER: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

NAMINGS: Final[Mapping[str, Naming]] = MappingProxyType(
    {
        # Mistral's models too: their converter calls them llama.
        "llama": Naming(
            "llama",
            "LlamaForCausalLM",
            "model.layers.{}.",
            _DECODER,
            _DECODER_LAYER,
            interleaved=MappingProxyType({"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}),
        ),
        "qwen2": Naming("qwen2", "Qwen2ForCausalLM", "model.layers.{}.", _DECODER, _DECODER_LAYER),
        "qwen3": Naming(
            "qwen3",
            "Qwen3ForCausalLM",
            "model.layers.{}.",
            _DECODER,
            _DECODER_LAYER | {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"},
        ),
        "gpt2": Naming(
            "gpt2",
            "GPT2LMHeadModel",
            "transformer.h.{}.",
            {
                "token_embd": "transformer.wte",
                "position_embd": "transformer.wpe",
                "output_norm": "transformer.ln_f",
                "output": "lm_head",
            },
            {
                "attn_norm": "ln_1",
                "attn_qkv": "attn.c_attn",
                "attn_output": "attn.c_proj",
                "ffn_norm": "ln_2",
                "ffn_up": "mlp.c_fc",
                "ffn_down": "mlp.c_proj",
            },
            transposed=frozenset({"attn_qkv", "attn_output", "ffn_up", "ffn_down"}),
        ),
    }
)
"""``general.architecture`` → its names."""
