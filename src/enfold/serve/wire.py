"""Messages between the server and its workers: msgpack maps, arrays as their bytes. Nothing in them is ever run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np

from enfold.errors import InputError

__all__ = ["LARGEST", "Inbox", "pack"]

LARGEST = 1 << 30
"""Bytes that one message may have."""
_ARRAY = 1


def pack(message: Any) -> bytes:
    """A message as bytes.

    Raises:
        InputError: it holds what can't be sent: half a character, or a number of more than 64 bits.
    """
    try:
        packed: bytes = msgpack.packb(message, default=_packed_array)
    except UnicodeEncodeError as error:
        raise InputError(
            f"a text is not valid Unicode: it holds half a surrogate pair ({error.object[error.start]!r}); send "
            "characters, as UTF-8 or as whole \\u escapes"
        ) from None
    except (OverflowError, ValueError) as error:
        raise InputError(f"the request can't be read: {error}") from None
    return packed


def _packed_array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        whole = np.ascontiguousarray(value)
        return msgpack.ExtType(_ARRAY, msgpack.packb((whole.dtype.str, whole.shape, whole.tobytes())))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, int):
        raise OverflowError(f"a number of {len(str(value))} digits is too large")
    raise TypeError(f"a {type(value).__name__} can't be sent")


def _unpacked_array(code: int, data: bytes) -> Any:
    if code != _ARRAY:
        return msgpack.ExtType(code, data)
    kind, shape, values = msgpack.unpackb(data)
    return np.frombuffer(values, np.dtype(kind)).reshape(shape)


class Inbox:
    """Whole messages from bytes as they come."""

    def __init__(self) -> None:
        self._unpacker = msgpack.Unpacker(ext_hook=_unpacked_array, max_buffer_size=LARGEST, strict_map_key=False)

    def feed(self, data: bytes) -> Iterator[Any]:
        """The messages that these bytes complete."""
        self._unpacker.feed(data)
        yield from self._unpacker
