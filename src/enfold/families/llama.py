"""Llama (https://arxiv.org/abs/2302.13971), SmolLM, and what else is called so."""

from collections.abc import Mapping

from enfold.arch import Architecture, Biases, Dropout
from enfold.config import Config
from enfold.families.base import Family, activation, depth
from enfold.families.gpt2 import CAUSAL_LM, LAST_SCORED
from enfold.families.rope import rotary
from enfold.heads import Branch, Head, HeadKind


def translate(config: Config) -> Architecture:
    """A Llama configuration; some files say -1 where there is no padding id."""
    head_size = config.head_dim or config.hidden_size // config.num_attention_heads
    bias, pad = config.get("attention_bias", False), config.pad_token_id
    return Architecture(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads or config.num_attention_heads,
        head_size=head_size,
        intermediate_size=config.intermediate_size,
        layer_order=tuple(range(depth(config, "num_hidden_layers"))),
        max_length=config.max_position_embeddings,
        pad_token_id=pad if pad is not None and pad >= 0 else None,
        activation=activation(config, "hidden_act"),
        gated=True,
        biases=Biases(project=bias, output=bias, feed_forward=config.get("mlp_bias", False)),
        relative=rotary(config, head_size),
        causal=True,
        embedding_norm=False,
        norm="rms",
        norm_eps=config.rms_norm_eps,
        norm_placement="before",
        tied_output=config.tie_word_embeddings,
        initializer_range=config.initializer_range,
        dropout=Dropout(attention=config.attention_dropout, head=config.get("classifier_dropout", 0.1)),
    )


NAMES = (
    ("embeddings.words", "@embed_tokens"),
    ("layers.{}.attention.norm", "@layers.{}.input_layernorm"),
    ("layers.{}.attention.query", "@layers.{}.self_attn.q_proj"),
    ("layers.{}.attention.key", "@layers.{}.self_attn.k_proj"),
    ("layers.{}.attention.value", "@layers.{}.self_attn.v_proj"),
    ("layers.{}.attention.query_norm", "@layers.{}.self_attn.q_norm"),
    ("layers.{}.attention.key_norm", "@layers.{}.self_attn.k_norm"),
    ("layers.{}.attention.output", "@layers.{}.self_attn.o_proj"),
    ("layers.{}.feed_forward.norm", "@layers.{}.post_attention_layernorm"),
    ("layers.{}.feed_forward.gate", "@layers.{}.mlp.gate_proj"),
    ("layers.{}.feed_forward.up", "@layers.{}.mlp.up_proj"),
    ("layers.{}.feed_forward.shrink", "@layers.{}.mlp.down_proj"),
    ("final.norm", "@norm"),
)

SPAN = Branch(outputs=2, names={"output": "qa_outputs"})
HEADS: Mapping[HeadKind, Head] = {
    "base": Head(),
    "causal-lm": CAUSAL_LM,
    "sequence-classification": LAST_SCORED,
    "token-classification": Head((Branch(outputs="labels", dropout=True, names={"output": "score"}),)),
    "question-answering": Head((SPAN,), prefix="transformer"),
}

DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "use_cache": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
    "tie_word_embeddings": False,
    "rope_parameters": None,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "mlp_bias": False,
}
LLAMA = Family(
    model_type="llama",
    class_prefix="Llama",
    prefix="model",
    defaults=DEFAULTS,
    translate=translate,
    names=NAMES,
    heads=HEADS,
    tokenizer="llama",
)
