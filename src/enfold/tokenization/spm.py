"""Reading a sentencepiece ``.model`` file: the fields of its protobuf message that make ids and text.

The message is ``ModelProto`` of https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto.
Unknown fields are skipped, as protobuf asks.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from enfold.errors import TokenizerError
from enfold.tokenization.files import read_bytes

__all__ = ["BYTE", "CONTROL", "NORMAL", "USER_DEFINED", "Piece", "SentencePieceModel", "read_sentencepiece"]

NORMAL, CONTROL, USER_DEFINED, BYTE = 1, 3, 4, 6
_UNIGRAM, _BPE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_Field = tuple[int, int | bytes]


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of the vocabulary; ``kind`` is the ``Type`` of the message (1 normal, 2 unknown, 3 control …)."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True, slots=True)
class SentencePieceModel:
    """What a ``.model`` file says.

    ``charsmap`` is the compiled normalisation table, empty for none, and ``denormalizer`` the one that text goes
    through after decoding. ``suffixes``: a space belongs to the word before it.
    """

    pieces: tuple[Piece, ...]
    is_bpe: bool
    unk_id: int
    byte_fallback: bool
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    suffixes: bool = False
    denormalizer: bytes = b""


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """Read a sentencepiece model file.

    Raises:
        TokenizerError: the file is missing, damaged, not sentencepiece, or trained as plain words or characters.
    """
    content = read_bytes(path)
    try:
        model = _model(content)
    except (ValueError, IndexError, struct.error, TypeError) as error:
        raise TokenizerError(
            f"{path}: is not a sentencepiece model, or is damaged ({error}). Fetch it again, or use a tokenizer.json."
        ) from error
    if not model.pieces:
        raise TokenizerError(f"{path}: holds no pieces; a sentencepiece model was expected.")
    if not 0 <= model.unk_id < len(model.pieces):
        raise TokenizerError(f"{path}: the unknown piece is number {model.unk_id} of {len(model.pieces)} pieces.")
    return model


def _model(content: bytes) -> SentencePieceModel:
    pieces: list[Piece] = []
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    denormalizer: dict[int, int | bytes] = {}
    for number, value in _fields(content):
        if number == 1:
            pieces.append(_piece(_as_bytes(value)))
        elif number == 2:
            trainer.update(_fields(_as_bytes(value)))
        elif number == 3:
            normalizer.update(_fields(_as_bytes(value)))
        elif number == 5:
            denormalizer.update(_fields(_as_bytes(value)))
    model_type = trainer.get(3, _UNIGRAM)
    if model_type not in (_UNIGRAM, _BPE):
        raise ValueError(f"its model type is {model_type!r}; 1 (unigram) or 2 (BPE) was expected")
    return SentencePieceModel(
        pieces=tuple(pieces),
        is_bpe=model_type == _BPE,
        unk_id=_as_int(trainer.get(40, 0)),
        byte_fallback=bool(trainer.get(35, 0)),
        charsmap=_as_bytes(normalizer.get(2, b"")),
        add_dummy_prefix=bool(normalizer.get(3, 1)),
        remove_extra_whitespaces=bool(normalizer.get(4, 1)),
        suffixes=bool(trainer.get(24, 0)),
        denormalizer=_as_bytes(denormalizer.get(2, b"")),
    )


def _piece(content: bytes) -> Piece:
    fields = dict(_fields(content))
    (score,) = struct.unpack("<f", _as_bytes(fields.get(2, bytes(4))))
    return Piece(_as_bytes(fields.get(1, b"")).decode(), score, _as_int(fields.get(3, NORMAL)))


def _fields(content: bytes) -> Iterator[_Field]:
    """The fields of one protobuf message in order, as ``(field number, integer or raw bytes)``."""
    position = 0
    while position < len(content):
        key, position = _varint(content, position)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, position = _varint(content, position)
            yield number, value
            continue
        if wire == _BYTES:
            size, position = _varint(content, position)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire} at byte {position}")
        if number == 0 or position + size > len(content):
            raise ValueError(f"a field of {size} bytes at byte {position} of {len(content)}")
        yield number, content[position : position + size]
        position += size


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """A base-128 integer and the position after it."""
    result = shift = 0
    while True:
        byte = content[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
        if shift > 63:
            raise ValueError(f"a number of more than 64 bits at byte {position}")


def _as_bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("a number where bytes were expected")
    return value


def _as_int(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise TypeError("bytes where a number was expected")
    return value
