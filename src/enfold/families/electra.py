"""ELECTRA (https://arxiv.org/abs/2003.10555): BERT with factorised embeddings; a generator and a discriminator."""

from collections.abc import Mapping
from dataclasses import replace

from enfold.arch import Architecture
from enfold.config import Config
from enfold.families import bert
from enfold.families.base import Family, require
from enfold.heads import Branch, Head, HeadKind


def translate(config: Config) -> Architecture:
    """BERT with embeddings of a width of their own."""
    require(config, summary_type="first", summary_use_proj=True, summary_activation="gelu")
    return replace(bert.translate(config), embedding_size=config.embedding_size)


HEADS: Mapping[HeadKind, Head] = {
    "base": Head(),
    "discriminator": Head(
        (
            Branch(
                dense="own",
                outputs=1,
                squeeze=True,
                names={
                    "dense": "discriminator_predictions.dense",
                    "output": "discriminator_predictions.dense_prediction",
                },
            ),
        )
    ),
    "masked-lm": Head(
        (
            Branch(
                dense="gelu",
                dense_width="embedding",
                norm=True,
                outputs="vocabulary",
                names={
                    "dense": "generator_predictions.dense",
                    "norm": "generator_predictions.LayerNorm",
                    "output": "generator_lm_head",
                },
            ),
        )
    ),
    "sequence-classification": Head(
        (
            Branch(
                select="first",
                dense="gelu",
                outputs="labels",
                dropout=True,
                dropout_before_dense=True,
                names={"dense": "classifier.dense", "output": "classifier.out_proj"},
            ),
        )
    ),
    "token-classification": bert.HEADS["token-classification"],
    "question-answering": bert.HEADS["question-answering"],
    "multiple-choice": Head(
        (
            Branch(
                select="first",
                dense="gelu",
                outputs=1,
                dropout=True,
                names={"dense": "sequence_summary.summary", "output": "classifier"},
            ),
        )
    ),
}

ELECTRA = Family(
    model_type="electra",
    class_prefix="Electra",
    prefix="electra",
    defaults={
        **bert.DEFAULTS,
        "embedding_size": 128,
        "hidden_size": 256,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "summary_type": "first",
        "summary_use_proj": True,
        "summary_activation": "gelu",
        "summary_last_dropout": 0.1,
    },
    translate=translate,
    names=(*bert.NAMES, ("embeddings.project", "@embeddings_project")),
    heads=HEADS,
    tokenizer="bert",
)
