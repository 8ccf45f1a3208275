"""How arithmetic in numpy uses cores: a small pool, and matrix products of one thread inside its shares.

A batch of several sequences is cut into shares that run the whole forward pass side by side. Threads inside each
matrix product would meet at a barrier every few milliseconds instead, and wait there for whichever core is busy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from enfold.machine import available_cores

__all__ = ["available_cores", "in_parallel", "side_by_side"]

Result = TypeVar("Result")

_inside = threading.local()


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, available_cores() - 1), thread_name_prefix="enfold")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def _run_all(works: Sequence[Callable[[], Result]]) -> list[Result]:
    """Runs the works on the pool and, the first, here; work that a work hands out runs in it."""

    def marked(work: Callable[[], Result]) -> Result:
        _inside.share = True
        try:
            return work()
        finally:
            _inside.share = False

    if len(works) < 2 or getattr(_inside, "share", False):
        return [work() for work in works]
    futures: list[Future[Result]] = [_pool().submit(marked, work) for work in works[1:]]
    try:
        first = marked(works[0])
    finally:
        done = [future.exception() for future in futures]
    for error in done:
        if error is not None:
            raise error
    return [first, *(future.result() for future in futures)]


def in_parallel(part: Callable[[int, int], None], total: int, grain: int) -> None:
    """Calls ``part(begin, end)`` over a partition of ``range(total)``: one share a core, none below ``grain``."""
    shares = max(1, min(available_cores(), total // max(1, grain)))
    edges = [total * i // shares for i in range(shares + 1)]
    _run_all([lambda i=i: part(edges[i], edges[i + 1]) for i in range(shares)])  # type: ignore[misc]


def side_by_side(works: Sequence[Callable[[], Result]]) -> list[Result]:
    """Runs works that are mostly matrix products at once, each product on one thread; results in order."""
    with _blas.one_thread():
        return _run_all(works)


class _Blas:
    """numpy's matrix library: told to use one thread while any share runs, and as before afterwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._limits: Any = None

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        from threadpoolctl import threadpool_limits

        with self._lock:
            self._users += 1
            if self._users == 1:
                self._limits = threadpool_limits(1, user_api="blas")
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._limits.restore_original_limits()


_blas = _Blas()
