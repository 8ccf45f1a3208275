"""Which files of a model are asked for."""

from typing import Literal

__all__ = ["Want"]

Want = Literal["model", "tokenizer", "config", "all", "embedding"]
"""Which files have to be there.

* ``config``: config.json;
* ``tokenizer``: the tokenizer's files;
* ``model``: configuration and weights;
* ``all``: everything that loads, with sentence-transformers' modules where there are any;
* ``embedding``: the same, and certainty about those modules. A cache that another library filled may lack
  modules.json although the repository has one, and embeddings would be pooled in the wrong way.
"""
