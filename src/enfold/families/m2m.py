"""M2M100 (https://arxiv.org/abs/2010.11125) and NLLB-200 (https://arxiv.org/abs/2207.04672), translators."""

from dataclasses import replace

from enfold.arch import Architecture, SinusoidalPositions
from enfold.config import Config
from enfold.families import bart
from enfold.families.base import sibling
from enfold.heads import Branch, Head


def translate(config: Config) -> Architecture:
    """mBART with computed positions, counted from the padding id on, and without a norm on embeddings."""
    arch = bart.pre_norm(config)
    pad = config.pad_token_id
    positions = SinusoidalPositions(rows=arch.max_length + pad + 1, counted_from=pad, last_frequency="included")
    encoder = replace(arch.encoder, positions=positions, embedding_norm=False) if arch.encoder else None
    return replace(arch, positions=positions, embedding_norm=False, encoder=encoder)


WRITTEN = Branch(outputs="vocabulary", bias="none", names={"output": "lm_head"})
_BASE = replace(
    bart.BART,
    rereads=False,
    translate=translate,
    heads={"base": Head(), "seq2seq-lm": Head((WRITTEN,))},
    known=(*bart.BART.known, "encoder.embed_positions.", "decoder.embed_positions."),
)
_M2M = {"vocab_size": 128112, "activation_function": "relu", "attention_dropout": 0.1, "scale_embedding": True}
M2M_100 = sibling(_BASE, "m2m_100", "M2M100", tokenizer="m2m_100", forced_eos_token_id=None, **_M2M)
