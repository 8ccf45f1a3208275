"""Tokenizers: texts to the ids of a vocabulary and back, over the Rust engine of the ``tokenizers`` package."""

from enfold.tokenization.batch import BatchEncoding, CharSpan, TokenSpan
from enfold.tokenization.encoded import Encoded
from enfold.tokenization.incremental import IncrementalDecoder
from enfold.tokenization.kinds import TOKENIZER_NAMES
from enfold.tokenization.schema import get_json_schema
from enfold.tokenization.tokenizer import Tokenizer

__all__ = ["TOKENIZER_NAMES", "BatchEncoding", "CharSpan", "Encoded", "IncrementalDecoder", "TokenSpan", "Tokenizer"]
__all__ += ["get_json_schema"]
