"""RoBERTa (https://arxiv.org/abs/1907.11692), and its siblings XLM-R (1911.02116) and CamemBERT (1911.03894)."""

from collections.abc import Mapping
from dataclasses import replace

from enfold.arch import Architecture, LearnedPositions
from enfold.config import Config
from enfold.families import bert
from enfold.families.base import Family, sibling
from enfold.heads import Branch, Head, HeadKind


def translate(config: Config) -> Architecture:
    """BERT, but positions count from the padding id on (fairseq): roberta-base has 514 rows for 512 tokens."""
    positions = LearnedPositions(rows=config.max_position_embeddings, counted_from=config.pad_token_id)
    return replace(bert.translate(config), positions=positions, max_length=positions.max_length)


MASKED_LM = Branch(
    dense="gelu",
    norm=True,
    outputs="vocabulary",
    names={
        "dense": "lm_head.dense",
        "norm": "lm_head.layer_norm",
        "output": "lm_head.decoder",
        "tied_bias": "lm_head.bias",
    },
)

HEADS: Mapping[HeadKind, Head] = {
    **{kind: head for kind, head in bert.HEADS.items() if kind not in ("pretraining", "next-sentence")},
    "masked-lm": Head((MASKED_LM,)),
    "sequence-classification": Head(
        (
            Branch(
                select="first",
                dense="tanh",
                outputs="labels",
                dropout=True,
                dropout_before_dense=True,
                names={"dense": "classifier.dense", "output": "classifier.out_proj"},
            ),
        )
    ),
}

ROBERTA = Family(
    model_type="roberta",
    class_prefix="Roberta",
    prefix="roberta",
    defaults={**bert.DEFAULTS, "vocab_size": 50265, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
    translate=translate,
    names=bert.NAMES,
    heads=HEADS,
    tokenizer="roberta",
    known=("lm_head.decoder.bias",),
)
XLM_ROBERTA = sibling(ROBERTA, "xlm-roberta", "XLMRoberta", tokenizer="xlm-roberta", vocab_size=30522)
CAMEMBERT = sibling(ROBERTA, "camembert", "Camembert", tokenizer="camembert", vocab_size=30522)
