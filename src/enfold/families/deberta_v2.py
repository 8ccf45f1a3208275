"""DeBERTa v2 and v3 (https://arxiv.org/abs/2006.03654, https://arxiv.org/abs/2111.09543), disentangled attention."""

from collections.abc import Mapping
from dataclasses import replace

from enfold.arch import Architecture, Disentangled
from enfold.config import Config
from enfold.errors import ConfigError
from enfold.families import bert
from enfold.families.base import Family, require
from enfold.heads import Branch, Head, HeadKind


def translate(config: Config) -> Architecture:
    """``pos_att_type`` is a list or, in the first files, ``"c2p|p2c"``; ``conv_kernel_size`` is in v2-xlarge alone."""
    require(config, conv_kernel_size=0, pooler_hidden_act="gelu", legacy=True)
    if not config.relative_attention:
        require(config, pos_att_type=[])  # the reference would then scale scores by kinds that it does not add
    arch = bert.translate(config)
    return replace(
        arch,
        embedding_size=config.embedding_size or config.hidden_size,
        positions=arch.positions if config.position_biased_input else None,
        relative=_relative(config) if config.relative_attention else None,
        dropout=replace(arch.dropout, head=config.get("cls_dropout", config.hidden_dropout_prob)),
    )


def _relative(config: Config) -> Disentangled:
    kinds = config.pos_att_type or []
    kinds = [kind.strip() for kind in (kinds.lower().split("|") if isinstance(kinds, str) else kinds) if kind.strip()]
    unknown = set(kinds) - {"c2p", "p2c"}
    if unknown:
        raise ConfigError(f"pos_att_type is {config.pos_att_type!r}, expected a list of 'c2p' and 'p2c'")
    farthest = config.max_relative_positions if config.max_relative_positions > 0 else config.max_position_embeddings
    buckets = config.position_buckets
    return Disentangled(
        span=buckets if buckets > 0 else farthest,
        max_distance=farthest if buckets > 0 else None,
        content_to_position="c2p" in kinds,
        position_to_content="p2c" in kinds,
        shared=config.share_att_key,
        normed="layer_norm" in config.norm_rel_ebd.lower(),
    )


SELF = "@encoder.layer.{}.attention.self"
NAMES = (
    *((ours, theirs) for ours, theirs in bert.NAMES if ".attention.self." not in theirs),
    ("embeddings.project", "@embeddings.embed_proj"),
    ("relative.table", "@encoder.rel_embeddings"),
    ("relative.norm", "@encoder.LayerNorm"),
    ("layers.{}.attention.query", f"{SELF}.query_proj"),
    ("layers.{}.attention.key", f"{SELF}.key_proj"),
    ("layers.{}.attention.value", f"{SELF}.value_proj"),
    ("layers.{}.attention.position_key", f"{SELF}.pos_key_proj"),
    ("layers.{}.attention.position_query", f"{SELF}.pos_query_proj"),
)

CLASSIFIED = Branch(
    select="first",
    dense="gelu",
    outputs="labels",
    dropout=True,
    names={"dense": "pooler.dense", "output": "classifier"},
)

HEADS: Mapping[HeadKind, Head] = {
    "base": Head(),
    "masked-lm": bert.HEADS["masked-lm"],
    "sequence-classification": Head((CLASSIFIED,)),
    "token-classification": bert.HEADS["token-classification"],
    "question-answering": bert.HEADS["question-answering"],
    "multiple-choice": Head((replace(CLASSIFIED, outputs=1),)),
}

DEBERTA_V2 = Family(
    model_type="deberta-v2",
    class_prefix="DebertaV2",
    prefix="deberta",
    defaults={
        **bert.DEFAULTS,
        "vocab_size": 128100,
        "hidden_size": 1536,
        "num_hidden_layers": 24,
        "num_attention_heads": 24,
        "intermediate_size": 6144,
        "type_vocab_size": 0,
        "layer_norm_eps": 1e-7,
        "relative_attention": False,
        "max_relative_positions": -1,
        "position_buckets": -1,
        "position_biased_input": True,
        "pos_att_type": None,
        "share_att_key": False,
        "norm_rel_ebd": "none",
        "conv_kernel_size": 0,
        "embedding_size": None,
        "cls_dropout": None,
        "pooler_dropout": 0.0,
        "pooler_hidden_act": "gelu",
        "legacy": True,
    },
    translate=translate,
    names=NAMES,
    heads=HEADS,
    tokenizer="deberta-v2",
    # microsoft/deberta-v3-*: the heads of its own pretraining
    known=("cls.predictions.decoder.bias", "lm_predictions.", "mask_predictions."),
)
