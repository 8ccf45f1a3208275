"""The engine's decoders as streams: tokens go in one by one, and text comes out as soon as nothing can change it.

Each stage turns tokens into tokens; joined, the last one's tokens are the text. What a stage holds back is what later
tokens decide about: half a character, a space that may be cut at the end.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from tokenizers import Regex, decoders

from enfold.tokenization.charsmap import CharsMap

__all__ = ["CLEANED", "Pieces", "Replace", "Stage", "Trim", "feed", "finish", "make_stages"]

CLEANED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
"""What ``clean_up_tokenization_spaces`` looks for, in its order: each loses the spaces around it."""

_SPACE = "▁"
_BYTE = re.compile(r"<0x([0-9a-fA-F]{2})>")


class Stage(Protocol):
    """One step from tokens to text."""

    def push(self, token: str) -> Iterable[str]:
        """What can be said after one more token."""
        ...

    def finish(self) -> Iterable[str]:
        """What was held back, now that nothing more comes."""
        ...


def feed(stages: Sequence[Stage], tokens: Iterable[str]) -> str:
    """The text that tokens add."""
    for stage in stages:
        tokens = [text for token in tokens for text in stage.push(token)]
    return "".join(tokens)


def finish(stages: Sequence[Stage]) -> str:
    """The rest of the text: what each stage held back, through those after it."""
    return "".join(feed(stages[number + 1 :], stage.finish()) for number, stage in enumerate(stages))


def make_stages(decoder: Any) -> list[Stage]:
    """The stages of an engine's decoder; ``None`` puts a space between the tokens, as the engine does."""
    if decoder is None:
        return [_Each(lambda token, first: token if first else f" {token}")]
    state = json.loads(decoder.__getstate__())
    parts = state["decoders"] if state["type"] == "Sequence" else [state]
    stages: list[Stage] = []
    fused = False
    for part in parts:
        if part["type"] == "Fuse":
            fused = True
            continue
        make = (_FUSED if fused else _SINGLE).get(part["type"])
        if make is None or (fused and "Regex" in part.get("pattern", {})):  # CTC, for one, is no stream
            return [_Whole(decoder)]
        stages.append(make(part))
        fused = fused or part["type"] == "ByteLevel"
    return stages


# ── token by token ───────────────────────────────────────────────────────────


class _Each:
    """A function of the token, and of whether it is the first."""

    def __init__(self, change: Callable[[str, bool], str]) -> None:
        self._change = change
        self._first = True

    def push(self, token: str) -> list[str]:
        first, self._first = self._first, False
        return [self._change(token, first)]

    def finish(self) -> list[str]:
        self._first = True
        return []


def _metaspace(part: Mapping[str, Any]) -> Stage:
    mark, strips = part["replacement"], part["prepend_scheme"] != "never"
    return _Each(lambda token, first: token.replace(mark, "" if first and strips else " "))


def _wordpiece(part: Mapping[str, Any]) -> Stage:
    prefix, cleans = part["prefix"], part["cleanup"]

    def change(token: str, first: bool) -> str:
        if not first:
            token = token.removeprefix(prefix) if token.startswith(prefix) else f" {token}"
        return decoders.WordPiece(prefix=prefix, cleanup=True).decode([token]) if cleans else token

    return _Each(change)


def _replace(part: Mapping[str, Any]) -> Stage:
    (kind, pattern), content = next(iter(part["pattern"].items())), part["content"]
    if kind == "String":
        return _Each(lambda token, first: token.replace(pattern, content))
    engine = decoders.Replace(Regex(pattern), content)
    return _Each(lambda token, first: engine.decode([token]))


def _strip(part: Mapping[str, Any]) -> Stage:
    engine = decoders.Strip(content=part["content"], left=part["start"], right=part["stop"])
    return _Each(lambda token, first: engine.decode([token]))


class _Suffixed:
    """BPE with a mark at the end of words: a space takes its place, except in the last token."""

    def __init__(self, part: Mapping[str, Any]) -> None:
        self._suffix = part["suffix"]
        self._held: str | None = None

    def push(self, token: str) -> list[str]:
        before, self._held = self._held, token
        return [] if before is None else [before.replace(self._suffix, " ")]

    def finish(self) -> list[str]:
        last, self._held = self._held, None
        return [] if last is None else [last.replace(self._suffix, "")]


# ── bytes ────────────────────────────────────────────────────────────────────


def _byte_characters() -> dict[str, int]:
    """GPT-2's characters for bytes: printable ones stand for themselves, the others for U+0100 and on, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _byte_characters()


class _ByteLevel:
    """Tokens are bytes in disguise; a token with any other character is the text that it is."""

    def __init__(self, part: Mapping[str, Any]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: str) -> list[str]:
        try:
            content = bytes(_BYTE_OF[character] for character in token)
        except KeyError:
            content = token.encode()
        return [self._decoder.decode(content)]

    def finish(self) -> list[str]:
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return [rest]


class _ByteFallback:
    """``<0xE5>`` and its neighbours are bytes: text if the whole run is UTF-8, else one U+FFFD for each of them."""

    def __init__(self, part: Mapping[str, Any]) -> None:
        self._reset()

    def _reset(self) -> None:
        self._held = b""
        self._broken = False
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def push(self, token: str) -> list[str]:
        found = _BYTE.fullmatch(token)
        if found is None:
            return [*self.finish(), token]
        self._held += bytes([int(found[1], 16)])
        if not self._broken:
            try:
                self._decoder.decode(self._held[-1:])
            except UnicodeDecodeError:
                self._broken = True
        return self._replaced() if self._broken else []

    def _replaced(self) -> list[str]:
        held, self._held = self._held, b""
        return ["\ufffd"] * len(held)

    def finish(self) -> list[str]:
        try:
            rest = [self._held.decode()] if self._held else []
        except UnicodeDecodeError:
            rest = self._replaced()
        self._reset()
        return rest


# ── after the tokens have been joined ────────────────────────────────────────


class Replace:
    """A text wherever it stands, also across the ends of tokens."""

    def __init__(self, pattern: str, content: str) -> None:
        self._pattern, self._content = pattern, content
        self._held = ""

    def push(self, token: str) -> list[str]:
        *done, tail = (self._held + token).split(self._pattern)
        keep = next((size for size in range(len(self._pattern) - 1, 0, -1) if tail.endswith(self._pattern[:size])), 0)
        self._held = tail[len(tail) - keep :]
        return [self._content.join([*done, tail[: len(tail) - keep]])]

    def finish(self) -> list[str]:
        rest, self._held = self._held, ""
        return [rest]


class _StripText:
    """Up to so many of one character go from the start and from the end of the whole text."""

    def __init__(self, part: Mapping[str, Any]) -> None:
        self._content, self._start, self._stop = part["content"], part["start"], part["stop"]
        self._left = self._start
        self._held = ""

    def push(self, token: str) -> list[str]:
        while self._left and token:
            if not token.startswith(self._content):
                self._left = 0
                break
            token, self._left = token[1:], self._left - 1
        text = self._held + token
        keep = min(len(text) - len(text.rstrip(self._content)), self._stop)
        self._held = text[len(text) - keep :]
        return [text[: len(text) - keep]]

    def finish(self) -> list[str]:
        self._left, self._held = self._start, ""
        return []


class _Whole:
    """Everything at the end, for a decoder that is no stream."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._tokens: list[str] = []

    def push(self, token: str) -> list[str]:
        self._tokens.append(token)
        return []

    def finish(self) -> list[str]:
        tokens, self._tokens = self._tokens, []
        return [self._decoder.decode(tokens)]


_SINGLE: Mapping[str, Callable[[Mapping[str, Any]], Stage]] = {
    "Metaspace": _metaspace,
    "WordPiece": _wordpiece,
    "Replace": _replace,
    "Strip": _strip,
    "BPEDecoder": _Suffixed,
    "ByteLevel": _ByteLevel,
    "ByteFallback": _ByteFallback,
}


def _replace_text(part: Mapping[str, Any]) -> Stage:
    return Replace(part["pattern"]["String"], part["content"])


_FUSED: Mapping[str, Callable[[Mapping[str, Any]], Stage]] = {"Strip": _StripText, "Replace": _replace_text}


# ── sentencepiece's own ──────────────────────────────────────────────────────


class Pieces:
    """Pieces as sentencepiece joins them, bytes among them.

    The space that it put in front of a text, or behind a special token, goes (each of several, where a model
    ``squeezes`` them); bytes that are no character are U+FFFD
    each; at last the denormaliser's longest rules apply, never across a special token.
    """

    def __init__(self, special: frozenset[str], after_special: str, denormalizer: CharsMap, *, squeezes: bool) -> None:
        self._special, self._after, self._rules = special, after_special, denormalizer
        self._squeezes = squeezes
        self._first = True
        self._bytes = b""
        self._held = ""

    def push(self, token: str) -> list[str]:
        if token in self._special:
            return [*self.finish(), token + self._after]
        if found := _BYTE.fullmatch(token):
            self._bytes += bytes([int(found[1], 16)])
            text = self._whole_characters(final=False)
        else:
            text = self._whole_characters(final=True)
            leads = self._first and not text and token.startswith(_SPACE)
            self._first = self._first and (self._squeezes or not leads)
            text += token[leads:].replace(_SPACE, " ")
        self._first = self._first and not text and not self._bytes
        return [self._denormalize(text, final=False)]

    def finish(self) -> list[str]:
        rest = self._denormalize(self._whole_characters(final=True), final=True)
        self._first = True
        return [rest]

    def _whole_characters(self, *, final: bool) -> str:
        """The characters that the bytes make so far; half a character waits for the rest of it."""
        text = ""
        while self._bytes:
            size = _utf8_size(self._bytes)
            if size == 0 and not final:
                break
            text += self._bytes[:size].decode() if size > 0 else "\ufffd"
            self._bytes = self._bytes[max(size, 1) :]
        return text

    def _denormalize(self, text: str, *, final: bool) -> str:
        text, self._held = self._held + text, ""
        if not self._rules.compiled:
            return text
        place, result = 0, ""
        while place < len(text):
            length, new, could_grow = self._rules.rule(text, place)
            if could_grow and not final:
                self._held = text[place:]
                break
            result += new
            place += length
        return result


def _utf8_size(content: bytes) -> int:
    """The bytes of the character that some begin with; 0 where it is not complete, -1 where it never will be."""
    for size in range(1, min(len(content), 4) + 1):
        try:
            content[:size].decode()
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data":
                return -1
        else:
            return size
    return 0


class Trim:
    """White space goes from both ends of the text."""

    def __init__(self) -> None:
        self._begun = False
        self._held = ""

    def push(self, token: str) -> list[str]:
        if not self._begun:
            token = token.lstrip()
            self._begun = bool(token)
        text = self._held + token
        kept = text.rstrip()
        self._held = text[len(kept) :]
        return [kept]

    def finish(self) -> list[str]:
        self._begun, self._held = False, ""
        return []
