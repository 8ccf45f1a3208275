"""Marian's translators (https://arxiv.org/abs/1804.00344, OPUS-MT) and Pegasus (https://arxiv.org/abs/1912.08777).

Both are BART with sinusoidal positions and without a norm on embeddings; Pegasus puts norms before sublayers.
"""

from collections.abc import Mapping
from dataclasses import replace

from enfold.arch import Architecture, SinusoidalPositions
from enfold.config import Config
from enfold.families import bart
from enfold.families.base import sibling
from enfold.heads import Head, HeadKind


def translate(config: Config) -> Architecture:
    """Some translators have a vocabulary for each side."""
    arch = _sinusoidal(bart.translate(config))
    shared = config.share_encoder_decoder_embeddings and config.tie_word_embeddings
    assert arch.encoder
    return replace(
        arch,
        vocab_size=config.vocab_size if shared else config.decoder_vocab_size or config.vocab_size,
        encoder=replace(arch.encoder, shares_words=shared),
    )


def pegasus(config: Config) -> Architecture:
    """mBART's order of norms, Marian's positions."""
    return _sinusoidal(bart.pre_norm(config))


def _sinusoidal(arch: Architecture) -> Architecture:
    positions = SinusoidalPositions(rows=arch.max_length, stored=True)
    encoder = replace(arch.encoder, positions=positions, embedding_norm=False) if arch.encoder else None
    return replace(arch, positions=positions, embedding_norm=False, encoder=encoder)


_TABLES = ("embeddings.positions", "encoder.embeddings.positions")
HEADS: Mapping[HeadKind, Head] = {
    "base": Head(),
    "seq2seq-lm": Head((bart.WRITTEN,), omits=_TABLES),
}
_OPUS = {
    "vocab_size": 58101,
    "decoder_vocab_size": None,
    "share_encoder_decoder_embeddings": True,
    "decoder_start_token_id": 58100,
    "pad_token_id": 58100,
    "bos_token_id": None,
    "eos_token_id": 0,
    "forced_eos_token_id": 0,
}
_BASE = replace(
    bart.BART, translate=translate, heads=HEADS, copies=(), rereads=False, class_names={"seq2seq-lm": "MarianMTModel"}
)
MARIAN = sibling(_BASE, "marian", "Marian", tokenizer="marian", **_OPUS)

_SUMMARISER = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1, "forced_eos_token_id": 1}
_PEGASUS = replace(bart.BART, translate=pegasus, heads={**HEADS, "seq2seq-lm": Head((bart.WRITTEN,))}, rereads=False)
PEGASUS = sibling(_PEGASUS, "pegasus", "Pegasus", tokenizer="pegasus", **_SUMMARISER)
