"""Training a tokenizer on texts of one's own: WordPiece as BERT's, byte-level BPE as GPT-2's, Unigram as T5's.

The counting and merging is that of the ``tokenizers`` package. What is here makes it a whole tokenizer: the
normaliser, cutter, template and special tokens of a known kind, so that other libraries load what is saved, too.
"""

import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, get_args

from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from enfold.errors import InputError
from enfold.tokenization.kinds import KINDS, Kind
from enfold.tokenization.pipelines import fill_template, fit_out
from enfold.tokenization.settings import Settings, as_added_token
from enfold.tokenization.state import State
from enfold.tokenization.texts import Corpus
from enfold.tokenization.tokenizer import Tokenizer

__all__ = ["Algorithm", "Style", "train_tokenizer"]

logger = logging.getLogger("enfold")

Algorithm = Literal["wordpiece", "bpe", "unigram"]
Style = Literal["bert", "roberta", "gpt2", "xlm-roberta", "t5"]

_STYLES: dict[Algorithm, tuple[Style, ...]] = {
    "wordpiece": ("bert",),
    "bpe": ("gpt2", "roberta"),
    "unigram": ("xlm-roberta", "t5"),
}
"""Algorithm → the kinds of tokenizer that use it; the first is meant where none is named."""

_FIRST_TOKENS: dict[Style, tuple[str, ...]] = {
    "bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    "roberta": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
    "gpt2": ("<|endoftext|>",),
    "xlm-roberta": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
    "t5": ("<pad>", "</s>", "<unk>"),
}
"""Style → its special tokens in the order of their ids, which begin at 0."""

_ALL_CHARACTERS = 0x110000
"""More characters than there are: the trainers' own limit of 1,000 would make most Chinese text unknown."""


@dataclass(frozen=True)
class _Plan:
    """What is trained; checked."""

    algorithm: Algorithm
    style: Style
    vocab_size: int
    lowercase: bool
    min_frequency: int
    extra: tuple[str, ...]
    model_max_length: int
    progress: bool

    @property
    def kind(self) -> Kind:
        return KINDS[self.style]

    @property
    def special(self) -> list[AddedToken]:
        """The special tokens in the order of their ids."""
        stated = {str(token): token for token in self.kind.special.values()}
        names = (*_FIRST_TOKENS[self.style], *self.extra)
        return [as_added_token(stated.get(name, name), special=True) for name in names]

    @property
    def names(self) -> list[str]:
        return [token.content for token in self.special]


def train_tokenizer(
    texts: Iterable[str | PathLike[str]] | PathLike[str],
    *,
    kind: Algorithm = "wordpiece",
    style: Style | None = None,
    vocab_size: int = 30_000,
    lowercase: bool | None = None,
    min_frequency: int | None = None,
    special_tokens: Sequence[str] | None = None,
    model_max_length: int = 512,
    progress: bool = True,
) -> Tokenizer:
    """Train a tokenizer on texts.

    The same texts give the same WordPiece or BPE tokenizer, file for file. Unigram's scores are sums of floating-point
    numbers in the order of a table that the ``tokenizers`` package shuffles for each process: two trainings agree
    about most pieces and may number them differently, so keep the tokenizer with the model that was trained with it.

    ::

        tokenizer = train_tokenizer(["北京大学的学生。", "Students of Peking University."], vocab_size=100)
        tokenizer.save_pretrained("my-tokenizer")

    Args:
        texts: strings, or paths of text files (``Path`` objects; UTF-8, with or without BOM), which are read line by
            line. What can be read only once, and is not in memory, is kept in a temporary file.
        kind: ``"wordpiece"``: words cut into pieces, each Chinese character a word of its own (BERT). ``"bpe"``: pieces
            of bytes, so that nothing is ever unknown (GPT-2, RoBERTa). ``"unigram"``: the most probable pieces, of
            text in Unicode's compatible form NFKC, which makes full-width letters and punctuation half-width (T5,
            XLM-RoBERTa).
        style: which known kind it is to be, by its special tokens and what stands around a text: for BPE ``"gpt2"``
            (nothing; for decoders; the default) or ``"roberta"`` (``<s> A </s></s> B </s>``, with a mask; for
            encoders); for Unigram ``"xlm-roberta"`` (as RoBERTa; the default) or ``"t5"`` (``A </s> B </s>``).
            WordPiece has ``"bert"`` (``[CLS] A [SEP] B [SEP]``).
        vocab_size: tokens at most, special ones included. Texts that don't have so many give fewer, which is logged.
        lowercase: by default True for WordPiece (accents are removed, too) and False otherwise.
        min_frequency: how often two pieces must follow each other to become one, 2 by default; Unigram has no such
            number.
        special_tokens: further ones, which get the ids after the style's own.
        model_max_length: tokens of the longest text that the model will take.
        progress: shows a bar on a terminal.

    Raises:
        InputError: wrong options, all listed; no text; something that is no text, or a file that can't be read; a
            vocabulary too small for the characters of the texts, with the size that is needed.
    """
    plan = _planned(kind, style, vocab_size, lowercase, min_frequency, special_tokens, model_max_length, progress)
    with Corpus(texts) as corpus:
        backend = _TRAINERS[plan.algorithm](plan, corpus)
    size = backend.get_vocab_size()
    if size < plan.vocab_size:
        logger.warning(
            "the texts support a vocabulary of %s tokens, fewer than the %s asked for", size, plan.vocab_size
        )
    return _tokenizer(backend, plan)


def _planned(
    algorithm: Any, style: Any, size: Any, lowercase: Any, frequency: Any, extra: Any, length: Any, progress: Any
) -> _Plan:
    """The options, checked.

    Raises:
        InputError: what is wrong with them, all at once.
    """
    problems = []
    if algorithm not in get_args(Algorithm):
        problems.append(f"kind is {algorithm!r}, expected one of {', '.join(get_args(Algorithm))}")
    elif style is not None and style not in _STYLES[algorithm]:
        known = " or ".join(map(repr, _STYLES[algorithm]))
        problems.append(f"style is {style!r}, and a {algorithm} tokenizer is like {known}")
    for name, value in (("vocab_size", size), ("model_max_length", length), ("min_frequency", frequency)):
        if not (_is_count(value) or (name == "min_frequency" and value is None)):
            problems.append(f"{name} is {value!r}, expected a whole number of 1 or more")
    if frequency is not None and algorithm == "unigram":
        problems.append("min_frequency is for wordpiece and bpe: unigram chooses its pieces by their probability")
    if lowercase not in (None, True, False):
        problems.append(f"lowercase is {lowercase!r}, expected true or false")
    extra = () if extra is None else extra
    if not isinstance(extra, list | tuple) or not all(isinstance(token, str) and token.strip() for token in extra):
        problems.append(f"special_tokens is {extra!r}, expected a list of texts that are not empty")
    elif algorithm in _STYLES:
        problems += _repeated([*_FIRST_TOKENS[style if style in _FIRST_TOKENS else _STYLES[algorithm][0]], *extra])
    if problems:
        raise InputError("This tokenizer can't be trained:\n  " + "\n  ".join(problems))
    lower = algorithm == "wordpiece" if lowercase is None else lowercase
    style = style or _STYLES[algorithm][0]
    return _Plan(
        algorithm, style, size, lower, frequency or 2, tuple(extra), length, bool(progress) and sys.stderr.isatty()
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _repeated(names: list[str]) -> Iterator[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield f"special_tokens names {', '.join(twice)} twice, or again: the style has {', '.join(names[:5])} already"


# ── the three algorithms ─────────────────────────────────────────────────────


def _wordpiece(plan: _Plan, corpus: Corpus) -> Backend:
    """Two passes, so that the pieces get the same ids each time.

    The trainer numbers the characters inside words in the order of a shuffled table, and breaks ties between pairs by
    those numbers. So a first pass finds these characters, and the second is told them in their own order.
    """
    names = plan.names
    found = _trained(plan, models.WordPiece(), _wordpiece_trainer(plan, names, 0, progress=False), corpus)
    alphabet = set(found.get_vocab()) - set(names)
    _check_room(plan, len(names) + len(alphabet), len({piece.removeprefix("##") or piece for piece in alphabet}))
    inner = sorted(piece for piece in alphabet if len(piece) > 2 and piece.startswith("##"))
    trainer = _wordpiece_trainer(plan, [*names, *inner], plan.vocab_size, progress=plan.progress)
    trained = _trained(plan, models.WordPiece(), trainer, corpus)
    return _bare(plan, models.WordPiece(trained.get_vocab(), unk_token="[UNK]", max_input_chars_per_word=100))


def _wordpiece_trainer(plan: _Plan, first: list[str], size: int, *, progress: bool) -> Any:
    return trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=plan.min_frequency,
        special_tokens=first,
        limit_alphabet=_ALL_CHARACTERS,
        show_progress=progress,
    )


def _bpe(plan: _Plan, corpus: Corpus) -> Backend:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    _check_room(plan, len(plan.names) + len(alphabet), len(alphabet), "bytes")
    trainer = trainers.BpeTrainer(
        vocab_size=plan.vocab_size,
        min_frequency=plan.min_frequency,
        special_tokens=plan.names,
        initial_alphabet=alphabet,
        show_progress=plan.progress,
    )
    return _trained(plan, models.BPE(), trainer, corpus)


def _unigram(plan: _Plan, corpus: Corpus) -> Backend:
    backend = _bare(plan, models.Unigram())
    normalizer, seen = backend.normalizer, set[str]()  # while it trains, the engine lets nobody ask for its parts

    def watched() -> Iterator[str]:
        for text in corpus:
            seen.update(normalizer.normalize_str(text))
            yield text

    trainer = trainers.UnigramTrainer(
        vocab_size=plan.vocab_size, special_tokens=plan.names, unk_token="<unk>", show_progress=plan.progress
    )
    try:
        backend.train_from_iterator(watched(), trainer)
    except InputError:
        raise
    except Exception as error:  # the engine raises plain Exception where characters don't fit, or there are none
        corpus.require_text()
        _check_room(plan, *_needed(plan, seen))
        raise InputError(f"The tokenizers package could not train on these texts: {error}.") from error
    corpus.require_text()
    _check_room(plan, *_needed(plan, seen))
    return backend


def _needed(plan: _Plan, seen: set[str]) -> tuple[int, int]:
    """How many tokens a Unigram vocabulary has at least, and how many of them are characters."""
    characters = {"▁", *seen} - {" "}
    return len(plan.names) + len(characters) + 1, len(characters)  # the trainer adds one piece at least, or all


_TRAINERS = {"wordpiece": _wordpiece, "bpe": _bpe, "unigram": _unigram}


def _trained(plan: _Plan, model: Any, trainer: Any, corpus: Corpus) -> Backend:
    backend = _bare(plan, model)
    backend.train_from_iterator(iter(corpus), trainer)
    corpus.require_text()
    return backend


def _check_room(plan: _Plan, needed: int, characters: int, what: str = "different characters") -> None:
    if plan.vocab_size < needed:
        raise InputError(
            f"vocab_size is {plan.vocab_size}, and {needed} tokens are needed at least: {characters} {what}, alone "
            f"and inside words, and {len(plan.names)} special tokens. Pass vocab_size={needed} or, better, several "
            "times as many; or take rare characters out of the texts, or kind='bpe', which needs 256 bytes alone."
        )


# ── the whole tokenizer ──────────────────────────────────────────────────────


def _bare(plan: _Plan, model: Any) -> Backend:
    """A tokenizer of the kind, with its normaliser, cutter and decoder, and a model."""
    backend = Backend(model)
    fit_out(backend, plan.kind, Settings(do_lower_case=plan.lowercase))
    lowered = [normalizers.Lowercase()] if plan.lowercase else []
    if plan.algorithm == "unigram":
        # sentencepiece's nmt_nfkc: control characters go, all spaces are one, then Unicode's compatible form
        squeezed = [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
        backend.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), *lowered, *squeezed])
    elif plan.algorithm == "bpe" and lowered:
        backend.normalizer = lowered[0]
    return backend


def _tokenizer(backend: Backend, plan: _Plan) -> Tokenizer:
    kind = plan.kind
    backend.add_special_tokens(plan.special)
    roles = {role: str(token) for role, token in kind.special.items()}
    backend.post_processor = fill_template(kind, Settings(), backend, roles)
    tokens = {token.content: token for token in plan.special}
    state = State(
        full=backend,
        special={role: tokens[name] for role, name in roles.items()},
        extra=plan.extra,
        input_names=kind.input_names,
        model_max_length=plan.model_max_length,
        padding_side=kind.padding_side,
        truncation_side="right",
        clean_up=False,
    )
    # the reference's own classes build the pipeline anew, and know neither our normaliser nor lower case in BPE
    as_written = plan.algorithm == "unigram" or (plan.algorithm == "bpe" and plan.lowercase)
    settings = Settings(tokenizer_class="PreTrainedTokenizerFast" if as_written else None)
    return Tokenizer(state, kind, settings)
