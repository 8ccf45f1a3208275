"""Which tasks a model can do is read from its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from enfold.tasks.offers import tasks_of
from tests.serve.models import build, folder
from tests.support import minilm, smollm2

READING = ["embed", "sentence-similarity", "zero-shot-by-embedding", "feature-extraction"]


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("reader", ["fill-mask"]),
        ("judge", ["text-classification"]),
        ("tagger", ["token-classification"]),
        ("answerer", ["question-answering"]),
    ],
)
def test_a_head_comes_before_what_any_encoder_does(name: str, first: list[str]) -> None:
    found = tasks_of(folder(name))
    assert found[:1] == first and sorted(found[1:]) == sorted(READING)


def test_what_writes() -> None:
    assert tasks_of(folder("writer")) == ["text-generation", "summarization"]
    assert tasks_of(folder("translator"))[:3] == ["text2text-generation", "summarization", "translation"]


def test_real_models() -> None:
    assert tasks_of(minilm())[0] == "embed"
    (gguf,) = smollm2().rglob("*.gguf")
    assert tasks_of(gguf)[0] == "text-generation"


def test_the_card_says_what_comes_first(tmp_path: Path) -> None:
    made = build(tmp_path / "model", "t5", "seq2seq-lm")
    (made / "README.md").write_text("---\nlicense: mit\npipeline_tag: translation\n---\n# A model\n")
    assert tasks_of(made)[0] == "translation"


def test_labels_of_inference_make_it_zero_shot(tmp_path: Path) -> None:
    made = build(tmp_path / "model", "bert", "sequence-classification")
    config = (made / "config.json").read_text()
    assert "zero-shot-classification" not in tasks_of(made)
    (made / "config.json").write_text(config.replace("LABEL_0", "entailment"))
    assert "zero-shot-classification" in tasks_of(made)
