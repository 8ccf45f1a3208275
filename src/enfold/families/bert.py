"""BERT (https://arxiv.org/abs/1810.04805): bert-base-*, multilingual and Chinese BERT, MiniLM, sentence encoders."""

from collections.abc import Mapping
from dataclasses import replace

from enfold.arch import Architecture, Dropout, LearnedPositions
from enfold.config import Config
from enfold.families.base import Family, activation, depth, require
from enfold.heads import Branch, Head, HeadKind


def translate(config: Config) -> Architecture:
    """A BERT configuration as an architecture."""
    require(config, is_decoder=False, add_cross_attention=False, position_embedding_type="absolute")
    drop, head = config.hidden_dropout_prob, config.classifier_dropout
    return Architecture(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        layer_order=tuple(range(depth(config, "num_hidden_layers"))),
        max_length=config.max_position_embeddings,
        type_vocab_size=config.type_vocab_size,
        pad_token_id=config.pad_token_id,
        activation=activation(config, "hidden_act"),
        positions=LearnedPositions(rows=config.max_position_embeddings),
        norm_eps=config.layer_norm_eps,
        tied_output=config.tie_word_embeddings,
        initializer_range=config.initializer_range,
        dropout=Dropout.of(drop, attention=config.attention_probs_dropout_prob, head=drop if head is None else head),
    )


DEFAULTS = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "classifier_dropout": None,
    "position_embedding_type": "absolute",
    "tie_word_embeddings": True,
}

NAMES = (
    ("embeddings.words", "@embeddings.word_embeddings"),
    ("embeddings.positions", "@embeddings.position_embeddings"),
    ("embeddings.types", "@embeddings.token_type_embeddings"),
    ("embeddings.norm", "@embeddings.LayerNorm"),
    ("layers.{}.attention.query", "@encoder.layer.{}.attention.self.query"),
    ("layers.{}.attention.key", "@encoder.layer.{}.attention.self.key"),
    ("layers.{}.attention.value", "@encoder.layer.{}.attention.self.value"),
    ("layers.{}.attention.output", "@encoder.layer.{}.attention.output.dense"),
    ("layers.{}.attention.norm", "@encoder.layer.{}.attention.output.LayerNorm"),
    ("layers.{}.feed_forward.expand", "@encoder.layer.{}.intermediate.dense"),
    ("layers.{}.feed_forward.shrink", "@encoder.layer.{}.output.dense"),
    ("layers.{}.feed_forward.norm", "@encoder.layer.{}.output.LayerNorm"),
)

MASKED_LM = Branch(
    dense="own",
    norm=True,
    outputs="vocabulary",
    names={
        "dense": "cls.predictions.transform.dense",
        "norm": "cls.predictions.transform.LayerNorm",
        "output": "cls.predictions.decoder",
        "tied_bias": "cls.predictions.bias",
    },
)
POOLED = Branch(select="first", dense="tanh", names={"dense": "@pooler.dense"})
NEXT_SENTENCE = replace(POOLED, outputs=2, names={**POOLED.names, "output": "cls.seq_relationship"})
CLASSIFIED = replace(POOLED, outputs="labels", dropout=True, names={**POOLED.names, "output": "classifier"})

HEADS: Mapping[HeadKind, Head] = {
    "base": Head((replace(POOLED, field="pooler_output"),)),
    "pretraining": Head(
        (replace(MASKED_LM, field="prediction_logits"), replace(NEXT_SENTENCE, field="seq_relationship_logits"))
    ),
    "masked-lm": Head((MASKED_LM,)),
    "next-sentence": Head((NEXT_SENTENCE,)),
    "sequence-classification": Head((CLASSIFIED,)),
    "token-classification": Head((Branch(outputs="labels", dropout=True, names={"output": "classifier"}),)),
    "question-answering": Head((Branch(outputs=2, names={"output": "qa_outputs"}),)),
    "multiple-choice": Head((replace(CLASSIFIED, outputs=1),)),
}

BERT = Family(
    model_type="bert",
    class_prefix="Bert",
    prefix="bert",
    defaults=DEFAULTS,
    translate=translate,
    names=NAMES,
    heads=HEADS,
    tokenizer="bert",
    known=("cls.predictions.decoder.bias",),
)
