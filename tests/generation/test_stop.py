"""Rows end where the reference would end them, each for itself."""

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from tokenizers import decoders, models, pre_tokenizers
from transformers.generation import StopStringCriteria

import enfold
from enfold.errors import InputError
from enfold.generation.config import GenerationConfig
from enfold.generation.rows import Rows
from enfold.generation.stop import EndTokens, MaxLength, MaxTime, StopStrings, criteria, done
from enfold.generation.token_text import TokenBytes
from tests.support import shared


def rows_of(*tokens: list[int]) -> Rows:
    return Rows(list(tokens), [1] * len(tokens), [[0]] * len(tokens))


def words(kind: str) -> tokenizers.Tokenizer:
    """A small vocabulary of overlapping pieces, decoded in one of the ways that there are."""
    pieces = ["a", "b", "c", "d", "e", "f", "s", "t", "o", "p", "st", "op", "stop", "sto", "opera", "top", "topper"]
    pieces += ["las", "pped", "pper", "!", "!!", "é", "</s>"]
    space = {"ByteLevel": "Ġ", "Metaspace": "▁", "WordPiece": "##"}[kind]
    pieces += [space + piece for piece in pieces[:23]]
    if kind == "ByteLevel":
        pieces += ["Ã", "©", "Ã©"]
    if kind == "Metaspace":
        pieces += ["<0xC3>", "<0xA9>"]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    if kind == "WordPiece":
        tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="a"))
    else:
        tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, "a"))
        tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    replace = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.decoder = {
        "ByteLevel": decoders.ByteLevel(),
        "Metaspace": replace,
        "WordPiece": decoders.WordPiece("##", cleanup=False),
    }[kind]
    return tokenizer


STOPS = ["stop", "s!", "é", "op op", " st", "topper!", "!"]


@pytest.mark.parametrize("kind", ["ByteLevel", "Metaspace", "WordPiece"])
@pytest.mark.parametrize("stop", STOPS)
def test_stop_strings_are_the_references(kind: str, stop: str) -> None:
    backend = words(kind)
    peer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend)
    expected, ours, chance = StopStringCriteria(peer, [stop]), StopStrings(backend, stop), random.Random(stop)
    parts = [token for piece, token in backend.get_vocab().items() if piece.strip("Ġ▁#") in stop]
    found = 0
    for length in (1, 2, 3, 4, 5) * 20:
        tokens = chance.choices([*range(backend.get_vocab_size()), *parts * 6], k=length * 40)
        some = [tokens[start : start + length] for start in range(0, len(tokens), length)]
        answer = ours(rows_of(*some))
        np.testing.assert_array_equal(answer, expected(torch.tensor(some), None).numpy())
        found += int(answer.sum())
    assert found > 0


def gpt2() -> Any:
    return enfold.AutoTokenizer.from_pretrained(shared("vocab", "gpt2"))


def test_stop_strings_over_a_real_vocabulary() -> None:
    tokenizer = gpt2()
    ours = StopStrings(tokenizer, ["\n\nUser:", "größe", "END"])
    text = "It grows\n\nUser: no größer or die Größe, größe! THE ENDING"
    ids = tokenizer(text)["input_ids"]
    ended = [place for place in range(1, len(ids) + 1) if ours(rows_of(ids[:place]))[0]]
    texts = [tokenizer.decode(ids[:place]) for place in ended]
    assert [part[-6:] for part in texts] == ["\nUser:", "größer", "größe", "ENDING"] or len(texts) == 4
    for part in texts:
        assert any(stop in part[-8:] for stop in ("\nUser:", "größe", "END"))


@pytest.mark.parametrize("name", ["gpt2", "t5-small", "bert-base-chinese"])
def test_the_bytes_of_tokens_make_the_text(name: str) -> None:
    tokenizer = enfold.AutoTokenizer.from_pretrained(shared("vocab", name))
    text = TokenBytes(tokenizer)
    for sentence in ("The größte 猫 runs 🙂.", "unbelievable tokens!"):
        ids = tokenizer(sentence, add_special_tokens=False)["input_ids"]
        joined = b"".join(text[token] for token in ids).decode()
        assert joined.replace(" ", "") == tokenizer.decode(ids).replace(" ", "")
    assert text[10**9] == b""


def test_a_vocabulary_beside_its_pieces(tmp_path: Path) -> None:
    """Marian's: the ids are those of vocab.json, the text is sentencepiece's."""
    source = shared("vocab", "nmt-joint")
    shutil.copy(source / "vocab.json", tmp_path / "vocab.json")
    for name in ("source.spm", "target.spm"):
        shutil.copy(source / "vocab.joint.spm", tmp_path / name)
    tokenizer = enfold.Tokenizer.from_pretrained(tmp_path, kind="marian")
    ids = tokenizer("the größte cat, naïve!", add_special_tokens=False)["input_ids"]
    text = TokenBytes(tokenizer)
    assert text[tokenizer.convert_tokens_to_ids("U")] == b""  # makes the next piece a capital
    assert b"".join(text[token] for token in ids).decode().strip() == tokenizer.decode(ids)
    ours = StopStrings(tokenizer, "größte cat")
    assert [bool(ours(rows_of(ids[:place]))[0]) for place in range(1, len(ids) + 1)].count(True) == 1


def test_the_cost_of_a_token_does_not_grow_with_the_text() -> None:
    tokenizer = gpt2()
    ours = StopStrings(tokenizer, "stop")
    asked: list[int] = []

    class Counted(TokenBytes):
        def __getitem__(self, token: int) -> bytes:
            asked.append(token)
            return super().__getitem__(token)

    ours._text = Counted(tokenizer)
    ours(rows_of([50] * 10_000))
    assert len(asked) <= 5


def test_end_tokens_length_and_time() -> None:
    rows = Rows([[1, 5], [1, 2, 3], [5, 1]], [1, 2, 1], [[0]] * 3)
    assert EndTokens(frozenset({5, 3}))(rows).tolist() == [True, True, False]
    assert MaxLength(lambda given: given + 1)(rows).tolist() == [True, True, True]
    assert MaxLength(lambda given: 3)(rows).tolist() == [False, True, False]
    now = [10.0]
    limit = MaxTime(2.0, clock=lambda: now[0])
    assert limit(rows).tolist() == [False] * 3
    now[0] = 12.5
    assert limit(rows).tolist() == [True] * 3


def test_criteria_of_a_configuration() -> None:
    config = GenerationConfig(eos_token_id=[3, 5], max_new_tokens=4, max_time=100.0)
    rows = Rows([[1, 5], [1, 2], [1, 2, 2, 2, 2], [1, 1]], [1] * 4, [[0]] * 4)
    chain = criteria(config, own=[lambda rows: [tokens[-1] == 1 for tokens in rows.tokens]])
    assert done(chain, rows).tolist() == [True, False, True, True]
    assert done([lambda rows: True], rows).tolist() == [True] * 4


def test_length_limits() -> None:
    assert GenerationConfig().length_limit(7) == 27
    assert GenerationConfig().length_limit(7, positions=20) == 20
    assert GenerationConfig(max_length=12).length_limit(7) == 12
    assert GenerationConfig(max_new_tokens=3).length_limit(7) == 10


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"stop_strings=.*give the model's tokenizer"):
        criteria(GenerationConfig(stop_strings="x"))
    with pytest.raises(InputError, match=r"answered with the shape \(3,\); expected one answer, or one for each of 1"):
        done([lambda rows: [True] * 3], rows_of([1]))  # type: ignore[list-item, return-value]
    with pytest.raises(InputError, match="tokenizer is a str"):
        StopStrings("gpt2", "x")


def test_tokens_without_text_hide_no_stop_string() -> None:
    stops: Any = StopStrings(tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), "ab")
    stops._text = {0: b"a", 1: b"b", 2: b""}
    rows = Rows([[0, 2, 2, 2, 1], [0, 2, 2, 2], [1, 2, 2, 1]], [1, 1, 1], [[], [], []])
    assert stops(rows).tolist() == [True, False, False]
