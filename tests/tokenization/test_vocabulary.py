"""Adding tokens, choosing special ones, and threads that do so at the same time."""

import copy
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tokenizers import AddedToken

from enfold.errors import InputError, TokenizerError
from enfold.tokenization import Tokenizer
from tests.support import minilm, shared
from tests.tokenization.corpus import TEXTS


def _reference(name: str) -> Any:
    from transformers import AutoTokenizer, GPT2Tokenizer

    return AutoTokenizer.from_pretrained(minilm()) if name == "minilm" else GPT2Tokenizer.from_pretrained(_folder(name))


def _folder(name: str) -> Any:
    return minilm() if name == "minilm" else shared("vocab", name)


@pytest.mark.parametrize("name", ["minilm", "gpt2"])
class TestAdding:
    def test_added_tokens_are_matched_whole(self, name: str) -> None:
        ours, theirs = Tokenizer.from_folder(_folder(name)), _reference(name)
        new = ["zyxwords", AddedToken("<left>", lstrip=True), "Größe"]
        assert ours.add_tokens(new) == theirs.add_tokens(new) == 3
        text = "a zyxwords b  <left>c GRÖSSE Größe <end> d"
        assert ours(text)["input_ids"] == theirs(text)["input_ids"]
        added = {"pad_token": "<end>", "additional_special_tokens": ["<extra>"]}
        assert ours.add_special_tokens(added) == theirs.add_special_tokens(added) == 2
        assert ours(text)["input_ids"] == theirs(text)["input_ids"]
        assert (len(ours), ours.pad_token_id) == (len(theirs), theirs.pad_token_id)
        assert ours.get_added_vocab() == theirs.get_added_vocab()
        assert ours.all_special_ids == theirs.all_special_ids
        ids = ours(text)["input_ids"]
        assert ours.decode(ids, skip_special_tokens=True) == theirs.decode(ids, skip_special_tokens=True)
        assert ours.decode(ids) == theirs.decode(ids)

    def test_a_token_that_is_there_adds_nothing(self, name: str) -> None:
        tokenizer = Tokenizer.from_folder(_folder(name))
        before = tokenizer._state
        assert tokenizer.add_tokens("the") == 0
        tokenizer.eos_token = tokenizer.all_special_tokens[0]
        assert tokenizer._state.full is not None and len(tokenizer) == before.full.get_vocab_size()

    def test_copies_and_pickles_are_independent(self, name: str) -> None:
        tokenizer = Tokenizer.from_folder(_folder(name))
        twins = [copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))]
        tokenizer.add_tokens("zyxwords")
        for twin in twins:
            assert len(twin) == len(tokenizer) - 1
            assert twin(TEXTS) == Tokenizer.from_folder(_folder(name))(TEXTS)


def test_a_padding_token_can_be_chosen_from_the_vocabulary() -> None:
    tokenizer = Tokenizer.from_folder(shared("vocab", "gpt2"))
    assert tokenizer.pad_token is None and tokenizer.pad_token_id is None
    tokenizer.pad_token = tokenizer.eos_token
    assert tokenizer.pad_token_id == 50256
    assert tokenizer(["a", "b c d"], padding=True)["input_ids"][0] == [64, 50256, 50256]
    tokenizer.pad_token = None
    assert "pad_token" not in tokenizer.special_tokens_map


def test_settings_that_make_no_sense_are_refused() -> None:
    tokenizer = Tokenizer.from_folder(minilm())
    with pytest.raises(InputError, match="'padd_token' is no special token; expected bos_token"):
        tokenizer.add_special_tokens({"padd_token": "[PAD]"})
    with pytest.raises(TokenizerError, match="A token was given as 5"):
        tokenizer.add_tokens([5])  # type: ignore[list-item]
    with pytest.raises(InputError, match="padding_side='up'"):
        tokenizer.padding_side = "up"  # type: ignore[assignment]
    with pytest.raises(InputError, match="model_max_length=0"):
        tokenizer.model_max_length = 0
    tokenizer.padding_side, tokenizer.truncation_side, tokenizer.model_max_length = "left", "left", 8
    got = tokenizer(["one", "one two three four five six seven eight"], padding=True, truncation=True)
    assert got["input_ids"][0][0] == tokenizer.pad_token_id
    assert tokenizer.decode(got["input_ids"][1]) == "[CLS] three four five six seven eight [SEP]"


def test_a_repr_that_is_worth_reading() -> None:
    text = repr(Tokenizer.from_folder(minilm(), padding_side="left"))
    assert "bert, WordPiece, 30,522 tokens, model_max_length 512, pads left" in text
    assert "cls=[CLS]" in text


def test_threads_with_options_of_their_own_and_one_that_adds_tokens() -> None:
    tokenizer = Tokenizer.from_folder(minilm())
    jobs: list[dict[str, Any]] = [
        {"padding": "max_length", "max_length": length, "truncation": cut, "padding_side": side}
        for length in (8, 16, 24, 32)
        for cut in (True, False)
        for side in ("left", "right")
    ] * 20
    wanted = [dict(tokenizer(TEXTS, **job)) for job in jobs[:16]] * 20
    order = list(range(len(jobs)))
    random.Random(0).shuffle(order)

    def work(number: int) -> bool:
        if number % 40 == 0:
            tokenizer.add_tokens(f"<new {number}>")
        return dict(tokenizer(TEXTS, **jobs[number])) == wanted[number]

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(work, order))
    assert len(tokenizer) == 30522 + 8
