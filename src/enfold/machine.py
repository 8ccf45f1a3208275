"""What of this machine the process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath

from enfold.errors import InputError

__all__ = ["MOST_THREADS", "available_cores"]

MOST_THREADS = 1024
"""Above that a number of threads was meant as something else."""


@lru_cache(maxsize=1)
def available_cores() -> int:
    """How many threads arithmetic uses: one for each core that this process may use.

    Two hardware threads of one core count once, since arithmetic fills the core's units with one. The process's
    affinity, a quota of its cgroup (rounded up) and OMP_NUM_THREADS can lower the number. ENFOLD_NUM_THREADS, where it
    is set, is the number.

    Raises:
        InputError: ENFOLD_NUM_THREADS is no number of threads.
    """
    wanted = os.environ.get("ENFOLD_NUM_THREADS", "").strip()
    if wanted:
        if not (wanted.isdecimal() and 1 <= int(wanted) <= MOST_THREADS):
            raise InputError(
                f"ENFOLD_NUM_THREADS is {wanted!r}; give a whole number from 1 to {MOST_THREADS}, or unset it"
            )
        return int(wanted)
    root = Path("/")
    limit = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # one number for each level of nesting
    limits = [_physical_cores(root), _quota(root), int(limit) if limit.isdecimal() else None]
    return max(1, math.ceil(min(each for each in limits if each)))


def _physical_cores(root: Path) -> int:
    """Different cores among the hardware threads that the process may run on; without Linux, all hardware threads."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len({_siblings(root, cpu) or str(cpu) for cpu in os.sched_getaffinity(0)})


def _siblings(root: Path, cpu: int) -> str | None:
    """The hardware threads of one's core, as the system writes them down, such as "0,8" or "2-3"."""
    topology = root / "sys/devices/system/cpu" / f"cpu{cpu}" / "topology"
    return _read(topology / "core_cpus_list") or _read(topology / "thread_siblings_list")  # its name before Linux 5.3


def _quota(root: Path) -> float | None:
    """The processors' time that the control group and those above it leave, in cores; None without a limit."""
    groups = (line.split(":", 2) for line in (_read(root / "proc/self/cgroup") or "").splitlines())
    quotas = [
        quota
        for _, controllers, path in groups
        if controllers in ("", "cpu", "cpu,cpuacct", "cpuacct,cpu")
        for group in _above(root / "sys/fs/cgroup" / controllers, path)
        if (quota := _quota_of(group)) is not None
    ]
    return min(quotas, default=None)


def _above(mount: Path, path: str) -> Iterator[Path]:
    """A group's folder and those above it. Inside a container the mount may begin at the group itself."""
    inside = PurePosixPath(path.lstrip("/"))
    if ".." not in inside.parts:
        yield from (mount / each for each in (inside, *inside.parents) if each != PurePosixPath())
    yield mount


def _quota_of(group: Path) -> float | None:
    """Of one group, by cgroup v2's cpu.max ("max 100000", "150000 100000") or v1's two files ("-1", "100000")."""
    both = _read(group / "cpu.max")
    quota, _, period = both.partition(" ") if both else (_read(group / "cpu.cfs_quota_us") or "", "", None)
    period = period or _read(group / "cpu.cfs_period_us") or ""
    if not (quota.isdecimal() and period.isdecimal() and int(quota) and int(period)):
        return None
    return int(quota) / int(period)


def _read(path: Path) -> str | None:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
