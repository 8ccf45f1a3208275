"""A GGUF file as a checkpoint: its configuration, its tensors by their Hugging Face names, its vocabulary."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from enfold.checkpoint.gguf.blocks import BLOCK_TYPES, BlockType
from enfold.checkpoint.gguf.config import configuration, naming_of
from enfold.checkpoint.gguf.header import PLAIN_TYPES, Entry, Header, read_header
from enfold.checkpoint.gguf.names import Naming, RowOrder
from enfold.checkpoint.gguf.vocabulary import Vocabulary, read_vocabulary
from enfold.checkpoint.tensors import DType, TensorView, storage_dtype
from enfold.errors import CorruptFileError

__all__ = ["GgufFile", "GgufTensor", "open_gguf"]


@dataclass(frozen=True, eq=False)
class GgufTensor(TensorView):
    """One tensor of a GGUF file, as the checkpoint that it was made from has it; quantized values come as float32.

    Attributes:
        blocks: how it is quantized; None where the elements are stored as they are.
        row_order: the order of the stored rows, where it isn't that of the checkpoint. `raw` and `numpy` undo it.
        transposed: whether what is stored is the transpose, (outputs, inputs). `numpy` gives `shape`, `raw` doesn't.
    """

    blocks: BlockType | None = None
    row_order: RowOrder | None = field(default=None, kw_only=True)
    transposed: bool = field(default=False, kw_only=True)

    def raw(self) -> npt.NDArray[Any]:
        """The stored elements, or the blocks as uint8 of shape ``(*rows, blocks of a row, bytes of a block)``.

        Rows are in the checkpoint's order; a transposed tensor stays as it is stored, since blocks go along its rows.
        """
        ordered = self.bits if self.row_order is None else self.row_order.apply(self.bits)
        return np.require(ordered, requirements=("C", "A"))

    def blocks_by_row(self) -> tuple[npt.NDArray[np.uint8], BlockType] | None:
        """See `TensorView`."""
        return None if self.blocks is None or len(self.shape) != 2 else (self.raw(), self.blocks)

    @property
    def is_transposed(self) -> bool:
        """See `TensorView`."""
        return self.transposed

    def numpy(self, dtype: DType = "float32") -> npt.NDArray[Any]:
        """The values as `dtype`, dequantized a few blocks at a time: beside the result little memory is needed."""
        raw = self.raw()
        if self.blocks is None:
            values = TensorView(self.name, self.dtype, self.shape, raw).numpy(dtype)
        else:
            values = self.blocks.dequantize(raw).astype(dtype, copy=False)
        return np.ascontiguousarray(values.T) if self.transposed else values


class GgufFile:
    """An open GGUF file; `metadata` is what it states about itself, by its own keys.

    The tensors lie in the file, mapped into memory: having it open costs little.
    """

    def __init__(self, header: Header) -> None:
        self.path: Path = header.path
        self.metadata: Mapping[str, Any] = header.metadata
        self._header = header

    @cached_property
    def config(self) -> dict[str, Any]:
        """The values of a Hugging Face config.json.

        Raises:
            ConfigError: the architecture isn't read, or values are missing or wrong; all are listed.
        """
        return configuration(self._header)

    @cached_property
    def tensors(self) -> Mapping[str, GgufTensor]:
        """The tensors by their Hugging Face names; one that the architecture doesn't know keeps its own.

        Raises:
            ConfigError: see `config`.
            CorruptFileError: queries or keys that can't be the rows of so many heads.
        """
        naming = naming_of(self._header)
        # It is no parameter of the model: the configuration states it as the scaling of its positions.
        entries = [entry for entry in self._header.entries if entry.name != "rope_freqs.weight"]
        views = [self._view(entry, naming) for entry in entries]
        return {view.name: view for view in views}

    def tokenizer(self) -> Vocabulary:
        """What the file says about its tokenizer.

        Raises:
            TokenizerError: it says nothing, or values are of the wrong type; all are listed.
        """
        return read_vocabulary(self.path, self.metadata)

    def _view(self, entry: Entry, naming: Naming) -> GgufTensor:
        blocks = BLOCK_TYPES.get(entry.type)
        dtype = PLAIN_TYPES.get(entry.type, "float32")
        stored = self._header.data[entry.begin : entry.end]
        if blocks is None:
            bits = stored.view(storage_dtype(dtype)).reshape(entry.shape)
        else:
            bits = stored.reshape(*entry.shape[:-1], entry.shape[-1] // blocks.size, blocks.block_bytes)
        order = naming.row_order(entry.name, self.config)
        if order and not order.fits(entry.shape[0]):
            raise CorruptFileError(
                f"{self.path} is damaged: {entry.name!r} has {entry.shape[0]} rows; "
                f"expected {order.heads} heads of an even width. Download the file again"
            )
        transposed = naming.is_transposed(entry.name)
        shape = entry.shape[::-1] if transposed else entry.shape
        name = naming.checkpoint_name(entry.name)
        return GgufTensor(name, dtype, shape, bits, blocks, row_order=order, transposed=transposed)

    def __repr__(self) -> str:
        return f"GgufFile({len(self._header.entries)} tensors of {self.path})"


def open_gguf(path: str | os.PathLike[str]) -> GgufFile:
    """Opens a GGUF file: maps it into memory, reads and checks its header.

    Raises:
        CorruptFileError: the file is truncated, damaged or something else; the message says what was found.
        CheckpointError: it can't be opened, or holds what isn't read; the message lists it.
        MissingDependencyError: the package ``gguf`` is not installed.
    """
    return GgufFile(read_header(path))
