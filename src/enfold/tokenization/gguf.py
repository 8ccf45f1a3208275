"""The tokenizer that a GGUF file carries: its vocabulary as metadata, and the name of the way to cut text.

Byte-level BPE (``gpt2``) and sentencepiece's BPE (``llama``) are built. For byte-level BPE the file names, under
``tokenizer.ggml.pre``, the expression that its text is cut with; what the names mean is llama.cpp's to say, and this
follows it where `transformers` knows fewer of them.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from enfold.checkpoint.gguf import open_gguf
from enfold.checkpoint.gguf.vocabulary import CONTROL, USER_DEFINED, Vocabulary
from enfold.errors import TokenizerError
from enfold.tokenization.built import Built
from enfold.tokenization.kinds import KINDS
from enfold.tokenization.pipelines import fill_template, fit_out
from enfold.tokenization.settings import Settings, read_settings

__all__ = ["build_gguf", "read_gguf"]


@dataclass(frozen=True)
class _Cut:
    """A way to cut text into words before the merges.

    Attributes:
        pattern: the expression whose matches are words; None for GPT-2's own.
        digits_first: whether every digit is a word of its own before anything else is cut.
        whole_words: whether a word of the vocabulary is taken as it is, without merges.
        starts: whether a text starts with the bos token where the file doesn't say.
    """

    pattern: str | None = None
    digits_first: bool = False
    whole_words: bool = False
    starts: bool = False


_CONTRACTIONS: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD: Final = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SPACE: Final = r"\s*[\r\n]+|\s+(?!\S)|\s+"
# Words that change from capitals to small letters are cut there.
_CASED: Final = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
)
_GPT2: Final = _Cut()
_SMOLLM: Final = _Cut(digits_first=True)
_LLAMA3: Final = _Cut(
    rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACE}", whole_words=True, starts=True
)
_QWEN2: Final = _Cut(rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACE}")
_TEKKEN: Final = _Cut(
    rf"{_CASED[0]}|{_CASED[1]}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACE}", whole_words=True, starts=True
)
_GPT4O: Final = _Cut(
    rf"{_CASED[0]}{_CONTRACTIONS}?|{_CASED[1]}{_CONTRACTIONS}?|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACE}"
)
_CUTS: Final[Mapping[str, _Cut]] = {
    **dict.fromkeys(("default", "gpt-2", "phi-2", "roberta-bpe", "mpt", "olmo", "jais"), _GPT2),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), _SMOLLM),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0"), _LLAMA3),
    **dict.fromkeys(("dbrx", "smaug-bpe"), replace(_LLAMA3, whole_words=False, starts=False)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez", "kormo"), _QWEN2),
    "tekken": _TEKKEN,
    **dict.fromkeys(("gpt-4o", "llama4"), _GPT4O),
}
"""``tokenizer.ggml.pre`` → how text is cut."""


def read_gguf(path: str | os.PathLike[str], overrides: Mapping[str, Any]) -> tuple[Built, Settings]:
    """The tokenizer of a GGUF file, and its settings with the caller's `overrides` over them.

    Raises:
        TokenizerError: the file has none, or one that isn't built, or settings are wrong.
        CheckpointError: the file can't be read, or is damaged (CorruptFileError).
    """
    vocabulary = open_gguf(path).tokenizer()
    settings = _settings(vocabulary, read_settings(Path(path), overrides))
    return build_gguf(vocabulary, settings), settings


def build_gguf(vocabulary: Vocabulary, settings: Settings) -> Built:
    """Builds the tokenizer of a vocabulary.

    Raises:
        TokenizerError: its algorithm or its way to cut text is unknown, or its parts don't fit each other.
    """
    if vocabulary.model not in _BUILDERS:
        raise TokenizerError(
            f"{vocabulary.path}: its tokenizer is of the kind {vocabulary.model!r}; expected one of "
            f"{', '.join(_BUILDERS)}. Load the tokenizer of the original checkpoint instead"
        )
    kind = KINDS["llama" if vocabulary.model == "llama" else "generic"]
    try:
        backend = _BUILDERS[vocabulary.model](vocabulary, settings)
    except TokenizerError:
        raise
    except Exception as error:  # the engine raises plain Exception
        raise TokenizerError(f"{vocabulary.path}: its vocabulary makes no tokenizer ({error})") from error
    special = {role: token for role, token in settings.special.items() if token is not None}
    control, defined = (_of_type(vocabulary, number) for number in (CONTROL, USER_DEFINED))
    # A token with a role is special whatever the file says of its type.
    backend.add_special_tokens([*map(_special, control), *special.values()])
    backend.add_tokens([AddedToken(token, normalized=False) for token in defined])
    texts = {role: token.content for role, token in special.items()}
    backend.post_processor = fill_template(kind, settings, backend, texts)
    extra = tuple(token for token in control if token not in texts.values())
    return Built(backend, kind, special, extra)


def _special(token: str) -> AddedToken:
    return AddedToken(token, normalized=False, special=True)


def _of_type(vocabulary: Vocabulary, number: int) -> list[str]:
    types = vocabulary.types or []
    return [token for token, each in zip(vocabulary.tokens, types, strict=False) if each == number and token]


def _settings(vocabulary: Vocabulary, stated: Settings) -> Settings:
    """What the file says, under what the caller stated."""
    special: dict[str, AddedToken | None] = {
        role: _special(vocabulary.tokens[number]) for role, number in vocabulary.special.items()
    }
    starts = vocabulary.add_bos
    if starts is None:
        # As llama.cpp: a sentencepiece vocabulary starts its texts unless it says otherwise.
        starts = vocabulary.model == "llama" or _CUTS.get(vocabulary.pre or "default", _GPT2).starts
    templates = vocabulary.chat_templates
    class_name = "LlamaTokenizer" if vocabulary.model == "llama" else "PreTrainedTokenizerFast"
    prefix = vocabulary.add_space_prefix if vocabulary.model == "llama" else None
    return replace(
        stated,
        special=special | dict(stated.special),
        add_bos_token=_first(stated.add_bos_token, starts and "bos" in vocabulary.special),
        add_eos_token=_first(stated.add_eos_token, vocabulary.add_eos),
        add_prefix_space=_first(stated.add_prefix_space, prefix),
        model_max_length=_first(stated.model_max_length, vocabulary.context_length),
        model_input_names=stated.model_input_names or ("input_ids", "attention_mask"),
        tokenizer_class=stated.tokenizer_class or class_name,
        chat_template=stated.chat_template or (templates.get("default") if len(templates) < 2 else templates),
    )


def _first(stated: Any, otherwise: Any) -> Any:
    return otherwise if stated is None else stated


def _build_byte_bpe(vocabulary: Vocabulary, settings: Settings) -> Tokenizer:
    name = vocabulary.pre or "default"
    if name not in _CUTS:
        raise TokenizerError(
            f"{vocabulary.path}: its text is cut in the way {name!r} (tokenizer.ggml.pre); expected one of "
            f"{', '.join(_CUTS)}. Load the tokenizer of the original checkpoint instead"
        )
    cut = _CUTS[name]
    backend = Tokenizer(models.BPE(_ids(vocabulary), _merges(vocabulary), ignore_merges=cut.whole_words))
    prefix = settings.add_prefix_space or False
    steps: list[pre_tokenizers.PreTokenizer] = []
    if cut.digits_first:
        steps.append(pre_tokenizers.Digits(individual_digits=True))
    if cut.pattern is not None:
        steps.append(pre_tokenizers.Split(Regex(cut.pattern), behavior="isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=cut.pattern is None))
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    backend.decoder = decoders.ByteLevel()
    return backend


def _build_sentencepiece(vocabulary: Vocabulary, settings: Settings) -> Tokenizer:
    if vocabulary.scores is None and vocabulary.merges is None:
        raise TokenizerError(f"{vocabulary.path}: has neither tokenizer.ggml.scores nor merges; expected one of them")
    unknown = vocabulary.special.get("unk")
    backend = Tokenizer(
        models.BPE(
            _ids(vocabulary),
            _implied_merges(vocabulary) if vocabulary.merges is None else _merges(vocabulary),
            unk_token=None if unknown is None else vocabulary.tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    fit_out(backend, KINDS["llama"], settings)
    return backend


_BUILDERS: Final[Mapping[str, Callable[[Vocabulary, Settings], Tokenizer]]] = {
    "gpt2": _build_byte_bpe,
    "llama": _build_sentencepiece,
}


def _ids(vocabulary: Vocabulary) -> dict[str, int]:
    return {token: number for number, token in enumerate(vocabulary.tokens)}


def _merges(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """The stated merges; a piece may itself begin with a space."""
    merges = []
    for line, merge in enumerate(vocabulary.merges or ()):
        space = merge.find(" ", 1)
        if space < 0 or space + 1 == len(merge):
            raise TokenizerError(
                f"{vocabulary.path}: merge {line} is {merge!r}; two pieces with one space between were expected"
            )
        merges.append((merge[:space], merge[space + 1 :]))
    return merges


def _implied_merges(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Every way to make a piece of two others: the best score first, then the longest left half."""
    ids = _ids(vocabulary)
    found = [
        (score, cut, token)
        for token, score in zip(vocabulary.tokens, vocabulary.scores or (), strict=True)
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]
    # (score, left, right) as transformers sorts them, which decides between pieces of equal score
    found.sort(key=lambda each: (each[0], each[1], len(each[2]) - each[1]), reverse=True)
    return [(token[:cut], token[cut:]) for _, cut, token in found]
