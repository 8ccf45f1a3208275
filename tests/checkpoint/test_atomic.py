"""Whoever reads sees the old files or the new ones, never half of either."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from enfold.checkpoint.atomic import atomic_folder, atomic_write

_DIE_MID_WRITE = """
import os, signal, sys
from enfold.checkpoint.atomic import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _content(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert _content(tmp_path) == {"config.json": "new"}


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stop"), atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError("stop")
    assert _content(tmp_path) == {"config.json": "old"}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no kill signal")
def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", _DIE_MID_WRITE, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_a_new_folder_appears_at_once(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with atomic_folder(target) as aside:
        (aside / "a").write_text("1")
        assert not target.exists()
    assert _content(tmp_path) == {"deep/model/a": "1"}


def test_files_merge_into_a_folder_and_stale_ones_go_last(tmp_path: Path) -> None:
    for name in ("README.md", "a", "shard-1", "shard-2"):
        (tmp_path / name).write_text("old")
    with atomic_folder(tmp_path, replaces=["shard-*"]) as aside:
        (aside / "sub").mkdir()
        (aside / "sub" / "b").write_text("new")
        (aside / "shard-1").write_text("new")
    assert _content(tmp_path) == {"README.md": "old", "a": "old", "shard-1": "new", "sub/b": "new"}


@pytest.mark.parametrize("existed", [True, False])
def test_an_error_leaves_the_folder_as_it_was(tmp_path: Path, existed: bool) -> None:
    target = tmp_path / "model"
    if existed:
        target.mkdir()
        (target / "a").write_text("old")
    before = _content(tmp_path)
    with pytest.raises(RuntimeError, match="stop"), atomic_folder(target, replaces=["*"]) as aside:
        (aside / "a").write_text("new")
        raise RuntimeError("stop")
    assert _content(tmp_path) == before
    assert target.exists() == existed


def test_two_writers_of_one_folder_do_no_harm(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as first, atomic_folder(target) as second:
        for aside in (first, second):
            (aside / "a").write_text("same")
    assert _content(tmp_path) == {"model/a": "same"}


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"), atomic_folder(tmp_path / "model"):
        pass
