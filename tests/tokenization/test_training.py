"""Trained tokenizers: what the reference reads back, equal files for equal texts, and what can't be trained on."""

import logging
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enfold.errors import InputError
from enfold.tokenization import Tokenizer
from enfold.tokenization.training import train_tokenizer
from tests.support import shared
from tests.tokenization.corpus import TEXTS

CHINESE = [
    "北京大学的学生在图书馆看书。",
    "我看书的时候睡着了，“真的吗？”",
    "湯姆看來總是在工作。",
    "這間房間沒有空間。",
]
ENGLISH = ["The students of the university read books.", "He was reading, and then the reader slept.", "naïve café"]
MIXED = [*ENGLISH, *CHINESE] * 3
WAYS: list[dict[str, Any]] = [
    {"kind": "wordpiece"},
    {"kind": "wordpiece", "lowercase": False},
    {"kind": "bpe"},
    {"kind": "bpe", "style": "roberta"},
    {"kind": "bpe", "style": "gpt2", "lowercase": True},
    {"kind": "unigram"},
    {"kind": "unigram", "style": "t5", "lowercase": True},
]
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def probes() -> list[str]:
    """Plain texts, and random ones of the corpus's pieces: at odd spaces 5.x cuts Byte-BPE as we do, BERT's too."""
    draw = random.Random(0)
    pieces = [piece for text in [*TEXTS, *MIXED] if "<" not in text and "[" not in text for piece in text.split()]
    return [" ".join(draw.choices(pieces, k=draw.randint(1, 8))) for _ in range(40)] + [*MIXED[:7], "", " "]


@every_way
def test_the_reference_reads_it_back_with_equal_ids(way: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    ours = train_tokenizer(MIXED, vocab_size=400, special_tokens=["<user>"], model_max_length=77, **way)
    ours.save_pretrained(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    back = Tokenizer.from_folder(tmp_path)
    for text in [*probes(), "a <user> b"]:
        assert theirs(text)["input_ids"] == ours(text)["input_ids"] == back(text)["input_ids"], text
    pair = ("read a book", "北京大学")
    assert theirs(*pair)["input_ids"] == ours(*pair)["input_ids"]
    assert dict(back(*pair)) == dict(ours(*pair))
    assert theirs.special_tokens_map == ours.special_tokens_map == back.special_tokens_map
    assert (theirs.model_max_length, len(theirs)) == (77, len(ours)) == (back.model_max_length, len(back))
    assert (back.kind, back.all_special_tokens) == (ours.kind, ours.all_special_tokens)
    back.save_pretrained(tmp_path / "again")
    if way["kind"] != "unigram":  # the last digits of whose scores the package does not read as it wrote them
        assert (tmp_path / "again" / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


def test_special_tokens_come_first_and_stand_around_a_text() -> None:
    bert = train_tokenizer(MIXED, vocab_size=200, special_tokens=["[SPEAKER]"])
    assert bert.convert_ids_to_tokens(list(range(6))) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[SPEAKER]"]
    encoded = bert("the books", "北京")
    assert encoded.tokens()[0] == "[CLS]" and encoded.tokens()[-4:] == ["[SEP]", "北", "京", "[SEP]"]
    assert encoded["token_type_ids"][-3:] == [1, 1, 1]
    roberta = train_tokenizer(MIXED, kind="bpe", style="roberta", vocab_size=400)
    assert roberta.convert_ids_to_tokens(list(range(5))) == ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    assert roberta("a", "b").tokens()[:1] == ["<s>"] and roberta("a", "b").tokens().count("</s>") == 3
    gpt2 = train_tokenizer(MIXED, kind="bpe", vocab_size=400)
    assert (gpt2.eos_token_id, gpt2.pad_token, gpt2("a").tokens()) == (0, None, ["a"])
    t5 = train_tokenizer(MIXED, kind="unigram", style="t5", vocab_size=200)
    assert t5.convert_ids_to_tokens([0, 1, 2]) == ["<pad>", "</s>", "<unk>"] and t5("书").tokens()[-1] == "</s>"


@pytest.mark.parametrize("way", WAYS[:4], ids=lambda way: "-".join(map(str, way.values())))
def test_equal_texts_give_equal_files(way: dict[str, Any], tmp_path: Path) -> None:
    # ties between pairs are what could be broken differently: each word has a twin
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefgäß书", k=draw.randint(2, 7))) for _ in range(400)]
    texts = [" ".join(draw.sample(words, 20)) for _ in range(60)]
    for number in range(3):
        train_tokenizer(texts, vocab_size=600, **way).save_pretrained(tmp_path / str(number))
    code = f"""
import sys
from enfold.tokenization.training import train_tokenizer
train_tokenizer({texts!r}, vocab_size=600, **{way!r}).save_pretrained(sys.argv[1])
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "other")], check=True)  # its tables are shuffled anew
    assert files(tmp_path / "0") == files(tmp_path / "1") == files(tmp_path / "2") == files(tmp_path / "other")


def test_wordpiece_learns_what_the_package_alone_learns() -> None:
    from tokenizers import BertWordPieceTokenizer

    theirs = BertWordPieceTokenizer()
    theirs.train_from_iterator(MIXED, vocab_size=115, min_frequency=2, limit_alphabet=10_000, show_progress=False)
    ours = train_tokenizer(MIXED, vocab_size=115)
    assert len(ours) == theirs.get_vocab_size() == 115
    alphabet = {piece for piece in theirs.get_vocab() if len(piece.removeprefix("##")) == 1}
    assert alphabet <= set(ours.get_vocab())  # merges may differ at ties


def test_every_chinese_character_is_known() -> None:
    many = [chr(0x4E00 + number) for number in range(3000)]  # the trainers' own limit is 1,000
    tokenizer = train_tokenizer(["".join(many[at : at + 50]) for at in range(0, 3000, 50)], vocab_size=4000)
    assert tokenizer.tokenize("".join(many)) == many
    assert not any(piece.startswith("##") for piece in tokenizer.get_vocab())


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_texts_come_back(kind: Any) -> None:
    tokenizer = train_tokenizer(MIXED, kind=kind, vocab_size=400, lowercase=False)
    rows = tokenizer(ENGLISH)["input_ids"]
    assert tokenizer.batch_decode(rows, skip_special_tokens=True) == ENGLISH


def test_full_width_letters_are_half_width_for_unigram_alone() -> None:
    unigram = train_tokenizer(["ＡＢＣ，abc,"] * 3, kind="unigram", vocab_size=20)
    assert unigram("Ａ，")["input_ids"] == unigram("A,")["input_ids"]
    assert "，" in train_tokenizer(["一，二"], vocab_size=50).get_vocab()


# ── files ────────────────────────────────────────────────────────────────────


def test_files_generators_and_lists_are_the_same_texts(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*MIXED, "", "last"]).encode())
    expected = train_tokenizer([*MIXED, "last"], vocab_size=300).get_vocab()
    once: Iterator[str] = (text for text in [*MIXED, "last"])
    assert train_tokenizer(file, vocab_size=300).get_vocab() == expected
    assert train_tokenizer([file], vocab_size=300).get_vocab() == expected
    assert train_tokenizer(once, vocab_size=300).get_vocab() == expected
    with file.open(encoding="utf-8-sig") as lines:
        assert train_tokenizer(lines, vocab_size=300).get_vocab() == expected


def test_a_file_of_one_long_line_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import enfold.tokenization.texts as module

    monkeypatch.setattr(module, "_PIECE_BYTES", 7)  # cuts within characters
    file = tmp_path / "line.txt"
    file.write_text("学生看书。" * 40, encoding="utf-8")
    with module.Corpus(file) as corpus:
        read = list(corpus)
    assert "".join(read) == "学生看书。" * 40 and max(map(len, read)) <= 4


def test_real_texts(tmp_path: Path) -> None:
    lines = shared("data", "tatoeba.en-zh.tsv").read_text(encoding="utf-8").splitlines()[:2000]
    tokenizer = train_tokenizer(lines, vocab_size=3500)
    unknown = sum(tokenizer(line)["input_ids"].count(tokenizer.unk_token_id) for line in lines)
    assert unknown == 0 and len(tokenizer) == 3500


# ── what can't be trained on ─────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
@pytest.mark.parametrize("texts", [[], [""], [" ", "\n\t"], iter([])])
def test_no_text_is_an_error(kind: Any, texts: Any) -> None:
    with pytest.raises(InputError, match="texts are empty: there is nothing"):
        train_tokenizer(texts, kind=kind, vocab_size=400)


@pytest.mark.parametrize("way", [{"kind": "wordpiece"}, {"kind": "unigram"}])
def test_a_vocabulary_too_small_says_what_is_needed(way: Any) -> None:
    with pytest.raises(InputError, match=r"vocab_size is 20, and (\d+) tokens are needed") as error:
        train_tokenizer(MIXED, vocab_size=20, **way)
    needed = int(str(error.value).split(" tokens are needed")[0].split()[-1])
    assert len(train_tokenizer(MIXED, vocab_size=needed, **way)) == needed
    with pytest.raises(InputError, match=f"{needed} tokens are needed"):
        train_tokenizer(MIXED, vocab_size=needed - 1, **way)


def test_bytes_need_their_256_tokens() -> None:
    with pytest.raises(InputError, match=r"vocab_size is 200, and 257 tokens are needed .* 256 bytes"):
        train_tokenizer(MIXED, kind="bpe", vocab_size=200)


@every_way
def test_a_vocabulary_larger_than_the_texts_is_smaller_and_said(
    way: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "enfold"):
        tokenizer = train_tokenizer(["a few words, and a few more words"] * 2, **way)
    assert len(tokenizer) < 400
    assert f"support a vocabulary of {len(tokenizer)} tokens, fewer than the 30000" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "wordpeice"}, "kind is 'wordpeice', expected one of wordpiece, bpe, unigram"),
        ({"kind": "bpe", "style": "bert"}, "style is 'bert', and a bpe tokenizer is like 'gpt2' or 'roberta'"),
        ({"vocab_size": 0}, "vocab_size is 0, expected a whole number"),
        ({"vocab_size": 2.5}, "vocab_size is 2.5"),
        ({"vocab_size": "8k", "model_max_length": -1}, "vocab_size is '8k'.*\n.*model_max_length is -1"),
        ({"min_frequency": True}, "min_frequency is True"),
        ({"kind": "unigram", "min_frequency": 3}, "min_frequency is for wordpiece and bpe"),
        ({"lowercase": "yes"}, "lowercase is 'yes', expected true or false"),
        ({"special_tokens": "<a>"}, "special_tokens is '<a>', expected a list"),
        ({"special_tokens": ["<a>", " "]}, "expected a list of texts that are not empty"),
        ({"special_tokens": [None]}, "expected a list of texts"),
        ({"special_tokens": 3}, "expected a list of texts"),
        ({"special_tokens": ["<a>", "[SEP]", "<a>"]}, r"special_tokens names <a>, \[SEP\] twice"),
    ],
)
def test_wrong_options_are_refused(options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_tokenizer(MIXED, **options)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", r"texts is one str; a list of texts was expected.*Pass \[text\]"),
        (b"bytes", "texts is one bytes"),
        (None, "texts is a NoneType"),
        ({"text": ["a"]}, "texts is a dict"),
        (["a", None], r"texts\[1\] is None; a string, or a Path"),
        ([{"text": "a"}], r"texts\[0\] is of the type dict.*row\['text'\]"),
        ([("a", 1)], r"texts\[0\] is of the type tuple"),
        (["a", "\ud800"], r"texts\[1\] has a lone surrogate \(U\+D800\) at position 0"),
        ((each for each in ["a", 3]), r"texts\[1\] is of the type int"),
        ([Path("/no/such/file"), Path("/nor/this")], "/no/such/file does not exist\n  /nor/this does not exist"),
        (Path("/"), "/ is a folder: pass its files"),
    ],
)
@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_what_is_no_text_is_refused(texts: Any, message: str, kind: Any) -> None:
    if isinstance(texts, Iterator):
        texts = iter(["a", 3])
    with pytest.raises(InputError, match=message):
        train_tokenizer(texts, kind=kind, vocab_size=400)


def test_a_file_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "gbk.txt"
    file.write_bytes("first\n第二行\n".encode("gb18030"))
    for kind in ("wordpiece", "bpe", "unigram"):
        with pytest.raises(InputError, match=r"gbk.txt, line 2, is not UTF-8.*gb18030"):
            train_tokenizer(file, kind=kind, vocab_size=400)  # type: ignore[arg-type]
    file.write_bytes("cut 书".encode()[:-1])
    with pytest.raises(InputError, match="line 1, is not UTF-8"):
        train_tokenizer(file)
