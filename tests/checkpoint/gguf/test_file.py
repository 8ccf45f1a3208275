"""A GGUF file gives the tensors that transformers makes of it, under the same names, and its blocks as they are."""

import time
from pathlib import Path

import gguf
import numpy as np
import pytest

from enfold.checkpoint.files import gguf_file, open_weights
from enfold.checkpoint.gguf import GgufTensor, RowOrder, gguf_config, open_gguf
from enfold.checkpoint.safetensors import write_safetensors
from enfold.errors import CheckpointError, CorruptFileError
from tests.checkpoint.gguf.make import metadata, reference, smollm2, tensors, tiny, write


def _assert_equal_to_reference(path: Path) -> None:
    expected = reference(path)["tensors"]
    found = open_weights(path)
    # Tied to the embeddings, and only there in the reference's model.
    assert set(found) == set(expected) - ({"lm_head.weight"} if found.get("lm_head.weight") is None else set())
    for name, view in found.items():
        values = view.numpy()
        assert view.shape == values.shape == tuple(expected[name].shape), name
        np.testing.assert_array_equal(values, expected[name].numpy(), err_msg=name)


@pytest.mark.parametrize("type_name", ["F32", "F16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_llama_in_every_type_that_can_be_written(tmp_path: Path, type_name: str) -> None:
    _assert_equal_to_reference(tiny(tmp_path, "llama", type_name=type_name, untied=True))


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "gpt2"])
def test_the_other_architectures(tmp_path: Path, architecture: str) -> None:
    _assert_equal_to_reference(tiny(tmp_path, architecture))


def test_the_real_file() -> None:
    _assert_equal_to_reference(smollm2())


def test_the_real_file_opens_quickly() -> None:
    def opening() -> float:
        start = time.perf_counter()
        file = open_gguf(smollm2())
        assert (file.config["hidden_size"], len(file.tensors), len(file.tokenizer().tokens)) == (576, 272, 49152)
        return time.perf_counter() - start

    assert min(opening() for _ in range(3)) < 1


def test_bfloat16_widens_exactly(tmp_path: Path) -> None:
    some = tensors("llama")
    values = some["output_norm.weight"][0].astype(np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    some["output_norm.weight"] = (bits.view(np.uint8), "BF16")
    view = open_gguf(write(tmp_path / "m.gguf", metadata("llama"), some)).tensors["model.norm.weight"]
    assert (view.dtype, view.shape, view.blocks) == ("bfloat16", (64,), None)
    np.testing.assert_array_equal(view.numpy().view(np.uint32) >> 16, bits)


def test_quantized_views_say_what_they_are(tmp_path: Path) -> None:
    view = open_gguf(tiny(tmp_path, "llama", type_name="Q4_1")).tensors["model.layers.1.mlp.up_proj.weight"]
    assert isinstance(view, GgufTensor)
    assert view.blocks is not None
    assert (view.dtype, view.shape, view.nbytes) == ("float32", (96, 64), 96 * 2 * 20)
    assert (view.blocks.name, view.blocks.size, view.blocks.block_bytes) == ("Q4_1", 32, 20)
    raw = view.raw()
    assert (raw.shape, raw.dtype) == ((96, 2, 20), np.uint8)
    assert np.shares_memory(raw, view.bits)
    np.testing.assert_array_equal(view.blocks.dequantize(raw), view.numpy())
    assert view.numpy("float16").dtype == np.float16


def test_blocks_of_reordered_rows_need_no_dequantizing(tmp_path: Path) -> None:
    path = tiny(tmp_path, "llama", type_name="Q5_1")
    views = open_gguf(path).tensors
    stored = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    for ours, theirs, heads in (("q_proj", "attn_q", 4), ("k_proj", "attn_k", 2)):
        view = views[f"model.layers.0.self_attn.{ours}.weight"]
        assert view.row_order == RowOrder(heads)
        rows = view.row_order.stored(view.shape[0])
        assert sorted(rows) == list(range(view.shape[0]))
        raw = stored[f"blk.0.{theirs}.weight"].reshape(view.shape[0], 2, 24)
        np.testing.assert_array_equal(view.raw(), raw[rows])
        np.testing.assert_array_equal(view.raw(), view.row_order.apply(raw))
    assert views["model.layers.0.self_attn.v_proj.weight"].row_order is None


def test_pairs_of_a_head_become_halves() -> None:
    assert RowOrder(2).stored(12).tolist() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]


def test_transposed_tensors_keep_their_stored_blocks(tmp_path: Path) -> None:
    view = open_gguf(tiny(tmp_path, "gpt2")).tensors["transformer.h.0.mlp.c_fc.weight"]
    assert view.transposed
    assert (view.shape, view.raw().shape) == ((64, 256), (256, 2, 34))
    assert view.numpy().flags.c_contiguous


def test_tensors_that_no_table_knows_keep_their_names(tmp_path: Path) -> None:
    some = {**tensors("llama"), "blk.0.extra.weight": (np.ones(3, np.float32), "F32")}
    path = write(tmp_path / "m.gguf", metadata("llama"), some)
    assert "blk.0.extra.weight" in open_weights(path)


def test_queries_that_are_no_heads_are_refused(tmp_path: Path) -> None:
    some = {**tensors("llama"), "blk.0.attn_q.weight": (np.ones((63, 64), np.float32), "Q8_0")}
    path = write(tmp_path / "m.gguf", metadata("llama"), some)
    with pytest.raises(CorruptFileError, match=r"'blk\.0\.attn_q\.weight' has 63 rows; expected 4 heads"):
        open_weights(path)


class TestFolders:
    def test_one_file_is_the_model(self, tmp_path: Path) -> None:
        path = tiny(tmp_path, "llama")
        weights = open_weights(tmp_path)
        assert (weights.path, weights.format, len(weights)) == (path, "gguf", 20)
        assert gguf_config(tmp_path) == gguf_config(path)

    def test_of_several_one_has_to_be_named(self, tmp_path: Path) -> None:
        paths = [tiny(tmp_path, architecture) for architecture in ("llama", "qwen2")]
        for call in (open_weights, gguf_config):
            with pytest.raises(CheckpointError, match=r"holds 2 GGUF files.*Name the file.*llama\.gguf.*qwen2\.gguf"):
                call(tmp_path)
        assert gguf_file(paths[1]) == paths[1]
        assert gguf_config(paths[1])["model_type"] == "qwen2"

    def test_other_weights_come_first(self, tmp_path: Path) -> None:
        tiny(tmp_path, "llama")
        write_safetensors(tmp_path / "model.safetensors", {"w": (np.zeros(1, np.float32), "float32")})
        assert open_weights(tmp_path).format == "safetensors"
        assert gguf_file(tmp_path) is None

    def test_none_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"holds no GGUF model; expected a file \*\.gguf"):
            gguf_config(tmp_path)
        with pytest.raises(CheckpointError, match=r"x\.gguf can't be read: No such file"):
            open_weights(tmp_path / "x.gguf")
