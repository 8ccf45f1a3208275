"""Contenders in processes of their own, timed in turns; the machine and the versions in words."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

console = Console(width=100)


def describe_machine(packages: tuple[str, ...]) -> str:
    """Processor, cores and versions, one line each."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return f"{model}, {cores} cores, {platform.system()}, Python {platform.python_version()}\n{versions}"


class Contender:
    """A worker process: it prints a line when ready, then runs once a line and prints its seconds."""

    def __init__(self, script: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, script, "--worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answer()

    def answer(self) -> dict:
        """The worker's next JSON line; whatever else it prints is passed over."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"a contender ended early with exit code {self.process.wait()}")

    def run(self) -> dict:
        """One run's answer."""
        assert self.process.stdin is not None
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        """Ends the worker."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def in_turns(contenders: Mapping[str, Contender], rounds: int) -> dict[str, list[dict]]:
    """Every contender once a round, after a round that does not count."""
    results: dict[str, list[dict]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, contender in contenders.items():
            answer = contender.run()
            if turn:
                results[name].append(answer)
    return results


def median(values: list[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def show(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Prints a table."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
