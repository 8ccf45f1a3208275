"""Models that begin with random weights: what they leave, and what would make no sense."""

from pathlib import Path

import pytest

import enfold
from enfold.errors import InputError
from enfold.training.fit import fit
from enfold.training.settings import Settings
from tests.cli.tiny import WORDS
from tests.training.support import reviews, tiny

SHAPE = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 20}

WRITERS = {
    "t5": {"d_model": 12, "num_layers": 1, "num_heads": 3, "d_kv": 4, "d_ff": 20},
    "bart": {"d_model": 12, "encoder_layers": 1, "decoder_layers": 1}
    | {f"{side}_attention_heads": 3 for side in ("encoder", "decoder")}
    | {f"{side}_ffn_dim": 20 for side in ("encoder", "decoder")},
}


def config() -> enfold.BertConfig:
    return enfold.AutoConfig.for_model("bert", vocab_size=len(WORDS), max_position_embeddings=40, **SHAPE)


def test_texts_longer_than_any_that_was_learnt_are_read_in_windows(tmp_path: Path) -> None:
    tokenizer = enfold.AutoTokenizer.from_pretrained(tiny(tmp_path))
    before = tokenizer.model_max_length
    settings = Settings(max_steps=2, batch_size=4)
    fitted = fit(config(), reviews(30), out=tmp_path / "out", tokenizer=tokenizer, max_length=16, settings=settings)
    assert fitted.tokenizer.model_max_length == 16
    assert enfold.AutoTokenizer.from_pretrained(tmp_path / "out").model_max_length == 16
    assert tokenizer.model_max_length == before
    again = fit(str(tmp_path / "out"), reviews(30), max_length=12, evaluation=None, settings=settings)
    assert again.tokenizer.model_max_length == 16


def test_an_adapter_beside_random_weights_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an adapter learns beside weights that are trained, and a configuration has"):
        fit(config(), reviews(30), tokenizer=tiny(tmp_path), adapter=enfold.LoRA())


def test_a_new_architecture_learns_labels_and_tells_them(tmp_path: Path) -> None:
    shape = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 20}
    new = enfold.AutoConfig.for_model("enfold", vocab_size=len(WORDS), **shape)
    fit(new, reviews(30), out=tmp_path / "out", tokenizer=tiny(tmp_path), settings=Settings(max_steps=2))
    classify = enfold.pipeline("text-classification", str(tmp_path / "out"))
    for record in classify(["a good film", "bad", "a book"], top_k=None):
        assert {each["label"] for each in record} == {"no", "yes"}
        assert sum(each["score"] for each in record) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["bart", "mbart", "pegasus", "marian", "m2m_100", "t5", "mt5"])
def test_a_new_writer_writes_as_soon_as_it_has_learnt(kind: str, tmp_path: Path) -> None:
    tokenizer = enfold.AutoTokenizer.from_pretrained(tiny(tmp_path))
    sizes = WRITERS["t5" if "t5" in kind else "bart"]
    config = enfold.AutoConfig.for_model(kind, **sizes).for_tokenizer(tokenizer)
    rows = [{"source": row["text"], "target": row["label"]} for row in reviews(30)]
    settings = Settings(max_steps=2, batch_size=4)
    fitted = fit(config, rows, task="translation", out=tmp_path / "out", tokenizer=tokenizer, settings=settings)
    assert "bleu" in fitted.metrics
    again = enfold.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out")
    assert again.untrained == ()
