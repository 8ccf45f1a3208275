"""Damaged and foreign files are refused by name and place: no crash, no hang, no error of a library beneath."""

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enfold.checkpoint.gguf import open_gguf
from enfold.checkpoint.gguf.header import read_header
from enfold.errors import CheckpointError, CorruptFileError, EnfoldError, MissingDependencyError
from tests.checkpoint.gguf.make import metadata, tensors, tiny, write


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def _tensor(name: str, sizes: list[int], kind: int = 0, offset: int = 0) -> bytes:
    return _text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


def _entry(key: str, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


def _raw(path: Path, *, entries: list[bytes] = [], tensors: list[bytes] = [], data: int = 128, **start: Any) -> Path:  # noqa: B006
    """A file put together by hand; `start` overrules the magic, version and counts."""
    fields = {"magic": b"GGUF", "version": 3, "tensor_count": len(tensors), "entry_count": len(entries)} | start
    head = struct.pack("<4sIQQ", *fields.values()) + b"".join(entries) + b"".join(tensors)
    path.write_bytes(head + b"\0" * (-len(head) % 32) + b"\0" * data)
    return path


def _use(path: Path) -> None:
    """Everything that can be had of a file."""
    file = open_gguf(path)
    for part in (lambda: file.config, lambda: [view.numpy() for view in file.tensors.values()], file.tokenizer):
        part()


def test_a_file_that_is_put_together_by_hand_is_read(tmp_path: Path) -> None:
    path = _raw(
        tmp_path / "m.gguf",
        entries=[
            _entry("a", 8, _text("text")),
            _entry("b", 9, struct.pack("<IQ3h", 3, 3, -1, 0, 1)),
            _entry("c", 7, b"\1"),
        ],
        tensors=[_tensor("t", [4, 2]), _tensor("u", [32], 8, 32)],
    )
    header = read_header(path)
    assert header.metadata == {"a": "text", "b": [-1, 0, 1], "c": True}
    assert [(entry.name, entry.shape, entry.end - entry.begin) for entry in header.entries] == [
        ("t", (2, 4), 32),
        ("u", (32,), 34),
    ]


def test_a_cut_at_any_byte_is_seen(tmp_path: Path) -> None:
    small = {
        name: (values[:2] if values.ndim == 2 else values[:3], kind)
        for name, (values, kind) in tensors("llama").items()
    }
    keys = {key: value for key, value in metadata("llama").items() if not key.startswith("tokenizer")}
    keys |= {"tokenizer.ggml.tokens": ["a", "b", "c"], "tokenizer.ggml.scores": [0.0, 1.0, 2.0]}
    path = write(tmp_path / "m.gguf", keys, small)
    content = path.read_bytes()
    needed = max(entry.end for entry in read_header(path).entries)
    cut = tmp_path / "cut.gguf"
    for size in [*range(700), *range(700, needed, 11), needed - 1]:
        cut.write_bytes(content[:size])
        with pytest.raises(CorruptFileError, match=r"cut\.gguf"):
            read_header(cut)
    cut.write_bytes(content[:needed])
    read_header(cut)


def test_changed_bytes_are_read_or_refused(tmp_path: Path) -> None:
    content = np.frombuffer(tiny(tmp_path, "llama").read_bytes(), np.uint8)
    header = 7000  # bytes, the tokenizer's first tokens among them
    path = tmp_path / "changed.gguf"
    rng = np.random.default_rng(0)
    with np.errstate(all="raise"):
        for _ in range(400):
            changed = content.copy()
            places = rng.integers(0, header, rng.integers(1, 4))
            changed[places] = rng.choice([0, 1, 8, 9, 127, 255], len(places))
            path.write_bytes(changed.tobytes())
            try:
                _use(path)
            except EnfoldError as error:
                assert "changed.gguf" in str(error)


class TestForeignFiles:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", r"m\.gguf is empty"),
            (b"GG", r"is truncated: it has 2 bytes, a GGUF file at least 24"),
            (b"ggml" + bytes(40), r"starts with b'ggml'; expected b'GGUF'"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 98\n",
                r"git-lfs pointer.*98 bytes expected",
            ),
            (b"<!doctype html><html>", "a web page"),
        ],
    )
    def test_are_named(self, tmp_path: Path, content: bytes, message: str) -> None:
        (tmp_path / "m.gguf").write_bytes(content)
        with pytest.raises(CorruptFileError, match=message):
            open_gguf(tmp_path / "m.gguf")

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="can't be read"):
            open_gguf(tmp_path)

    @pytest.mark.parametrize(("version", "what"), [(1, "of version 1"), (9, "of version 9"), (3 << 24, "big-endian")])
    def test_other_versions_are_named(self, tmp_path: Path, version: int, what: str) -> None:
        with pytest.raises(CheckpointError, match=f"{what}.*expected version 2 or 3, little-endian"):
            open_gguf(_raw(tmp_path / "m.gguf", version=version))

    def test_a_part_of_a_model_is_refused(self, tmp_path: Path) -> None:
        path = _raw(tmp_path / "m.gguf", entries=[_entry("split.count", 2, struct.pack("<H", 3))])
        with pytest.raises(CheckpointError, match=r"one of 3 parts of a model.*llama-gguf-split --merge"):
            open_gguf(path)


class TestClaims:
    """What a header says is held against the file before anything is made of it."""

    @pytest.mark.parametrize("count", [100_001, 2**40, 2**64 - 1])
    @pytest.mark.parametrize("of", ["tensor_count", "entry_count"])
    def test_huge_counts(self, tmp_path: Path, of: str, count: int) -> None:
        with pytest.raises(CorruptFileError, match=f"it claims {count} .*; expected at most 100000"):
            open_gguf(_raw(tmp_path / "m.gguf", **{of: count}))

    @pytest.mark.parametrize("element", [0, 6, 8, 12])
    @pytest.mark.parametrize("count", [1000, 2**24 + 1, 2**62, 2**64 - 1])
    def test_huge_arrays(self, tmp_path: Path, element: int, count: int) -> None:
        path = _raw(tmp_path / "m.gguf", entries=[_entry("a", 9, struct.pack("<IQ", element, count))])
        with pytest.raises(CorruptFileError, match=r"it ends at byte|claims an array of"):
            open_gguf(path)

    def test_an_array_that_is_as_large_as_the_file_costs_no_more(self, tmp_path: Path) -> None:
        path = _raw(tmp_path / "m.gguf", entries=[_entry("a", 9, struct.pack("<IQ", 8, 2**24))], data=1 << 20)
        with pytest.raises(CorruptFileError, match="within an array of 16777216 texts"):
            open_gguf(path)

    @pytest.mark.parametrize("length", [1000, 2**63, 2**64 - 1])
    def test_huge_texts(self, tmp_path: Path, length: int) -> None:
        for entry in (
            struct.pack("<Q", length),
            _entry("a", 8, struct.pack("<Q", length)),
            _entry("a", 9, struct.pack("<IQQ", 8, 1, length)),
        ):
            with pytest.raises(CorruptFileError, match=f"it ends at byte .* needs {length} bytes"):
                open_gguf(_raw(tmp_path / "m.gguf", entries=[entry]))

    @pytest.mark.parametrize("kind", [13, 99, 2**32 - 1])
    def test_unknown_types_of_values(self, tmp_path: Path, kind: int) -> None:
        for entry in (_entry("a", kind, bytes(8)), _entry("a", 9, struct.pack("<IQ", kind, 1))):
            with pytest.raises(CorruptFileError, match=f"at byte .* it holds a value of the unknown type {kind}"):
                open_gguf(_raw(tmp_path / "m.gguf", entries=[entry]))

    def test_arrays_of_arrays(self, tmp_path: Path) -> None:
        path = _raw(tmp_path / "m.gguf", entries=[_entry("a", 9, struct.pack("<IQ", 9, 1) * 5000)])
        with pytest.raises(CorruptFileError, match="an array of ARRAY; expected numbers or texts"):
            open_gguf(path)

    def test_texts_that_are_none(self, tmp_path: Path) -> None:
        bad = struct.pack("<Q", 2) + b"\xff\xfe"
        for entry in (
            bad + struct.pack("<IB", 7, 1),
            _entry("a", 8, bad),
            _entry("a", 9, struct.pack("<IQ", 8, 1) + bad),
        ):
            with pytest.raises(CorruptFileError, match="can't decode byte 0xff"):
                open_gguf(_raw(tmp_path / "m.gguf", entries=[entry]))

    def test_keys_that_stand_twice(self, tmp_path: Path) -> None:
        path = _raw(tmp_path / "m.gguf", entries=[_entry("a", 7, b"\1")] * 2)
        with pytest.raises(CorruptFileError, match="Duplicate a already"):
            open_gguf(path)

    @pytest.mark.parametrize("alignment", [0, 3, 48])
    def test_odd_alignments(self, tmp_path: Path, alignment: int) -> None:
        path = _raw(tmp_path / "m.gguf", entries=[_entry("general.alignment", 4, struct.pack("<I", alignment))])
        with pytest.raises(CorruptFileError, match="alignment"):
            open_gguf(path)


class TestTensors:
    @pytest.mark.parametrize(
        ("tensor", "message"),
        [
            (_tensor("t", []), r"'t' has the shape \[\]; expected 1 to 4 sizes"),
            (_tensor("t", [1] * 5), r"has the shape \[1, 1, 1, 1, 1\]"),
            (_tensor("t", [2**32, 2**32]), r"has the shape \[4294967296, 4294967296\]"),
            (_tensor("t", [2**64 - 1]), r"has the shape \[18446744073709551615\]"),
            (_tensor("t", [31], 8), r"'t' has rows of 31 values; Q8_0 needs multiples of 32"),
            (_tensor("t", [4], offset=4), r"'t' begins at byte \d+; expected a multiple of 32"),
            (_tensor("t", [1000]), r"'t' needs the bytes 64 to 4064, the file has 192"),
            (_tensor("t", [4], offset=2**63), r"'t' needs the bytes \d{19} to \d{19}, the file has 192"),
            (_tensor("t", [4], offset=2**64 - 32), r"'t' needs the bytes \d{20} to"),
        ],
    )
    def test_that_can_not_be(self, tmp_path: Path, tensor: bytes, message: str) -> None:
        with pytest.raises(CorruptFileError, match=message):
            open_gguf(_raw(tmp_path / "m.gguf", tensors=[tensor]))

    def test_that_stand_twice_or_overlap_are_all_listed(self, tmp_path: Path) -> None:
        some = [_tensor("a", [16]), _tensor("a", [4], offset=64), _tensor("b", [4], offset=32)]
        with pytest.raises(CorruptFileError) as caught:
            open_gguf(_raw(tmp_path / "m.gguf", tensors=some))
        assert "'a' stands in it twice" in str(caught.value)
        assert "inside 'a'" in str(caught.value)

    def test_of_types_that_are_not_read_are_all_named(self, tmp_path: Path) -> None:
        some = [_tensor("a", [256], 16), _tensor("b", [256], 77)]
        with pytest.raises(CheckpointError) as caught:
            open_gguf(_raw(tmp_path / "m.gguf", tensors=some))
        message = str(caught.value)
        assert "'a' is IQ2_XXS" in message
        assert "'b' is of the unknown type 77" in message
        assert "the types that are read are F32, F16, " in message
        assert "Q6_K" in message

    def test_long_lists_are_cut(self, tmp_path: Path) -> None:
        some = [_tensor(f"t{number}", [31], 8) for number in range(30)]
        with pytest.raises(CorruptFileError, match="and 20 more"):
            open_gguf(_raw(tmp_path / "m.gguf", tensors=some))


def test_without_the_package_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from enfold.checkpoint.gguf import header

    header._reader_class.cache_clear()
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingDependencyError, match="pip install gguf"):
        open_gguf(_raw(tmp_path / "m.gguf"))
