"""Folders as they are found: older files, settings, wrong types, missing and broken files."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from enfold.errors import TokenizerError
from enfold.tokenization import TOKENIZER_NAMES, Tokenizer
from enfold.tokenization.kinds import KINDS
from enfold.tokenization.settings import NO_LIMIT
from tests.support import minilm, shared
from tests.tokenization.corpus import TEXTS

BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "Hello", "world", "##s", "é", "e", "北", "京", "北京"]


def _folder(path: Path, **files: Any) -> Path:
    """A folder with files; ``a__b`` is the name ``a.b``, what is not text becomes JSON."""
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (path / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return path


def _bert(path: Path, **files: Any) -> Path:
    return _folder(path, vocab__txt="\n".join(BERT) + "\n", **files)


class TestSettings:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"do_lower_case": False},
            {"do_lower_case": False, "strip_accents": True},
            {"strip_accents": False},
            {"tokenize_chinese_chars": False},
        ],
    )
    def test_casing_accents_and_chinese_as_the_reference(self, options: dict[str, Any], tmp_path: Path) -> None:
        from transformers import BertTokenizer

        theirs = BertTokenizer.from_pretrained(_bert(tmp_path), **options)
        text = "Hello hellos É é 北京 world"
        assert Tokenizer.from_folder(tmp_path, **options)(text)["input_ids"] == theirs(text)["input_ids"]
        _folder(tmp_path, tokenizer_config__json=options)
        assert Tokenizer.from_folder(tmp_path)(text)["input_ids"] == theirs(text)["input_ids"]
        # the same over a tokenizer.json that was made without them
        Tokenizer.from_folder(_bert(tmp_path), **dict.fromkeys(options)).save_pretrained(tmp_path / "json")
        assert Tokenizer.from_folder(tmp_path / "json", **options)(text)["input_ids"] == theirs(text)["input_ids"]

    @pytest.mark.parametrize("name", ["gpt2", "roberta-base"])
    def test_a_space_before_the_text(self, name: str) -> None:
        import transformers

        source = shared("vocab", name)
        class_name = {"gpt2": "GPT2Tokenizer", "roberta-base": "RobertaTokenizer"}[name]
        theirs = getattr(transformers, class_name).from_pretrained(source, add_prefix_space=True)
        ours = Tokenizer.from_folder(source, add_prefix_space=True)
        assert ours(TEXTS)["input_ids"] == theirs(TEXTS)["input_ids"]

    def test_arguments_overrule_files(self, tmp_path: Path) -> None:
        config = {"model_max_length": 20, "padding_side": "left", "model_input_names": ["input_ids"]}
        folder = _bert(tmp_path, tokenizer_config__json=config)
        tokenizer = Tokenizer.from_folder(folder)
        assert (tokenizer.model_max_length, tokenizer.padding_side) == (20, "left")
        assert list(tokenizer("hello")) == ["input_ids"]
        tokenizer = Tokenizer.from_folder(folder, model_max_length=30, padding_side="right", cls_token="hello")
        assert (tokenizer.model_max_length, tokenizer.padding_side, tokenizer.cls_token_id) == (30, "right", 5)
        assert tokenizer("world")["input_ids"] == [5, 7, 3]

    def test_no_limit_is_a_very_large_number(self, tmp_path: Path) -> None:
        for config in ({}, {"model_max_length": NO_LIMIT}, {"model_max_length": 1e30}):
            folder = _bert(tmp_path, tokenizer_config__json=config)
            assert Tokenizer.from_folder(folder).model_max_length == NO_LIMIT

    def test_added_tokens_of_both_ages(self, tmp_path: Path) -> None:
        (tmp_path / "old").mkdir()
        (tmp_path / "new").mkdir()
        old = _bert(
            tmp_path / "old",
            special_tokens_map__json={"mask_token": {"content": "<m>", "lstrip": True}, "pad_token": "<p>"},
            added_tokens__json={"<m>": 14, "<p>": 15, "plain": 16},
        )
        flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
        decoder = {
            "14": {**flags, "content": "<m>", "lstrip": True},
            "15": {**flags, "content": "<p>"},
            "16": {**flags, "content": "plain", "normalized": True, "special": False},
        }
        new = _bert(
            tmp_path / "new",
            tokenizer_config__json={"added_tokens_decoder": decoder, "mask_token": "<m>", "pad_token": "<p>"},
        )
        for folder in (old, new):
            tokenizer = Tokenizer.from_folder(folder)
            assert tokenizer("hello <m> plain <p>", add_special_tokens=False)["input_ids"] == [5, 14, 16, 15]
            assert tokenizer.convert_ids_to_tokens(14) == "<m>"
            assert (tokenizer.mask_token_id, tokenizer.pad_token_id) == (14, 15)
            assert tokenizer.added_tokens_decoder[14].lstrip
            assert tokenizer.decode([5, 14, 16], skip_special_tokens=True) == "hello plain"

    def test_added_tokens_that_can_not_have_their_ids(self, tmp_path: Path) -> None:
        with pytest.raises(TokenizerError, match="'x' should be 99 and would be 14"):
            Tokenizer.from_folder(_bert(tmp_path, added_tokens__json={"x": 99}))

    def test_every_wrong_value_is_listed(self, tmp_path: Path) -> None:
        config = {"do_lower_case": "yes", "model_max_length": -3, "padding_side": "middle", "cls_token": ["a"]}
        with pytest.raises(TokenizerError) as caught:
            Tokenizer.from_folder(_bert(tmp_path, tokenizer_config__json=config))
        for part in (
            "do_lower_case is 'yes'; true or false",
            "model_max_length is -3",
            '"right" or "left"',
            "cls_token",
        ):
            assert part in str(caught.value)
        assert "tokenizer_config.json" in str(caught.value)

    def test_an_unknown_argument_is_refused_and_the_known_ones_named(self) -> None:
        with pytest.raises(TokenizerError, match=r"do_lowercase is not a setting.*do_lower_case"):
            Tokenizer.from_folder(minilm(), do_lowercase=True)


class TestKinds:
    @pytest.mark.parametrize(
        ("config", "kind"),
        [
            ({"model_type": "distilbert"}, "distilbert"),
            ({"model_type": "electra"}, "bert"),
            ({"model_type": "something-new", "tokenizer_class": "BertTokenizer"}, "bert"),
            ({"model_type": "something-new"}, "bert"),
        ],
    )
    def test_the_kind_is_found(self, config: dict[str, Any], kind: str, tmp_path: Path) -> None:
        assert Tokenizer.from_folder(_bert(tmp_path, config__json=config)).kind == kind

    def test_an_unknown_class_is_refused_where_it_would_be_guessed(self, tmp_path: Path) -> None:
        folder = _bert(tmp_path, tokenizer_config__json={"tokenizer_class": "BertJapaneseTokenizer"})
        with pytest.raises(TokenizerError, match=r"BertJapaneseTokenizer, which enfold can't build.*kind="):
            Tokenizer.from_folder(folder)
        assert Tokenizer.from_folder(folder, "BertTokenizer").kind == "bert"

    def test_an_unknown_kind_names_the_known(self) -> None:
        with pytest.raises(TokenizerError, match=r"'brt' is not a kind.*bert, distilbert"):
            Tokenizer.from_folder(minilm(), "brt")

    def test_names_lead_to_kinds(self) -> None:
        assert set(TOKENIZER_NAMES.values()) == set(KINDS)
        assert TOKENIZER_NAMES["BertTokenizerFast"] == TOKENIZER_NAMES["BertTokenizer"] == "bert"
        assert TOKENIZER_NAMES["PreTrainedTokenizerFast"] == "generic"


class TestBrokenFolders:
    def test_a_folder_without_tokenizer_says_what_it_holds(self, tmp_path: Path) -> None:
        with pytest.raises(TokenizerError, match=r"Expected tokenizer\.json, vocab\.txt.*Found: config\.json"):
            Tokenizer.from_folder(_folder(tmp_path, config__json={}))
        with pytest.raises(TokenizerError, match="Found: nothing"):
            Tokenizer.from_folder(tmp_path / "absent")

    def test_half_of_a_pair_of_files(self, tmp_path: Path) -> None:
        folder = _folder(tmp_path, vocab__json={"a": 0})
        with pytest.raises(TokenizerError, match=r"needs vocab\.json and merges\.txt; missing: \['merges\.txt'\]"):
            Tokenizer.from_folder(folder, "gpt2")

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ({"tokenizer__json": "{"}, r"tokenizer\.json: is not a tokenizer that can be read"),
            ({"tokenizer__json": {"model": 5}}, r"tokenizer\.json: is not a tokenizer that can be read"),
            ({"tokenizer__json": ""}, r"tokenizer\.json: is empty"),
            ({"tokenizer_config__json": "[1]"}, r"tokenizer_config\.json: holds a list; a JSON object"),
            ({"tokenizer_config__json": "{'a': 1}"}, r"tokenizer_config\.json: is not valid JSON"),
            ({"config__json": "version https://git-lfs.github.com/spec/v1"}, "Git LFS pointer"),
            ({"added_tokens__json": {"a": "b"}}, r"added_tokens\.json: maps tokens to ids.*'a': 'b'"),
        ],
    )
    def test_the_file_is_named(self, files: dict[str, Any], message: str, tmp_path: Path) -> None:
        with pytest.raises(TokenizerError, match=message):
            Tokenizer.from_folder(_bert(tmp_path, **files))

    @pytest.mark.parametrize(
        ("merges", "message"),
        [
            ("#version: 0.2\na b\nabc\n", r"merges\.txt: line 3 is 'abc'"),
            ("a c\n", r"1 merges make pieces that vocab\.json lacks, such as \['a c'\]"),
        ],
    )
    def test_merges_that_do_not_fit(self, merges: str, message: str, tmp_path: Path) -> None:
        folder = _folder(tmp_path, vocab__json={"a": 0, "b": 1, "ab": 2}, merges__txt=merges)
        with pytest.raises(TokenizerError, match=message):
            Tokenizer.from_folder(folder, "gpt2")

    def test_text_that_is_not_utf_8(self, tmp_path: Path) -> None:
        (tmp_path / "vocab.txt").write_bytes("naïve\n".encode("latin-1"))
        with pytest.raises(TokenizerError, match=r"vocab\.txt: is not UTF-8 text \(byte 2 is 0xef\)"):
            Tokenizer.from_folder(tmp_path)

    def test_a_vocabulary_without_special_tokens(self, tmp_path: Path) -> None:
        folder = _folder(tmp_path, vocab__txt="a\nb\n[UNK]\n")
        with pytest.raises(TokenizerError, match="special tokens of no known kind"):
            Tokenizer.from_folder(folder)
        with pytest.raises(TokenizerError, match=r"lacks them: cls \(no token\), sep \(no token\)"):
            Tokenizer.from_folder(folder, "bert")


def test_a_path_a_package_or_a_hub_name_goes_through_the_sources(tmp_path: Path) -> None:
    shutil.copytree(minilm(), tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    tokenizer = Tokenizer.from_pretrained(str(tmp_path / "model"), local_files_only=True)
    assert tokenizer.name_or_path == str(tmp_path / "model")
    assert tokenizer("hello")["input_ids"] == [101, 7592, 102]
