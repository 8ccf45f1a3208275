"""Files of torch.save read as torch reads them; a pickle that names anything else is refused and nothing runs."""

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enfold.checkpoint.torch_file import open_torch_file
from enfold.errors import CheckpointError, CorruptFileError, UnsafeFileError

Save = Callable[[Any, Path], None]


def _state_dict() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(4, 6, generator=generator)
    return {
        "plain": base,
        "transposed": base.T,
        "row": base[2],
        "column": base[:, 3],
        "every other": base[1:, ::2],
        "expanded": torch.arange(3).expand(4, 3),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "bfloat16": base.bfloat16(),
        "float16": base.half(),
        "float64": base.double(),
        "int32": torch.arange(5, dtype=torch.int32),
        "int16": torch.arange(5, dtype=torch.int16),
        "int8": torch.arange(5, dtype=torch.int8),
        "uint8": torch.arange(5, dtype=torch.uint8),
        "uint16": torch.arange(5).to(torch.uint16),
        "bool": torch.tensor([True, False]),
    }


@pytest.fixture(params=["zip", "legacy"])
def save(request: pytest.FixtureRequest) -> Save:
    """torch.save in the format since 1.6, and in the one before."""
    return lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=request.param == "zip")


def _assert_equal(path: Path, expected: dict[str, torch.Tensor]) -> None:
    views = open_torch_file(path)
    assert views.keys() == expected.keys()
    for name, tensor in expected.items():
        view = views[name]
        assert (view.dtype, view.shape) == (str(tensor.dtype)[6:], tuple(tensor.shape)), name
        if view.dtype == "bfloat16":
            tensor = tensor.float()
        values = view.numpy(str(tensor.dtype)[6:])
        assert np.array_equal(values, tensor.detach().numpy()), name
        assert values.flags.c_contiguous


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("new", [True, False])
def test_state_dicts_read_as_torch_reads_them(tmp_path: Path, new: bool, protocol: int) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save(_state_dict(), path, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    _assert_equal(path, _state_dict())


def test_the_state_dict_of_a_module_reads(tmp_path: Path, save: Save) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    save(module.state_dict(), tmp_path / "m")
    _assert_equal(tmp_path / "m", dict(module.state_dict()))


def test_a_parameter_with_attributes_reads(tmp_path: Path, save: Save) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.note = "kept by its owner"
    save({"w": parameter}, tmp_path / "m")
    _assert_equal(tmp_path / "m", {"w": parameter})


def test_shared_storages_are_held_once(tmp_path: Path, save: Save) -> None:
    base = torch.arange(8.0)
    save({"a": base[:4], "b": base[2:6]}, tmp_path / "m")
    views = open_torch_file(tmp_path / "m")
    assert np.shares_memory(views["a"].bits, views["b"].bits)


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_weights_inside_a_checkpoint_are_found(tmp_path: Path, save: Save, wrapper: str) -> None:
    optimizer = {"state": {0: {"step": 3, "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
    save({"epoch": 3, wrapper: OrderedDict(_state_dict()), "optimizer": optimizer}, tmp_path / "m")
    _assert_equal(tmp_path / "m", _state_dict())


def test_harmless_entries_without_tensors_are_left_out(tmp_path: Path, save: Save) -> None:
    save({"w": torch.ones(2), "step": 3, "name": "x", "sizes": (1, [2.5, None], {"a": True})}, tmp_path / "m")
    _assert_equal(tmp_path / "m", {"w": torch.ones(2)})


def test_entries_that_hide_tensors_are_refused(tmp_path: Path, save: Save) -> None:
    save({"w": torch.ones(2), "extra": {"deep": [torch.ones(1)]}}, tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"nested under.*extra"):
        open_torch_file(tmp_path / "m")


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), {"a": 1}, 3])
def test_what_holds_no_state_dict_is_refused(tmp_path: Path, save: Save, content: Any) -> None:
    save(content, tmp_path / "m")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        open_torch_file(tmp_path / "m")


def test_a_negated_view_is_refused(tmp_path: Path) -> None:
    """Its bytes are the values before the sign is turned."""
    torch.save({"w": torch._neg_view(torch.ones(2))}, tmp_path / "m")
    with pytest.raises(CorruptFileError, match="negative bit"):
        open_torch_file(tmp_path / "m")


class _Call:
    """Pickles to a call of anything."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def _attacks(mark: Path) -> dict[str, tuple[Any, str]]:
    command = f"touch {mark}"
    return {
        "os.system": (_Call(os.system, command), f"{os.system.__module__}.system"),
        "builtins.eval": (_Call(eval, f"open({str(mark)!r}, 'w')"), "eval"),
        "builtins.exec": (_Call(exec, f"open({str(mark)!r}, 'w')"), "exec"),
        "open": (_Call(open, str(mark), "w"), "open"),
        "getattr": (_Call(getattr, torch.ones(1), "numpy"), "getattr"),
        "torch.load": (_Call(torch.load, str(mark)), "torch.serialization.load"),
        "inside an allowed call": (
            _Call(torch._utils._rebuild_parameter, _Call(os.system, command), True, {}),
            "system",
        ),
    }


@pytest.mark.parametrize("attack", _attacks(Path("mark")))
@pytest.mark.parametrize("entry", ["beside weights", "as a wrapper", "alone"])
def test_a_pickle_that_would_run_code_is_refused_and_nothing_runs(
    tmp_path: Path, save: Save, attack: str, entry: str
) -> None:
    mark = tmp_path / "mark"
    evil, name = _attacks(mark)[attack]
    content = {"beside weights": {"w": torch.ones(1), "x": evil}, "as a wrapper": {"state_dict": evil}}.get(entry, evil)
    save(content, tmp_path / "m")
    with pytest.raises(UnsafeFileError, match=f"{tmp_path / 'm'} names .*{name}.*nothing of it was run"):
        open_torch_file(tmp_path / "m")
    assert not mark.exists()


_PLAIN = {
    "protocol 0": b"cos\nsystem\n(S'touch mark'\ntR.",
    "a result that is called": b"cos\nsystem\n(S'a'\ntR(S'touch mark'\ntR.",
    "INST": b"(S'touch mark'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch mark'\no.",
    "NEWOBJ": b"\x80\x02cos\nsystem\nU\x0atouch mark\x85\x81.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0atouch mark\x85R.",
    "BUILD": b"\x80\x02ccollections\nOrderedDict\n)Rcos\nsystem\nb.",
}


@pytest.mark.parametrize("kind", _PLAIN)
def test_bare_pickles_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m").write_bytes(_PLAIN[kind])
    with pytest.raises(UnsafeFileError, match=r"names os\.system"):
        open_torch_file("m")
    assert not Path("mark").exists()


def test_all_refused_names_come_at_once(tmp_path: Path) -> None:
    torch.save({"a": _Call(eval, "1"), "b": _Call(exec, "1")}, tmp_path / "m")
    with pytest.raises(UnsafeFileError, match=r"eval.*exec"):
        open_torch_file(tmp_path / "m")


@pytest.mark.parametrize("code", [b"\x82\x01.", b"Pid\n.", b"\x95" + bytes(7), b"}}s.", b"0.", b"h\x07.", b"e."])
def test_odd_opcodes_are_refused(tmp_path: Path, code: bytes) -> None:
    (tmp_path / "m").write_bytes(b"\x80\x02" + code)
    with pytest.raises(CorruptFileError, match="can't be read as weights"):
        open_torch_file(tmp_path / "m")


def test_a_nested_tuple_is_no_key(tmp_path: Path) -> None:
    """Its hash would take time without bound."""
    doubled = b")" + b"q\x00h\x00\x86" * 60
    bomb = b"\x80\x02}(" + doubled + b"K\x01u."
    (tmp_path / "m").write_bytes(bomb)
    with pytest.raises(CorruptFileError, match="a key of type tuple"):
        open_torch_file(tmp_path / "m")


def _tampered(path: Path, change: Callable[[list[Any]], None]) -> None:
    """Saves one float32 tensor of six elements after changing the arguments that rebuild it."""
    arguments: list[Any] = [0, (2, 3), (3, 1)]
    change(arguments)
    pickled = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", 6) if value == "STORAGE" else None

    rebuild = _Call(torch._utils._rebuild_tensor_v2, "STORAGE", *arguments, False, OrderedDict())
    Pickler(pickled, 2).dump({"w": rebuild})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", pickled.getvalue())
        archive.writestr("m/data/0", np.arange(6, dtype=np.float32).tobytes())


_TAMPERING: dict[str, tuple[int, Any]] = {
    "offset past the end": (0, 1),
    "negative offset": (0, -1),
    "huge offset": (0, 2**70),
    "shape past the end": (1, (3, 3)),
    "huge shape": (1, (2**62, 2**62)),
    "negative size": (1, (-2, 3)),
    "shape of text": (1, ("a", 3)),
    "stride past the end": (2, (4, 1)),
    "negative stride": (2, (-3, 1)),
    "too few strides": (2, (1,)),
}


@pytest.mark.parametrize("kind", _TAMPERING)
def test_no_tensor_reaches_outside_its_storage(tmp_path: Path, kind: str) -> None:
    position, value = _TAMPERING[kind]
    _tampered(tmp_path / "m", lambda arguments: arguments.__setitem__(position, value))
    with pytest.raises(CorruptFileError):
        open_torch_file(tmp_path / "m")


def test_the_stride_of_a_single_element_means_nothing(tmp_path: Path) -> None:
    _tampered(tmp_path / "m", lambda arguments: arguments.__setitem__(slice(1, 3), [(1, 3), (2**70, 1)]))
    assert open_torch_file(tmp_path / "m")["w"].numpy().tolist() == [[0, 1, 2]]


def test_compressed_entries_are_refused(tmp_path: Path) -> None:
    """They could be bombs; torch stores its entries plainly."""
    torch.save({"w": torch.zeros(1000)}, tmp_path / "m")
    with zipfile.ZipFile(tmp_path / "m") as old, zipfile.ZipFile(tmp_path / "n", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(CorruptFileError, match="is compressed or encrypted"):
        open_torch_file(tmp_path / "n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git-lfs pointer"),
        (pickle.dumps({"a": 1}), "a pickle that torch.save didn't write"),
        (b"\x93NUMPY", "can't be read as weights"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(CorruptFileError, match=message):
        open_torch_file(tmp_path / "m")


def test_the_oldest_format_says_how_to_convert(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(bytes(257) + b"ustar" + bytes(300))
    with pytest.raises(CheckpointError, match=r"tar format.*convert it once"):
        open_torch_file(tmp_path / "m")


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m", "w") as archive:
        archive.writestr("word/document.xml", "")
    with pytest.raises(CorruptFileError, match=r"0 entries NAME/data\.pkl"):
        open_torch_file(tmp_path / "m")


def test_a_missing_storage_is_named(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(4)}, tmp_path / "m")
    with zipfile.ZipFile(tmp_path / "m") as old, zipfile.ZipFile(tmp_path / "n", "w") as new:
        for name in old.namelist():
            if not name.endswith("/data/0"):
                new.writestr(name, old.read(name))
    with pytest.raises(CorruptFileError, match="lacks the storages '0'"):
        open_torch_file(tmp_path / "n")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path, save: Save) -> None:
    save({"a": torch.arange(40.0), "b": torch.ones(3, 3)}, tmp_path / "m")
    content = (tmp_path / "m").read_bytes()
    for length in range(0, len(content), 11):
        (tmp_path / "n").write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            open_torch_file(tmp_path / "n")


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # what pickletools makes of some bytes
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_flipped_byte_is_refused_or_harmless(tmp_path: Path, save: Save, place: float, byte: int) -> None:
    save({"a": torch.arange(4.0), "b": torch.ones(3, 3)}, tmp_path / "m")
    content = bytearray((tmp_path / "m").read_bytes())
    content[int(place * len(content))] = byte
    (tmp_path / "n").write_bytes(content)
    try:
        views = open_torch_file(tmp_path / "n")
        assert all(view.raw().nbytes < 1000 for view in views.values())
    except CheckpointError:
        pass


def test_a_big_endian_file_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(4)}, tmp_path / "m")
    content = (tmp_path / "m").read_bytes()
    place = content.index(b"little")
    (tmp_path / "m").write_bytes(content[:place] + b"bigbig" + content[place + 6 :])
    with pytest.raises(CheckpointError, match="byte order"):
        open_torch_file(tmp_path / "m")


def test_the_count_of_a_legacy_storage_has_to_match(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(4)}, tmp_path / "m", _use_new_zipfile_serialization=False)
    content = (tmp_path / "m").read_bytes()
    (tmp_path / "m").write_bytes(content[:-24] + struct.pack("<q", 5) + content[-16:])
    with pytest.raises(CorruptFileError, match="storage"):
        open_torch_file(tmp_path / "m")
