"""``enfold info``: what a model is, and what is wrong with one that can't be loaded."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from enfold.auto import load_model
from enfold.cli.inspection import inspect_folder
from enfold.config import UNTRAINED_KEY
from enfold.engines.cpu import native_module
from enfold.errors import EnfoldError
from enfold.heads import HeadKind
from enfold.machine import available_cores
from enfold.model import PreTrainedModel
from tests.cli.conftest import Invoke
from tests.cli.tiny import tiny_bert
from tests.support import minilm, smollm2

COMMIT = "0123456789abcdef" * 2 + "01234567"


def info(invoke: Invoke, folder: Path) -> dict[str, Any]:
    result = invoke("info", str(folder), "--json", "--offline")
    assert (result.exit_code, result.stderr) == (0, "")
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def change(folder: Path, **values: Any) -> None:
    """Other values in config.json; None removes one."""
    config = json.loads((folder / "config.json").read_text()) | values
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))


def test_a_real_model(invoke: Invoke) -> None:
    report = info(invoke, minilm())
    assert report["source"]["licence"] == "apache-2.0"
    architecture = report["architecture"]
    assert (architecture["family"], architecture["class"]) == ("bert", "BertModel")
    assert [architecture[key] for key in ("layers", "hidden_size", "heads", "head_size", "limit")] == [
        6,
        384,
        12,
        32,
        512,
    ]
    assert report["checkpoint"]["types"] == {"float32": 103, "int64": 1}
    assert report["heads"]["in_checkpoint"] == {"base": "BertModel"}
    assert report["heads"]["left_out"] == ["embeddings.position_ids"]
    assert report["memory"]["parameters"] == 22_713_216
    assert report["memory"]["float32"] == 2 * report["memory"]["float16"] == 4 * 22_713_216
    assert report["memory"]["int8_linear"] < report["memory"]["float32"]
    assert (report["tokenizer"]["tokens"], report["tokenizer"]["limit"]) == (30_522, 512)
    assert report["tokenizer"]["special"]["mask"] == "[MASK]"
    embeddings = report["sentence embeddings"]
    assert (embeddings["pooling"], embeddings["normalized"], embeddings["width"], embeddings["limit"]) == (
        ["mean"],
        True,
        384,
        256,
    )
    assert report["files"]["1_Pooling/config.json"] == (minilm() / "1_Pooling" / "config.json").stat().st_size
    assert report["problems"] == []


@pytest.mark.parametrize("kind", ["masked-lm", "sequence-classification", "token-classification", "question-answering"])
def test_the_head_of_a_checkpoint_and_what_it_needs(kind: HeadKind, invoke: Invoke, tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "model", kind, labels=("x", "y", "z"))
    report = info(invoke, folder)
    assert report["problems"] == []
    heads = report["heads"]["in_checkpoint"]
    others = {"base"} if kind == "sequence-classification" else set()
    assert set(heads) == {kind, *others}
    assert report["heads"]["labels"] == (["x", "y", "z"] if kind.endswith("classification") else None)
    model: PreTrainedModel = load_model(folder, kind, engine="cpu")
    assert report["memory"]["parameters"] == model.num_parameters()


def test_a_bare_encoder_has_no_head(invoke: Invoke, tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "model", "encoder")
    report = info(invoke, folder)
    assert (report["heads"]["in_checkpoint"], report["problems"]) == ({}, [])
    assert "heads\tnone\t\n" in invoke("info", str(folder)).stdout


def test_untrained_tensors_are_told(invoke: Invoke, tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "model")
    change(folder, **{UNTRAINED_KEY: ["classifier.weight"]})
    assert info(invoke, folder)["heads"]["untrained"] == ["classifier.weight"]


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{oops")


def _unknown_type(folder: Path) -> None:
    change(folder, model_type="brett")


def _wrong_sizes(folder: Path) -> None:
    change(folder, hidden_size=10, num_attention_heads=3)


def _wrong_shapes(folder: Path) -> None:
    change(folder, intermediate_size=24)


def _wrong_labels(folder: Path) -> None:
    change(folder, id2label={"0": "a", "1": "b", "2": "c"})


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _damaged_weights(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 1000)


def _missing_and_unexpected(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["adapter.weight"] = tensors.pop("bert.embeddings.LayerNorm.weight")
    save_file(tensors, folder / "model.safetensors")


def _no_tokenizer(folder: Path) -> None:
    (folder / "vocab.txt").unlink()


def _large_tokenizer(folder: Path) -> None:
    with (folder / "vocab.txt").open("a") as file:
        file.write("more\n")


def _unknown_module(folder: Path) -> None:
    (folder / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "my.own.Module"}]')


@pytest.mark.parametrize(
    ("damage", "problems"),
    [
        (_no_config, ["has no config.json: a model folder has config.json, weights and tokenizer files"]),
        (_broken_config, ["isn't valid JSON at line 1"]),
        (_unknown_type, ["model_type is 'brett' (did you mean bert"]),
        (_wrong_sizes, ["hidden_size 10 is not a multiple of the number of attention heads 3"]),
        (
            _wrong_shapes,
            ["encoder.layer.0.intermediate.dense.weight: (20, 12) in the file, (24, 12) by the configuration"],
        ),
        (_wrong_labels, ["misshapen tensor classifier.weight: (2, 12) in the file, (3, 12) by the configuration"]),
        (_no_weights, ["holds no weights"]),
        (_damaged_weights, ["model.safetensors"]),
        (_missing_and_unexpected, ["missing tensor embeddings.LayerNorm.weight", "unexpected tensor adapter.weight"]),
        (_no_tokenizer, ["vocab"]),
        (_large_tokenizer, ["the tokenizer has 21 tokens, the embeddings 20"]),
        (_unknown_module, ["my.own.Module"]),
    ],
)
def test_what_is_wrong_is_told_with_all_the_rest(
    damage: Callable[[Path], None], problems: list[str], invoke: Invoke, tmp_path: Path
) -> None:
    folder = tiny_bert(tmp_path / "model")
    damage(folder)
    report = info(invoke, folder)
    assert "files" in report and "source" in report
    for problem in problems:
        assert any(problem in each for each in report["problems"]), report["problems"]
    assert invoke("info", str(folder)).exit_code == 0


@pytest.mark.parametrize("damage", [_wrong_shapes, _missing_and_unexpected, _damaged_weights, _wrong_labels])
def test_a_checkpoint_with_problems_is_one_that_does_not_load(
    damage: Callable[[Path], None], invoke: Invoke, tmp_path: Path
) -> None:
    folder = tiny_bert(tmp_path / "model")
    damage(folder)
    assert info(invoke, folder)["problems"]
    with pytest.raises(EnfoldError):
        load_model(folder, "sequence-classification", engine="cpu")


def test_without_a_model_it_tells_what_computes(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = str(available_cores())
    monkeypatch.setattr(native_module, "available", True)
    monkeypatch.setattr(native_module, "isa", "avx2")
    rows = [line.split("\t") for line in invoke("info").stdout.splitlines()[1:]]
    assert rows == [["machine", "kernels", "compiled, avx2"], ["machine", "threads", threads]]
    monkeypatch.setattr(native_module, "available", False)
    monkeypatch.setattr(native_module, "reason", "enfold was installed without a compiler")
    report = json.loads(invoke("info", "--json").stdout)
    assert report["machine"] == {
        "kernels": "numpy",
        "because": "enfold was installed without a compiler",
        "threads": available_cores(),
    }


def test_a_missing_folder_is_an_error(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("info", str(tmp_path / "absent"))
    assert result.exit_code == 1 and "no folder" in result.stderr


def test_in_a_pipe_there_is_a_line_per_fact(invoke: Invoke, tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "model")
    facts = [line.split("\t") for line in invoke("info", str(folder)).stdout.splitlines()]
    assert facts[0] == ["section", "what", "value"]
    assert any(fact[:2] == ["machine", "kernels"] for fact in facts)
    assert ["architecture", "hidden_size", "12"] in facts
    assert ["tokenizer", "special", "unk [UNK], sep [SEP], pad [PAD], cls [CLS], mask [MASK]"] in facts
    assert facts[-1] == ["problems", "none", ""]


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_sections_fit(
    columns: int, terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    from enfold.cli.main import cli

    terminal(columns)
    cli(["info", str(minilm())], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert "memory" in lines and any(line.split() == ["float32", "90.9", "MB"] for line in lines)


def test_a_hub_model_that_is_not_here_offline_is_an_error(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    result = invoke("info", "someone/something", "--offline")
    assert result.exit_code == 1 and "would have to be fetched" in result.stderr


def test_a_hub_model_without_its_weights_is_no_problem(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "models--org--tiny" / "snapshots" / COMMIT
    tiny_bert(snapshot)
    (snapshot / "model.safetensors").unlink()
    (tmp_path / "models--org--tiny" / "refs").mkdir()
    (tmp_path / "models--org--tiny" / "refs" / "main").write_text(COMMIT)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    result = invoke("info", "org/tiny", "--offline", "--json")
    report = json.loads(result.stdout)
    assert (report["source"]["name"], report["source"]["version"]) == ("org/tiny", COMMIT)
    assert "checkpoint" not in report and report["problems"] == []
    assert report["memory"]["float32"] > 0


def test_a_gguf_file_is_known_like_any_model() -> None:
    report: Any = inspect_folder(smollm2(), "smollm2")
    assert report["problems"] == []
    assert report["checkpoint"]["types"] == {"Q4_1": 210, "float32": 61, "Q8_0": 1}
    assert report["memory"]["blocks"] < report["memory"]["float32"] / 5
    assert report["heads"]["in_checkpoint"] == {"causal-lm": "LlamaForCausalLM"}
