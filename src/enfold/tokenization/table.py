"""Families whose vocabulary is a file beside the sentencepiece model, and numbers its pieces otherwise.

Marian and M2M-100 cut a text with sentencepiece and look the pieces up in ``vocab.json``; what that lacks is the
unknown token. So one engine cuts, with the ids of the sentencepiece file, and a second one, the *book*, knows the ids
of the vocabulary::

    text ──normalizer──▶ text ──engine──▶ pieces ──book──▶ ids
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tokenizers import Encoding, Tokenizer

from enfold.tokenization.charsmap import CharsMap
from enfold.tokenization.normalized import Normalized, Normalizer

__all__ = ["Table"]

_LANGUAGE = re.compile(r">>.*?<<", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """The vocabulary of a table, and what the engine's pieces become in it.

    ``engine_unk`` is the engine's id of an unknown piece, ``unk`` the vocabulary's token; with ``has_bytes``, unknown
    characters become ``<0xE5>`` and the like. With ``prefixed``, a text may begin with the language to translate into,
    ``>>fra<<``, which is one token. ``denormalizer`` and ``after_special`` are for decoding: the table that text goes
    through at the end, and what stands behind a special token.
    """

    book: Tokenizer
    normalizer: Normalizer
    denormalizer: CharsMap
    engine_unk: int
    unk: str
    has_bytes: bool
    prefixed: bool = False
    after_special: str = ""

    PLACE = "\ufdd0"
    """Stands for a language prefix while the engine cuts: a code point that is no character, so no text holds it."""

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """Token → id, added tokens included."""
        return self.book.get_vocab(with_added_tokens=True)

    @cached_property
    def _added(self) -> re.Pattern[str]:
        """The added tokens, the longest first; what stands between them is cut on its own."""
        texts = sorted((each.content for each in self.book.get_added_tokens_decoder().values()), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, texts)) or "(?!)")

    def pieces(self, engine: Tokenizer, texts: Sequence[str | list[str]], *, is_pretokenized: bool) -> list[Encoding]:
        """The rows of texts, or of texts that were split into words, in the ids of the vocabulary."""
        originals = [[text] if isinstance(text, str) else text for text in texts]
        prepared = [[self._prepare(word) for word in words] for words in originals]
        plain = [[each.text for each in words] for words in prepared]
        inputs = plain if is_pretokenized else [words[0] for words in plain]
        rows = engine.encode_batch(inputs, is_pretokenized=is_pretokenized)
        return [self._recast(*each, is_pretokenized) for each in zip(rows, prepared, originals, strict=True)]

    def _prepare(self, text: str) -> Normalized:
        text = text.replace(self.PLACE, "\ufffd")
        result = Normalized()
        place = 0
        for found in [*self._added.finditer(text), None]:
            end = len(text) if found is None else found.start()
            if self.prefixed and (language := _LANGUAGE.match(text, place, end)):
                result.add(self.PLACE, place, language.end())
                place = language.end()
            self.normalizer.normalize(text, place, end, result)
            if found is not None:
                for place in range(found.start(), found.end()):
                    result.add(text[place], place, place + 1)
                place = found.end()
        return result

    def _recast(self, row: Encoding, words: list[Normalized], originals: list[str], is_pretokenized: bool) -> Encoding:
        """The same row with the vocabulary's tokens and ids, and places in the original text."""
        values = json.loads(row.__getstate__())
        tokens, offsets, from_word = [], [], []
        for token, number, (start, end), word in zip(
            values["tokens"], values["ids"], values["offsets"], values["words"], strict=True
        ):
            place = word if is_pretokenized else 0
            source, original = words[place], originals[place]
            span = [source.starts[start], source.ends[end - 1]] if end > start else [0, 0]
            made = [token]
            if token == self.PLACE:
                made = [original[span[0] : span[1]]]
            elif number == self.engine_unk:
                surface = "".join(source.characters[start:end])
                made = [f"<0x{byte:02X}>" for byte in surface.encode()] if self.has_bytes else [surface]
            tokens += made
            offsets += [span] * len(made)
            from_word += [word] * len(made)
        unk, size = self.ids[self.unk], len(tokens)
        changed = {
            "ids": [self.ids.get(token, unk) for token in tokens],
            "tokens": tokens,
            "offsets": offsets,
            "words": from_word,
            "type_ids": [0] * size,
            "special_tokens_mask": [0] * size,
            "attention_mask": [1] * size,
        }
        result = Encoding()
        result.__setstate__(json.dumps({**values, **changed}).encode())
        return result
