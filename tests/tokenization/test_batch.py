"""What a call returns: a dictionary that also knows its way back to the text."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from enfold.errors import InputError, MissingDependencyError
from enfold.tokenization import BatchEncoding, CharSpan, Tokenizer, TokenSpan
from tests.tokenization.oracle import both

TEXTS = ["Hello world", "a rather longer text"]


def _tokenizer() -> Tokenizer:
    return both("minilm")[0]


def test_it_is_a_mapping_with_attributes() -> None:
    batch = _tokenizer()(TEXTS)
    assert batch["input_ids"] is batch.input_ids
    assert set({**batch}) == {"input_ids", "token_type_ids", "attention_mask"}
    assert batch[0].ids == batch["input_ids"][0]
    assert batch.encodings is not None and batch.is_fast and batch.n_sequences == 1
    with pytest.raises(AttributeError, match="has no 'labels'; it has input_ids"):
        _ = batch.labels
    with pytest.raises(KeyError):
        _ = batch["labels"]


def test_places_of_the_first_row_need_no_row() -> None:
    batch = _tokenizer()("Hello unbelievable")
    assert batch.token_to_chars(1) == CharSpan(0, 5)
    assert batch.word_to_tokens(0) == TokenSpan(1, 2)
    assert batch.token_to_word(-2) == 1
    assert batch.token_to_chars(0) is None
    assert batch.char_to_token(5) is None


@pytest.mark.parametrize("kind", ["np", "pt"])
def test_tensors_equal_the_references(kind: Any) -> None:
    ours, theirs = both("minilm")
    for text in (TEXTS, TEXTS[0]):
        got = ours(text, padding=True, return_tensors=kind, return_offsets_mapping=True)
        wanted = theirs(text, padding=True, return_tensors=kind, return_offsets_mapping=True)
        for name, value in wanted.items():
            assert type(got[name]) is type(value)
            assert got[name].dtype == value.dtype
            assert got[name].tolist() == value.tolist()


def test_to_moves_tensors_and_keeps_lists() -> None:
    batch = _tokenizer()(TEXTS, padding=True, return_tensors="pt")
    batch["note"] = "kept"
    assert batch.to("cpu") is batch
    assert torch.is_tensor(batch.input_ids) and batch.note == "kept"


def test_ragged_rows_ask_for_padding() -> None:
    with pytest.raises(InputError, match=r"'input_ids' can't become a tensor: its rows have 4 to 6.*padding=True"):
        _tokenizer()(TEXTS, return_tensors="np")
    with pytest.raises(InputError, match="expected 'np'"):
        _tokenizer()(TEXTS, padding=True, return_tensors="tf")  # type: ignore[arg-type]


def test_without_torch_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingDependencyError, match="pip install torch"):
        _tokenizer()(TEXTS, padding=True, return_tensors="pt")


def test_a_batch_of_ids_has_no_way_back() -> None:
    batch = BatchEncoding({"input_ids": [[1, 2], [3, 4]]})
    assert batch[:1] == {"input_ids": [[1, 2]]}
    with pytest.raises(InputError, match="was made from ids"):
        batch.word_ids()


def test_it_can_be_pickled() -> None:
    batch = _tokenizer()(TEXTS, padding=True, return_tensors="np")
    copy = pickle.loads(pickle.dumps(batch))
    assert np.array_equal(copy.input_ids, batch.input_ids)
    assert copy.word_ids(1) == batch.word_ids(1)


class TestPad:
    @pytest.mark.parametrize("options", [{}, {"padding": "max_length", "max_length": 12}, {"pad_to_multiple_of": 8}])
    @pytest.mark.parametrize("side", ["left", "right"])
    def test_it_equals_the_reference(self, options: dict[str, Any], side: Any) -> None:
        ours, theirs = both("minilm")
        rows = [ours(text, return_special_tokens_mask=True) for text in TEXTS]
        plain = [dict(row) for row in rows]
        wanted = theirs.pad(plain, padding_side=side, **options)
        assert dict(ours.pad(rows, padding_side=side, **options)) == dict(wanted)
        columns = {name: [row[name] for row in plain] for name in plain[0]}
        assert dict(ours.pad(columns, padding_side=side, **options)) == dict(wanted)

    def test_arrays_tensors_one_row_and_a_missing_mask(self) -> None:
        ours, _ = both("minilm")
        got = ours.pad({"input_ids": np.array([1, 2])}, padding="max_length", max_length=3)
        assert dict(got) == {"input_ids": [1, 2, 0], "attention_mask": [1, 1, 0]}
        got = ours.pad([{"input_ids": torch.tensor([1, 2]), "labels": 1}, {"input_ids": [5], "labels": 0}])
        assert dict(got) == {"input_ids": [[1, 2], [5, 0]], "labels": [1, 0], "attention_mask": [[1, 1], [1, 0]]}

    @pytest.mark.parametrize(("given", "message"), [([1, 2], "a list was given"), ({"labels": [1]}, "only labels")])
    def test_what_can_not_be_padded(self, given: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            both("minilm")[0].pad(given)


class TestDecode:
    def test_arrays_tensors_and_encodings(self) -> None:
        tokenizer = _tokenizer()
        batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
        wanted = ["[CLS] hello world [SEP] [PAD] [PAD]", "[CLS] a rather longer text [SEP]"]
        assert tokenizer.decode(batch.input_ids) == wanted
        assert tokenizer.batch_decode(batch.input_ids.numpy()) == wanted
        assert tokenizer.decode(list(batch.input_ids[0])) == wanted[0]
        assert tokenizer.decode(tokenizer(TEXTS[1])) == wanted[1]
        assert tokenizer.decode(7592) == "hello"
        assert tokenizer.decode([]) == ""

    @pytest.mark.parametrize(("ids", "message"), [([-100, 5], "-100 is no id"), ([1.5], "whole numbers"), ("a", "'a'")])
    def test_what_is_no_id(self, ids: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            _tokenizer().decode(ids)
