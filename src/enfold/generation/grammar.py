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
from enfold.generation.token_text import backend_of

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

__all__ = ["GrammarMask", "grammar_mask"]

_KINDS: Final = ("json_schema", "regex", "grammar")

# JSON allows white space without end, and small models write it without end: a line break and deep indentation do.
_WHITESPACE: Final = r"[\x20\x0A\x0D\x09]{1,40}"

# Reading a vocabulary takes a third of a second for 50,000 tokens, so it is done once for a tokenizer.
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
            if state.is_error():
                raise InputError(f"the grammar can't be followed further after {_shown(text)}: {_reason(state)}")
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
    vocabulary = _vocabulary(tokenizer, config.eos_token_ids)
    text = _compiled(kind, getattr(config, kind))
    limits = llguidance.LLParserLimits(verbose_errors=False)
    matcher = llguidance.LLMatcher(vocabulary, text, log_level=0, limits=limits)
    if matcher.is_error():
        raise InputError(f"{kind} can't be used: {_reason(matcher)}")
    if not _allowed(matcher, vocabulary.vocab_size).any() or matcher.is_error():
        raise InputError(f"{kind} can't be fulfilled: no token of the vocabulary begins such a text")
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
    from llguidance import LLTokenizer

    backend = backend_of(tokenizer)
    known = _vocabularies.setdefault(backend, {})
    if ends not in known:
        known[ends] = LLTokenizer(backend.to_str(), eos_token=list(ends))
    return known[ends]


def _allowed(state: LLMatcher, vocabulary: int) -> NDArray[np.bool_]:
    """Which of V tokens may come next; those that only the model's head knows may not."""
    bits = np.unpackbits(np.frombuffer(state.compute_bitmask(), dtype=np.uint8), bitorder="little")
    allowed = np.zeros(vocabulary, dtype=np.bool_)
    allowed[: bits.size] = bits[:vocabulary]
    return allowed


def _shown(text: tuple[int, ...]) -> str:
    return f"{len(text)} generated tokens (the last: {', '.join(map(str, text[-5:]))})" if text else "no token"


def _reason(state: LLMatcher) -> str:
    return str(state.get_error()).replace("<non-verbose/>", "").strip() or str(state.stop_reason())
