"""The tokenizer in a GGUF file gives the ids that transformers' one for the same file gives."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from enfold.errors import TokenizerError
from enfold.tokenization import Tokenizer
from tests.checkpoint.gguf.make import TOKENIZER, metadata, smollm2, write
from tests.support import shared
from tests.tokenization.corpus import PAIRS, TEXTS

CODE = [
    "def f(x: int) -> int:\n    return x + 1\n\n\nif __name__ == '__main__':\n\tprint(f(2))  # comment\n",
    "for (int i = 0; i < n; ++i) {\r\n\t\ta[i] += b[i]*2.5e-3;\r\n}",
    "  \n \n\t\n   x\n\n\n\n y   \u3000z",
    "I'LL we'Re THEY'VE don'T 'S",
    "camelCaseHTTPServer snake_case_2 ÉTÉ Été",
    "aaa aaaa aaaaa ---- ------ ======= ......",
]
CHAT = "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n  <|endoftext|> <repo_name>x<file_sep>"


@cache
def _reference(path: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


def _assert_equal_ids(ours: Tokenizer, theirs: Any, texts: list[str]) -> None:
    for text in texts:
        assert ours(text).input_ids == theirs(text).input_ids, text
        plain = ours(text, add_special_tokens=False).input_ids
        assert plain == theirs(text, add_special_tokens=False).input_ids, text
        assert ours.decode(plain) == theirs.decode(plain), text


@cache
def _smollm2() -> Tokenizer:
    return Tokenizer.from_folder(smollm2().parent)


class TestSmolLM2:
    @pytest.fixture
    def ours(self) -> Tokenizer:
        return _smollm2()

    def test_equal_ids(self, ours: Tokenizer) -> None:
        """What transformers reads as GPT-2's way to cut, the model was trained to cut at every digit first.

        Its merges hold no digits, so that the two differ only where spaces stand before a number: those of a run
        belong together, and " ½" is a space and the bytes of a number.
        """
        from tokenizers import pre_tokenizers as steps

        theirs = _reference(smollm2())
        without_digits = [text for text in [*TEXTS, *CODE, CHAT] if not any(map(str.isnumeric, text))]
        assert len(without_digits) > 30
        _assert_equal_ids(ours, theirs, [*without_digits, "In 2024, 1,000 of 42 were 3.14.", "a1b22\n333"])
        backend = theirs.backend_tokenizer
        before = backend.pre_tokenizer
        backend.pre_tokenizer = steps.Sequence([steps.Digits(individual_digits=True), steps.ByteLevel(False)])
        try:
            _assert_equal_ids(ours, theirs, [*TEXTS, *CODE, CHAT])
        finally:
            backend.pre_tokenizer = before

    def test_pairs(self, ours: Tokenizer) -> None:
        theirs = _reference(smollm2())
        for first, second in PAIRS:
            assert ours(first, second).input_ids == theirs(first, second).input_ids

    def test_special_tokens(self, ours: Tokenizer) -> None:
        theirs = _reference(smollm2())
        assert ours.special_tokens_map == theirs.special_tokens_map
        assert ours(CHAT).input_ids[:2] == [1, 4093]
        assert ours.decode(ours(CHAT).input_ids, skip_special_tokens=True).startswith("user\nHi there\n")
        assert set(ours.added_tokens_decoder) == set(theirs.added_tokens_decoder) == set(range(17))
        assert len(ours) == len(theirs) == 49152

    def test_settings(self, ours: Tokenizer) -> None:
        assert (ours.model_max_length, ours.model_input_names) == (8192, ["input_ids", "attention_mask"])
        changed = Tokenizer.from_folder(smollm2(), model_max_length=16, pad_token="<|endoftext|>", add_bos_token=True)
        assert (changed.model_max_length, changed.pad_token_id, changed("Hi").input_ids[0]) == (16, 0, 1)

    def test_a_saved_one_is_the_same_for_both(self, ours: Tokenizer, tmp_path: Path) -> None:
        from transformers import AutoTokenizer

        ours.save_pretrained(tmp_path)
        theirs = AutoTokenizer.from_pretrained(tmp_path)
        _assert_equal_ids(Tokenizer.from_folder(tmp_path), theirs, [*TEXTS, *CODE])
        assert theirs.chat_template == _reference(smollm2()).chat_template


_MERGES = 4000


@cache
def _gpt2() -> Mapping[str, Any]:
    """The bytes and first merges of GPT-2's vocabulary as the metadata of a file."""
    vocabulary = json.loads(shared("vocab", "gpt2", "vocab.json").read_text(encoding="utf-8"))
    merges = shared("vocab", "gpt2", "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    tokens = [*sorted(vocabulary, key=vocabulary.__getitem__)[: 256 + _MERGES], "<|endoftext|>"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": None,
        "tokenizer.ggml.token_type": [1] * (len(tokens) - 1) + [3],
        "tokenizer.ggml.merges": merges[:_MERGES],
        "tokenizer.ggml.bos_token_id": len(tokens) - 1,
        "tokenizer.ggml.eos_token_id": len(tokens) - 1,
    }


_END = 256 + _MERGES


def _file(folder: Path, **tokenizer: Any) -> Path:
    """A file with a tokenizer alone, as far as the tensors go; `tokenizer` overrules keys of TOKENIZER."""
    keys = metadata("llama") | {key.replace("__", "."): value for key, value in tokenizer.items()}
    return write(folder / "m.gguf", {key: value for key, value in keys.items() if value is not None}, {})


class TestByteLevel:
    @pytest.mark.parametrize("pre", ["gpt-2", "default", "qwen2", "llama-bpe", "dbrx", "tekken", "gpt-4o", None])
    @pytest.mark.parametrize("add_bos", [False, True])
    def test_equal_ids(self, tmp_path: Path, pre: str | None, add_bos: bool) -> None:
        keys = {**_gpt2(), "tokenizer.ggml.pre": pre, "tokenizer.ggml.add_bos_token": add_bos}
        path = _file(tmp_path, **keys)
        _assert_equal_ids(Tokenizer.from_folder(path), _reference(path), [*TEXTS, *CODE, "<|endoftext|> x"])

    def test_digits_stand_alone_first(self, tmp_path: Path) -> None:
        ours = Tokenizer.from_folder(_file(tmp_path, **_gpt2(), tokenizer__ggml__pre="starcoder"))
        assert ours.convert_ids_to_tokens(ours("x 12").input_ids) == ["x", "Ġ", "1", "2"]

    def test_user_defined_tokens_are_matched_whole_and_shown(self, tmp_path: Path) -> None:
        keys = dict(_gpt2())
        keys["tokenizer.ggml.tokens"] = [*keys["tokenizer.ggml.tokens"], "<think>"]
        keys["tokenizer.ggml.token_type"] = [*keys["tokenizer.ggml.token_type"], 4]
        path = _file(tmp_path, **keys, tokenizer__ggml__pre="qwen2")
        ours = Tokenizer.from_folder(path)
        _assert_equal_ids(ours, _reference(path), ["a <think>b</think>", "<|endoftext|><think>"])
        assert ours("a <think>").input_ids[-1] == _END + 1
        assert ours.decode([_END + 1, _END], skip_special_tokens=True) == "<think>"

    def test_a_word_of_llama_3_is_taken_whole(self, tmp_path: Path) -> None:
        keys = dict(_gpt2())
        keys["tokenizer.ggml.tokens"] = [*keys["tokenizer.ggml.tokens"], "ĠxyzzyPlugh"]
        keys["tokenizer.ggml.token_type"] = [*keys["tokenizer.ggml.token_type"], 1]
        ours = Tokenizer.from_folder(_file(tmp_path, **keys, tokenizer__ggml__pre="llama-bpe"))
        assert ours("a xyzzyPlugh", add_special_tokens=False).input_ids == [64, _END + 1]

    def test_llama_3_starts_its_texts_unless_the_file_says_otherwise(self, tmp_path: Path) -> None:
        for stated, starts in ((None, True), (False, False)):
            keys = {**_gpt2(), "tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.add_bos_token": stated}
            ours = Tokenizer.from_folder(_file(tmp_path, **keys))
            assert (ours("a").input_ids == [_END, 64]) is starts

    def test_an_unknown_way_to_cut_is_refused(self, tmp_path: Path) -> None:
        path = _file(tmp_path, **_gpt2(), tokenizer__ggml__pre="klingon")
        with pytest.raises(TokenizerError, match=r"cut in the way 'klingon'.*expected one of default, gpt-2"):
            Tokenizer.from_folder(path)

    @pytest.mark.parametrize("merge", ["ab", "a ", ""])
    def test_merges_that_are_none(self, tmp_path: Path, merge: str) -> None:
        path = _file(tmp_path, **{**_gpt2(), "tokenizer.ggml.merges": ["a b", merge]})
        with pytest.raises(TokenizerError, match=f"merge 1 is '{merge}'; two pieces"):
            Tokenizer.from_folder(path)

    def test_merges_of_other_pieces(self, tmp_path: Path) -> None:
        path = _file(tmp_path, **{**_gpt2(), "tokenizer.ggml.merges": ["zzzzqq a"]})
        with pytest.raises(TokenizerError, match=r"m\.gguf: its vocabulary makes no tokenizer \(.*zzzzqq"):
            Tokenizer.from_folder(path)


def _sentencepiece() -> dict[str, Any]:
    """Pieces with scores, words of the corpus and their beginnings, after the bytes."""
    words = sorted({f"▁{word}" for text in [*TEXTS, *CODE] for word in text.split() if word.isalpha()})
    parts = sorted(
        {word[:end] for word in words for end in range(1, len(word) + 1)}, key=lambda part: (len(part), part)
    )
    runs = ["▁▁", "▁▁▁▁", "aa", "aaa", "aaaa", "--", "---", "----", "=="]
    pieces = list(
        dict.fromkeys([*parts, *runs, *sorted({letter for text in TEXTS[:4] for letter in text if letter != " "})])
    )
    tokens = [*TOKENIZER["tokenizer.ggml.tokens"], *pieces]  # type: ignore[misc]
    types = [2, 3, 3, *[6] * 256, *[1] * len(pieces)]
    # Pieces of equal length have equal scores, so that ties are met.
    scores = [0.0] * 259 + [-float(8 - min(len(piece), 8)) for piece in pieces]
    return TOKENIZER | {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.unknown_token_id": 0,
    }


class TestSentencePiece:
    @pytest.mark.parametrize("flags", [{}, {"add_bos_token": False}, {"add_bos_token": True, "add_eos_token": True}])
    def test_equal_ids(self, tmp_path: Path, flags: dict[str, bool]) -> None:
        keys = _sentencepiece() | {f"tokenizer.ggml.{key}": value for key, value in flags.items()}
        path = _file(tmp_path, **keys)
        _assert_equal_ids(Tokenizer.from_folder(path), _reference(path), [*TEXTS, *CODE, "</s> x <s>", " 北京"])

    def test_bytes_stand_for_unknown_characters(self, tmp_path: Path) -> None:
        ours = Tokenizer.from_folder(_file(tmp_path, **_sentencepiece()))
        assert ours.convert_ids_to_tokens(ours("☃").input_ids)[-3:] == ["<0xE2>", "<0x98>", "<0x83>"]
        assert ours.decode(ours("☃").input_ids, skip_special_tokens=True) == "☃"

    def test_no_space_is_put_in_front_where_the_file_says_so(self, tmp_path: Path) -> None:
        pieces = _sentencepiece()
        with_space = Tokenizer.from_folder(_file(tmp_path, **pieces))
        without = Tokenizer.from_folder(_file(tmp_path, **pieces, tokenizer__ggml__add_space_prefix=False))
        assert with_space("test").input_ids == without(" test").input_ids != without("test").input_ids

    def test_neither_scores_nor_merges(self, tmp_path: Path) -> None:
        with pytest.raises(TokenizerError, match=r"neither tokenizer\.ggml\.scores nor merges"):
            Tokenizer.from_folder(_file(tmp_path, tokenizer__ggml__scores=None))


class TestChatTemplates:
    def test_the_one_of_the_file_is_used(self) -> None:
        messages = [{"role": "user", "content": "Hi"}]
        ours, theirs = _smollm2(), _reference(smollm2())
        assert ours.chat_template == theirs.chat_template
        for prompt in (False, True):
            expected = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            assert ours.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt) == expected

    def test_several_have_names(self, tmp_path: Path) -> None:
        keys = {"tokenizer.chat_template": "a", "tokenizer.chat_templates": ["rag"], "tokenizer.chat_template.rag": "b"}
        assert Tokenizer.from_folder(_file(tmp_path, **keys)).chat_template == {"default": "a", "rag": "b"}
        assert Tokenizer.from_folder(_file(tmp_path)).chat_template is None


class TestFiles:
    def test_tokenizer_files_come_first(self, tmp_path: Path) -> None:
        _file(tmp_path)
        (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\n", encoding="utf-8")
        assert Tokenizer.from_folder(tmp_path).kind == "bert"
        assert Tokenizer.from_folder(tmp_path / "m.gguf").kind == "llama"

    @pytest.mark.parametrize("model", ["bert", "t5", "rwkv"])
    def test_an_algorithm_that_is_not_built_is_named(self, tmp_path: Path, model: str) -> None:
        with pytest.raises(TokenizerError, match=f"of the kind '{model}'; expected one of gpt2, llama"):
            Tokenizer.from_folder(_file(tmp_path, tokenizer__ggml__model=model))

    def test_no_tokenizer_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(TokenizerError, match="holds no tokenizer"):
            Tokenizer.from_folder(_file(tmp_path, tokenizer__ggml__model=None))

    def test_all_that_is_wrong_is_listed(self, tmp_path: Path) -> None:
        path = _file(
            tmp_path,
            tokenizer__ggml__tokens=["a", "b", "a"],
            tokenizer__ggml__scores=[0.0],
            tokenizer__ggml__token_type="none",
            tokenizer__ggml__bos_token_id=3,
            tokenizer__ggml__add_bos_token="yes",
        )
        with pytest.raises(TokenizerError) as caught:
            Tokenizer.from_folder(path)
        for problem in (
            "scores has 1 entries for 3 tokens",
            "token_type is 'none'; expected a list of whole numbers",
            "bos_token_id is 3; expected an id under 3",
            "add_bos_token is 'yes'; expected true or false",
            "lists 1 tokens more than once, such as ['a']",
        ):
            assert problem in str(caught.value)
