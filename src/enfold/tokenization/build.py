"""From a folder to a Rust tokenizer: ``tokenizer.json`` where there is one, else the vocabulary files of the kind."""

from collections.abc import Mapping
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models

from enfold.errors import TokenizerError
from enfold.tokenization.built import Built
from enfold.tokenization.files import read_json_object, read_text, read_vocabulary_json, read_vocabulary_txt
from enfold.tokenization.kinds import (
    KINDS,
    Algorithm,
    Kind,
    find_kind,
    guess_kind,
    kind_of_class,
    kind_of_model_type,
)
from enfold.tokenization.pipelines import adjust, fill_template
from enfold.tokenization.settings import Settings
from enfold.tokenization.special import settle_languages, settle_special_tokens
from enfold.tokenization.tables import build_table, has_table_files
from enfold.tokenization.vocabularies import read_vocabulary

__all__ = ["Built", "build"]


def build(folder: Path, settings: Settings, kind_name: str | None = None) -> Built:
    """Build the tokenizer of a folder.

    Raises:
        TokenizerError: files are missing or broken, the kind is unknown, or tokens do not fit the vocabulary.
    """
    kind = _stated_kind(folder, settings, kind_name)
    file = folder / "tokenizer.json"
    if file.is_file() and not (kind is not None and has_table_files(folder, kind)):
        return _build_from_json(file, kind, settings)
    kind = kind or _guess_from_files(folder)
    if kind.layout == "table":
        return build_table(folder, kind, settings)
    backend = read_vocabulary(folder, kind, settings)
    special, extra = settle_special_tokens(backend, kind, settings)
    tokens = _texts(special)
    languages = settle_languages(kind, settings, backend, tokens, extra)
    if languages is not None:
        backend.post_processor = languages.template(backend, languages.source)
    else:
        backend.post_processor = fill_template(kind, settings, backend, tokens)
    return Built(backend, kind, special, extra, languages=languages)


def _build_from_json(file: Path, stated: Kind | None, settings: Settings) -> Built:
    backend = _from_tokenizer_json(file)
    adjust(backend, settings)
    kind = stated or guess_kind(_algorithm(backend), backend.get_vocab()) or KINDS["generic"]
    special, extra = settle_special_tokens(backend, kind, settings)
    tokens = _texts(special)
    if kind.languages:
        # the file has the template of whichever language was set when it was written
        languages = settle_languages(kind, settings, backend, tokens, extra)
        if languages is not None:
            backend.post_processor = languages.template(backend, languages.source)
        return Built(backend, kind, special, extra, languages=languages)
    # A kind that is stated completes a file without template; one that is guessed adds nothing to the ids.
    if backend.post_processor is None or settings.overridden & {"add_bos_token", "add_eos_token"}:
        backend.post_processor = fill_template(stated or KINDS["generic"], settings, backend, tokens)
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
