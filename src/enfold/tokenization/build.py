"""From a folder to a Rust tokenizer: ``tokenizer.json`` where there is one, else the vocabulary files of the kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models

from enfold.errors import TokenizerError
from enfold.tokenization.files import (
    read_json_object,
    read_merges,
    read_text,
    read_vocabulary_json,
    read_vocabulary_txt,
)
from enfold.tokenization.kinds import (
    KINDS,
    Algorithm,
    Kind,
    find_kind,
    guess_kind,
    kind_of_class,
    kind_of_model_type,
)
from enfold.tokenization.pipelines import adjust, fill_template, fit_out
from enfold.tokenization.settings import Settings, as_added_token
from enfold.tokenization.spm import CONTROL, USER_DEFINED, SentencePieceModel, read_sentencepiece

__all__ = ["Built", "build"]


@dataclass(frozen=True, slots=True)
class Built:
    """A Rust tokenizer with its kind, role → special token, and the special tokens that have no role."""

    backend: Tokenizer
    kind: Kind
    special: dict[str, AddedToken]
    extra: tuple[str, ...]


_SPM_SUFFIXES = (".model", ".spm")


def build(folder: Path, settings: Settings, kind_name: str | None = None) -> Built:
    """Build the tokenizer of a folder.

    Raises:
        TokenizerError: files are missing or broken, the kind is unknown, or tokens do not fit the vocabulary.
    """
    kind = _stated_kind(folder, settings, kind_name)
    file = folder / "tokenizer.json"
    if file.is_file():
        backend = _from_tokenizer_json(file)
        adjust(backend, settings)
        guessed = kind or guess_kind(_algorithm(backend), backend.get_vocab()) or KINDS["generic"]
        special, extra = _settle_special_tokens(backend, guessed, settings)
        # A kind that is stated completes a file without template; one that is guessed adds nothing to the ids.
        if backend.post_processor is None:
            source = kind or KINDS["generic"]
            backend.post_processor = fill_template(source, settings, backend, _texts(special))
        return Built(backend, guessed, special, extra)
    kind = kind or _guess_from_files(folder)
    backend = _from_vocabulary_files(folder, kind, settings)
    special, extra = _settle_special_tokens(backend, kind, settings)
    tokens = _texts(special) | ({"lang": settings.src_lang or "en_XX"} if kind.languages else {})
    backend.post_processor = fill_template(kind, settings, backend, tokens)
    return Built(backend, kind, special, extra)


def _texts(special: Mapping[str, AddedToken]) -> dict[str, str]:
    return {role: token.content for role, token in special.items()}


# ── which kind ───────────────────────────────────────────────────────────────


def _stated_kind(folder: Path, settings: Settings, kind_name: str | None) -> Kind | None:
    """The kind that the caller, ``tokenizer_config.json`` or ``config.json`` states; ``None`` where none does."""
    if kind_name is not None:
        if (kind := find_kind(kind_name)) is None:
            raise TokenizerError(f"{kind_name!r} is not a kind of tokenizer. The kinds are {', '.join(KINDS)}.")
        return kind
    file = folder / "config.json"
    config = read_json_object(file) if file.is_file() else {}
    model_type, class_in_config = config.get("model_type"), config.get("tokenizer_class")
    name = settings.tokenizer_class or (class_in_config if isinstance(class_in_config, str) else None)
    of_model = kind_of_model_type(model_type) if isinstance(model_type, str) else None
    if name is None:
        return of_model
    kind = kind_of_class(name)
    if kind is None and not (folder / "tokenizer.json").is_file():
        raise TokenizerError(
            f"{folder}: its tokenizer class is {name}, which enfold can't build from vocabulary files. "
            "A tokenizer.json in the folder would do (save_pretrained of the original library writes one where it "
            f"can), or name the kind that it is like with kind=: {', '.join(KINDS)}."
        )
    return of_model if kind is None or kind.name == "generic" else kind


def _guess_from_files(folder: Path) -> Kind:
    if (file := folder / "vocab.txt").is_file():
        kind = guess_kind("wordpiece", read_vocabulary_txt(file))
    elif (file := folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        kind = guess_kind("byte-bpe", read_vocabulary_json(file))
    elif (folder / "tokenizer.model").is_file():
        kind = KINDS["llama"]
    else:
        present = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        raise TokenizerError(
            f"{folder}: has no tokenizer that can be recognised. Expected tokenizer.json, vocab.txt, or vocab.json "
            "with merges.txt; or a sentencepiece model together with a config.json or kind='xlm-roberta' and the like. "
            f"Found: {', '.join(present[:12]) or 'nothing'}."
        )
    if kind is None:
        raise TokenizerError(
            f"{file}: has the special tokens of no known kind of tokenizer. Say which it is with kind=: "
            f"{', '.join(KINDS)}."
        )
    return kind


def _algorithm(backend: Tokenizer) -> Algorithm:
    """Which algorithm a loaded tokenizer runs."""
    if isinstance(backend.model, models.WordPiece):
        return "wordpiece"
    if isinstance(backend.model, models.Unigram):
        return "unigram"
    if isinstance(backend.model, models.BPE):
        return "spm-bpe" if backend.model.byte_fallback else "byte-bpe"
    return "any"


# ── the vocabulary ───────────────────────────────────────────────────────────


def _from_tokenizer_json(file: Path) -> Tokenizer:
    text = read_text(file)
    try:
        backend = Tokenizer.from_str(text)
    except Exception as error:  # the engine raises plain Exception
        raise TokenizerError(
            f"{file}: is not a tokenizer that can be read ({error}). If it was written by a newer version of the "
            "`tokenizers` package, upgrade that; otherwise fetch the file again."
        ) from error
    # Cutting and padding are the caller's choice at each call, never a state of the tokenizer.
    backend.no_truncation()
    backend.no_padding()
    return backend


def _from_vocabulary_files(folder: Path, kind: Kind, settings: Settings) -> Tokenizer:
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
    return _READERS[kind.algorithm](files, kind, settings)


def _read_wordpiece(files: list[Path], kind: Kind, settings: Settings) -> Tokenizer:
    unk = _role(kind, settings, "unk")
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
    vocabulary = read_vocabulary_json(files[1]) if kind.layout == "json" else {}
    pieces, unk_id = _lay_out(model, kind, settings, vocabulary)
    backend = Tokenizer(models.Unigram(pieces, unk_id=unk_id, byte_fallback=False))
    _add_pieces(backend, model, frozenset(text for text, _ in pieces))
    fit_out(backend, kind, settings, model.charsmap)
    return backend


def _read_spm_bpe(files: list[Path], kind: Kind, settings: Settings) -> Tokenizer:
    model = read_sentencepiece(files[0])
    if not model.is_bpe:
        raise TokenizerError(f"{files[0]}: is a unigram model; a {kind.name} tokenizer needs a BPE one.")
    vocabulary = {piece.text: number for number, piece in enumerate(model.pieces)}
    unk = model.pieces[model.unk_id].text
    merges = _merges(vocabulary)
    backend = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token=unk, fuse_unk=True, byte_fallback=model.byte_fallback)
    )
    _add_pieces(backend, model, frozenset(vocabulary))
    fit_out(backend, kind, settings)
    return backend


_READERS: Mapping[Algorithm, Callable[[list[Path], Kind, Settings], Tokenizer]] = {
    "wordpiece": _read_wordpiece,
    "byte-bpe": _read_byte_bpe,
    "unigram": _read_unigram,
    "spm-bpe": _read_spm_bpe,
}


def _lay_out(
    model: SentencePieceModel, kind: Kind, settings: Settings, vocabulary: Mapping[str, int]
) -> tuple[list[tuple[str, float]], int]:
    """The pieces with their scores in the order of their ids, and the id of the unknown piece."""
    pieces = [(piece.text, piece.score) for piece in model.pieces]
    role = {name: _role(kind, settings, name) for name in kind.special}
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
            count = 100 if settings.extra_ids is None else settings.extra_ids
            sentinels = [(f"<extra_id_{number}>", 0.0) for number in reversed(range(count))]
            return [*pieces, *sentinels], model.unk_id
        case "json":
            # Marian numbers its pieces in vocab.json; one that sentencepiece does not know is never worth choosing
            scores = dict(pieces)
            worst = min(scores.values()) - 100.0
            ordered = sorted(vocabulary, key=vocabulary.__getitem__)
            return [(text, scores.get(text, worst)) for text in ordered], vocabulary[role["unk"]]
        case "as-is":
            if kind.name == "albert":
                # ALBERT's own code splits "2000," before the comma, so such pieces are never chosen
                pieces = [(text, score - 100.0 if _ends_number(text) else score) for text, score in pieces]
            return pieces, model.unk_id


def _ends_number(text: str) -> bool:
    return len(text) > 1 and text[-1] == "," and text[-2].isdigit()


def _merges(vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """The merges of a sentencepiece BPE model: every way to make a piece of two others, in the order of the ids."""
    merges: list[tuple[str, str]] = []
    for text in vocabulary:
        halves = [(text[:cut], text[cut:]) for cut in range(1, len(text))]
        known = [half for half in halves if half[0] in vocabulary and half[1] in vocabulary]
        merges += sorted(known, key=lambda half: (len(half[0]), len(half[1])))
    return merges


def _add_pieces(backend: Tokenizer, model: SentencePieceModel, known: frozenset[str]) -> None:
    """Register what the model file marks as control (special) and user-defined pieces: they are matched whole."""
    wanted = [piece for piece in model.pieces if piece.kind in (CONTROL, USER_DEFINED) and piece.text in known]
    backend.add_tokens([AddedToken(each.text, normalized=False, special=each.kind == CONTROL) for each in wanted])


# ── special and added tokens ─────────────────────────────────────────────────


def _role(kind: Kind, settings: Settings, role: str) -> str:
    """The text of the token in a role, stated or by default."""
    token = settings.special.get(role) or kind.special[role]
    return str(token)


def _settle_special_tokens(
    backend: Tokenizer, kind: Kind, settings: Settings
) -> tuple[dict[str, AddedToken], tuple[str, ...]]:
    """Register the added and special tokens; return role → token, and the special tokens that have no role.

    A token that was stated is added if the vocabulary lacks it, as the reference does; a default of the kind that the
    vocabulary lacks is no token of this tokenizer. What a ``tokenizer.json`` says about stripping stays.
    """
    _add_numbered(backend, settings)
    flags = {token.content: token for token in backend.get_added_tokens_decoder().values()}
    chosen: dict[str, AddedToken] = {}
    for role, token in {**kind.special, **settings.special}.items():
        if token is None or (role not in settings.special and backend.token_to_id(str(token)) is None):
            continue
        fresh = token if isinstance(token, AddedToken) else as_added_token(token, special=True)
        kept = flags.get(fresh.content)
        chosen[role] = kept if kept is not None and kept.special else fresh
    extra = {token.content: token for token in settings.extra_special}
    for name in _extra_names(kind, settings):
        if name not in extra and backend.token_to_id(name) is not None:
            extra[name] = as_added_token(name, special=True)
    wanted = extra | {token.content: token for token in chosen.values()}
    # one that is special already keeps its flags: the file that made the ids knows them best
    backend.add_special_tokens(
        [token for name, token in wanted.items() if name not in flags or not flags[name].special]
    )
    roles = {token.content for token in chosen.values()}
    return chosen, tuple(name for name in extra if name not in roles)


def _extra_names(kind: Kind, settings: Settings) -> list[str]:
    """The special tokens without a role that a kind has by nature: T5's sentinels, the language codes of mBART."""
    if kind.layout != "t5":
        return kind.languages.split()
    return [f"<extra_id_{number}>" for number in range(100 if settings.extra_ids is None else settings.extra_ids)]


def _add_numbered(backend: Tokenizer, settings: Settings) -> None:
    """Add the tokens to which a file gives ids, and check that they get those."""
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    new = [token for _, token in sorted(settings.added.items()) if token.content not in known]
    backend.add_tokens(new)
    fresh = {token.content for token in new}
    wrong = [
        f"{token.content!r} should be {number} and would be {got}"
        for number, token in settings.added.items()
        if token.content in fresh and (got := backend.token_to_id(token.content)) != number
    ]
    if wrong:
        raise TokenizerError(
            f"The added tokens do not fit this vocabulary of {backend.get_vocab_size(with_added_tokens=False)}: "
            f"{'; '.join(wrong[:5])}. The files of this folder do not belong together."
        )
