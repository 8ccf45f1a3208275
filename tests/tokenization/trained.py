"""Small sentencepiece models of the test corpus, trained once each."""

import io
from functools import cache
from typing import Any

import sentencepiece

from tests.tokenization.corpus import TEXTS

T5_IDS = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}


@cache
def trained(**options: Any) -> bytes:
    """The ``.model`` file of a model with these training options."""
    written = io.BytesIO()
    defaults = {"vocab_size": 340, "character_coverage": 0.98, "hard_vocab_limit": False, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for text in TEXTS if text.strip()] * 3),
        model_writer=written,
        **(defaults | options),
    )
    return written.getvalue()


def byte_bpe() -> bytes:
    """A BPE model that writes unknown characters as bytes, as Llama's."""
    options = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    return trained(model_type="bpe", byte_fallback=True, vocab_size=700, **options)
