"""Source and target texts in the languages of mBART, mBART-50, M2M-100 and NLLB."""

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from enfold.errors import InputError, TokenizerError
from enfold.tokenization import Tokenizer
from enfold.tokenization.languages import M2M100, MBART, MBART50, NLLB, WMT21
from tests.tokenization.corpus import TEXTS
from tests.tokenization.trained import trained

SPM = "sentencepiece.bpe.model"
# class, kind, source language, target language, what stands around X
FAMILIES = [
    ("MBartTokenizer", "mbart", "fr_XX", "zh_CN", ["X", "</s>", "lang"]),
    ("MBart50Tokenizer", "mbart50", "fr_XX", "zh_CN", ["lang", "X", "</s>"]),
    ("NllbTokenizer", "nllb", "fra_Latn", "zho_Hans", ["lang", "X", "</s>"]),
    ("M2M100Tokenizer", "m2m100", "fr", "zh", ["lang", "X", "</s>"]),
]


def make(path: Path, kind: str, **overrides: Any) -> Tokenizer:
    path.mkdir(exist_ok=True)
    model = trained(model_type="unigram" if kind.startswith("mbart") else "bpe")
    (path / SPM).write_bytes(model)
    if kind == "m2m100":
        pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        # a vocabulary that lacks some pieces, and has one that the model lacks
        known = [pieces.id_to_piece(number) for number in range(3, pieces.vocab_size() - 20)]
        names = ["<s>", "<pad>", "</s>", "<unk>", *known, "𝔛"]
        (path / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    return Tokenizer.from_folder(path, kind, **overrides)


def _reference(class_name: str, path: Path) -> Any:
    import transformers

    return getattr(transformers, class_name).from_pretrained(path)


@pytest.mark.parametrize(("class_name", "kind", "source", "target", "around"), FAMILIES)
def test_templates_of_both_sides(
    class_name: str, kind: str, source: str, target: str, around: list[str], tmp_path: Path
) -> None:
    tokenizer = make(tmp_path, kind, src_lang=source, tgt_lang=target)
    batch = tokenizer("the world", text_target="hello")
    for row, text, code in ((batch["input_ids"], "the world", source), (batch["labels"], "hello", target)):
        token = tokenizer.convert_ids_to_tokens(tokenizer.forced_bos_id(code))
        wanted = [part for each in around for part in (tokenizer.tokenize(text) if each == "X" else [each])]
        assert tokenizer.convert_ids_to_tokens(row) == [token if each == "lang" else each for each in wanted]
    assert (tokenizer.src_lang, tokenizer.tgt_lang) == (source, target)
    # for one call alone
    assert tokenizer("the", src_lang=target)["input_ids"] == tokenizer(text_target="the")["input_ids"]
    swapped = tokenizer("hello", text_target="the world", src_lang=target, tgt_lang=source)
    assert (swapped["input_ids"], swapped["labels"]) == (batch["labels"], batch["input_ids"])
    assert tokenizer("the world")["input_ids"] == batch["input_ids"]
    tokenizer.src_lang, tokenizer.tgt_lang = target, source
    assert dict(tokenizer("hello", text_target="the world")) == dict(swapped)


@pytest.mark.parametrize(("class_name", "kind", "source", "target", "around"), FAMILIES)
def test_the_reference_reads_it_back_with_equal_ids(
    class_name: str, kind: str, source: str, target: str, around: list[str], tmp_path: Path
) -> None:
    ours = make(tmp_path / "made", kind, src_lang=source, tgt_lang=target, tokenizer_class=class_name)
    ours.save_pretrained(tmp_path / "saved")
    theirs, again = _reference(class_name, tmp_path / "saved"), Tokenizer.from_folder(tmp_path / "saved")
    texts = ["Hello world, it's a test.", "the of a"]
    wanted = dict(theirs(texts, text_target=texts[::-1]))
    assert dict(ours(texts, text_target=texts[::-1])) == wanted == dict(again(texts, text_target=texts[::-1]))
    assert again.get_vocab() == ours.get_vocab()
    for text in TEXTS if kind == "m2m100" else []:
        assert ours(text)["input_ids"] == theirs(text)["input_ids"], text
        row = ours(text)["input_ids"]
        assert ours.decode(row, skip_special_tokens=True) == theirs.decode(row, skip_special_tokens=True)


@pytest.mark.parametrize(
    ("kind", "codes", "token"),
    [("mbart", MBART, "{}"), ("mbart50", MBART50, "{}"), ("nllb", NLLB, "{}"), ("m2m100", M2M100, "__{}__")],
)
def test_codes_have_the_ids_of_the_checkpoints_order(kind: str, codes: str, token: str, tmp_path: Path) -> None:
    tokenizer = make(tmp_path, kind)
    ids = tokenizer.lang_code_to_id
    names = codes.split()
    first = ids[names[0]]
    assert ids == {code: first + number for number, code in enumerate(names)}
    assert all(tokenizer.convert_tokens_to_ids(token.format(code)) == number for code, number in ids.items())
    assert tokenizer.get_lang_id(names[1]) == tokenizer.forced_bos_id(names[1]) == first + 1
    assert token.format(names[0]) in tokenizer.all_special_tokens


def test_the_older_template_of_nllb(tmp_path: Path) -> None:
    tokenizer = make(tmp_path, "nllb", legacy_behaviour=True)
    assert tokenizer.tokenize("a", add_special_tokens=True)[-2:] == ["</s>", "eng_Latn"]


def test_the_languages_of_wmt21_and_ones_that_were_added(tmp_path: Path) -> None:
    assert list(make(tmp_path / "a", "m2m100", language_codes="wmt21").lang_code_to_id) == WMT21.split()
    with pytest.raises(TokenizerError, match="language_codes='other': expected one of m2m100, wmt21"):
        make(tmp_path / "a", "m2m100", language_codes="other")
    tokenizer = make(tmp_path / "b", "nllb", additional_special_tokens=["tok_Latn"], src_lang="tok_Latn")
    assert tokenizer.tokenize("a", add_special_tokens=True)[0] == "tok_Latn"


def test_an_unknown_language_lists_the_nearest(tmp_path: Path) -> None:
    tokenizer = make(tmp_path, "mbart50")
    with pytest.raises(InputError, match=r"'fr' is none of the 52 languages.*nearest are fr_XX"):
        tokenizer("a", src_lang="fr")
    for change in (lambda: tokenizer.forced_bos_id("zh_TW"), lambda: setattr(tokenizer, "tgt_lang", "zh_TW")):
        with pytest.raises(InputError, match="nearest are zh_CN"):
            change()
    with pytest.raises(TokenizerError, match="src_lang or tgt_lang: 'xx' is none"):
        make(tmp_path, "mbart50", src_lang="xx")


def test_a_target_without_language_and_a_language_without_need(tmp_path: Path) -> None:
    tokenizer = make(tmp_path, "mbart50")
    with pytest.raises(InputError, match=r"language of the target texts is not known. Pass tgt_lang="):
        tokenizer("a", text_target="b")
    from tests.tokenization.oracle import both

    plain = both("gpt2")[0]
    assert plain.src_lang is None and plain.lang_code_to_id == {}
    assert plain("a", text_target="b")["labels"] == plain("b")["input_ids"] == plain(text_target="b")["input_ids"]
    for attempt in (lambda: plain("a", src_lang="en"), lambda: plain.forced_bos_id("en")):
        with pytest.raises(InputError, match="marks no languages"):
            attempt()


def test_added_tokens_and_copies_keep_the_languages(tmp_path: Path) -> None:
    import pickle

    tokenizer = make(tmp_path, "m2m100", src_lang="fr", tgt_lang="de")
    assert tokenizer.add_tokens(["zyx"]) == 1
    copy = pickle.loads(pickle.dumps(tokenizer))
    for each in (tokenizer, copy):
        batch = each("zyx", text_target="a zyx")
        assert each.convert_ids_to_tokens(batch["input_ids"]) == ["__fr__", "zyx", "</s>"]
        assert each.convert_ids_to_tokens(batch["labels"])[0] == "__de__"
        assert each.decode(batch["labels"], skip_special_tokens=True).replace(" ", "") == "azyx"
