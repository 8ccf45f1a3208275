"""A command in a real terminal, played by this process: what it shows, and the keys it gets."""

import os
import pty
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

CTRL_C, CTRL_D = "\x03", "\x04"


class Terminal:
    """The master's side; ``shown`` is all that has appeared."""

    def __init__(self, process: int, file: int) -> None:
        self._process, self._file = process, file
        self.shown = ""
        self._seen = 0
        self.status: int | None = None

    def until(self, text: str, timeout_s: float = 30) -> str:
        """Waits until ``text`` appears behind what was waited for before; what appeared up to it."""
        end = time.monotonic() + timeout_s
        while (place := self.shown.find(text, self._seen)) < 0:
            if not self._read(end):
                raise AssertionError(f"{text!r} did not appear in {self.shown[self._seen :]!r}")
        before, self._seen = self.shown[self._seen : place], place + len(text)
        return before

    def some(self, count: int, timeout_s: float = 30) -> None:
        """Waits for so many characters behind what was waited for before."""
        end = time.monotonic() + timeout_s
        while len(self.shown) < self._seen + count:
            if not self._read(end):
                raise AssertionError(f"no {count} characters appeared, but {self.shown[self._seen :]!r}")

    def type(self, keys: str) -> None:
        """Presses keys."""
        os.write(self._file, keys.encode())

    def exit_code(self, timeout_s: float = 30) -> int:
        """Waits for the end."""
        end = time.monotonic() + timeout_s
        while self._read(end):
            pass
        _, self.status = os.waitpid(self._process, 0)
        return os.waitstatus_to_exitcode(self.status)

    def _read(self, end: float) -> bool:
        """Whether there was more until then."""
        ready, _, _ = select.select([self._file], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._file, 65536)
        except OSError:  # the other side is closed
            return False
        self.shown += data.decode("utf-8", "replace")
        return bool(data)


@contextmanager
def enfold_in_terminal(*args: str) -> Iterator[Terminal]:
    """Runs ``python -m enfold`` in a terminal of its own, which is gone afterwards."""
    process, file = pty.fork()
    if process == 0:  # pragma: no cover - the child becomes the command
        os.environ |= {"TERM": "dumb", "COLUMNS": "500", "LINES": "50"}
        os.execv(sys.executable, [sys.executable, "-m", "enfold", *args])
    terminal = Terminal(process, file)
    try:
        yield terminal
    finally:
        if terminal.status is None:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        os.close(file)
