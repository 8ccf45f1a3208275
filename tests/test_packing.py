"""Batches, shares and positions of packed sequences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import enfold
from enfold.auto import make_model
from enfold.packing import pack, position_ids, share_out, token_budget_batches

LENGTHS = st.lists(st.integers(1, 120), max_size=60)


@given(LENGTHS, st.integers(1, 500))
def test_batches_keep_order_and_budget(lengths: list[int], budget: int) -> None:
    batches = list(token_budget_batches(lengths, budget))
    assert [index for batch in batches for index in batch] == list(range(len(lengths)))
    for batch in batches:
        assert batch and (len(batch) == 1 or sum(lengths[index] for index in batch) <= budget)


def test_batches_are_about_equally_full() -> None:
    sizes = [sum(batch_lengths) for batch_lengths in ([10] * len(b) for b in token_budget_batches([10] * 105, 1000))]
    assert sizes == [520, 530] or sizes == [530, 520]


@given(LENGTHS.filter(len), st.integers(1, 5), st.data())
def test_shares_are_the_batch_cut_between_sequences(lengths: list[int], count: int, data: st.DataObject) -> None:
    arch = make_model(enfold.BertConfig(**SMALL), "encoder", "cpu").arch
    rows = [np.arange(length) + 1 for length in lengths]
    batch = pack(arch, rows)
    tokens = np.array(data.draw(st.lists(st.integers(0, len(batch.ids) - 1), max_size=10)), dtype=np.int64)
    shares = share_out(batch, tokens, count)
    assert np.array_equal(np.concatenate([part.ids for part, _, _ in shares]), batch.ids)
    assert [b - a for part, _, _ in shares for a, b in part.spans] == lengths
    if len(shares) > 1:
        found = np.empty_like(tokens)
        for part, chosen, places in shares:
            assert chosen is not None
            found[places] = part.ids[chosen]
        assert np.array_equal(found, batch.ids[tokens])


SMALL = {
    "vocab_size": 500,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 130,
}


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_results_do_not_depend_on_the_cores(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from enfold.engines.cpu import model as cpu_model

    model = make_model(enfold.BertConfig(**SMALL), "masked-lm", "cpu")
    draw = np.random.default_rng(0)
    rows = [draw.integers(1, 500, draw.integers(1, 60)) for _ in range(30)]
    batch = pack(model.arch, rows)
    tokens = draw.permutation(len(batch.ids))[:40]
    expected = model._run(model.plan, batch, ("logits", "last_hidden_state"), tokens, None, None)
    monkeypatch.setattr(cpu_model, "available_cores", lambda: cores)
    found = model.run(batch, fields=("logits", "last_hidden_state"), tokens=tokens)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=1e-6)


def test_positions_count_from_the_padding_id() -> None:
    arch = make_model(enfold.RobertaConfig(**SMALL), "encoder", "cpu").arch
    assert position_ids(arch, np.array([[7, 8, 1, 9, 1]])).tolist() == [[2, 3, 1, 4, 1]]
