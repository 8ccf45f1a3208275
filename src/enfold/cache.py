"""Keys and values of the tokens that a decoder has read, so that each pass computes only what is new.

One :class:`Cache` serves every engine: arrays are made by the engine's ``allocate`` and are otherwise only indexed.
Rows are the sequences that run; each knows its own length, so that they need no padding and may join and leave at
any time. What a decoder attends to of an encoder is kept once for each source, however many rows (beams) share it.

::

    own[layer]     (rows, kv_heads, capacity, head_size)      lengths[row] of them are filled
    memory[layer]  (sources, kv_heads, capacity, head_size)   of the source owners[row]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from enfold.arch import Architecture

__all__ = ["Cache", "Kept", "Reading", "Store", "Tokens", "Turn"]

Array = Any
Allocate = Callable[[tuple[int, ...]], Array]
"""Makes an array of zeros for keys of the last dimension's size, on the model's device and of a type of its own; memory
that is never used should cost nothing."""
Encode = Callable[[Array], Array]
"""Keys or values (tokens, kv_heads, head_size) as such an array holds them."""

Tokens = tuple[Array, Array]
"""Keys and values of one layer for tokens in a row, (kv_heads, length, head_size) each."""

_ROOM = 64
"""Tokens that a store grows beyond what it is asked for."""


@dataclass(frozen=True)
class Reading:
    """Which stored keys each sequence of one pass reads.

    Attributes:
        rows: the row of the store, for each sequence.
        pasts: keys there before this pass; None where the pass adds none.
        lengths: keys to read, with those that the pass adds.
        repeats: how many sequences read each row, where they are all rows in order; otherwise 0.
        memo: what an engine derives from this once for all layers.
    """

    rows: list[int]
    pasts: list[int] | None
    lengths: list[int]
    repeats: int
    memo: dict[Any, Any] = field(default_factory=dict)

    @property
    def longest(self) -> int:
        """Keys that the longest sequence reads."""
        return max(self.lengths, default=0)

    @property
    def ragged(self) -> bool:
        """Whether sequences read different numbers of keys."""
        return len(set(self.lengths)) > 1


class Store:
    """Keys and values of one layer, (rows, kv_heads, capacity, head_size) each."""

    def __init__(self, allocate: Allocate, kv_heads: int, head_size: int) -> None:
        self._allocate, self._head_size = allocate, head_size
        self.keys = allocate((0, kv_heads, 0, head_size))
        self.values = self.keys

    def reserve(self, rows: int, length: int) -> None:
        """Room for ``rows`` of ``length`` tokens; grows by more than that, and keeps what is there.

        Unused room is zero: what is masked must still be finite. So what is no longer used is cleared.
        """
        had_rows, heads, had = self.keys.shape[:3]
        if rows <= had_rows and length <= had:
            return
        new_rows = had_rows if rows <= had_rows else max(rows, 2 * had_rows if had_rows else 0)
        capacity = had if length <= had else max(length + _ROOM, had + had // 2)
        for name in ("keys", "values"):
            old, new = getattr(self, name), self._allocate((new_rows, heads, capacity, self._head_size))
            new[:had_rows, :, :had] = old
            setattr(self, name, new)

    def move(self, source: int, target: int, length: int) -> None:
        """Copies a row's first ``length`` tokens to another row."""
        self.keys[target, :, :length] = self.keys[source, :, :length]
        self.values[target, :, :length] = self.values[source, :, :length]

    def taken(self, row: int, length: int) -> Tokens:
        """Copies of a row's first ``length`` tokens."""
        copies = []
        for array in (self.keys, self.values):
            copy = self._allocate((array.shape[1], length, self._head_size))
            copy[:] = array[row, :, :length]
            copies.append(copy)
        return copies[0], copies[1]

    def put(self, row: int, tokens: Tokens, length: int) -> None:
        """Copies the first ``length`` of tokens that :meth:`taken` gave into a row."""
        self.keys[row, :, :length], self.values[row, :, :length] = (array[:, :length] for array in tokens)

    def clear(self, row: int, since: int, until: int) -> None:
        """Zeros for a row's tokens ``since`` to ``until``: a model may have made NaN of them."""
        self.keys[row, :, since:until] = 0
        self.values[row, :, since:until] = 0

    def reorder(self, targets: list[int], sources: list[int], since: int, until: int) -> None:
        """Row ``targets[i]`` takes the tokens ``since`` to ``until`` of row ``sources[i]``, all at once."""
        self.keys[targets, :, since:until] = self.keys[sources, :, since:until]
        self.values[targets, :, since:until] = self.values[sources, :, since:until]


Kept = tuple[Store, Reading]
"""One layer's store, and how the sequences of this pass read it."""


@dataclass(frozen=True)
class Turn:
    """What one pass may do with a cache."""

    own_stores: list[Store]
    memory_stores: list[Store]
    own_reading: Reading
    memory_reading: Reading | None

    def own(self, depth: int) -> Kept:
        """Of the decoder's own tokens."""
        return self.own_stores[depth], self.own_reading

    def memory(self, depth: int) -> Kept:
        """Of the encoder's."""
        assert self.memory_reading is not None
        return self.memory_stores[depth], self.memory_reading


class Cache:
    """The rows that run, what they have read, and the sources that they belong to.

    Args:
        arch: the decoder.
        allocate: the engine's.
        encode: the engine's, where its arrays don't hold keys and values as they are.

    Attributes:
        lengths: tokens that each row holds.
        owners: the source that each row attends to.
        sources: tokens that each source has.
        columns: tokens and padding that padded calls have handed over, for :mod:`enfold.adapter`.
    """

    def __init__(self, arch: Architecture, allocate: Allocate, encode: Encode = lambda keys: keys) -> None:
        def stores() -> list[Store]:
            return [Store(allocate, arch.kv_heads, arch.head_size) for _ in arch.layer_order]

        self._encode, self._by_head = encode, (-1, arch.kv_heads, arch.head_size)
        self._own = stores()
        self._memory = stores() if arch.encoder else []
        self.lengths: list[int] = []
        self.owners: list[int] = []
        self.sources: list[int] = []
        self.columns = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def get_seq_length(self) -> int:
        """Tokens that the longest row holds, as the field calls it."""
        return max(self.lengths, default=0)

    @property
    def nbytes(self) -> int:
        """Bytes that are allocated."""
        return sum(int(array.nbytes) for s in (*self._own, *self._memory) for array in (s.keys, s.values))

    def add(self, count: int = 1, *, owner: int | None = None) -> list[int]:
        """New rows without tokens, which read the source ``owner``; their numbers."""
        first = len(self.lengths)
        self.lengths += [0] * count
        rows = list(range(first, first + count))
        self.owners += rows if owner is None else [owner] * count
        return rows

    def expect(self, length: int) -> None:
        """Makes room for ``length`` tokens in every row at once, rather than by and by."""
        for store in self._own:
            store.reserve(len(self.lengths), length)

    def turn(self, rows: Sequence[int], counts: Sequence[int]) -> Turn:
        """Makes room for ``counts`` more tokens of these rows, and counts them as read from here on."""
        pasts = [self.lengths[row] for row in rows]
        lengths = [past + count for past, count in zip(pasts, counts, strict=True)]
        self.expect(max(lengths, default=0))
        for row, length in zip(rows, lengths, strict=True):
            self.lengths[row] = length
        own = Reading(list(rows), pasts, lengths, _repeats(rows, len(self.lengths)))
        if not self._memory:
            return Turn(self._own, self._memory, own, None)
        owners = [self.owners[row] for row in rows]
        memory = Reading(owners, None, [self.sources[o] for o in owners], _repeats(owners, len(self.sources)))
        return Turn(self._own, self._memory, own, memory)

    def remember(self, layers: Sequence[tuple[Array, Array]], spans: Sequence[tuple[int, int]]) -> None:
        """Adds sources.

        Args:
            layers: for each depth, keys and values (T, kv_heads * head_size), packed.
            spans: where each source is among the T.
        """
        first = len(self.sources)
        self.sources += [end - begin for begin, end in spans]
        for store, (keys, values) in zip(self._memory, layers, strict=True):
            store.reserve(len(self.sources), max(self.sources, default=0))
            for index, (begin, end) in enumerate(spans, first):
                for into, array in ((store.keys, keys), (store.values, values)):
                    into[index, :, : end - begin] = self._encode(array[begin:end].reshape(self._by_head)).swapaxes(0, 1)

    @contextmanager
    def undone_on_failure(self) -> Iterator[None]:
        """What a pass adds is forgotten again where it fails."""
        lengths, sources, columns = list(self.lengths), len(self.sources), self.columns
        try:
            yield
        except BaseException:
            self.pop(len(self.lengths) - len(lengths))
            for row, length in enumerate(lengths):
                self.truncate(row, length)
            while len(self.sources) > sources:
                self.forget(len(self.sources) - 1)
            self.columns = columns
            raise

    def copy_row(self, source: int, target: int, length: int | None = None) -> None:
        """Row ``target`` takes the tokens of row ``source``, the first ``length`` of them or all."""
        length = self.lengths[source] if length is None else length
        self.truncate(target, length)
        self.lengths[target] = length
        for store in self._own:
            store.reserve(len(self.lengths), length)
            store.move(source, target, length)

    def row(self, row: int, length: int) -> list[Tokens]:
        """The first ``length`` tokens of a row, for each layer, as long as they stand there; for :meth:`put_row`."""
        return [(store.keys[row, :, :length], store.values[row, :, :length]) for store in self._own]

    def taken_row(self, row: int, length: int) -> list[Tokens]:
        """Copies of the first ``length`` tokens of a row, for each layer; for :meth:`put_row`."""
        return [store.taken(row, length) for store in self._own]

    def put_row(self, row: int, layers: Sequence[Tokens], length: int) -> None:
        """Row ``row`` begins with the first ``length`` of tokens that :meth:`taken_row` gave, and has no others."""
        self.truncate(row, 0)
        self.expect(length)
        for store, tokens in zip(self._own, layers, strict=True):
            store.put(row, tokens, length)
        self.lengths[row] = length

    def reorder(self, parents: Sequence[int], *, since: int = 0) -> None:
        """Row ``i`` becomes what row ``parents[i]`` was; they have the tokens before ``since`` in common."""
        moved = [(row, parent) for row, parent in enumerate(parents) if row != parent]
        if not moved:
            return
        targets, sources = [row for row, _ in moved], [parent for _, parent in moved]
        until = max(self.lengths[parent] for parent in sources)
        for store in self._own:
            store.reorder(targets, sources, since, until)
        lengths = [self.lengths[parent] for parent in parents]
        for row, length in enumerate(lengths):
            self.truncate(row, length)
        self.lengths[:] = lengths

    def pop(self, count: int = 1) -> None:
        """Ends the last rows."""
        for row in range(len(self.lengths) - count, len(self.lengths)):
            self.truncate(row, 0)
        del self.lengths[len(self.lengths) - count :]
        del self.owners[len(self.owners) - count :]

    def forget(self, source: int) -> int:
        """Ends a source that no row reads: the last one takes its place. Returns the number that the last one had."""
        last, gone = len(self.sources) - 1, self.sources[source]
        if source != last:
            for store in self._memory:
                store.move(last, source, self.sources[last])
            self.sources[source] = self.sources[last]
            self.owners[:] = [source if owner == last else owner for owner in self.owners]
        kept = 0 if source == last else self.sources[last]
        for store in self._memory:
            store.clear(source, kept, gone)
            store.clear(last, 0, self.sources[last])
        self.sources.pop()
        return last

    def truncate(self, row: int, length: int) -> None:
        """Forgets the tokens of a row beyond ``length``."""
        if length < (held := self.lengths[row]):
            for store in self._own:
                store.clear(row, length, held)
            self.lengths[row] = length


def _repeats(rows: Sequence[int], total: int) -> int:
    if not total or len(rows) % total:
        return 0
    count = len(rows) // total
    return count if all(row == index // count for index, row in enumerate(rows)) else 0
