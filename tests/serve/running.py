"""A real server in a process of its own, for tests that ask it over HTTP."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BEGINS_WITHIN_S = 120


@dataclass
class Running:
    """A server that answers.

    Attributes:
        address: as ``http://127.0.0.1:PORT``.
        process: its process.
        log: the file of its log.
    """

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log so far, or what it has of one event."""
        whole = self.log.read_text("utf-8").split("\n")[:-1]  # the last may be half a line
        found = [json.loads(line) for line in whole if line.startswith("{")]
        return [line for line in found if event in (None, line["event"])]

    def state(self) -> dict[str, Any]:
        """What /ready says."""
        try:
            with urllib.request.urlopen(f"{self.address}/ready", timeout=10) as answer:
                return json.load(answer)  # type: ignore[no-any-return]
        except urllib.error.HTTPError as error:
            return json.load(error)  # type: ignore[no-any-return]

    def wait_until_ready(self) -> None:
        """Until every model is loaded."""
        end = time.monotonic() + _BEGINS_WITHIN_S
        while not self.state()["ready"]:
            assert self.process.poll() is None, self.log.read_text("utf-8")
            assert time.monotonic() < end, (self.state(), self.log.read_text("utf-8"))
            time.sleep(0.05)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def running(*models: str | Path, ready: bool = True, **options: Any) -> Iterator[Running]:
    """A server of these models; ``options`` are those of the command line, ``max_texts=5`` for ``--max-texts 5``."""
    port = free_port()
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    with tempfile.TemporaryDirectory() as home:
        log = Path(home) / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "enfold", "serve", *map(str, models), "--port", str(port), *flags],
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
            server = Running(f"http://127.0.0.1:{port}", process, log)
            try:
                _wait_for_port(server, port)
                if ready:
                    server.wait_until_ready()
                yield server
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _wait_for_port(server: Running, port: int) -> None:
    end = time.monotonic() + _BEGINS_WITHIN_S
    while True:
        assert server.process.poll() is None, server.log.read_text("utf-8")
        assert time.monotonic() < end, server.log.read_text("utf-8")
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
