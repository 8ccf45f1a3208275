"""GGUF, llama.cpp's format: a model's configuration, its tensors, often quantized, and its tokenizer in one file."""

import os
from typing import Any

from enfold.checkpoint.files import gguf_file
from enfold.checkpoint.gguf.blocks import BLOCK_TYPES, BlockType
from enfold.checkpoint.gguf.file import GgufFile, GgufTensor, open_gguf
from enfold.checkpoint.gguf.names import RowOrder
from enfold.errors import CheckpointError

__all__ = ["BLOCK_TYPES", "BlockType", "GgufFile", "GgufTensor", "RowOrder", "gguf_config", "open_gguf"]


def gguf_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The config.json that a GGUF file, or the one in a folder, amounts to.

    Raises:
        ConfigError: the architecture isn't read, or values are missing or wrong; all are listed.
        CheckpointError: there is no such file, or several, or it is damaged.
    """
    file = gguf_file(path)
    if file is None:
        raise CheckpointError(f"{os.fspath(path)} holds no GGUF model; expected a file *.gguf, or a folder with one")
    return open_gguf(file).config
