"""What holds of a model on an engine: independence of batch mates, threads, relative positions."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

from enfold.arch import Disentangled, RelativeBias
from enfold.auto import load_model
from enfold.packing import pack
from enfold.relative import relative_rows
from tests.reference import REFERENCE_FAMILIES, make_reference


@pytest.mark.parametrize("engine", ["torch", "cpu"])
@pytest.mark.parametrize("model_type", REFERENCE_FAMILIES)
def test_a_result_does_not_depend_on_batch_mates(model_type: str, engine: str, tmp_path: Path) -> None:
    reference = make_reference(model_type, "base", 1, tmp_path)
    model = load_model(tmp_path, "base", engine=engine)
    draw = np.random.default_rng(0)
    vocabulary = reference.model.config.vocab_size
    rows = [draw.integers(2, vocabulary, draw.integers(1, 25)) for _ in range(40)]
    together = model.run(pack(model.arch, rows), fields=("last_hidden_state",))["last_hidden_state"]
    at = 0
    for row in rows:
        alone = model.run(pack(model.arch, [row]), fields=("last_hidden_state",))["last_hidden_state"]
        roundings = 10 * np.finfo(np.float32).eps  # few rows are summed in lanes, many one after another
        np.testing.assert_allclose(alone, together[at : at + len(row)], atol=roundings * max(1, np.abs(alone).max()))
        at += len(row)


@pytest.mark.parametrize("engine", ["torch", "cpu"])
def test_a_model_answers_many_threads(engine: str, tmp_path: Path) -> None:
    make_reference("bert", "masked-lm", 1, tmp_path)
    model = load_model(tmp_path, "masked-lm", engine=engine)
    batches = [pack(model.arch, [np.arange(1, 3 + n), np.arange(1, 20)]) for n in range(16)]
    expected = [model.run(batch)["logits"] for batch in batches]
    wrong = []

    def work(index: int) -> None:
        for _ in range(5):
            if not np.allclose(model.run(batches[index])["logits"], expected[index], atol=1e-6):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("engine", ["torch", "cpu"])
def test_a_head_can_be_asked_for_some_tokens_only(engine: str, tmp_path: Path) -> None:
    make_reference("bert", "masked-lm", 1, tmp_path)
    model = load_model(tmp_path, "masked-lm", engine=engine)
    batch = pack(model.arch, [np.arange(1, 9), np.arange(1, 20)])
    everything = model.run(batch)["logits"]
    some = model.run(batch, tokens=np.array([2, 11, 3]))["logits"]
    np.testing.assert_allclose(some, everything[[2, 11, 3]], atol=1e-6)


def test_an_empty_batch_is_empty(tmp_path: Path) -> None:
    make_reference("bert", "base", 1, tmp_path)
    for engine in ("torch", "cpu"):
        model = load_model(tmp_path, "base", engine=engine)
        assert model.run(pack(model.arch, []), fields=("last_hidden_state",))["last_hidden_state"].shape[0] == 0


@pytest.mark.parametrize("length", [1, 2, 17, 64, 300, 512])
def test_distance_buckets_equal_the_reference(length: int) -> None:
    places = torch.arange(length)
    theirs = MPNetEncoder.relative_position_bucket(places[None] - places[:, None], 32, 128)
    assert np.array_equal(relative_rows(RelativeBias(buckets=32, max_distance=128), length), theirs.numpy())


@pytest.mark.parametrize(("span", "farthest"), [(256, 512), (8, 40), (4, 512)])
@pytest.mark.parametrize("length", [1, 17, 300, 512])
def test_log_buckets_equal_the_reference(span: int, farthest: int, length: int) -> None:
    rows = torch.zeros(1, length, 1)
    theirs = build_relative_position(rows, rows, bucket_size=span, max_position=farthest)[0]
    expected = (theirs + span).clamp(0, 2 * span - 1).numpy()
    settings = {"content_to_position": True, "position_to_content": True, "shared": True, "normed": True}
    ours = relative_rows(Disentangled(span=span, max_distance=farthest, **settings), length)
    assert np.array_equal(ours, expected)
