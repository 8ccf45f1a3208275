"""GPT-NeoX (https://arxiv.org/abs/2204.06745) and Pythia (https://arxiv.org/abs/2304.01373): parallel blocks."""

from collections.abc import Mapping

from enfold.arch import Architecture, Biases, Dropout
from enfold.config import Config
from enfold.families.base import Family, Stored, activation, depth
from enfold.families.gpt2 import HEADS as GPT2_HEADS
from enfold.families.rope import rotary
from enfold.heads import Branch, Head, HeadKind


def translate(config: Config) -> Architecture:
    """A GPT-NeoX configuration as an architecture; a quarter of each head is rotated unless it says otherwise."""
    head_size = config.hidden_size // config.num_attention_heads
    drop, bias = config.hidden_dropout, config.attention_bias
    return Architecture(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        layer_order=tuple(range(depth(config, "num_hidden_layers"))),
        max_length=config.max_position_embeddings,
        activation=activation(config, "hidden_act"),
        biases=Biases(project=bias, output=bias),
        relative=rotary(config, head_size, share=config.get("rotary_pct", 0.25)),
        causal=True,
        embedding_norm=False,
        norm_eps=config.layer_norm_eps,
        norm_placement="parallel" if config.use_parallel_residual else "before",
        tied_output=config.tie_word_embeddings,
        initializer_range=config.initializer_range,
        dropout=Dropout.of(drop, attention=config.attention_dropout, head=config.classifier_dropout),
    )


def _of_head(part: int) -> Stored:
    """Query, key and value of each head follow each other."""
    return Stored("@layers.{}.attention.query_key_value", part=part, parts=3, by_head=True)


NAMES = (
    ("embeddings.words", "@embed_in"),
    ("layers.{}.attention.norm", "@layers.{}.input_layernorm"),
    ("layers.{}.attention.query", _of_head(0)),
    ("layers.{}.attention.key", _of_head(1)),
    ("layers.{}.attention.value", _of_head(2)),
    ("layers.{}.attention.output", "@layers.{}.attention.dense"),
    ("layers.{}.feed_forward.norm", "@layers.{}.post_attention_layernorm"),
    ("layers.{}.feed_forward.expand", "@layers.{}.mlp.dense_h_to_4h"),
    ("layers.{}.feed_forward.shrink", "@layers.{}.mlp.dense_4h_to_h"),
    ("final.norm", "@final_layer_norm"),
)

CAUSAL_LM = Head((Branch(outputs="vocabulary", bias="none", names={"output": "embed_out"}),))
HEADS: Mapping[HeadKind, Head] = {**GPT2_HEADS, "causal-lm": CAUSAL_LM}

GPT_NEOX = Family(
    model_type="gpt_neox",
    class_prefix="GPTNeoX",
    prefix="gpt_neox",
    defaults={
        "vocab_size": 50432,
        "hidden_size": 6144,
        "num_hidden_layers": 44,
        "num_attention_heads": 64,
        "intermediate_size": 24576,
        "hidden_act": "gelu",
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        "classifier_dropout": 0.1,
        "max_position_embeddings": 2048,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-5,
        "use_cache": True,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": None,
        "tie_word_embeddings": False,
        "use_parallel_residual": True,
        "rope_parameters": None,
        "attention_bias": True,
    },
    translate=translate,
    names=NAMES,
    heads=HEADS,
    tokenizer="gpt-neox",
    renamed=(("lm_head.", "embed_out."),),
)
