"""What a server answers where it can't answer: one exception, and the status that each kind of error stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.exceptions import HTTPException

__all__ = ["Fault", "fault_of"]


class Fault(HTTPException):
    """A request that gets an error for an answer.

    Args:
        status: of HTTP.
        kind: a short name of what is wrong, for programs.
        message: what was given, what was expected, what to do.
        param: the part of the request that is wrong.
        headers: more headers of the answer.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.kind, self.message, self.param = kind, message, param


_OF_WORKERS: Mapping[str, tuple[int, str]] = {
    "LimitError": (422, "too_many_tokens"),
    "TextTooLongError": (422, "context_length_exceeded"),
    "InputError": (422, "invalid_request"),
    "TaskError": (422, "wrong_task"),
    "TokenizerError": (422, "invalid_request"),
    "UntrainedHeadError": (422, "untrained_head"),
    "SourceError": (503, "model_failed"),
    "CheckpointError": (503, "model_failed"),
    "ConfigError": (503, "model_failed"),
    "NumericalError": (500, "model_error"),
    "MissingDependencyError": (501, "not_available"),
    "MemoryError": (503, "out_of_memory"),
}


def fault_of(kinds: Sequence[str], message: str) -> Fault:
    """What a worker's error is to a client; one that nobody foresaw is told without its inside."""
    for kind in kinds:
        if kind in _OF_WORKERS:
            status, name = _OF_WORKERS[kind]
            return Fault(status, name, message or "there is not enough memory for this request")
    return Fault(500, "internal_error", "the server made a mistake with this request; its log says which")
