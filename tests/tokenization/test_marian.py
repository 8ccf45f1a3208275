"""Marian: pieces by sentencepiece, ids by vocab.json, languages in front of the text — as the reference, id for id."""

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from enfold.errors import InputError, TokenizerError
from enfold.tokenization import Tokenizer
from tests.support import shared
from tests.tokenization.corpus import TEXTS
from tests.tokenization.trained import trained

PREFIXED = [
    ">>fra<< Hello",
    ">>fra<<Hello",
    "a >>fra<< b",
    ">>xyz<< c",
    ">>deu<< >>fra<< d",
    ">> e <<",
    "</s>>>fra<< f",
]


def _random_texts(count: int) -> list[str]:
    """Characters of all scripts in any order: combining ones, controls, private ones, spaces of all kinds."""
    rng = random.Random(0)
    pool = "".join(TEXTS) + "\u0301\u0308\u200d\ufe0f    \u00a0\u2581"
    return ["".join(rng.choice(pool) for _ in range(rng.randrange(1, 50))) for _ in range(count)]


def _reference(path: Path) -> Any:
    from transformers import MarianTokenizer

    return MarianTokenizer.from_pretrained(path)


@cache
def _nmt_joint(path: Path) -> tuple[Tokenizer, Any]:
    source = shared("vocab", "nmt-joint")
    for name, file in (("source.spm", "vocab.joint.spm"), ("target.spm", "vocab.joint.spm"), ("vocab.json",) * 2):
        (path / name).symlink_to(source / file)
    (path / "tokenizer_config.json").symlink_to(source / "tokenizer_config.json")
    return Tokenizer.from_folder(path), _reference(path)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Any]:
    """A real vocabulary: spaces as suffixes, unknown characters as bytes, capitals as marks that decoding undoes."""
    return _nmt_joint(tmp_path_factory.mktemp("nmt"))


def _made(path: Path, *, separate: bool = False) -> Path:
    """Two models of different pieces over one vocabulary, which lacks some of both and has a few of its own."""
    models = {"source.spm": trained(), "target.spm": trained(vocab_size=400, seed_sentencepiece_size=2000)}
    sides = []
    for name, model in models.items():
        (path / name).write_bytes(model)
        pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        sides.append([pieces.id_to_piece(number) for number in range(3, pieces.vocab_size()) if number % 17])
    front, own = ["</s>", "<unk>"], [">>fra<<", ">>deu<<", "ᚠ", "ᚠᚢ"]
    joint = (
        [[*sides[0]], [*sides[1]]] if separate else [[*sides[0], *(each for each in sides[1] if each not in sides[0])]]
    )
    for name, each in zip(("vocab.json", "target_vocab.json"), joint, strict=False):
        tokens = [*front, *each, *own, "<pad>"]
        (path / name).write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    config = {"tokenizer_class": "MarianTokenizer", "separate_vocabs": separate}
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


class TestRealVocabulary:
    def test_ids(self, real: tuple[Tokenizer, Any]) -> None:
        ours, theirs = real
        for text in [*TEXTS, *PREFIXED, *_random_texts(300)]:
            assert ours(text)["input_ids"] == theirs(text)["input_ids"], text

    def test_decoded_text(self, real: tuple[Tokenizer, Any]) -> None:
        ours, theirs = real
        rng = random.Random(1)
        rows = [theirs(text)["input_ids"] for text in TEXTS]
        rows += [[rng.randrange(len(theirs)) for _ in range(rng.randrange(1, 20))] for _ in range(200)]
        for skip in (False, True):
            wanted = [theirs.decode(row, skip_special_tokens=skip) for row in rows]
            assert ours.batch_decode(rows, skip_special_tokens=skip) == wanted

    def test_vocabulary(self, real: tuple[Tokenizer, Any]) -> None:
        ours, theirs = real
        assert (len(ours), ours.vocab_size, ours.get_vocab()) == (len(theirs), theirs.vocab_size, theirs.get_vocab())
        assert ours.special_tokens_map == theirs.special_tokens_map

    def test_offsets_point_into_the_text(self, real: tuple[Tokenizer, Any]) -> None:
        text = "  Hello   world "
        batch = real[0](text, return_offsets_mapping=True)
        spans = [text[start:end] for start, end in batch["offset_mapping"] if end > start]
        assert "".join(spans).count("world") == 1 and batch["offset_mapping"][-1] == (0, 0)
        windows = real[0].windows("one two three four five six", max_length=4)
        assert len(windows) > 1 and all(window.ids[-1] == real[0].eos_token_id for window in windows)


@pytest.mark.parametrize("separate", [False, True])
def test_two_sides(separate: bool, tmp_path: Path) -> None:
    ours, theirs = Tokenizer.from_folder(_made(tmp_path, separate=separate)), _reference(tmp_path)
    # a run of one letter has several best cuts
    plain = [text for text in TEXTS if "xxx" not in text]
    texts = [*plain, *PREFIXED, "ᚠ", "ᚠᚢ", "aᚠᚢᚦ", *_random_texts(150)]
    for text in texts:
        got, wanted = ours(text, text_target=text), theirs(text, text_target=text)
        assert dict(got) == dict(wanted), text
        assert ours(text_target=text)["input_ids"] == theirs(text_target=text)["input_ids"]
        row = wanted["labels"]
        assert ours.decode(row, skip_special_tokens=True) == theirs.decode(row, skip_special_tokens=True)
    assert ours(texts[:5], padding=True) == theirs(texts[:5], padding=True)
    codes = [] if separate else theirs.supported_language_codes
    assert ours.supported_language_codes == (codes or [">>fra<<", ">>deu<<"])


@pytest.mark.parametrize("separate", [False, True])
def test_what_is_saved_is_read_back(separate: bool, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    ours = Tokenizer.from_folder(_made(tmp_path / "made", separate=separate))
    assert ours.add_tokens(["zyx"]) == 1
    paths = ours.save_pretrained(tmp_path / "saved")
    assert {"source.spm", "target.spm", "vocab.json"} <= {Path(path).name for path in paths}
    for again in (Tokenizer.from_folder(tmp_path / "saved"), _reference(tmp_path / "saved")):
        for text in ("Hello zyx world", ">>fra<< text"):
            assert dict(again(text, text_target=text)) == dict(ours(text, text_target=text))


def test_a_pair_and_words(real: tuple[Tokenizer, Any]) -> None:
    ours, theirs = real
    assert ours("one", "two")["input_ids"] == theirs("one", "two")["input_ids"]
    words = ["one", "Two", "三"]
    batch = ours(words, is_split_into_words=True)
    assert batch["input_ids"] == theirs(words, is_split_into_words=True)["input_ids"]
    assert {each for each in batch.word_ids() if each is not None} == {0, 1, 2}


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    _made(tmp_path)
    (tmp_path / "vocab.json").write_text('{"</s>": 0}')
    with pytest.raises(TokenizerError, match="lacks the unknown token '<unk>'"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "vocab.json").unlink()
    with pytest.raises(
        TokenizerError, match=r"marian tokenizer needs source.spm and vocab.json; missing: \['vocab.json'\]"
    ):
        Tokenizer.from_folder(tmp_path)


def test_the_language_goes_in_front_of_the_text(real: tuple[Tokenizer, Any]) -> None:
    with pytest.raises(InputError, match=r"in front of the text: '>>fra<< Hello'"):
        real[0]("Hello", tgt_lang="fra")


def test_the_names_of_its_languages_are_saved(tmp_path: Path) -> None:
    stated = {"source_lang": "eng", "target_lang": "zho"}
    for each in shared("vocab", "nmt-joint").iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **stated}))
    Tokenizer.from_folder(tmp_path).save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert {name: saved[name] for name in stated} == stated
