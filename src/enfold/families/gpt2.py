"""GPT-2 (Language Models are Unsupervised Multitask Learners, 2019) and DistilGPT-2."""

from collections.abc import Mapping

from enfold.arch import Architecture, Dropout, LearnedPositions
from enfold.config import Config
from enfold.families.base import Family, Stored, activation, depth, require
from enfold.heads import Branch, Head, HeadKind


def translate(config: Config) -> Architecture:
    """A GPT-2 configuration as an architecture."""
    require(config, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    return Architecture(
        vocab_size=config.vocab_size,
        hidden_size=config.n_embd,
        num_heads=config.n_head,
        intermediate_size=config.n_inner or 4 * config.n_embd,
        layer_order=tuple(range(depth(config, "n_layer"))),
        max_length=config.n_positions,
        activation=activation(config, "activation_function"),
        positions=LearnedPositions(rows=config.n_positions),
        causal=True,
        embedding_norm=False,
        norm_eps=config.layer_norm_epsilon,
        norm_placement="before",
        tied_output=config.tie_word_embeddings,
        initializer_range=config.initializer_range,
        dropout=Dropout(
            embeddings=config.embd_pdrop,
            attention=config.attn_pdrop,
            attention_output=config.resid_pdrop,
            feed_forward=config.resid_pdrop,
            head=config.resid_pdrop if config.classifier_dropout is None else config.classifier_dropout,
        ),
    )


def _turned(name: str) -> Stored:
    """GPT-2's linear layers were convolutions of width one: their matrices are (inputs, outputs)."""
    return Stored(name, transposed=True)


def _third(part: int) -> Stored:
    return Stored("@h.{}.attn.c_attn", part=part, parts=3, transposed=True)


NAMES = (
    ("embeddings.words", "@wte"),
    ("embeddings.positions", "@wpe"),
    ("layers.{}.attention.norm", "@h.{}.ln_1"),
    ("layers.{}.attention.query", _third(0)),
    ("layers.{}.attention.key", _third(1)),
    ("layers.{}.attention.value", _third(2)),
    ("layers.{}.attention.output", _turned("@h.{}.attn.c_proj")),
    ("layers.{}.feed_forward.norm", "@h.{}.ln_2"),
    ("layers.{}.feed_forward.expand", _turned("@h.{}.mlp.c_fc")),
    ("layers.{}.feed_forward.shrink", _turned("@h.{}.mlp.c_proj")),
    ("final.norm", "@ln_f"),
)

CAUSAL_LM = Head((Branch(outputs="vocabulary", bias="none", names={"output": "lm_head"}),))
LAST_SCORED = Head((Branch(select="last", outputs="labels", bias="none", names={"output": "score"}),))

HEADS: Mapping[HeadKind, Head] = {
    "base": Head(),
    "causal-lm": CAUSAL_LM,
    "sequence-classification": LAST_SCORED,
    "token-classification": Head((Branch(outputs="labels", dropout=True, names={"output": "classifier"}),)),
    "question-answering": Head((Branch(outputs=2, names={"output": "qa_outputs"}),)),
}

GPT2 = Family(
    model_type="gpt2",
    class_prefix="GPT2",
    prefix="transformer",
    defaults={
        "vocab_size": 50257,
        "n_positions": 1024,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_inner": None,
        "activation_function": "gelu_new",
        "resid_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.1,
        "classifier_dropout": None,
        "layer_norm_epsilon": 1e-5,
        "initializer_range": 0.02,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "use_cache": True,
        "bos_token_id": 50256,
        "eos_token_id": 50256,
        "pad_token_id": None,
        "tie_word_embeddings": True,
    },
    translate=translate,
    names=NAMES,
    heads=HEADS,
    tokenizer="gpt2",
    aliases={
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
    class_names={"causal-lm": "GPT2LMHeadModel"},
)
