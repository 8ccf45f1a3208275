"""Log lines as JSON, one for each thing that happened. Where they can't be written, work goes on without them."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["fields_of", "send_log", "start_log"]

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        return json.dumps(line | fields_of(record), ensure_ascii=False, default=str)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a log line has beside its event: what it was given, and where an error came from."""
    fields = {name: value for name, value in vars(record).items() if name not in _OWN}
    if record.exc_info:
        fields["traceback"] = logging.Formatter().formatException(record.exc_info)
    return fields


def start_log(path: Path | None) -> None:
    """Sends the server's log to a file, or to stderr.

    Raises:
        OSError: the file can't be opened.
    """
    logging.raiseExceptions = False  # a full disk is no reason to stop answering
    handler = logging.FileHandler(path, encoding="utf-8") if path else logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    for name in ("enfold.serve", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == "enfold.serve" else logging.WARNING)


class _Sender(logging.Handler):
    def __init__(self, send: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(record)
        except Exception:
            self.handleError(record)


def send_log(send: Callable[[logging.LogRecord], None]) -> None:
    """Hands over all that this process logs, Python's warnings included."""
    logging.captureWarnings(True)
    logging.raiseExceptions = False
    root = logging.getLogger()
    root.handlers = [_Sender(send)]
    logging.getLogger("enfold.serve").setLevel(logging.INFO)
