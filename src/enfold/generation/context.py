"""How many tokens a model reads, those that it writes included."""

from __future__ import annotations

from enfold.arch import Architecture, Rotary

__all__ = ["context_of"]


def context_of(arch: Architecture) -> int | None:
    """Tokens that a stack has positions for; None where its distances have no end, as T5's.

    Angles could be computed for any position, but past the context a model was never trained, and writes nonsense.
    Configurations name that length before it is scaled (linear, dynamic) or after (llama3, yarn): the longer counts.
    """
    if arch.positions is not None:
        return arch.max_length
    if not isinstance(arch.relative, Rotary):
        return None
    if (scaling := arch.relative.scaling) is None:
        return arch.max_length
    return max(arch.max_length, int((scaling.original_length or arch.max_length) * scaling.factor))
