"""Vocabulary files to a Rust tokenizer: one reader for each algorithm, one layout for each family of sentencepiece."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models

from enfold.errors import TokenizerError
from enfold.tokenization.files import read_merges, read_vocabulary_json, read_vocabulary_txt
from enfold.tokenization.kinds import Algorithm, Kind
from enfold.tokenization.pipelines import fit_out
from enfold.tokenization.settings import Settings
from enfold.tokenization.special import pegasus_tokens, role_token, sentinels
from enfold.tokenization.spm import CONTROL, NORMAL, USER_DEFINED, SentencePieceModel, read_sentencepiece

__all__ = ["find_files", "merges_of", "read_vocabulary"]

_SPM_SUFFIXES = (".model", ".spm")


def read_vocabulary(folder: Path, kind: Kind, settings: Settings) -> Tokenizer:
    """The tokenizer of the vocabulary files of a kind.

    Raises:
        TokenizerError: files are missing, broken or of another algorithm.
    """
    return _READERS[kind.algorithm](find_files(folder, kind), kind, settings)


def find_files(folder: Path, kind: Kind) -> list[Path]:
    """The vocabulary files of a kind; a sentencepiece file may have any name where it is the only one.

    Raises:
        TokenizerError: some are missing.
    """
    if not kind.files:
        raise TokenizerError(f"{folder}: has no tokenizer.json, and no kind says how to read other files.")
    missing = [name for name in kind.files if not (folder / name).is_file()]
    files = [folder / name for name in kind.files]
    if missing and kind.files[0].endswith(_SPM_SUFFIXES):
        found = sorted(path for suffix in _SPM_SUFFIXES for path in folder.glob(f"*{suffix}"))
        if len(found) == 1 and missing == [kind.files[0]]:
            files[0], missing = found[0], []
    if missing:
        raise TokenizerError(f"{folder}: a {kind.name} tokenizer needs {' and '.join(kind.files)}; missing: {missing}.")
    return files


def _read_wordpiece(files: list[Path], kind: Kind, settings: Settings) -> Tokenizer:
    unk = role_token(kind, settings, "unk")
    backend = Tokenizer(models.WordPiece(read_vocabulary_txt(files[0]), unk_token=unk, max_input_chars_per_word=100))
    fit_out(backend, kind, settings)
    return backend


def _read_byte_bpe(files: list[Path], kind: Kind, settings: Settings) -> Tokenizer:
    vocabulary, merges = read_vocabulary_json(files[0]), read_merges(files[1])
    unknown = [f"{left} {right}" for left, right in merges if left + right not in vocabulary]
    if unknown:
        raise TokenizerError(
            f"{files[1]}: {len(unknown)} merges make pieces that {files[0].name} lacks, such as {unknown[:3]}. "
            "The two files do not belong together."
        )
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, fuse_unk=False))
    fit_out(backend, kind, settings)
    return backend


def _read_unigram(files: list[Path], kind: Kind, settings: Settings) -> Tokenizer:
    model = read_sentencepiece(files[0])
    if model.is_bpe:
        raise TokenizerError(f"{files[0]}: is a BPE model; a {kind.name} tokenizer needs a unigram one.")
    pieces, unk_id = _lay_out(model, kind, settings)
    backend = Tokenizer(models.Unigram(pieces, unk_id=unk_id, byte_fallback=False))
    _add_pieces(backend, model, frozenset(text for text, _ in pieces))
    fit_out(backend, kind, settings, model.charsmap)
    return backend


def _read_spm_bpe(files: list[Path], kind: Kind, settings: Settings) -> Tokenizer:
    model = read_sentencepiece(files[0])
    if not model.is_bpe:
        raise TokenizerError(f"{files[0]}: is a unigram model; a {kind.name} tokenizer needs a BPE one.")
    pieces, unk_id = _lay_out(model, kind, settings)
    vocabulary = {text: number for number, (text, _) in enumerate(pieces)}
    backend = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=merges_of(model),
            unk_token=pieces[unk_id][0],
            fuse_unk=True,
            byte_fallback=model.byte_fallback,
        )
    )
    _add_pieces(backend, model, frozenset(vocabulary))
    fit_out(backend, kind, settings, model.charsmap)
    return backend


_READERS: Mapping[Algorithm, Callable[[list[Path], Kind, Settings], Tokenizer]] = {
    "wordpiece": _read_wordpiece,
    "byte-bpe": _read_byte_bpe,
    "unigram": _read_unigram,
    "spm-bpe": _read_spm_bpe,
}


def _lay_out(model: SentencePieceModel, kind: Kind, settings: Settings) -> tuple[list[tuple[str, float]], int]:
    """The pieces with their scores in the order of their ids, and the id of the unknown piece."""
    pieces = [(piece.text, piece.score) for piece in model.pieces]
    role = {name: role_token(kind, settings, name) for name in kind.special}
    match kind.layout:
        case "fairseq" | "mbart":
            # fairseq put its own four tokens in front: sentencepiece's <unk> <s> </s> make way, the rest moves by one
            front = [(role[name], 0.0) for name in ("bos", "pad", "eos", "unk")]
            languages = [(code, 0.0) for code in kind.languages.split()]
            return [*front, *pieces[3:], *languages, (role["mask"], 0.0)], 3
        case "camembert":
            # camembert-base was exported with a second set of special tokens in front of sentencepiece's own
            front = [("<s>NOTUSED", 0.0), (role["pad"], 0.0), ("</s>NOTUSED", 0.0), (role["unk"], 0.0)]
            return [*front, ("<unk>NOTUSED", -100.0), *pieces[1:], (role["mask"], 0.0)], 3
        case "t5":
            return [*pieces, *((name, 0.0) for name in reversed(sentinels(settings)))], model.unk_id
        case "pegasus":
            # <pad> and </s> keep their places; the tokens of pre-training come before all that sentencepiece learnt
            kept = [(name, 0.0 if name.startswith("<mask") else -100.0) for name in pegasus_tokens(settings)]
            return [(role["pad"], 0.0), (role["eos"], 0.0), *kept, *pieces[2:]], model.unk_id + len(kept)
        case "as-is" | "table":
            if kind.name == "albert":
                # ALBERT's own code splits "2000," before the comma, so such pieces are never chosen
                pieces = [(text, score - 100.0 if _ends_number(text) else score) for text, score in pieces]
            return pieces, model.unk_id


def _ends_number(text: str) -> bool:
    return len(text) > 1 and text[-1] == "," and text[-2].isdigit()


def merges_of(model: SentencePieceModel) -> list[tuple[str, str]]:
    """The merges of a sentencepiece BPE model: all ways to make a learnt piece of two others, in the order of ids."""
    learnt = {piece.text for piece in model.pieces if piece.kind in (NORMAL, USER_DEFINED)}
    merges: list[tuple[str, str]] = []
    for piece in model.pieces:
        text = piece.text
        halves = [(text[:cut], text[cut:]) for cut in range(1, len(text))] if text in learnt else []
        known = [half for half in halves if half[0] in learnt and half[1] in learnt]
        merges += sorted(known, key=lambda half: (len(half[0]), len(half[1])))
    return merges


def _add_pieces(backend: Tokenizer, model: SentencePieceModel, known: frozenset[str]) -> None:
    """Register what the model file marks as control (special) and user-defined pieces: they are matched whole."""
    wanted = [piece for piece in model.pieces if piece.kind in (CONTROL, USER_DEFINED) and piece.text in known]
    backend.add_tokens([AddedToken(each.text, normalized=False, special=each.kind == CONTROL) for each in wanted])
