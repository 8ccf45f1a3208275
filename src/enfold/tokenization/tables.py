"""Building the families whose pieces are numbered by a ``vocab.json``: Marian and M2M-100."""

from dataclasses import replace
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from enfold.errors import TokenizerError
from enfold.tokenization.built import Built
from enfold.tokenization.charsmap import CharsMap
from enfold.tokenization.files import read_bytes, read_vocabulary_json
from enfold.tokenization.kinds import Kind
from enfold.tokenization.normalized import Normalizer
from enfold.tokenization.pipelines import fill_template
from enfold.tokenization.settings import Settings
from enfold.tokenization.special import language_codes, role_token, settle_languages, settle_special_tokens
from enfold.tokenization.spm import NORMAL, USER_DEFINED, SentencePieceModel, read_sentencepiece
from enfold.tokenization.table import Table
from enfold.tokenization.vocabularies import find_files, merges_of

__all__ = ["build_table", "has_table_files"]

_TARGET_MODEL, _TARGET_VOCABULARY = "target.spm", "target_vocab.json"
_NEVER = "\ufdd1"
"""Before the pieces that no text is cut into (control, unused, unknown): a code point that is no character."""


def has_table_files(folder: Path, kind: Kind) -> bool:
    """Whether a folder has the files of a kind whose vocabulary is a table."""
    return kind.layout == "table" and all((folder / name).is_file() for name in kind.files)


def build_table(folder: Path, kind: Kind, settings: Settings) -> Built:
    """Build the tokenizer of a sentencepiece model and its ``vocab.json``; of two of each for both sides.

    Raises:
        TokenizerError: files are missing, broken, or do not belong together.
    """
    model_file, vocabulary_file = find_files(folder, kind)
    files = {kind.files[0]: read_bytes(model_file), kind.files[1]: read_bytes(vocabulary_file)}
    model = read_sentencepiece(model_file)
    book = _book(vocabulary_file, kind, settings)
    special, extra = settle_special_tokens(book, kind, settings)
    tokens = {role: token.content for role, token in special.items()}
    engine, table = _side(model, book, kind, settings)
    languages = settle_languages(kind, settings, book, tokens, extra)
    if languages is not None:
        engine.post_processor = languages.template(book, languages.source)
    else:
        engine.post_processor = fill_template(kind, settings, book, tokens)
    target = None
    if (target_file := folder / _TARGET_MODEL).is_file() and kind.name == "marian":
        target_book, files[_TARGET_MODEL] = book, read_bytes(target_file)
        if settings.separate_vocabs:
            target_book = _book(folder / _TARGET_VOCABULARY, kind, settings)
            settle_special_tokens(target_book, kind, settings)
            files[_TARGET_VOCABULARY] = read_bytes(folder / _TARGET_VOCABULARY)
        target = _side(read_sentencepiece(target_file), target_book, kind, settings)
        if not settings.separate_vocabs:  # the reference decodes with the source's model then
            target = target[0], replace(target[1], denormalizer=table.denormalizer)
        target[0].post_processor = fill_template(kind, settings, target_book, tokens)
    return Built(engine, kind, special, extra, languages=languages, table=table, target=target, files=files)


def _book(file: Path, kind: Kind, settings: Settings) -> Tokenizer:
    """The vocabulary, which knows ids and cuts nothing."""
    vocabulary, unk = read_vocabulary_json(file), role_token(kind, settings, "unk")
    if unk not in vocabulary:
        raise TokenizerError(f"{file}: lacks the unknown token {unk!r}. Name the one that it has: unk_token='…'.")
    book = Tokenizer(models.WordLevel(vocabulary, unk_token=unk))
    # M2M-100's languages come after the pieces of its file
    codes = [kind.language_token.format(code) for code in language_codes(kind, settings)]
    book.add_special_tokens([AddedToken(code, normalized=False, special=True) for code in codes])
    return book


def _side(model: SentencePieceModel, book: Tokenizer, kind: Kind, settings: Settings) -> tuple[Tokenizer, Table]:
    """The engine that cuts as a sentencepiece model does, and what its pieces become."""
    usable = (NORMAL, USER_DEFINED)
    pieces = [(each.text if each.kind in usable else _NEVER + each.text, each.score) for each in model.pieces]
    if model.is_bpe:
        vocabulary = {text: number for number, (text, _) in enumerate(pieces)}
        unk = pieces[model.unk_id][0]
        engine = Tokenizer(models.BPE(vocab=vocabulary, merges=merges_of(model), unk_token=unk, fuse_unk=True))
    else:
        engine = Tokenizer(models.Unigram(pieces, unk_id=model.unk_id, byte_fallback=False))
    if not any("▁" in (text[:-1] if model.suffixes else text[1:]) for text, _ in pieces):
        # no piece has a space inside, so each word can be cut, and counted, on its own
        behavior = "merged_with_previous" if model.suffixes else "merged_with_next"
        engine.pre_tokenizer = pre_tokenizers.Split("▁", behavior)
    kept = tuple(each.text for each in model.pieces if each.kind == USER_DEFINED)
    engine.add_tokens([AddedToken(text, normalized=False) for text in kept])
    engine.add_tokens([token for _, token in sorted(book.get_added_tokens_decoder().items())])
    prefixed = kind.name == "marian"
    if prefixed:
        engine.add_tokens([AddedToken(Table.PLACE, normalized=False)])
    squeezes, adds_space = model.remove_extra_whitespaces, model.add_dummy_prefix
    table = Table(
        book=book,
        normalizer=Normalizer(CharsMap(model.charsmap), squeezes, adds_space, model.suffixes, kept),
        denormalizer=CharsMap(model.denormalizer),
        engine_unk=model.unk_id,
        unk=role_token(kind, settings, "unk"),
        has_bytes=model.byte_fallback,
        prefixed=prefixed,
        after_special=" " if prefixed else "",
    )
    return engine, table
