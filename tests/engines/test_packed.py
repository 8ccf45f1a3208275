"""Models that are saved as they compute: in bytes, in four bits, in the blocks of a GGUF file."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import enfold
from enfold.checkpoint.safetensors import open_safetensors, write_safetensors
from enfold.errors import ConfigError, CorruptFileError, InputError
from tests.native.place import python
from tests.support import minilm, smollm2

IDS = np.array([[101, 2023, 2003, 2307, 102]])
GPT2 = {"model_type": "gpt2", "n_embd": 64, "n_head": 4, "n_layer": 2, "vocab_size": 5000, "n_positions": 64}
T5 = {
    "model_type": "t5", "d_model": 64, "d_kv": 16, "num_heads": 4, "d_ff": 96, "num_layers": 2, "vocab_size": 5000,
    "decoder_start_token_id": 0,
}  # fmt: skip


def saved(folder: Path, dtype: str) -> enfold.PreTrainedModel:
    model = enfold.AutoModel.from_pretrained(minilm(), engine="cpu", dtype=dtype)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_what_is_saved_computes_the_same_from_the_mapped_file(tmp_path: Path, dtype: str) -> None:
    model = saved(tmp_path, dtype)
    again = enfold.AutoModel.from_pretrained(tmp_path, engine="cpu")
    assert again.compute == dtype
    expected = model(input_ids=IDS).last_hidden_state
    np.testing.assert_array_equal(again(input_ids=IDS).last_hidden_state, expected)
    panels = [parts["panels"] for parts in again._weights.packed().values()]
    assert panels and not any(each.flags.owndata or each.flags.writeable for each in panels)  # they lie in the file
    size = (tmp_path / "model.safetensors").stat().st_size
    assert size < 0.75 * (minilm() / "model.safetensors").stat().st_size  # half of it are embeddings
    copied = copy.deepcopy(again)
    np.testing.assert_array_equal(copied(input_ids=IDS).last_hidden_state, expected)
    again.save_pretrained(tmp_path / "twice")
    twice = enfold.AutoModel.from_pretrained(tmp_path / "twice", engine="cpu", dtype=dtype)
    np.testing.assert_array_equal(twice(input_ids=IDS).last_hidden_state, expected)


def test_values_are_those_that_bytes_stand_for(tmp_path: Path) -> None:
    saved(tmp_path, "int8")
    again = enfold.AutoModel.from_pretrained(tmp_path, engine="cpu")
    exact = enfold.AutoModel.from_pretrained(minilm(), engine="cpu")
    for name in ("layers.0.attention.query.weight", "layers.3.attention.value.weight"):
        name = next(n for n in _names(exact) if n.endswith(name))
        names, parts = next(each for each in again._weights.packed().items() if name in each[0])
        begin, weights = 384 * names.index(name), exact.tensor(name)
        steps, errors = parts["scale"][begin : begin + 384], again.tensor(name) - weights
        assert (np.abs(errors) <= 0.75 * steps[:, None]).all()  # half a step, and what fitting the row's scale moves
        assert (np.sqrt((errors**2).mean(axis=1)) < 0.32 * steps).all()  # √(1 / 12) where all are equally likely
        assert (127 * steps < 3 * np.abs(weights).max(axis=1)).all()


def test_bytes_are_saved_and_read_without_kernels(tmp_path: Path) -> None:
    code = (
        "import numpy as np, enfold\n"
        f"model = enfold.AutoModel.from_pretrained({str(minilm())!r}, engine='cpu', dtype='int8')\n"
        f"model.save_pretrained({str(tmp_path / 'once')!r})\n"
        f"again = enfold.AutoModel.from_pretrained({str(tmp_path / 'once')!r}, engine='cpu')\n"
        f"again.save_pretrained({str(tmp_path / 'twice')!r})\n"
        "ids = np.array([[101, 2023, 102]])\n"
        "same = np.array_equal(model(input_ids=ids).last_hidden_state, again(input_ids=ids).last_hidden_state)\n"
        "print(again.compute, same)"
    )
    done = python(code, ENFOLD_ISA="numpy")
    assert (done.stdout, done.returncode) == ("int8 True\n", 0), done.stderr
    assert (tmp_path / "once" / "model.safetensors").read_bytes() == (
        tmp_path / "twice" / "model.safetensors"
    ).read_bytes()


def _names(model: Any) -> list[str]:
    from enfold.leaves import tensor_shapes

    return list(tensor_shapes(model.blueprint.leaves))


@pytest.mark.parametrize("dtype", ["int8", "int4"])
@pytest.mark.parametrize("values", [GPT2, T5], ids=lambda values: values["model_type"])
def test_tied_outputs_and_stored_parts_come_back(tmp_path: Path, values: dict[str, Any], dtype: str) -> None:
    auto = enfold.AutoModelForCausalLM if values["model_type"] == "gpt2" else enfold.AutoModelForSeq2SeqLM
    auto.from_config(enfold.AutoConfig.for_model(**values), engine="cpu").save_pretrained(tmp_path / "exact")
    model = auto.from_pretrained(tmp_path / "exact", engine="cpu", dtype=dtype)
    model.save_pretrained(tmp_path / "packed")
    again = auto.from_pretrained(tmp_path / "packed", engine="cpu")
    given = {"input_ids": IDS} | ({} if values is GPT2 else {"decoder_input_ids": IDS})
    np.testing.assert_array_equal(again(**given).logits, model(**given).logits)


def test_blocks_of_a_gguf_file_are_saved_as_they_are(tmp_path: Path) -> None:
    model = enfold.AutoModelForCausalLM.from_pretrained(smollm2(), engine="cpu", dtype="blocks")
    model.save_pretrained(tmp_path)
    again = enfold.AutoModelForCausalLM.from_pretrained(tmp_path, engine="cpu")
    np.testing.assert_array_equal(again(input_ids=IDS).logits, model(input_ids=IDS).logits)
    assert (tmp_path / "model.safetensors").stat().st_size < 130e6


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, "int8")
    with pytest.raises(InputError, match="holds int8: leave dtype out"):
        enfold.AutoModel.from_pretrained(tmp_path, engine="cpu", dtype="int4")
    with pytest.raises(InputError, match="add engine='cpu'"):
        enfold.AutoModel.from_pretrained(tmp_path, engine="torch")
    config = json.loads((tmp_path / "config.json").read_text())
    for quantization, message in (({"quant_method": "gptq"}, "'gptq', which enfold"), (None, "saved together")):
        (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": quantization}))
        with pytest.raises(ConfigError, match=message):
            enfold.AutoModel.from_pretrained(tmp_path, engine="cpu")


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("scale", lambda a: np.full_like(a, np.nan), "not a matrix of bytes"),
        ("places", lambda a: a + 100_000, "not a matrix of bytes"),
        ("panels", lambda a: a[1:], "not a matrix of bytes"),
        ("sums", None, "not a matrix of bytes"),
        ("columns", lambda a: a + 4, "not a matrix of bytes"),
    ],
)
def test_damage_is_named(tmp_path: Path, part: str, change: Any, message: str) -> None:
    saved(tmp_path, "int8")
    path = tmp_path / "model.safetensors"
    arrays = {name: view.raw().copy() for name, view in open_safetensors(path).items()}
    name = next(name for name in arrays if name.startswith("packed:") and name.endswith(f":{part}"))
    arrays |= {name: change(arrays[name])} if change else {}
    kept = {n: (array, array.dtype.name) for n, array in arrays.items() if change or n != name}
    write_safetensors(path, kept)
    with pytest.raises(CorruptFileError, match=message):
        enfold.AutoModel.from_pretrained(tmp_path, engine="cpu")
