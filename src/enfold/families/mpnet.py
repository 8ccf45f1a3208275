"""MPNet (https://arxiv.org/abs/2004.09297): RoBERTa's positions, T5's distance buckets, no token types."""

from collections.abc import Mapping
from dataclasses import replace

from enfold.arch import Architecture, LearnedPositions, RelativeBias
from enfold.config import Config
from enfold.families import roberta
from enfold.families.base import Family
from enfold.heads import Head, HeadKind


def translate(config: Config) -> Architecture:
    """The reference fixes the largest distance at 128 and the id that has no position at 1, whatever the file says."""
    base = roberta.translate(config)
    relative = RelativeBias(buckets=config.relative_attention_num_buckets, max_distance=128)
    positions = LearnedPositions(rows=config.max_position_embeddings, counted_from=1)
    return replace(base, relative=relative, positions=positions, max_length=positions.max_length)


NAMES = (
    ("embeddings.words", "@embeddings.word_embeddings"),
    ("embeddings.positions", "@embeddings.position_embeddings"),
    ("embeddings.norm", "@embeddings.LayerNorm"),
    ("relative.table", "@encoder.relative_attention_bias"),
    ("layers.{}.attention.query", "@encoder.layer.{}.attention.attn.q"),
    ("layers.{}.attention.key", "@encoder.layer.{}.attention.attn.k"),
    ("layers.{}.attention.value", "@encoder.layer.{}.attention.attn.v"),
    ("layers.{}.attention.output", "@encoder.layer.{}.attention.attn.o"),
    ("layers.{}.attention.norm", "@encoder.layer.{}.attention.LayerNorm"),
    ("layers.{}.feed_forward.expand", "@encoder.layer.{}.intermediate.dense"),
    ("layers.{}.feed_forward.shrink", "@encoder.layer.{}.output.dense"),
    ("layers.{}.feed_forward.norm", "@encoder.layer.{}.output.LayerNorm"),
)

HEADS: Mapping[HeadKind, Head] = roberta.HEADS

MPNET = Family(
    model_type="mpnet",
    class_prefix="MPNet",
    prefix="mpnet",
    defaults={
        **roberta.ROBERTA.defaults,
        "vocab_size": 30527,
        "type_vocab_size": 0,
        "relative_attention_num_buckets": 32,
    },
    translate=translate,
    names=NAMES,
    heads=HEADS,
    tokenizer="mpnet",
    known=roberta.ROBERTA.known,
)
