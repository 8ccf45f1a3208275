"""Cutting and padding give the rows of the reference, whatever the strategy, stride, side and length."""

import random
from typing import Any

import pytest

from enfold.errors import InputError
from enfold.tokenization import Encoded, Tokenizer
from tests.support import minilm
from tests.tokenization.corpus import PAIRS, TEXTS
from tests.tokenization.oracle import both

LONG = [text for text in TEXTS if len(text) > 30]


def _options(draw: random.Random) -> dict[str, Any]:
    options: dict[str, Any] = {
        "truncation": draw.choice([True, "longest_first", "only_first", "only_second", False]),
        "max_length": draw.choice([8, 12, 16, 24, 32]),
        "stride": draw.choice([0, 0, 1, 2]),
        "padding": draw.choice([False, True, "longest", "max_length", "do_not_pad"]),
        "pad_to_multiple_of": draw.choice([None, None, 4, 8]),
        "padding_side": draw.choice([None, "left", "right"]),
        "add_special_tokens": draw.choice([True, True, False]),
        "return_overflowing_tokens": draw.choice([False, True]),
        "return_token_type_ids": True,
        "return_special_tokens_mask": True,
        "return_offsets_mapping": True,
        "return_length": True,
    }
    return options


def _reference_of(theirs: Any, side: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What the reference returns, or the class of its refusal."""
    theirs.truncation_side = side
    try:
        return theirs(*inputs, **options)
    except BaseException as error:  # the engine panics where a stride fills a window
        if isinstance(error, KeyboardInterrupt):
            raise
        return type(error)


@pytest.mark.filterwarnings("ignore:`max_length` is ignored")
@pytest.mark.parametrize("name", ["minilm", "gpt2", "roberta-base", "t5-small"])
@pytest.mark.parametrize("pairs", [False, True])
def test_random_draws_equal_the_reference(name: str, pairs: bool, capfd: pytest.CaptureFixture[str]) -> None:
    ours, theirs = both(name)
    draw = random.Random(f"{name}{pairs}")
    answered = 0
    for _ in range(150):
        options, side = _options(draw), draw.choice(["right", "left"])
        texts = draw.choices(LONG if pairs else TEXTS, k=3)
        inputs = (texts, draw.choices(LONG, k=3)) if pairs else (texts,)
        wanted = _reference_of(theirs, side, inputs, options)
        if isinstance(wanted, type):
            with pytest.raises(InputError):
                ours(*inputs, truncation_side=side, **options)
            continue
        if options["truncation"] == "only_second" and not pairs:
            continue  # the reference refuses it only where a text is too long
        got = ours(*inputs, truncation_side=side, **options)
        if name == "roberta-base" or name == "t5-small":
            _drop_types(got, wanted)
        assert dict(got) == dict(wanted), (options, side)
        for row, other in zip(got.encodings or [], wanted.encodings, strict=True):
            assert (row.tokens, row.word_ids, row.sequence_ids) == (other.tokens, other.word_ids, other.sequence_ids)
        answered += 1
    assert answered > 60
    theirs.truncation_side = "right"


def _drop_types(got: Any, wanted: Any) -> None:
    """Models without token types: the engine leaves 1 in the further windows of a second text, ours have 0."""
    assert {kind for row in got["token_type_ids"] for kind in row} <= {0}
    del got["token_type_ids"], wanted["token_type_ids"]


class TestWindows:
    def test_windows_are_the_overflow_of_a_call(self) -> None:
        tokenizer = Tokenizer.from_folder(minilm())
        text = " ".join(TEXTS)
        called = tokenizer(
            text, max_length=32, stride=8, truncation=True, return_overflowing_tokens=True, return_offsets_mapping=True
        )
        windows = tokenizer.windows(text, max_length=32, stride=8)
        assert [each.ids.tolist() for each in windows] == called["input_ids"]
        assert [[tuple(span) for span in each.offsets.tolist()] for each in windows] == called["offset_mapping"]

    def test_every_token_of_the_text_is_in_a_window_and_neighbours_share_the_stride(self) -> None:
        tokenizer = Tokenizer.from_folder(minilm())
        (whole,) = tokenizer.encode_many([" ".join(TEXTS)])
        windows = tokenizer.windows(whole, max_length=20, stride=6)
        inner = [each.ids[~each.special_mask].tolist() for each in windows]
        joined = inner[0] + [number for part in inner[1:] for number in part[6:]]
        assert joined == whole.ids[~whole.special_mask].tolist()
        assert all(each.ids[0] == 101 and each.ids[-1] == 102 and len(each) <= 20 for each in windows)

    def test_of_a_pair_the_document_is_cut_and_the_question_repeated(self) -> None:
        tokenizer = Tokenizer.from_folder(minilm())
        question, document = PAIRS[0]
        windows = tokenizer.windows(question, document * 5, max_length=24, stride=4)
        wanted = both("minilm")[1](
            question, document * 5, max_length=24, stride=4, truncation="only_second", return_overflowing_tokens=True
        )
        assert [each.ids.tolist() for each in windows] == wanted["input_ids"]
        assert [each.type_ids.tolist() for each in windows] == wanted["token_type_ids"]
        assert len(windows) > 3

    def test_a_text_that_fits_is_its_only_window(self) -> None:
        tokenizer = Tokenizer.from_folder(minilm())
        (encoded,) = tokenizer.encode_many(["short"])
        assert tokenizer.windows(encoded, max_length=8) == [encoded]

    def test_a_question_that_fills_the_window_is_refused(self) -> None:
        tokenizer = Tokenizer.from_folder(minilm())
        with pytest.raises(InputError, match="second text has only"):
            tokenizer.windows("many words " * 20, "short", max_length=16)


class TestEncodeMany:
    def test_it_equals_a_call_without_cut_or_padding(self) -> None:
        tokenizer = Tokenizer.from_folder(minilm())
        called = tokenizer(TEXTS, return_offsets_mapping=True, return_special_tokens_mask=True)
        many = tokenizer.encode_many(TEXTS)
        for number, each in enumerate(many):
            assert isinstance(each, Encoded)
            assert each.ids.tolist() == called["input_ids"][number]
            assert each.type_ids.tolist() == called["token_type_ids"][number]
            assert [tuple(span) for span in each.offsets.tolist()] == called["offset_mapping"][number]
            assert each.special_mask.astype(int).tolist() == called["special_tokens_mask"][number]
            assert list(each.word_ids) == called.word_ids(number)
            assert list(each.sequence_ids) == called.sequence_ids(number)
            assert list(each.tokens) == called.tokens(number)

    def test_pairs_and_no_special_tokens(self) -> None:
        tokenizer = Tokenizer.from_folder(minilm())
        firsts, seconds = zip(*PAIRS, strict=True)
        many = tokenizer.encode_many(firsts, seconds, add_special_tokens=False)
        wanted = tokenizer(list(firsts), list(seconds), add_special_tokens=False)
        assert [each.ids.tolist() for each in many] == wanted["input_ids"]

    def test_no_texts_are_no_rows(self) -> None:
        assert Tokenizer.from_folder(minilm()).encode_many([]) == []

    def test_one_string_is_not_a_list_of_letters(self) -> None:
        with pytest.raises(InputError, match=r"Pass \[text\]"):
            Tokenizer.from_folder(minilm()).encode_many("text")


class TestLimits:
    def test_the_limit_of_the_files_is_used_where_none_is_given(self) -> None:
        tokenizer = Tokenizer.from_folder(minilm(), model_max_length=16)
        assert len(tokenizer("word " * 50, truncation=True)["input_ids"]) == 16
        assert len(tokenizer("word", padding="max_length")["input_ids"]) == 16

    def test_without_a_limit_nothing_is_cut(self) -> None:
        tokenizer, _ = both("gpt2")
        assert tokenizer.model_max_length >= int(1e30)
        assert len(tokenizer("word " * 5000, truncation=True)["input_ids"]) > 4000

    def test_max_length_alone_cuts(self) -> None:
        ours, theirs = both("minilm")
        assert ours("word " * 50, max_length=9) == theirs("word " * 50, max_length=9)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"truncation": True, "max_length": 1}, "less than the 2 special tokens around a text"),
            ({"truncation": True, "max_length": 8, "stride": 6}, "stride=6 leaves nothing new.*below 6"),
            ({"truncation": "only_second", "max_length": 8}, "without a pair was given"),
            ({"truncation": "shortest", "max_length": 8}, "expected one of longest_first"),
            ({"truncation": True, "max_length": -1}, "max_length=-1"),
            ({"truncation": True, "max_length": "8"}, "max_length='8'"),
            ({"truncation": True, "max_length": 8, "truncation_side": "up"}, "truncation_side='up'"),
            ({"padding": "longer"}, "padding='longer': expected True"),
            ({"padding": True, "padding_side": "top"}, "padding_side='top'"),
            ({"padding": True, "pad_to_multiple_of": 0}, "pad_to_multiple_of=0"),
            ({"padding": True, "truncation": True, "max_length": 10, "pad_to_multiple_of": 8}, "max_length=8"),
        ],
    )
    def test_options_that_do_not_fit_are_explained(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            Tokenizer.from_folder(minilm())("some words", **options)
