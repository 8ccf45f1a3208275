"""T5's gaps: ``<extra_id_0>``, ``<extra_id_1>`` … in a text, and what the model writes for each (arXiv 1910.10683)."""

from __future__ import annotations

import re

__all__ = ["fill_spans", "read_spans", "sentinels_of"]

_SENTINEL = re.compile(r"(<extra_id_\d{1,4}>)")


def sentinels_of(text: str) -> list[str]:
    """The sentinels of a text, in their order."""
    return _SENTINEL.findall(text)


def read_spans(generated: str) -> dict[str, str]:
    """What follows each sentinel in a text that a model wrote with its special tokens; of equal ones the first counts.

    >>> read_spans("<extra_id_0> cute dog<extra_id_1> the<extra_id_2></s>")
    {'<extra_id_0>': 'cute dog', '<extra_id_1>': 'the', '<extra_id_2>': ''}
    """
    _, *parts = _SENTINEL.split(generated)
    spans: dict[str, str] = {}
    for sentinel, span in zip(parts[::2], parts[1::2], strict=True):
        spans.setdefault(sentinel, re.sub(r"</s>|<pad>", "", span).strip())
    return spans


def fill_spans(text: str, spans: dict[str, str]) -> str:
    """The text with spans in the places of their sentinels; a sentinel that has none stays.

    >>> fill_spans("The <extra_id_0> walks in <extra_id_1> park", {"<extra_id_0>": "dog", "<extra_id_1>": "a"})
    'The dog walks in a park'
    """
    return _SENTINEL.sub(lambda match: spans.get(match[0], match[0]), text)
