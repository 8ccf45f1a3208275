"""How many threads arithmetic uses."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from enfold import machine
from enfold.errors import InputError
from enfold.machine import available_cores


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("ENFOLD_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    available_cores.cache_clear()
    yield
    available_cores.cache_clear()


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of four cores with two hardware threads each."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for cpu in range(8):
        write(tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list", f"{cpu % 4},{cpu % 4 + 4}")
    monkeypatch.setattr(machine, "Path", lambda path: tmp_path / path.lstrip("/"))
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def test_two_hardware_threads_of_a_core_count_once(system: Path) -> None:
    assert available_cores() == 4


def test_older_systems_name_the_file_otherwise(system: Path) -> None:
    for path in system.rglob("core_cpus_list"):
        path.rename(path.with_name("thread_siblings_list"))
    assert available_cores() == 4


def test_without_topology_every_hardware_thread_is_a_core(system: Path) -> None:
    for path in system.rglob("core_cpus_list"):
        path.unlink()
    assert available_cores() == 8


def test_the_affinity_is_kept_to(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 4, 5}, raising=False)
    assert available_cores() == 2


def test_other_systems_tell_their_hardware_threads(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_cores() == 6


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 4), ("150000 100000", 2), ("20000 100000", 1), ("900000 100000", 4), ("?", 4)]
)
def test_a_quota_of_cgroup_2_is_rounded_up(quota: str, cores: int, system: Path) -> None:
    write(system / "proc/self/cgroup", "0::/user/work")
    write(system / "sys/fs/cgroup/user/work/cpu.max", quota)
    assert available_cores() == cores


@pytest.mark.parametrize("group", ["/user/work", "/user", "/"])
def test_a_quota_of_a_group_above_counts_too(group: str, system: Path) -> None:
    write(system / "proc/self/cgroup", "0::/user/work")
    write(system / "sys/fs/cgroup/user/work/cpu.max", "max 100000")
    write(system / "sys/fs/cgroup" / group.lstrip("/") / "cpu.max", "200000 100000")
    assert available_cores() == 2


@pytest.mark.parametrize(("quota", "cores"), [("-1", 4), ("150000", 2), ("0", 4)])
@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_a_quota_of_cgroup_1(quota: str, cores: int, controllers: str, system: Path) -> None:
    write(system / "proc/self/cgroup", f"5:memory:/elsewhere\n3:{controllers}:/docker/ab\n0::/")
    write(system / "sys/fs/cgroup" / controllers / "cpu.cfs_quota_us", quota)  # the mount begins at the group itself
    write(system / "sys/fs/cgroup" / controllers / "cpu.cfs_period_us", "100000")
    assert available_cores() == cores


def test_a_group_outside_of_the_mount_is_not_looked_for(system: Path) -> None:
    write(system / "proc/self/cgroup", "0::/../../secret")
    write(system / "sys/secret/cpu.max", "100000 100000")
    assert available_cores() == 4


@pytest.mark.parametrize(("limit", "cores"), [("2", 2), ("2,4", 2), ("64", 4), ("0", 4), ("", 4), ("many", 4)])
def test_omp_num_threads_can_only_lower(limit: str, cores: int, system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert available_cores() == cores


def test_enfold_num_threads_is_the_number(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("ENFOLD_NUM_THREADS", "7")
    assert available_cores() == 7


@pytest.mark.parametrize("wrong", ["0", "-1", "two", "1.5", "1025", "9" * 30])
def test_a_wrong_number_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENFOLD_NUM_THREADS", wrong)
    with pytest.raises(InputError, match=r"ENFOLD_NUM_THREADS is .* from 1 to 1024"):
        available_cores()
