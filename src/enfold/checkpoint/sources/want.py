"""Which files of a model are asked for."""

from typing import Literal

__all__ = ["Want"]

Want = Literal["model", "tokenizer", "config", "all"]
"""config.json alone; the tokenizer's files; configuration and weights; or everything that loads."""
