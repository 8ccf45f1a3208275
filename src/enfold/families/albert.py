"""ALBERT (https://arxiv.org/abs/1909.11942): factorised embeddings, one layer's weights at every depth."""

from collections.abc import Mapping
from dataclasses import replace

from enfold.arch import Architecture
from enfold.config import Config
from enfold.families import bert
from enfold.families.base import Family, require
from enfold.heads import Branch, Head, HeadKind


def translate(config: Config) -> Architecture:
    """Every depth runs the group of layers it falls in: albert-* v1 and v2 have one group of one layer."""
    require(config, inner_group_num=1)
    arch = bert.translate(config.updated(classifier_dropout=config.classifier_dropout_prob))
    order = tuple(index * config.num_hidden_groups // arch.num_layers for index in range(arch.num_layers))
    dropout = replace(arch.dropout, feed_forward=0.0)  # the reference drops after attention alone
    return replace(arch, embedding_size=config.embedding_size, layer_order=order, dropout=dropout)


LAYER = "@encoder.albert_layer_groups.{}.albert_layers.0"
NAMES = (
    ("embeddings.words", "@embeddings.word_embeddings"),
    ("embeddings.positions", "@embeddings.position_embeddings"),
    ("embeddings.types", "@embeddings.token_type_embeddings"),
    ("embeddings.norm", "@embeddings.LayerNorm"),
    ("embeddings.project", "@encoder.embedding_hidden_mapping_in"),
    ("layers.{}.attention.query", f"{LAYER}.attention.query"),
    ("layers.{}.attention.key", f"{LAYER}.attention.key"),
    ("layers.{}.attention.value", f"{LAYER}.attention.value"),
    ("layers.{}.attention.output", f"{LAYER}.attention.dense"),
    ("layers.{}.attention.norm", f"{LAYER}.attention.LayerNorm"),
    ("layers.{}.feed_forward.expand", f"{LAYER}.ffn"),
    ("layers.{}.feed_forward.shrink", f"{LAYER}.ffn_output"),
    ("layers.{}.feed_forward.norm", f"{LAYER}.full_layer_layer_norm"),
)

MASKED_LM = Branch(
    dense="own",
    dense_width="embedding",
    norm=True,
    outputs="vocabulary",
    names={
        "dense": "predictions.dense",
        "norm": "predictions.LayerNorm",
        "output": "predictions.decoder",
        "tied_bias": "predictions.bias",
    },
)
POOLED = Branch(select="first", dense="tanh", names={"dense": "@pooler"})
SENTENCE_ORDER = replace(
    POOLED,
    field="sop_logits",
    outputs="labels",
    dropout=True,
    names={**POOLED.names, "output": "sop_classifier.classifier"},
)
CLASSIFIED = replace(POOLED, outputs="labels", dropout=True, names={**POOLED.names, "output": "classifier"})

HEADS: Mapping[HeadKind, Head] = {
    "base": Head((replace(POOLED, field="pooler_output"),)),
    "pretraining": Head((replace(MASKED_LM, field="prediction_logits"), SENTENCE_ORDER)),
    "masked-lm": Head((MASKED_LM,)),
    "sequence-classification": Head((CLASSIFIED,)),
    "token-classification": bert.HEADS["token-classification"],
    "question-answering": bert.HEADS["question-answering"],
    "multiple-choice": Head((replace(CLASSIFIED, outputs=1),)),
}

ALBERT = Family(
    model_type="albert",
    class_prefix="Albert",
    prefix="albert",
    defaults={
        **{key: value for key, value in bert.DEFAULTS.items() if key != "classifier_dropout"},
        "vocab_size": 30000,
        "embedding_size": 128,
        "hidden_size": 4096,
        "num_hidden_groups": 1,
        "num_attention_heads": 64,
        "intermediate_size": 16384,
        "inner_group_num": 1,
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "classifier_dropout_prob": 0.1,
        "bos_token_id": 2,
        "eos_token_id": 3,
    },
    translate=translate,
    names=NAMES,
    heads=HEADS,
    tokenizer="albert",
    aliases={"classifier_dropout": "classifier_dropout_prob"},
    known=("predictions.decoder.bias",),
)
