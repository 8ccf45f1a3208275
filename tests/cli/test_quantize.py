"""``enfold quantize``: what is saved, and what is said of it."""

import json
from pathlib import Path

import pytest

import enfold
from tests.cli.conftest import Invoke
from tests.support import minilm


def test_a_model_of_embeddings_keeps_all_that_it_needs(tmp_path: Path, invoke: Invoke) -> None:
    out = tmp_path / "small"
    result = invoke("quantize", str(minilm()), str(out), "--json")
    record = json.loads(result.stdout)
    assert record["dtype"] == "int8" and record["texts"] == 64 and "is written" in result.stderr
    assert record["cosine_mean"] > 0.999 and record["cosine_least"] > 0.995 and record["same_answers"] is None
    texts = ["A dog chased the ball.", "我明天再来。"]
    exact, rounded = (enfold.pipeline("embed", folder, engine="cpu")(texts) for folder in (minilm(), out))
    assert (exact * rounded).sum(axis=1).min() > 0.997
    info = json.loads(invoke("info", str(out), "--json").stdout)
    assert info["problems"] == [] and info["checkpoint"]["types"]["int8"] == 24
    assert info["checkpoint"]["quantized"].startswith("int8") and info["memory"].keys() == {"parameters", "int8"}
    again = invoke("quantize", str(out), str(tmp_path / "again"))
    assert again.exit_code == 1 and "is quantized already" in again.stderr


def test_own_texts_and_answers(tmp_path: Path, invoke: Invoke, classifier: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("good film\nbad film\n北京\n", encoding="utf-8")
    result = invoke("quantize", str(classifier), str(tmp_path / "out"), "--texts", str(texts))
    names, values = (line.split("\t") for line in result.stdout.splitlines())
    assert dict(zip(names, values, strict=True))["same_answers"] == "1.0000"


def test_no_model_is_lost(tmp_path: Path, invoke: Invoke, classifier: Path) -> None:
    (tmp_path / "texts.txt").write_text("good film", encoding="utf-8")
    arguments = ("quantize", str(classifier), str(tmp_path / "out"), "--texts", str(tmp_path / "texts.txt"))
    assert invoke(*arguments).exit_code == 0
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    again = invoke(*arguments, "--dtype", "int4")
    assert again.exit_code == 1 and "holds a model: name another folder" in again.stderr
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    assert invoke(*arguments, "--overwrite").exit_code == 0
    below_a_file = invoke(*arguments[:2], str(tmp_path / "texts.txt" / "out"), *arguments[3:])
    assert below_a_file.exit_code == 1 and "texts.txt is a file" in below_a_file.stderr


@pytest.mark.parametrize("arguments", [("--dtype", "int3"), ("--texts", "nowhere.txt")])
def test_what_cannot_be_is_refused(
    tmp_path: Path, invoke: Invoke, classifier: Path, arguments: tuple[str, str]
) -> None:
    assert invoke("quantize", str(classifier), str(tmp_path / "out"), *arguments).exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_model_is_not_lost_to_itself(tmp_path: Path, invoke: Invoke, classifier: Path) -> None:
    before = (classifier / "model.safetensors").read_bytes()
    result = invoke("quantize", str(classifier), str(classifier))
    assert result.exit_code == 1 and "name another folder" in result.stderr
    assert (classifier / "model.safetensors").read_bytes() == before
