"""Processors and stopping criteria written for transformers, which take tensors, as enfold's own.

transformers is never imported: its classes are known by their names, its tensors by torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError, MissingDependencyError
from enfold.generation.rows import Criterion, Processor, Rows, Scores

__all__ = ["adapt_criterion", "adapt_processor", "criterion_from_transformers", "processor_from_transformers"]


def processor_from_transformers(processor: Callable[..., Any]) -> Processor:
    """A processor of ``(input_ids, scores)`` tensors as one of enfold's.

    Rows of equal length are handed over together, as tensors ``(R, S)`` and ``(R, V)``: there is no padding.
    """

    def process(scores: Scores, rows: Rows) -> Scores:
        torch = _torch()
        for members in _by_length(rows):
            ids = torch.tensor([rows.tokens[row] for row in members])
            scores[members] = processor(ids, torch.from_numpy(scores[members])).detach().float().cpu().numpy()
        return scores

    return process


def criterion_from_transformers(criterion: Callable[..., Any]) -> Criterion:
    """A stopping criterion of ``(input_ids, scores)`` as one of enfold's; ``scores`` is None."""

    def stop(rows: Rows) -> NDArray[np.bool_]:
        torch = _torch()
        done = np.zeros(len(rows), dtype=np.bool_)
        for members in _by_length(rows):
            done[members] = np.asarray(criterion(torch.tensor([rows.tokens[row] for row in members]), None))
        return done

    return stop


def adapt_processor(processor: Any) -> Processor:
    """A caller's processor as enfold's: transformers' objects are wrapped, other callables taken as they are."""
    if _is_of(processor, "LogitsProcessor") or _is_of(processor, "LogitsProcessorList"):
        return processor_from_transformers(processor)
    own: Processor = _callable(processor, "logits processor", "(scores, rows) -> scores")
    return own


def adapt_criterion(criterion: Any) -> Criterion:
    """A caller's stopping criterion as enfold's: transformers' objects are wrapped."""
    if _is_of(criterion, "StoppingCriteria") or _is_of(criterion, "StoppingCriteriaList"):
        return criterion_from_transformers(criterion)
    own: Criterion = _callable(criterion, "stopping criterion", "(rows) -> which rows are done")
    return own


def _callable(value: Any, what: str, signature: str) -> Any:
    if not callable(value):
        raise InputError(f"{value!r} is no {what}; expected a function {signature}, or an object of transformers' kind")
    return value


def _is_of(value: Any, name: str) -> bool:
    return any(
        base.__name__ == name and base.__module__.partition(".")[0] == "transformers" for base in type(value).__mro__
    )


def _by_length(rows: Rows) -> Iterator[list[int]]:
    lengths: dict[int, list[int]] = {}
    for row, tokens in enumerate(rows.tokens):
        lengths.setdefault(len(tokens), []).append(row)
    yield from lengths.values()


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            "processors and criteria of transformers' kind take tensors, and PyTorch is not installed: "
            "pip install torch, or write them as enfold's, a function (scores, rows) -> scores"
        ) from error
    return torch
