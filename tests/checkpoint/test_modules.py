"""The folders of sentence-transformers: every shape in which they were written is read, all else is refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enfold.checkpoint.modules import Dense, Modules, Normalize, Pooling, read_modules, write_modules
from enfold.checkpoint.safetensors import write_safetensors
from enfold.errors import CheckpointError, ConfigError, TensorMismatchError, UnsafeFileError
from tests.support import minilm

OLD = "sentence_transformers.models"
NEW = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}
OLD_MEAN = {"word_embedding_dimension": 4, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
TANH = "torch.nn.modules.activation.Tanh"


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def chain(folder: Path, *kinds: str, types: dict[str, str] | None = None, pooling: Any = None) -> Path:
    """A folder with modules.json for these modules after Transformer and Pooling."""
    kinds = ("Transformer", "Pooling", *kinds)
    names = {kind: f"{OLD}.{kind}" for kind in kinds} | (types or {})
    entries = [
        {"idx": index, "name": str(index), "path": f"{index}_{kind}" if index else "", "type": names[kind]}
        for index, kind in enumerate(kinds)
    ]
    write(folder / "modules.json", entries)
    write(folder / "1_Pooling" / "config.json", OLD_MEAN if pooling is None else pooling)
    return folder


def dense(folder: Path, **changes: Any) -> np.ndarray:
    """A Dense module of 3 × 4 with a bias."""
    settings = {"in_features": 4, "out_features": 3, "bias": True, "activation_function": TANH, **changes}
    write(folder / "config.json", settings)
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    tensors = {"linear.weight": (weight, "float32"), "linear.bias": (weight[:, 0].copy(), "float32")}
    write_safetensors(folder / "model.safetensors", tensors)  # type: ignore[arg-type]
    return weight


def test_a_plain_checkpoint_gives_the_mean_not_normalised(tmp_path: Path) -> None:
    assert read_modules(tmp_path) == Modules(pooling=Pooling(("mean",)), after=())


def test_the_real_folder_is_read() -> None:
    modules = read_modules(minilm())
    assert modules == Modules(after=(Normalize(),), max_seq_length=256)
    assert modules.width(384) == 384


@pytest.mark.parametrize("types", [None, NEW], ids=["release 2", "release 6"])
def test_class_names_of_old_and_new_releases(tmp_path: Path, types: dict[str, str] | None) -> None:
    folder = chain(tmp_path, "Normalize", types=types)
    assert read_modules(folder).after == (Normalize(),)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (OLD_MEAN, Pooling(("mean",))),
        ({"word_embedding_dimension": 4}, Pooling(("mean",))),
        ({**OLD_MEAN, "pooling_mode_cls_token": True}, Pooling(("cls", "mean"))),
        ({"pooling_mode_max_tokens": True, "include_prompt": False}, Pooling(("max",), include_prompt=False)),
        ({"pooling_mode_weightedmean_tokens": True}, Pooling(("weightedmean",))),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, Pooling(("mean_sqrt_len_tokens",))),
        ({"embedding_dimension": 4, "pooling_mode": "cls", "include_prompt": True}, Pooling(("cls",))),
        ({"embedding_dimension": 4, "pooling_mode": ["mean", "cls"]}, Pooling(("mean", "cls"))),
    ],
)
def test_pooling_of_old_and_new_releases(tmp_path: Path, settings: Any, expected: Pooling) -> None:
    assert read_modules(chain(tmp_path, pooling=settings)).pooling == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling_mode_lasttoken": True}, "pooling_mode_lasttoken is True, expected one or several of cls, max, mean"),
        ({"pooling_mode": "lasttoken"}, "pooling_mode is 'lasttoken', expected one or several"),
        ({"pooling_mode": []}, r"pooling_mode is \[\], expected one or several"),
        ({"pooling_mode": ["mean", {}]}, "pooling_mode is"),
        ({"pooling_mode_mean_tokens": "yes", "include_prompt": 1}, "(?s)mean_tokens is 'yes'.*include_prompt is 1"),
    ],
)
def test_pooling_that_is_not_computed_is_refused(tmp_path: Path, settings: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_modules(chain(tmp_path, pooling=settings))


def test_unknown_modules_are_named(tmp_path: Path) -> None:
    types = {"Dense": "evil.code.Dense"}
    with pytest.raises(ConfigError, match=r"evil\.code\.Dense, sentence_transformers\.models\.LSTM"):
        read_modules(chain(tmp_path, "Dense", "LSTM", types=types))


@pytest.mark.parametrize(
    "content",
    ["{", '{"a": 1}', "[1]", '[{"path": ""}]', "[]", f'[{{"type": "{OLD}.Transformer", "path": "0_Transformer"}}]'],
)
def test_a_damaged_list_of_modules(tmp_path: Path, content: str) -> None:
    (tmp_path / "modules.json").write_text(content)
    with pytest.raises(ConfigError, match=r"modules\.json.*expected"):
        read_modules(tmp_path)


@pytest.mark.parametrize("path", ["../1_Pooling", "..", "/etc", "a/b", "a\\b", "."])
def test_modules_stay_inside_the_folder(tmp_path: Path, path: str) -> None:
    entries = [{"type": f"{OLD}.Transformer", "path": ""}, {"type": f"{OLD}.Pooling", "path": path}]
    write(tmp_path / "modules.json", entries)
    with pytest.raises(UnsafeFileError, match="expected folders beside it"):
        read_modules(tmp_path)


def test_dense_is_read_with_its_weights(tmp_path: Path) -> None:
    weight = dense(chain(tmp_path, "Dense") / "2_Dense")
    modules = read_modules(tmp_path)
    (module,) = modules.after
    assert isinstance(module, Dense) and module.bias is not None and module.activation == "tanh"
    np.testing.assert_array_equal(module.weight, weight)
    np.testing.assert_array_equal(module.bias, weight[:, 0])
    assert modules.width(4) == 3


def test_dense_of_a_torch_file(tmp_path: Path) -> None:
    import torch

    weight = dense(chain(tmp_path, "Dense") / "2_Dense", bias=False)
    (tmp_path / "2_Dense" / "model.safetensors").unlink()
    torch.save({"linear.weight": torch.tensor(weight)}, tmp_path / "2_Dense" / "pytorch_model.bin")
    (module,) = read_modules(tmp_path).after
    assert isinstance(module, Dense) and module.bias is None
    np.testing.assert_array_equal(module.weight, weight)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation_function": "os.system"}, r"activation_function is 'os\.system', expected torch"),
        ({"use_residual": True}, "use_residual is True, expected false"),
        ({"module_input_name": "token_embeddings"}, "module_input_name is 'token_embeddings'"),
        ({"in_features": "4", "out_features": True}, "(?s)out_features is True.*in_features is '4'"),
    ],
)
def test_dense_settings_that_are_not_computed(tmp_path: Path, changes: Any, message: str) -> None:
    dense(chain(tmp_path, "Dense") / "2_Dense", **changes)
    with pytest.raises(ConfigError, match=message):
        read_modules(tmp_path)


def test_dense_weights_have_to_fit(tmp_path: Path) -> None:
    folder = chain(tmp_path, "Dense") / "2_Dense"
    dense(folder, out_features=5)
    with pytest.raises(TensorMismatchError, match=r"\(3, 4\).*expected.*\(5, 4\)"):
        read_modules(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_modules(tmp_path)


def test_settings_of_the_encoder_and_of_use(tmp_path: Path) -> None:
    folder = chain(tmp_path)
    write(folder / "sentence_bert_config.json", {"max_seq_length": None, "do_lower_case": True})
    usage = {"prompts": {"query": "q: ", "document": None}, "default_prompt_name": "query", "similarity_fn_name": "dot"}
    write(folder / "config_sentence_transformers.json", usage)
    modules = read_modules(folder)
    assert modules.max_seq_length is None and modules.do_lower_case
    assert modules.prompts == {"query": "q: ", "document": ""}
    assert (modules.default_prompt_name, modules.similarity) == ("query", "dot")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("sentence_bert_config.json", {"max_seq_length": 0}, "max_seq_length is 0, expected 1 or more"),
        ("sentence_bert_config.json", {"max_seq_length": True}, "max_seq_length is True, expected a whole number"),
        ("config_sentence_transformers.json", {"prompts": {"a": 1}}, "prompts is {'a': 1}, expected texts by name"),
        ("config_sentence_transformers.json", {"prompts": ["a"]}, r"prompts is \['a'\], expected an object"),
        ("config_sentence_transformers.json", {"default_prompt_name": "a"}, "is 'a', expected one of document, query"),
        ("config_sentence_transformers.json", {"similarity_fn_name": "max"}, "is 'max', expected cosine or dot"),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "is 'SparseEncoder', expected Sent"),
    ],
)
def test_settings_of_a_wrong_type(tmp_path: Path, name: str, settings: Any, message: str) -> None:
    write(chain(tmp_path) / name, settings)
    with pytest.raises(ConfigError, match=message):
        read_modules(tmp_path)


@pytest.mark.parametrize(
    "modules",
    [
        Modules(),
        Modules(pooling=Pooling(("cls", "mean")), after=(Normalize(),), max_seq_length=20, do_lower_case=True),
        Modules(pooling=Pooling(("mean", "weightedmean"), include_prompt=False), similarity="dot"),
        Modules(pooling=Pooling(("mean", "cls")), prompts={"query": "問: "}, default_prompt_name="query"),
    ],
)
def test_what_is_written_is_read_back(tmp_path: Path, modules: Modules) -> None:
    write_modules(tmp_path / "new" / "folder", modules, 4)
    assert read_modules(tmp_path / "new" / "folder") == modules


def test_dense_is_written_and_read_back(tmp_path: Path) -> None:
    weight = np.ones((3, 4), np.float32)
    write_modules(tmp_path, Modules(after=(Dense(weight, None, "identity"), Normalize())), 4)
    module, normalize = read_modules(tmp_path).after
    assert isinstance(module, Dense) and (module.bias, module.activation, normalize) == (None, "identity", Normalize())
    np.testing.assert_array_equal(module.weight, weight)


def test_pooling_is_written_as_old_releases_read_it(tmp_path: Path) -> None:
    """Of the switches only those that release 2 knew, unless a newer one is on; a list only for its order."""
    write_modules(tmp_path, Modules(), 4)
    assert json.loads((tmp_path / "1_Pooling" / "config.json").read_text()) == {
        "word_embedding_dimension": 4,
        "pooling_mode_cls_token": False,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
