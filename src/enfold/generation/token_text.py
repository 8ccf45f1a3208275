"""The text that each token stands for, as bytes: byte-level and fallback tokens may hold parts of characters."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import tokenizers

from enfold.errors import InputError

__all__ = ["TokenBytes", "backend_of"]

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_ANCHOR = "abcdef"


def backend_of(tokenizer: Any) -> tokenizers.Tokenizer:
    """The Rust tokenizer that knows the ids a model writes: enfold's, transformers', or the one that was given."""
    state = getattr(tokenizer, "_state", None)
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer) if state is None else state.for_decoding.book
    if not isinstance(backend, tokenizers.Tokenizer):
        raise InputError(
            f"tokenizer is a {type(tokenizer).__name__}, which has no vocabulary of the kind that is needed; "
            "expected the model's enfold tokenizer"
        )
    return backend


class TokenBytes:
    """The bytes of a token by its id, worked out when first asked for; empty for an id without token."""

    def __init__(self, tokenizer: Any) -> None:
        self._backend = backend_of(tokenizer)
        state, decoder = getattr(tokenizer, "_state", None), self._backend.decoder
        # Decoders treat the first token of a text in their own way, so a token is decoded behind others; those of
        # Marian and M2M-100, whose pieces stand in a file beside the vocabulary, treat the last one so too.
        self._after: list[str] = []
        if state is not None and state.for_decoding.table is not None:
            self._before, self._after, kinds = ["▁" + _ANCHOR], [_ANCHOR], {"ByteFallback"}
            self._decode: Callable[[list[str]], str] = tokenizer.convert_tokens_to_string
        else:
            self._before = self._backend.encode(_ANCHOR, add_special_tokens=False).tokens
            kinds = set() if decoder is None else _kinds(json.loads(decoder.__getstate__()))
            self._decode = " ".join if decoder is None else decoder.decode
        self._fallback = "ByteFallback" in kinds
        self._byte_level = "ByteLevel" in kinds and not self._fallback
        self._before_text = self._decode(self._before)
        self._known: dict[int, bytes] = {}

    def __getitem__(self, token: int) -> bytes:
        if token not in self._known:
            self._known[token] = self._bytes_of(self._backend.id_to_token(token) or "")
        return self._known[token]

    def _bytes_of(self, token: str) -> bytes:
        if self._byte_level and all(char in _byte_of_char() for char in token):
            return bytes(_byte_of_char()[char] for char in token)
        if self._fallback and (code := _BYTE_TOKEN.fullmatch(token)):
            return bytes([int(code[1], 16)])
        if not token:
            return b""
        text = self._decode([*self._before, token, *self._after])
        # By length, for a piece may change its neighbour: markers of capitals have no text of their own.
        return text[len(self._before_text) : len(text) - len("".join(self._after))].encode()


def _kinds(decoder: Any) -> set[str]:
    """The types of a decoder and of those inside it."""
    parts = decoder.values() if isinstance(decoder, dict) else decoder if isinstance(decoder, list) else ()
    inner = {kind for part in parts for kind in _kinds(part)}
    return {str(decoder["type"]), *inner} if isinstance(decoder, dict) and "type" in decoder else inner


@lru_cache(maxsize=1)
def _byte_of_char() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 characters stand for themselves, the other bytes for 256 and on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
