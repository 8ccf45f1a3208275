"""Local folders, what is none of the three forms, and what can be said of a folder."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from enfold.checkpoint.sources import card_license, describe, resolve
from enfold.errors import OfflineError, SourceError
from tests.support import minilm


def test_folders_resolve_to_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in (tmp_path / "model", str(tmp_path / "model"), "./model", "model", "~/model"):
        assert resolve(source).samefile(tmp_path / "model")


def test_a_misspelt_folder_names_its_neighbours(tmp_path: Path) -> None:
    for name in ("my-model", "other"):
        (tmp_path / name).mkdir()
    with pytest.raises(SourceError, match=r"no folder .*/my-modle; did you mean my-model\?"):
        resolve(tmp_path / "my-modle")
    with pytest.raises(SourceError, match=r"no folder .*/zzz; the folders of .* are my-model, other"):
        resolve(str(tmp_path / "zzz"))
    with pytest.raises(SourceError, match="holds no folders"):
        resolve(tmp_path / "other" / "x")
    with pytest.raises(SourceError, match=r"its parent .*/nowhere doesn't exist either"):
        resolve(tmp_path / "nowhere" / "x")


def test_a_gguf_file_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.gguf"
    file.touch()
    monkeypatch.chdir(tmp_path)
    for source in (file, str(file), "./a.gguf", "a.gguf"):
        assert resolve(source).samefile(file)
    assert (describe(file).form, describe(file).name) == ("folder", tmp_path.name)


def test_a_misspelt_gguf_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "tiny.Q4_0.gguf").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(SourceError, match=r"no file .*/tiny\.Q4_1\.gguf; did you mean tiny\.Q4_0\.gguf\?"):
        resolve(tmp_path / "tiny.Q4_1.gguf")
    with pytest.raises(SourceError, match=r"no file .*; the GGUF files of .* are tiny\.Q4_0\.gguf"):
        resolve(tmp_path / "zzz.gguf")
    with pytest.raises(SourceError, match="holds no GGUF files"):
        resolve(tmp_path / "folder" / "x.gguf")


def test_a_file_is_no_model_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(SourceError, match=f"is a file; expected the folder of a model, such as {tmp_path}"):
        resolve(tmp_path / "model.safetensors")


@pytest.mark.parametrize("source", ["./x", "../x", "~/x", "/x", "a\\b"])
def test_what_looks_like_a_path_never_goes_to_a_hub(source: str) -> None:
    with pytest.raises(SourceError, match="no folder"):
        resolve(source)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "a/b/c",
        "a b",
        "https://x/y",
        "a/..",
        "a--b",
        "-a",
        "a\n",
        "ä",
        "a/b#",
        "a/b#x",
        "a/b#../x.gguf",
        "a/b#/x.gguf",
    ],
)
def test_anything_else_lists_the_three_forms(source: str) -> None:
    with pytest.raises(SourceError, match=r"expected a folder .*pypi:NAME.*hub id"):
        resolve(source)


def test_a_missing_path_object_is_no_hub_id(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no folder"):
        resolve(Path("org") / "model", local_files_only=True)
    with pytest.raises(OfflineError):
        resolve("org/model", local_files_only=True, cache_dir=tmp_path)


def test_resolving_a_folder_loads_no_heavy_library() -> None:
    script = (
        "import sys; from enfold.checkpoint.sources import resolve; resolve('.');"
        "print({'torch', 'huggingface_hub', 'transformers', 'safetensors'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_folder_describes_itself(tmp_path: Path) -> None:
    shutil.copy(minilm() / "README.md", tmp_path)
    origin = describe(tmp_path)
    assert (origin.form, origin.name, origin.version, origin.license) == ("folder", tmp_path.name, None, "apache-2.0")


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: mit\n---\n# x", "mit"),
        ("---\nlanguage: en\nlicense: 'cc-by-4.0'  # as upstream\ntags: []\n---\n", "cc-by-4.0"),
        ("---\nlicense:\n- apache-2.0\n- mit\n---\n", "apache-2.0"),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\ntags: [license]\n---\nlicense: mit", None),
        ("# license: mit", None),
        ("", None),
    ],
)
def test_the_licence_of_a_card(tmp_path: Path, card: str, expected: str | None) -> None:
    (tmp_path / "README.md").write_bytes(card.encode())
    assert card_license(tmp_path) == expected


def test_a_folder_without_a_card_has_no_licence(tmp_path: Path) -> None:
    assert card_license(tmp_path) is None
