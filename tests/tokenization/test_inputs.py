"""What is not text is refused with an answer that helps."""

from typing import Any

import pytest

from enfold.errors import InputError
from enfold.tokenization import Tokenizer
from tests.support import minilm
from tests.tokenization.oracle import both

PAIRS_WITH_LABELS = [
    [("This is a good movie", "positive"), ("This is a bad movie", "negative")],
    [("This is a good movie", 1), ("This is a bad movie", 0)],
    [["good", True], ["bad", False]],
    [("good", 0.9), ("bad", None)],
    [("win a prize", "SPAM"), ("hello", "Ham")],
]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "text is None; a string was expected"),
        (5, "text is 5, a int"),
        (b"bytes", "bytes.*decode"),
        (["fine", None], r"text\[1\] is None"),
        (["fine", ["nested", "too", "deep"]], r"text\[1\] is a list of 3"),
        ([["a", 1], ["b", 2], ["c"]], r"text\[0\]\[1\] is 1"),
        ({"text": "a"}, "a dict"),
        (iter(["a"]), "list\\(value\\)"),
        ("half \ud83d a pair", r"Text 0 has a lone surrogate \(U\+D83D\) at position 5"),
        (["fine", "\udc00"], r"Text 1 has a lone surrogate \(U\+DC00\) at position 0"),
    ],
)
def test_what_is_not_text_is_named(text: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        both("minilm")[0](text)


@pytest.mark.parametrize("data", PAIRS_WITH_LABELS)
def test_texts_with_labels_are_told_from_pairs(data: list[Any]) -> None:
    with pytest.raises(InputError, match=r"look like \(text, label\) pairs.*\[text for text, label in data\]"):
        both("minilm")[0](data)


def test_pairs_of_texts_are_still_pairs() -> None:
    ours, theirs = both("minilm")
    data = [("Is it good?", "Yes, very."), ("Is it bad?", "no")]
    assert dict(ours(data)) == dict(theirs(data))
    labelled = PAIRS_WITH_LABELS[0]
    firsts, seconds = (list(side) for side in zip(*labelled, strict=True))
    assert dict(ours(firsts, seconds)) == dict(theirs(firsts, seconds))


@pytest.mark.parametrize(
    ("text", "pair", "message"),
    [
        (["a", "b"], ["c"], "list of 2 and text_pair is of 1"),
        (["a", "b"], "c", "text_pair is a str"),
        (["a"], [None], r"text_pair\[0\] is None"),
    ],
)
def test_pairs_that_do_not_match(text: Any, pair: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        both("minilm")[0](text, pair)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("one string", "a list of words was expected"),
        ([["a", "b"], "c"], r"text\[1\]"),
        ([["a", 5]], r"text\[0\]\[1\] is 5.*a word was expected"),
    ],
)
def test_words_that_are_none(words: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        both("minilm")[0](words, is_split_into_words=True)


def test_no_texts_are_no_rows() -> None:
    assert dict(both("minilm")[0]([])) == {"input_ids": [], "token_type_ids": [], "attention_mask": []}


def test_padding_without_a_token_says_how_to_choose_one() -> None:
    tokenizer = Tokenizer.from_folder(minilm(), pad_token=None)
    with pytest.raises(InputError, match=r"pad_token = tokenizer\.eos_token"):
        tokenizer(["a", "b c"], padding=True)
