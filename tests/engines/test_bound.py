"""Steps of one token: bound leaves give what the modules give, whatever the rows' lengths."""

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from enfold.auto import load_model
from enfold.engines.torch import bound
from enfold.engines.torch.bound import _neighbours, few_rows
from enfold.generation.session import Session
from tests.reference import make_reference

DECODERS = ["gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3"]


@pytest.mark.parametrize("call_bytes", [0, 1 << 30])
@pytest.mark.parametrize("model_type", DECODERS)
def test_ragged_steps_equal_the_whole_text(
    model_type: str, call_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bound, "_CALL_BYTES", call_bytes)
    make_reference(model_type, "causal-lm", 12, tmp_path)
    model: Any = load_model(tmp_path, "causal-lm")
    draw = np.random.default_rng(0)
    texts = [draw.integers(3, 40, size).tolist() for size in (1, 9, 2, 2, 14)]
    session = Session(model)
    session.open(texts)
    for _ in range(4):
        new = draw.integers(3, 40, len(texts)).tolist()
        logits = session.step(new).logits
        for row, token in enumerate(new):
            texts[row].append(token)
            with torch.no_grad():
                whole = model(torch.tensor([texts[row]]), use_cache=False).logits[0, -1].numpy()
            np.testing.assert_allclose(logits[row], whole, atol=1e-5 * max(1, np.abs(whole).max()))


def test_neighbours_cover_all_rows_and_waste_little() -> None:
    draw = np.random.default_rng(1)
    for tolerated in (0, 40, 1000):
        lengths = draw.integers(1, 300, 50).tolist()
        groups = list(_neighbours(lengths, tolerated))
        assert groups[0][0] == 0 and groups[-1][1] == 50
        assert all(a[1] == b[0] for a, b in pairwise(groups))
        for first, last in groups:
            own = lengths[first:last]
            assert max(own) * len(own) - sum(own) <= tolerated


def test_a_module_that_is_listened_to_is_not_bound(tmp_path: Path) -> None:
    make_reference("gpt2", "causal-lm", 12, tmp_path)
    model: Any = load_model(tmp_path, "causal-lm")
    heard: list[Any] = []
    handle = model.tree.layers.get_submodule("0").feed_forward.shrink.register_forward_hook(
        lambda module, given, output: heard.append(output.shape)
    )
    model.generate([[1, 2, 3]], max_new_tokens=3)
    assert len(heard) == 3
    handle.remove()


def test_weights_laid_side_by_side_still_train_and_copy(tmp_path: Path) -> None:
    import copy

    make_reference("llama", "causal-lm", 12, tmp_path)
    model: Any = load_model(tmp_path, "causal-lm")
    before = model.generate([[5, 6, 7]], max_new_tokens=4)
    twin = copy.deepcopy(model)
    assert torch.equal(twin.generate([[5, 6, 7]], max_new_tokens=4), before)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model(torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()
    optimizer.step()
    ids = torch.tensor([[5, 6, 7, 8]])
    session = Session(model)
    session.open([[5, 6, 7]])
    with torch.no_grad():
        whole = model(ids, use_cache=False).logits[0, -1].numpy()
    np.testing.assert_allclose(session.step([8]).logits[0], whole, atol=1e-4)
    assert torch.equal(twin.generate([[5, 6, 7]], max_new_tokens=4), before)


def test_passes_of_several_threads_give_torch_its_threads_back() -> None:
    """The second begins while the first has taken torch's threads, and ends after it."""
    cpu, inside, over = torch.device("cpu"), threading.Event(), threading.Event()
    found: list[int] = []

    def second() -> None:
        with few_rows(1, cpu):
            inside.set()
            over.wait(10)
        found.append(torch.get_num_threads())

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        thread = threading.Thread(target=second)
        with few_rows(1, cpu):
            thread.start()
            inside.wait(10)
        over.set()
        thread.join()
        assert [*found, torch.get_num_threads()] == [2, 2]
    finally:
        torch.set_num_threads(before)
