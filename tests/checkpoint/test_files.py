"""A folder's weights are found in a fixed order, shards stay inside it, JSON errors point at the place."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from enfold.checkpoint.files import open_weights, read_json, write_json
from enfold.checkpoint.safetensors import write_safetensors
from enfold.errors import CheckpointError, ConfigError, CorruptFileError, TokenizerError, UnsafeFileError


def _write(path: Path, **values: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(path, {name: (np.full(2, value, np.float32), "float32") for name, value in values.items()})


def _write_index(path: Path, weight_map: Any) -> None:
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_formats_are_taken_in_order(tmp_path: Path) -> None:
    torch.save({"w": torch.full((2,), 4.0)}, tmp_path / "part.bin")
    _write_index(tmp_path / "pytorch_model.bin.index.json", {"w": "part.bin"})
    weights = open_weights(tmp_path)
    assert (weights["w"].numpy()[0], weights.format, len(weights)) == (4, "torch", 1)

    torch.save({"w": torch.full((2,), 3.0)}, tmp_path / "pytorch_model.bin")
    assert open_weights(tmp_path)["w"].numpy()[0] == 3

    _write(tmp_path / "part.safetensors", w=2)
    _write_index(tmp_path / "model.safetensors.index.json", {"w": "part.safetensors"})
    assert open_weights(tmp_path)["w"].numpy()[0] == 2

    _write(tmp_path / "model.safetensors", w=1)
    weights = open_weights(tmp_path)
    assert weights["w"].numpy()[0] == 1
    assert (weights.path, weights.format) == (tmp_path / "model.safetensors", "safetensors")


def test_a_folder_without_weights_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    (tmp_path / "tf_model.h5").touch()
    with pytest.raises(
        CheckpointError, match=r"looked for model\.safetensors, .*index\.json, \*\.gguf; found tf_model\.h5"
    ):
        open_weights(tmp_path)


def test_missing_shards_are_listed_together(tmp_path: Path) -> None:
    _write(tmp_path / "1.safetensors", a=1)
    weight_map = {"a": "1.safetensors", "b": "2.safetensors", "c": "3.safetensors"}
    _write_index(tmp_path / "model.safetensors.index.json", weight_map)
    with pytest.raises(CorruptFileError, match=r"3 shards, of which 2 are missing: '2\.safe.*', '3\.safe"):
        open_weights(tmp_path)


def test_tensors_that_a_shard_lacks_are_listed_together(tmp_path: Path) -> None:
    _write(tmp_path / "1.safetensors", a=1)
    _write_index(tmp_path / "model.safetensors.index.json", dict.fromkeys("abc", "1.safetensors"))
    with pytest.raises(CorruptFileError, match="aren't where it says: 'b', 'c'"):
        open_weights(tmp_path)


@pytest.mark.parametrize("weight_map", [None, [], {"a": 1}, "x"])
def test_an_index_without_a_map_is_refused(tmp_path: Path, weight_map: Any) -> None:
    _write_index(tmp_path / "model.safetensors.index.json", weight_map)
    with pytest.raises(CorruptFileError, match='has no "weight_map"'):
        open_weights(tmp_path)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "..\\x", "C:x", "", ".", "a\0b"])
def test_no_shard_lies_outside_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    _write(tmp_path / "x", a=1)
    folder.mkdir()
    _write_index(folder / "model.safetensors.index.json", {"a": name})
    with pytest.raises((UnsafeFileError, CorruptFileError), match=r"outside its folder|are missing"):
        open_weights(folder)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    _write(tmp_path / "x", a=1)
    folder.mkdir()
    (folder / "1.safetensors").symlink_to(tmp_path / "x")
    _write_index(folder / "model.safetensors.index.json", {"a": "1.safetensors"})
    with pytest.raises(UnsafeFileError, match=r"outside its folder: '1\.safetensors'"):
        open_weights(folder)


def test_the_links_of_a_hub_cache_are_followed(tmp_path: Path) -> None:
    repository = tmp_path / "models--a--b"
    folder = repository / "snapshots" / ("0" * 40)
    _write(repository / "blobs" / "f00", a=1)
    folder.mkdir(parents=True)
    (folder / "1.safetensors").symlink_to("../../blobs/f00")
    _write_index(folder / "model.safetensors.index.json", {"a": "1.safetensors"})
    assert open_weights(folder)["a"].numpy()[0] == 1


def test_a_linked_model_folder_is_fine(tmp_path: Path) -> None:
    _write(tmp_path / "real" / "1.safetensors", a=1)
    _write_index(tmp_path / "real" / "model.safetensors.index.json", {"a": "1.safetensors"})
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert open_weights(tmp_path / "link")["a"].numpy()[0] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{\n  "a": 1,\n  "b": }', "isn't valid JSON at line 3, column 8"),
        (b"", "isn't valid JSON at line 1, column 1"),
        (b'{"a": "\xff"}', "isn't UTF-8 text: byte 7 is 0xff"),
        (b"[1]", "holds a JSON list; expected an object"),
        (b"[" * 100_000, "is nested too deeply"),
    ],
)
def test_broken_json_is_pointed_at(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{path}, the configuration, {message}"):
        read_json(path, "the configuration")


def test_json_errors_are_of_the_class_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="can't be read: No such file"):
        read_json(tmp_path / "tokenizer.json", "the tokenizer", TokenizerError)


def test_json_is_written_readably_and_read_back(tmp_path: Path) -> None:
    data = {"name": "模型", "labels": [1, 2]}
    write_json(tmp_path / "config.json", data)
    assert (tmp_path / "config.json").read_text("utf-8").startswith('{\n  "name": "模型"')
    assert read_json(tmp_path / "config.json", "the configuration") == data


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xef\xbb\xbf{}")
    assert read_json(tmp_path / "config.json", "the configuration") == {}
