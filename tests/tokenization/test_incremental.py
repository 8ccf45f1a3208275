"""Pieces of text from single ids join to exactly what decoding all of them gives."""

import random
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models

from enfold.errors import InputError
from enfold.tokenization import IncrementalDecoder, Tokenizer
from tests.tokenization.corpus import TEXTS
from tests.tokenization.oracle import VOCABULARIES, both, folder
from tests.tokenization.trained import T5_IDS, byte_bpe, trained


def _marian(path: Path) -> Tokenizer:
    source = folder("nmt-joint")
    for name, file in (("source.spm", "vocab.joint.spm"), ("vocab.json", "vocab.json")):
        (path / name).symlink_to(source / file)
    return Tokenizer.from_folder(path, "marian")


def _llama(path: Path) -> Tokenizer:
    (path / "tokenizer.model").write_bytes(byte_bpe())
    return Tokenizer.from_folder(path)


def _t5(path: Path) -> Tokenizer:
    (path / "spiece.model").write_bytes(trained(**T5_IDS))
    return Tokenizer.from_folder(path, "t5")


MADE: dict[str, Callable[[Path], Tokenizer]] = {"marian": _marian, "llama": _llama, "t5": _t5}


@cache
def _made(name: str, path: Path) -> Tokenizer:
    return MADE[name](path)


@pytest.fixture(params=[*VOCABULARIES, *MADE], scope="module")
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    name: str = request.param
    return _made(name, tmp_path_factory.mktemp(name)) if name in MADE else both(name)[0]


def _streamed(decoder: IncrementalDecoder, ids: list[int]) -> list[str]:
    return [*(decoder.push(number) for number in ids), decoder.finish()]


def _rows(tokenizer: Tokenizer, seed: int) -> list[list[int]]:
    """Texts, and ids at random: among them bytes that never become a character, and ids that do not exist."""
    rng = random.Random(seed)
    size = len(tokenizer)
    narrow = [number for token, number in tokenizer.get_vocab().items() if len(token) == 1 or token[:3] == "<0x"]
    rows = [tokenizer.encode(text) for text in TEXTS]
    rows += [[rng.randrange(size + 2) for _ in range(rng.randrange(1, 25))] for _ in range(150)]
    rows += [[rng.choice(narrow) for _ in range(rng.randrange(1, 25))] for _ in range(150)]
    return [*rows, []]


def test_pieces_join_to_the_decoded_text(tokenizer: Tokenizer) -> None:
    for options in ((True, None), (False, None), (True, True)):
        decoder = IncrementalDecoder(tokenizer, *options)
        for row in _rows(tokenizer, 1):
            assert "".join(_streamed(decoder, row)) == tokenizer.decode(row, *options)


def test_pieces_of_many_ids_are_the_same(tokenizer: Tokenizer) -> None:
    rng = random.Random(2)
    decoder = IncrementalDecoder(tokenizer)
    for row in _rows(tokenizer, 3)[::5]:
        cut = rng.randrange(len(row) + 1)
        text = decoder.push_many(row[:cut]) + decoder.push_many(row[cut:]) + decoder.finish()
        assert text == tokenizer.decode(row, skip_special_tokens=True)


def test_no_half_characters_and_nothing_held_longer_than_needed() -> None:
    tokenizer = both("gpt2")[0]
    ids = tokenizer.encode("👩‍👩‍👧‍👦 北京")
    decoder = IncrementalDecoder(tokenizer)
    pieces = _streamed(decoder, ids)
    assert not any("\ufffd" in piece for piece in pieces) and not pieces[-1]
    # each piece comes with the id that completes it
    texts = [tokenizer.decode(ids[: number + 1]) for number in range(len(ids))]
    said = ""
    for piece, text in zip(pieces, texts, strict=False):
        said += piece
        assert said == text.rstrip("\ufffd")


def test_bytes_that_fail_are_given_out_at_once(tmp_path: Path) -> None:
    tokenizer = _llama(tmp_path)
    byte = tokenizer.convert_tokens_to_ids
    decoder = IncrementalDecoder(tokenizer)
    assert decoder.push(byte("<0xE5>")) == ""
    assert decoder.push(byte("<0x41>")) == "\ufffd\ufffd"
    assert decoder.push(byte("<0x41>")) == "\ufffd"
    assert decoder.push(byte("a")) == "a"


def test_the_last_id_costs_what_the_first_does() -> None:
    tokenizer = both("gpt2")[0]
    ids = tokenizer.encode(" ".join(TEXTS)) * 40
    decoder = IncrementalDecoder(tokenizer)

    def seconds(part: list[int]) -> float:
        start = time.perf_counter()
        decoder.push_many(part)
        return time.perf_counter() - start

    times = [seconds(ids[start : start + 2000]) for start in range(0, 40_000, 2000)]
    assert min(times[-5:]) < 5 * min(times[:5])


@pytest.mark.parametrize(
    "decoder",
    [
        None,
        decoders.BPEDecoder(suffix="</w>"),
        decoders.CTC(),
        decoders.WordPiece(prefix="##", cleanup=True),
        decoders.Metaspace(prepend_scheme="never"),
        decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 2, 1)]),
        decoders.Sequence([decoders.Fuse(), decoders.Replace("ab", "-"), decoders.Strip("a", 0, 2)]),
        decoders.Sequence([decoders.Strip("a", 1, 0), decoders.ByteFallback()]),
    ],
    ids=["none", "bpe", "ctc", "wordpiece", "metaspace", "strip", "replace", "strip-each"],
)
def test_every_decoder_of_the_engine(decoder: object, tmp_path: Path) -> None:
    words = ["a", "b", "ab", " ", "▁", "▁a", "b</w>", "##a", "n't", ".", "<pad>", "|", "<0xE5>", "<0x8C>", "<0x97>"]
    engine = Engine(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="a"))
    if decoder is not None:
        engine.decoder = decoder
    engine.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_folder(tmp_path, "generic")
    stream, rng = IncrementalDecoder(tokenizer), random.Random(4)
    for _ in range(400):
        row = ["b", *(rng.choice(words) for _ in range(rng.randrange(1, 9))), "b"]
        ids = [tokenizer.convert_tokens_to_ids(word) for word in row]
        assert "".join(_streamed(stream, ids)) == tokenizer.decode(ids, skip_special_tokens=True)


def test_what_is_no_id() -> None:
    decoder = IncrementalDecoder(both("gpt2")[0])
    with pytest.raises(InputError, match="Ids are whole numbers"):
        decoder.push("a")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="-100 is no id"):
        decoder.push(-100)
