"""Files equal those of the safetensors package in both directions, and any damage is told, never loaded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enfold.checkpoint.files import open_weights
from enfold.checkpoint.safetensors import open_safetensors, write_safetensors, write_sharded
from enfold.errors import CheckpointError, CorruptFileError, InputError
from tests.support import minilm

_TORCH = {
    name: getattr(torch, name)
    for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
}


def _tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors = {name: (torch.randn(3, 5, generator=generator) * 9).to(dtype) for name, dtype in _TORCH.items()}
    return tensors | {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4), "ünïcode": torch.ones(1)}


def _file(header: Any, data: bytes = b"") -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data


def _entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_every_dtype_reads_as_torch_wrote_it(tmp_path: Path) -> None:
    tensors = _tensors()
    safetensors.torch.save_file(tensors, tmp_path / "m.safetensors")
    views = open_safetensors(tmp_path / "m.safetensors")
    assert set(views) == set(tensors)
    for name, tensor in tensors.items():
        view = views[name]
        assert (view.name, view.shape, view.dtype) == (name, tuple(tensor.shape), str(tensor.dtype)[6:])
        values = view.numpy("float32" if view.dtype == "bfloat16" else view.dtype)
        assert np.array_equal(values, tensor.float().numpy() if view.dtype == "bfloat16" else tensor.numpy())


def test_real_weights_are_mapped_not_copied() -> None:
    path = minilm() / "model.safetensors"
    views = open_safetensors(path)
    expected = safetensors.numpy.load_file(path)
    assert set(views) == set(expected)
    for name, array in expected.items():
        values = views[name].numpy(array.dtype.name)
        assert np.array_equal(values, array)
        assert not values.flags.owndata
        assert not values.flags.writeable


def test_written_files_are_those_of_the_package(tmp_path: Path) -> None:
    tensors = {name: tensor.numpy() for name, tensor in _tensors().items() if name != "bfloat16"}
    write_safetensors(tmp_path / "m", {name: (array, array.dtype.name) for name, array in tensors.items()})
    assert (tmp_path / "m").read_bytes() == safetensors.numpy.save(tensors, {"format": "pt"})


def test_narrowed_tensors_are_those_of_torch(tmp_path: Path) -> None:
    tensor = torch.randn(64, 3, generator=torch.Generator().manual_seed(1))
    for name in ("bfloat16", "float16", "float64"):
        write_safetensors(tmp_path / "m", {"w": (tensor.numpy(), name)})
        assert torch.equal(safetensors.torch.load_file(tmp_path / "m")["w"], tensor.to(_TORCH[name]))


def test_a_value_that_does_not_fit_names_its_tensor_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"layer\.w: 1 values are too large for float16"):
        write_safetensors(tmp_path / "m", {"layer.w": (np.array([1e30], np.float32), "float16")})
    assert list(tmp_path.iterdir()) == []


def test_strided_arrays_are_written_in_c_order(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    write_safetensors(tmp_path / "m", {"w": (array, "float32")})
    assert np.array_equal(safetensors.numpy.load_file(tmp_path / "m")["w"], array)


def test_shards_load_in_transformers(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    model = transformers.BertModel(config)
    config.save_pretrained(tmp_path)
    tensors = {name: (tensor.numpy(), "float32") for name, tensor in model.state_dict().items()}
    files = write_sharded(tmp_path, tensors, max_shard_size="20KB")
    assert [file.name for file in files][-1] == "model.safetensors.index.json"
    assert len(files) > 3
    loaded = transformers.BertModel.from_pretrained(tmp_path)
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert open_weights(tmp_path).keys() == tensors.keys()


def test_shards_of_transformers_load_here(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    model = transformers.BertModel(config)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    weights = open_weights(tmp_path)
    assert weights.path.name == "model.safetensors.index.json"
    assert all(np.array_equal(weights[name].numpy(), tensor) for name, tensor in model.state_dict().items())


def test_a_save_replaces_what_the_one_before_left(tmp_path: Path) -> None:
    tensors = {str(i): (np.full(4, i, np.float32), "float32") for i in range(4)}
    (tmp_path / "README.md").write_text("kept")
    write_sharded(tmp_path, tensors, max_shard_size=16)
    write_sharded(tmp_path, tensors, max_shard_size=32)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    write_sharded(tmp_path, tensors)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "model.safetensors"]
    write_sharded(tmp_path, tensors, max_shard_size=16)
    assert not (tmp_path / "model.safetensors").exists()
    assert open_weights(tmp_path)["3"].numpy().tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize(("size", "count"), [("16B", 2), (16, 2), ("1KB", 1), ("0.5 MiB", 1)])
def test_shard_sizes_are_read(tmp_path: Path, size: int | str, count: int) -> None:
    tensors = {name: (np.zeros(4, np.float32), "float32") for name in "ab"}
    files = write_sharded(tmp_path, tensors, max_shard_size=size)
    assert len([file for file in files if file.suffix == ".safetensors"]) == count


@pytest.mark.parametrize("size", ["five", 0, "-1GB", "5TBB"])
def test_shard_sizes_that_mean_nothing_are_refused(tmp_path: Path, size: int | str) -> None:
    with pytest.raises(InputError, match="max_shard_size is"):
        write_sharded(tmp_path, {}, max_shard_size=size)


@pytest.mark.parametrize("length", [0x13C, 0x3C20, 0x3C0A])
def test_lengths_that_look_like_a_web_page_are_lengths(tmp_path: Path, length: int) -> None:
    header = json.dumps({"a": _entry()}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + header.ljust(length) + bytes(8))
    assert list(open_safetensors(path)) == ["a"]


_DAMAGE = {
    "empty": (b"", "has 0 bytes"),
    "stub": (b"1234567", "has 7 bytes"),
    "text": (b"hello world, this is no tensor file", "is no safetensors file"),
    "web page": (b"<!DOCTYPE html><html>", "is a web page"),
    "huge header": ((10**9).to_bytes(8, "little") + b"{}", "the format allows 100000000"),
    "header cut": (_file({"a": _entry()})[:20], "is truncated"),
    "data cut": (_file({"a": _entry()}, b"1234"), "need 8 bytes of data, 4 are there"),
    "bytes too many": (_file({"a": _entry()}, b"123456789"), "1 bytes follow the last tensor"),
    "no json": (_file(b"{'a': 1}"), "damaged header"),
    "no utf-8": (_file(b'{"\xff": 1}'), "damaged header"),
    "deep json": (_file(b"[" * 100_000), "damaged header"),
    "a list": (_file(b"[]"), "header of type list"),
    "twice": (_file(b'{"a": 1, "a": 1}'), "'a' stands in it twice"),
    "no entry": (_file({"a": 3}), "has the entry 3"),
    "a field too many": (_file({"a": _entry() | {"x": 1}}, bytes(8)), "has the entry"),
    "dtype": (_file({"a": _entry("F31")}, bytes(8)), "has the dtype 'F31'"),
    "negative shape": (_file({"a": _entry(shape=[-2])}, bytes(8)), "has the shape"),
    "true in shape": (_file({"a": _entry(shape=[2, True])}, bytes(8)), "has the shape"),
    "too many dimensions": (_file({"a": _entry(shape=[1] * 65)}, bytes(8)), "has the shape"),
    "overflowing shape": (_file({"a": _entry(shape=[2**62, 2**62, 0], offsets=[0, 0])}), "elements"),
    "backward": (_file({"a": _entry(offsets=[8, 0])}, bytes(8)), "begin <= end"),
    "shape and bytes": (_file({"a": _entry(shape=[3])}, bytes(8)), "has 8 bytes; F32 of shape \\[3\\] needs 12"),
    "overlap": (_file({"a": _entry(), "b": _entry(offsets=[4, 12])}, bytes(12)), "inside the tensor before it"),
    "gap": (_file({"a": _entry(), "b": _entry(offsets=[12, 20])}, bytes(20)), "expected 8, without a gap"),
    "metadata": (_file({"__metadata__": {"format": 1}}), "has the __metadata__"),
}


@pytest.mark.parametrize("kind", _DAMAGE)
def test_damage_is_named_with_the_file(tmp_path: Path, kind: str) -> None:
    content, message = _DAMAGE[kind]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=f"{path}(.|\n)*{message}"):
        open_safetensors(path)


def test_a_git_lfs_pointer_says_so(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 440449768\n")
    with pytest.raises(CorruptFileError, match=r"git-lfs pointer.*\(440449768 bytes expected\).*git lfs pull"):
        open_safetensors(path)


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(_file({"a": _entry("X"), "b": _entry(shape=[-1])}, bytes(8)))
    with pytest.raises(CorruptFileError, match=r"'a' has the dtype(.|\n)*'b' has the shape"):
        open_safetensors(tmp_path / "m")


def test_element_types_without_a_use_say_what_to_do(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.zeros(2, dtype=torch.float8_e4m3fn)}, tmp_path / "m")
    with pytest.raises(CheckpointError, match="F8_E4M3; expected"):
        open_safetensors(tmp_path / "m")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere can't be read: No such file"):
        open_safetensors(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def sound() -> bytes:
    return safetensors.torch.save(_tensors(), {"format": "pt"})


def test_a_file_cut_anywhere_is_refused(tmp_path: Path, sound: bytes) -> None:
    for length in range(0, len(sound), 7):
        (tmp_path / "m").write_bytes(sound[:length])
        with pytest.raises(CorruptFileError):
            open_safetensors(tmp_path / "m")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_flipped_header_byte_is_refused_or_harmless(tmp_path: Path, sound: bytes, place: float, byte: int) -> None:
    """Never another exception, and never more or fewer bytes than the header speaks of."""
    header_end = 8 + int.from_bytes(sound[:8], "little")
    damaged = bytearray(sound)
    damaged[int(place * header_end)] = byte
    (tmp_path / "m").write_bytes(damaged)
    try:
        views = open_safetensors(tmp_path / "m")
    except CheckpointError:
        return
    assert sum(view.raw().nbytes for view in views.values()) == len(sound) - header_end
