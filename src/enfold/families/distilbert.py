"""DistilBERT (https://arxiv.org/abs/1910.01108): BERT's encoder, half as deep, without token types and pooler."""

from collections.abc import Mapping
from typing import Literal

from enfold.arch import Architecture, Dropout, LearnedPositions
from enfold.config import Config
from enfold.families.base import Family, activation, depth
from enfold.heads import Branch, Head, HeadKind


def translate(config: Config) -> Architecture:
    """A DistilBERT configuration; ``sinusoidal_pos_embds`` only says how the table was filled at first."""
    return Architecture(
        vocab_size=config.vocab_size,
        hidden_size=config.dim,
        num_heads=config.n_heads,
        intermediate_size=config.hidden_dim,
        layer_order=tuple(range(depth(config, "n_layers"))),
        max_length=config.max_position_embeddings,
        pad_token_id=config.pad_token_id,
        activation=activation(config, "activation"),
        positions=LearnedPositions(rows=config.max_position_embeddings),
        norm_eps=1e-12,
        tied_output=config.tie_word_embeddings,
        initializer_range=config.initializer_range,
        dropout=Dropout(
            embeddings=config.dropout,
            attention=config.attention_dropout,
            feed_forward=config.dropout,
            head=config.seq_classif_dropout,
        ),
    )


NAMES = (
    ("embeddings.words", "@embeddings.word_embeddings"),
    ("embeddings.positions", "@embeddings.position_embeddings"),
    ("embeddings.norm", "@embeddings.LayerNorm"),
    ("layers.{}.attention.query", "@transformer.layer.{}.attention.q_lin"),
    ("layers.{}.attention.key", "@transformer.layer.{}.attention.k_lin"),
    ("layers.{}.attention.value", "@transformer.layer.{}.attention.v_lin"),
    ("layers.{}.attention.output", "@transformer.layer.{}.attention.out_lin"),
    ("layers.{}.attention.norm", "@transformer.layer.{}.sa_layer_norm"),
    ("layers.{}.feed_forward.expand", "@transformer.layer.{}.ffn.lin1"),
    ("layers.{}.feed_forward.shrink", "@transformer.layer.{}.ffn.lin2"),
    ("layers.{}.feed_forward.norm", "@transformer.layer.{}.output_layer_norm"),
)


def _classified(outputs: int | Literal["labels"]) -> Head:
    names = {"dense": "pre_classifier", "output": "classifier"}
    return Head((Branch(select="first", dense="relu", outputs=outputs, dropout=True, names=names),))


HEADS: Mapping[HeadKind, Head] = {
    "base": Head(),
    "masked-lm": Head(
        (
            Branch(
                dense="own",
                norm=True,
                outputs="vocabulary",
                names={"dense": "vocab_transform", "norm": "vocab_layer_norm", "output": "vocab_projector"},
            ),
        )
    ),
    "sequence-classification": _classified("labels"),
    "token-classification": Head((Branch(outputs="labels", dropout=True, names={"output": "classifier"}),)),
    "question-answering": Head((Branch(outputs=2, dropout=True, names={"output": "qa_outputs"}),)),
    "multiple-choice": _classified(1),
}

DISTILBERT = Family(
    model_type="distilbert",
    class_prefix="DistilBert",
    prefix="distilbert",
    defaults={
        "vocab_size": 30522,
        "max_position_embeddings": 512,
        "sinusoidal_pos_embds": False,
        "n_layers": 6,
        "n_heads": 12,
        "dim": 768,
        "hidden_dim": 3072,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "activation": "gelu",
        "initializer_range": 0.02,
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "pad_token_id": 0,
        "tie_word_embeddings": True,
    },
    translate=translate,
    names=NAMES,
    heads=HEADS,
    tokenizer="distilbert",
    aliases={
        "hidden_size": "dim",
        "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
    },
)
