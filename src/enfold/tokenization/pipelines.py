"""From a kind and its settings to the parts of a Rust tokenizer: normaliser, cutter, decoder, template."""

import json
from collections.abc import Mapping
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors

from enfold.errors import TokenizerError
from enfold.tokenization.kinds import Kind
from enfold.tokenization.languages import fill
from enfold.tokenization.settings import Settings

__all__ = ["adjust", "fill_template", "fit_out", "template_of"]

_SPACE = "▁"
# Qwen2's words: contractions, letters with one sign before them, single digits, signs, line ends, spaces.
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def fit_out(backend: Tokenizer, kind: Kind, settings: Settings, charsmap: bytes = b"") -> None:
    """Give a tokenizer that was built from vocabulary files the normaliser, pre-tokeniser and decoder of its kind."""
    if kind.algorithm == "wordpiece":
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece(prefix="##")
    elif kind.algorithm == "byte-bpe":
        prefix = settings.add_prefix_space or False
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=kind.splits_like == "gpt2")
        if kind.splits_like == "qwen2":
            cutter = pre_tokenizers.Split(Regex(_QWEN2), behavior="isolated", invert=False)
            backend.pre_tokenizer = pre_tokenizers.Sequence([cutter, backend.pre_tokenizer])
        backend.decoder = decoders.ByteLevel()
    else:
        _fit_out_sentencepiece(backend, kind, settings)
    if (normalizer := _normalizer(kind, settings, charsmap)) is not None:
        backend.normalizer = normalizer


def _fit_out_sentencepiece(backend: Tokenizer, kind: Kind, settings: Settings) -> None:
    scheme = "never" if settings.add_prefix_space is False else "always"
    if kind.normalizer == "none":
        # Llama's pieces hold spaces inside, so a text is one word.
        if settings.legacy:
            # until 2023 a text behind a special token got a space in front, too
            front = [normalizers.Prepend(_SPACE)] if scheme == "always" else []
            backend.normalizer = normalizers.Sequence([*front, normalizers.Replace(" ", _SPACE)])
        else:
            first = "first" if scheme == "always" else scheme
            backend.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, prepend_scheme=first, split=False)
        strip = [decoders.Strip(content=" ", left=1)] if scheme == "always" else []
        parts = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
        backend.decoder = decoders.Sequence(parts)
        return
    cutters: list[pre_tokenizers.PreTokenizer] = [pre_tokenizers.Metaspace(_SPACE, prepend_scheme=scheme)]
    if kind.normalizer == "albert":
        # ALBERT's own code joins the words of text.split() with one space before sentencepiece sees them
        cutters.insert(0, pre_tokenizers.WhitespaceSplit())
    if settings.split_by_punct:
        cutters.insert(0, pre_tokenizers.Punctuation(behavior="isolated"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(cutters)
    backend.decoder = decoders.Metaspace(_SPACE, prepend_scheme=scheme)


def _normalizer(kind: Kind, settings: Settings, charsmap: bytes) -> normalizers.Normalizer | None:
    lower = kind.lower if settings.do_lower_case is None else settings.do_lower_case
    if kind.normalizer == "none":
        return None
    if kind.normalizer == "nfc":
        return normalizers.NFC()
    if kind.normalizer == "bert":
        return normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=settings.tokenize_chinese_chars is not False,
            strip_accents=settings.strip_accents,
            lowercase=lower,
        )
    compiled = [normalizers.Precompiled(charsmap)] if charsmap else []
    lowered = [normalizers.Lowercase()] if lower else []
    parts: list[normalizers.Normalizer]
    if kind.normalizer == "albert":
        quotes = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
        accents = [] if settings.keep_accents else [normalizers.NFKD(), normalizers.StripAccents()]
        parts = [*quotes, *accents, *lowered, *compiled]
    elif kind.normalizer == "deberta-v2":
        parts = [*lowered, *compiled, normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    else:
        # sentencepiece trims the text and squeezes runs of spaces after its table was applied
        parts = [
            *compiled,
            normalizers.Strip(left=False, right=True),
            normalizers.Replace(Regex(" {2,}"), _SPACE),
        ]
    return normalizers.Sequence(parts)


def fill_template(kind: Kind, settings: Settings, backend: Tokenizer, tokens: Mapping[str, str]) -> Any:
    """The post-processor of a kind: its template with the tokens of this vocabulary in the places of the roles.

    ``tokens`` maps role → token text. Without a template there is no special token, and the second text of a pair
    has type 1.

    Raises:
        TokenizerError: the template asks for tokens that the vocabulary lacks; all are named.
    """
    single, pair = template_of(kind, settings)
    roles = {word.partition(":")[0] for word in f"{single} {pair}".split() if not word.startswith("$")}
    found = {role: backend.token_to_id(tokens[role]) for role in roles if role in tokens}
    ids = {role: number for role, number in found.items() if number is not None}
    missing = sorted(roles - ids.keys())
    if missing:
        wanted = ", ".join(f"{role} ({tokens.get(role, 'no token')})" for role in missing)
        raise TokenizerError(
            f"A {kind.name} tokenizer puts these special tokens around a text, but the vocabulary lacks them: "
            f"{wanted}. Name them, for example {missing[0]}_token='…', or choose another kind."
        )
    if kind.trim_offsets:
        sep, cls = (tokens["sep"], ids["sep"]), (tokens["cls"], ids["cls"])
        return processors.RobertaProcessing(sep, cls, add_prefix_space=settings.add_prefix_space or False)
    return fill(single, pair, tokens, ids)


def template_of(kind: Kind, settings: Settings) -> tuple[str, str]:
    """``single`` and ``pair`` of a kind, by the settings that some kinds leave it to."""
    if kind.name == "nllb" and settings.legacy_behaviour:
        return "$A eos lang", "$A $B eos lang"  # until 2023 NLLB was served as mBART is
    if kind.single not in ("", "bos $A"):
        return kind.single, kind.pair
    starts = kind.single == "bos $A" if settings.add_bos_token is None else settings.add_bos_token
    ends = settings.add_eos_token or False
    first = " ".join(["bos"] * starts + ["$A"] + ["eos"] * ends)
    return first, " ".join([first, *["bos:1"] * starts, "$B:1", *["eos:1"] * ends])


def adjust(backend: Tokenizer, settings: Settings) -> None:
    """Lay stated settings over the pipeline of a ``tokenizer.json``, in place, before anyone else sees it."""
    normalizer, cutter, processor = backend.normalizer, backend.pre_tokenizer, backend.post_processor
    if normalizer is not None:
        state = json.loads(normalizer.__getstate__())
        if (changed := _relower(state, settings)) != state:
            backend.normalizer = _carrier(normalizer=changed).normalizer
    if settings.add_prefix_space is None:
        return
    if cutter is not None:
        state = json.loads(cutter.__getstate__())
        if (changed := _reprefix(state, settings.add_prefix_space)) != state:
            backend.pre_tokenizer = _carrier(pre_tokenizer=changed).pre_tokenizer
    if isinstance(processor, processors.RobertaProcessing | processors.ByteLevel):
        processor.add_prefix_space = settings.add_prefix_space


def _carrier(**parts: Mapping[str, Any]) -> Tokenizer:
    """An empty tokenizer that holds parts given as JSON states: the engine builds them only as parts of a whole."""
    empty = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    model = {"type": "BPE", "vocab": {}, "merges": []}
    return Tokenizer.from_str(json.dumps({"version": "1.0", "added_tokens": [], **empty, "model": model, **parts}))


def _relower(state: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """A normaliser's JSON with the stated casing: of a ``BertNormalizer``, or of the ``Lowercase`` in a sequence."""
    if state["type"] == "Sequence":
        parts = [_relower(part, settings) for part in state["normalizers"]]
        if settings.do_lower_case is False:
            parts = [part for part in parts if part["type"] != "Lowercase"]
        elif settings.do_lower_case and not any(part["type"] in ("Lowercase", "BertNormalizer") for part in parts):
            parts.insert(0, {"type": "Lowercase"})
        return {**state, "normalizers": parts}
    if state["type"] != "BertNormalizer":
        return state
    stated = {
        "lowercase": settings.do_lower_case,
        "strip_accents": settings.strip_accents,
        "handle_chinese_chars": settings.tokenize_chinese_chars,
    }
    return {**state, **{name: value for name, value in stated.items() if value is not None}}


def _reprefix(state: dict[str, Any], prefix: bool) -> dict[str, Any]:
    """A pre-tokeniser's JSON that puts a space before the text, or does not."""
    if state["type"] == "Sequence":
        return {**state, "pretokenizers": [_reprefix(part, prefix) for part in state["pretokenizers"]]}
    if state["type"] == "ByteLevel":
        return {**state, "add_prefix_space": prefix}
    if state["type"] == "Metaspace" and (not prefix or state["prepend_scheme"] == "never"):
        return {**state, "prepend_scheme": "always" if prefix else "never"}
    return state
