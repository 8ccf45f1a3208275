"""Output that follows a JSON schema, a regular expression or a Lark grammar, by llguidance.

The mask holds one parser state for each distinct text that runs. It is found by the row's new tokens alone: the state
of a text is that of the text without its last token, advanced by that token. Beams may branch, change places and
end without telling anybody.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError, MissingDependencyError
from enfold.generation.config import GenerationConfig
from enfold.generation.rows import Rows, Scores
from enfold.generation.token_text import TokenBytes, backend_of

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

__all__ = ["GrammarMask", "grammar_mask"]

_KINDS: Final = ("json_schema", "regex", "grammar")

# JSON allows white space without end, and small models write it without end: a line break and deep indentation do.
_WHITESPACE: Final = r"[\x20\x0A\x0D\x09]{1,40}"

# Reading a vocabulary takes a second for 50,000 tokens and five for 250,000, so it is done once for a tokenizer.
# An enfold tokenizer that changes makes a new backend.
_vocabularies: weakref.WeakKeyDictionary[Any, dict[tuple[int, ...], LLTokenizer]] = weakref.WeakKeyDictionary()


class GrammarMask:
    """A processor that allows only what a grammar can continue, and the end tokens only where it may end.

    Where earlier processors forbid everything that the grammar allows, the grammar counts: those tokens score 0.

    Args:
        start: the parser's state before the first token.
        skipped: how many generated tokens come before the text, such as a forced first token.
    """

    def __init__(self, start: LLMatcher, skipped: int = 0) -> None:
        self._start = start
        self._skipped = skipped
        self._states: dict[tuple[int, ...], LLMatcher] = {}

    def __call__(self, scores: Scores, rows: Rows) -> Scores:
        states: dict[tuple[int, ...], LLMatcher] = {}
        for row, tokens, given in zip(scores, rows.tokens, rows.prompt_lengths, strict=True):
            begin = given + (self._skipped if given <= 1 else 0)
            if len(tokens) < begin:
                continue
            text = tuple(tokens[begin:])
            state = states[text] = self._state(text, states)
            allowed = _allowed(state, row.size)
            if reason := _dead_end(state, allowed):
                raise InputError(f"the grammar can't be followed further after {_shown(text)}: {reason}")
            row[~allowed] = -np.inf
            if row.max() == -np.inf:
                row[allowed] = 0
        self._states = states
        return scores

    def is_complete(self, new_tokens: Sequence[int]) -> bool:
        """Whether generated tokens, with or without an end token, are all that the grammar asks for.

        A text that was cut off by its length, or broke the grammar, is not.
        """
        state = self._start.deep_copy()
        return all(state.consume_token(token) for token in new_tokens) and bool(state.is_accepting())

    def _state(self, text: tuple[int, ...], fresh: dict[tuple[int, ...], LLMatcher]) -> LLMatcher:
        if (known := fresh.get(text) or self._states.get(text)) is not None:
            return known
        before = fresh.get(text[:-1]) or self._states.get(text[:-1])
        state = (before or self._start).deep_copy()
        if not all(state.consume_token(token) for token in (text[-1:] if before else text)):
            raise InputError(
                f"{_shown(text)} broke the grammar: {_reason(state)}. Nothing that comes after the grammar's mask "
                "may force other tokens"
            )
        return state


def grammar_mask(config: GenerationConfig, tokenizer: Any) -> GrammarMask | None:
    """The mask that ``json_schema``, ``regex`` or ``grammar`` ask for; None where no option does.

    A grammar is in llguidance's dialect of Lark. JSON has its white space limited to runs of 40 characters, unless
    the schema's own ``x-guidance`` says otherwise.

    Args:
        config: the options.
        tokenizer: the model's.

    Raises:
        InputError: a schema, expression or grammar that can't be used, can't be fulfilled, or can't end.
        MissingDependencyError: llguidance is not installed.
    """
    kind = next((name for name in _KINDS if getattr(config, name) is not None), None)
    if kind is None:
        return None
    try:
        import llguidance
    except ImportError as error:
        raise MissingDependencyError(
            f"{kind} needs the package llguidance, which is not installed: pip install llguidance"
        ) from error
    if not config.eos_token_ids:
        raise InputError(f"{kind} needs to know how a text ends: set eos_token_id")
    if tokenizer is None:
        raise InputError(f"{kind} needs the model's tokenizer as well: generate(…, tokenizer=tokenizer)")
    vocabulary = _vocabulary(tokenizer, config.eos_token_ids)
    text = _compiled(kind, getattr(config, kind))
    limits = llguidance.LLParserLimits(verbose_errors=False)
    matcher = llguidance.LLMatcher(vocabulary, text, log_level=0, limits=limits)
    if matcher.is_error():
        raise InputError(f"{kind} can't be used: {_reason(matcher)}")
    if reason := _dead_end(matcher, _allowed(matcher, vocabulary.vocab_size)):
        raise InputError(f"{kind} can't be fulfilled, not even begun: {reason}")
    return GrammarMask(matcher, skipped=int(config.forced_bos_token_id is not None))


def _compiled(kind: str, value: Any) -> str:
    """llguidance's own description of a grammar."""
    from llguidance import LLMatcher

    if kind == "regex":
        return str(LLMatcher.grammar_from_regex(value))
    if kind == "grammar":
        return str(LLMatcher.grammar_from_lark(value))
    schema = json.loads(value) if isinstance(value, str) else value
    try:
        return str(LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_pattern": _WHITESPACE}))
    except ValueError as error:
        raise InputError(f"json_schema can't be used: {error}") from error


def _vocabulary(tokenizer: Any, ends: tuple[int, ...]) -> LLTokenizer:
    from llguidance import LLTokenizer, TokenizerWrapper

    backend = backend_of(tokenizer)
    known = _vocabularies.setdefault(backend, {})
    if ends not in known:
        # llguidance reads byte-level vocabularies itself, but not those of sentencepiece; this way takes any.
        known[ends] = LLTokenizer(TokenizerWrapper(_Tokens(tokenizer, ends)), eos_token=list(ends))
    return known[ends]


class _Tokens:
    """A vocabulary as llguidance asks for it."""

    bos_token_id = None

    def __init__(self, tokenizer: Any, ends: tuple[int, ...]) -> None:
        text, backend = TokenBytes(tokenizer), backend_of(tokenizer)
        self._backend = backend
        self.eos_token_id = ends[0]
        self.tokens = [text[token] for token in range(max(backend.get_vocab().values()) + 1)]
        added = backend.get_added_tokens_decoder()
        self.special_token_ids = [number for number, token in added.items() if token.special]
        self._ids = {piece: token for token, piece in enumerate(self.tokens) if token not in added}
        self._longest = max(map(len, self._ids))

    def __call__(self, text: str | bytes) -> list[int]:
        """The tokens of a piece of text that is certain to come, with exactly its bytes."""
        data = text.encode() if isinstance(text, str) else text
        ids: list[int] = self._backend.encode(data.decode(), add_special_tokens=False).ids
        # Sentencepiece puts spaces before a text and joins those inside: such pieces are cut here.
        return ids if b"".join(self.tokens[token] for token in ids) == data else self._longest_first(data)

    def _longest_first(self, data: bytes) -> list[int]:
        ids, start = [], 0
        while start < len(data):
            ends = range(min(len(data), start + self._longest), start, -1)
            end = next((end for end in ends if data[start:end] in self._ids), None)
            if end is None:
                break  # the vocabulary can't say it, which the mask finds out by itself
            ids.append(self._ids[data[start:end]])
            start = end
        return ids


def _allowed(state: LLMatcher, vocabulary: int) -> NDArray[np.bool_]:
    """Which of V tokens may come next; those that only the model's head knows may not."""
    bits = np.unpackbits(np.frombuffer(state.compute_bitmask(), dtype=np.uint8), bitorder="little")
    allowed = np.zeros(vocabulary, dtype=np.bool_)
    allowed[: bits.size] = bits[:vocabulary]
    if state.compute_ff_bytes():
        # Text that is certain to come was cut into tokens by itself; where the vocabulary lacks a character of it
        # (sentencepiece without byte tokens) these may be others than the grammar's.
        for token in np.flatnonzero(allowed):
            allowed[token] = bool(state.validate_tokens([int(token)]))
    return allowed


def _dead_end(state: LLMatcher, allowed: NDArray[np.bool_]) -> str | None:
    """Why there is no way on, where that is so."""
    if allowed.any() and not state.is_error():
        return None
    certain = state.compute_ff_bytes().decode(errors="replace")
    return f"the vocabulary has no tokens for {certain!r}" if certain else "no token of the vocabulary continues it"


def _shown(text: tuple[int, ...]) -> str:
    return f"{len(text)} generated tokens (the last: {', '.join(map(str, text[-5:]))})" if text else "no token"


def _reason(state: LLMatcher) -> str:
    return str(state.get_error()).replace("<non-verbose/>", "").strip() or str(state.stop_reason())
