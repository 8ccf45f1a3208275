"""A small pool for numpy work that releases the interpreter's lock; matrix products bring threads of their own."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

__all__ = ["available_cores", "in_parallel"]


@lru_cache(maxsize=1)
def available_cores() -> int:
    """Cores that this process may use: its affinity, and OMP_NUM_THREADS where it is lower."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(limit))) if limit.isdecimal() and int(limit) else cores


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, available_cores() - 1), thread_name_prefix="enfold")


os.register_at_fork(after_in_child=_pool.cache_clear) if hasattr(os, "register_at_fork") else None


def in_parallel(part: Callable[[int, int], None], total: int, grain: int) -> None:
    """Calls ``part(begin, end)`` over a partition of ``range(total)``: one share a core, none below ``grain``."""
    shares = max(1, min(available_cores(), total // max(1, grain)))
    edges = [total * i // shares for i in range(shares + 1)]
    futures: list[Future[None]] = [_pool().submit(part, edges[i], edges[i + 1]) for i in range(1, shares)]
    try:
        part(edges[0], edges[1])
    finally:
        for future in futures:
            future.result()
