"""Sentencepiece files: the pieces are those of sentencepiece itself, the ids those of each family."""

import io
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from enfold.errors import TokenizerError
from enfold.tokenization import Tokenizer
from enfold.tokenization.spm import read_sentencepiece
from tests.support import shared
from tests.tokenization.corpus import TEXTS
from tests.tokenization.trained import trained

# Special tokens in the text are matched whole by the engine, and a run of one letter has several best cuts. The
# engine's charsmap looks at whole graphemes, as the reference's does, where sentencepiece looks at characters.
PLAIN = [text for text in TEXTS if not any(mark in text for mark in ("[", "<", "xxx", "e\u0301"))]


def _folder(path: Path, name: str, **options: Any) -> tuple[Path, sentencepiece.SentencePieceProcessor]:
    (path / name).write_bytes(trained(**options))
    return path, sentencepiece.SentencePieceProcessor(model_file=str(path / name))


FAMILIES = [
    ("xlm-roberta", "sentencepiece.bpe.model", "XLMRobertaTokenizer", {}),
    ("camembert", "sentencepiece.bpe.model", "CamembertTokenizer", {}),
    ("mbart", "sentencepiece.bpe.model", "MBartTokenizer", {}),
    ("t5", "spiece.model", "T5Tokenizer", {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}),
    (
        "deberta-v2",
        "spm.model",
        "DebertaV2Tokenizer",
        {"pad_id": 0, "unk_id": 3, "bos_id": 1, "eos_id": 2, "pad_piece": "[PAD]", "unk_piece": "[UNK]"}
        | {"bos_piece": "[CLS]", "eos_piece": "[SEP]", "user_defined_symbols": "[MASK]"},
    ),
]
ALBERT = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": "[CLS],[SEP],[MASK]"}


@pytest.mark.parametrize(("kind", "file", "class_name", "options"), FAMILIES)
def test_pieces_are_sentencepieces_and_ids_the_references(
    kind: str, file: str, class_name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    import transformers

    folder, oracle = _folder(tmp_path, file, **options)
    ours = Tokenizer.from_folder(folder, kind)
    for text in PLAIN:
        assert ours.tokenize(text) == oracle.encode(text, out_type=str), text
    theirs = getattr(transformers, class_name).from_pretrained(folder)
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.special_tokens_map == theirs.special_tokens_map
    text = "Hello world, it's a test."
    assert ours(text, text)["input_ids"] == theirs(text, text)["input_ids"]
    assert ours(text)["input_ids"] == theirs(text)["input_ids"]


def test_albert_lowers_strips_accents_and_never_ends_a_piece_with_a_number_and_comma(tmp_path: Path) -> None:
    from transformers import AlbertTokenizer

    folder, _ = _folder(tmp_path, "spiece.model", **ALBERT)
    ours, theirs = Tokenizer.from_folder(folder, "albert"), AlbertTokenizer.from_pretrained(folder)
    for text in TEXTS:
        if "2000," not in text:
            assert ours(text)["input_ids"] == theirs(text)["input_ids"], text
    # 4.x and ALBERT's own code split before the comma; 5.x lost that
    assert "000," in "".join(ours.tokenize("2000,")) and not any(token == "000," for token in ours.tokenize("2000,"))
    cased = Tokenizer.from_folder(folder, "albert", do_lower_case=False, keep_accents=True)
    assert cased.tokenize("Unicode")[1:2] != ours.tokenize("Unicode")[1:2]


def test_a_bpe_model_with_bytes_for_unknown_characters(tmp_path: Path) -> None:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["Hello world, it is a test.", "worlds of tests", "UPPER lower"] * 20),
        model_writer=written,
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    (tmp_path / "tokenizer.model").write_bytes(written.getvalue())
    oracle = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    ours = Tokenizer.from_folder(tmp_path)
    assert ours.kind == "llama" and ours.padding_side == "left"
    for text in ("Hello world, it's a test.", "double  inside", "👍🏽 北京", "UPPER lower"):
        ids = ours(text, add_special_tokens=False)["input_ids"]
        assert ids == oracle.encode(text)
        assert ours.decode(ids) == text
    assert ours("a")["input_ids"][0] == ours.bos_token_id


def test_cluecorpussmall_gives_sentencepieces_pieces() -> None:
    file = shared("vocab", "cluecorpussmall_spm.model")
    oracle = sentencepiece.SentencePieceProcessor(model_file=str(file))
    model = read_sentencepiece(file)
    assert [piece.text for piece in model.pieces] == [oracle.id_to_piece(n) for n in range(oracle.vocab_size())]


def test_cluecorpussmall_as_a_tokenizer(tmp_path: Path) -> None:
    file = shared("vocab", "cluecorpussmall_spm.model")
    (tmp_path / "spm.model").symlink_to(file)
    oracle = sentencepiece.SentencePieceProcessor(model_file=str(file))
    ours = Tokenizer.from_folder(tmp_path, "deberta-v2")
    for text in PLAIN:
        assert ours(text, add_special_tokens=False)["input_ids"] == oracle.encode(text), text


def test_every_field_is_read_as_protobuf_reads_it(tmp_path: Path) -> None:
    folder, _ = _folder(tmp_path, "a.model")
    ours = read_sentencepiece(folder / "a.model")
    wanted = sentencepiece_model_pb2.ModelProto.FromString(trained())
    assert [(piece.text, piece.score, piece.kind) for piece in ours.pieces] == [
        (piece.piece, piece.score, piece.type) for piece in wanted.pieces
    ]
    assert ours.charsmap == wanted.normalizer_spec.precompiled_charsmap
    assert (ours.unk_id, ours.byte_fallback, ours.is_bpe) == (wanted.trainer_spec.unk_id, False, False)


@pytest.mark.parametrize("cut", [1, 50, 5000])
def test_a_damaged_file_is_named(cut: int, tmp_path: Path) -> None:
    file = tmp_path / "spiece.model"
    file.write_bytes(trained()[:-cut])
    with pytest.raises(TokenizerError, match=r"spiece\.model: is not a sentencepiece model, or is damaged"):
        read_sentencepiece(file)


def test_something_else_is_no_model(tmp_path: Path) -> None:
    file = tmp_path / "spiece.model"
    file.write_bytes(b"PK\x03\x04 a zip file")
    with pytest.raises(TokenizerError, match="sentencepiece"):
        read_sentencepiece(file)


def test_a_unigram_file_is_not_a_bpe_one(tmp_path: Path) -> None:
    folder, _ = _folder(tmp_path, "tokenizer.model")
    with pytest.raises(TokenizerError, match="is a unigram model; a llama tokenizer needs a BPE one"):
        Tokenizer.from_folder(folder, "llama")
