"""Translation: a text of any length in another language, its paragraphs, lists and blank lines kept as they are."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from enfold.errors import InputError
from enfold.generation.context import context_of
from enfold.generation.loop import Result
from enfold.generation.options import OPTIONS
from enfold.model import PreTrainedModel
from enfold.tasks.base import Options
from enfold.tasks.languages import code_of, same_language, stated_pair
from enfold.tasks.scripts import Ids, Script
from enfold.tasks.sentences import Piece, blocks, clauses, glue, sentences, unwrapped
from enfold.tasks.writing import Ask, Writing
from enfold.tokenization import Tokenizer

__all__ = ["Translation"]

logger = logging.getLogger("enfold")


@dataclass(frozen=True)
class _Direction:
    """From which language into which, as a model is told.

    Attributes:
        source: the tokenizer's language for the texts.
        prefix: what stands before each of them.
        options: options of generation that the direction takes.
    """

    source: str | None = None
    prefix: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


class Translation(Writing):
    """Texts in another language.

    >>> translate = pipeline("translation_en_to_zh", "Helsinki-NLP/opus-mt-en-zh")                # doctest: +SKIP
    >>> translate("The lease ends in May.")                                                       # doctest: +SKIP
    [{'translation_text': '租约五月到期。'}]

    Records and usual options are those of the reference's last 4.x release. Unlike there, each line or paragraph is
    translated by itself, since models read line ends as spaces; and sentence by sentence where it is over the model's
    limit, or over half of what is usually written, so that no sentence is lost.
    """

    name = "translation"
    head = "seq2seq-lm"
    usual: ClassVar[Mapping[str, Any]] = {"max_new_tokens": 256, "num_beams": 4}

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, options: Options | None = None) -> None:
        super().__init__(model, tokenizer, options)
        self._stated = stated_pair(model.source)
        self._told = False

    def __call__(
        self,
        inputs: Any,
        *,
        src_lang: str | None = None,
        tgt_lang: str | None = None,
        return_text: bool | None = None,
        return_tensors: bool = False,
        clean_up_tokenization_spaces: bool | None = False,
        stop_sequence: str | None = None,
        batch_size: int = 16,
        stream: bool = False,
        **generation_options: Any,
    ) -> Any:
        """Translates texts.

        Args:
            inputs: a text, or many.
            src_lang: the language of the texts, for models of several: a code of the tokenizer's, as ``"en_XX"`` or
                ``"eng_Latn"``, or two letters, ``"en"``.
            tgt_lang: the language to translate into, likewise.
            return_text: texts are returned; the default.
            return_tensors: token ids are returned instead.
            clean_up_tokenization_spaces: spaces before punctuation are removed.
            stop_sequence: a text that ends what is written; ``stop_strings`` takes several.
            batch_size: paragraphs or sentences that are translated at once.
            stream: yields the translation of one text piece by piece, instead of returning it.
            generation_options: those of :class:`enfold.GenerationConfig`, as ``num_beams=1``.

        Returns:
            For a text a list of ``{"translation_text"}``, one for each of ``num_return_sequences``; for a list a list
            of records where each text has one, otherwise a list of lists. With ``return_tensors`` records are
            ``{"translation_token_ids"}``.

        Raises:
            InputError: options that are unknown, wrong, or contradict each other; a language that the model doesn't
                know, or lacks; what is no text.
            TextTooLongError: with ``long="error"``, a paragraph over the limit.
        """
        direction = self._direction(src_lang, tgt_lang, {**self._fixed, **generation_options})
        ask = self._ask(
            generation_options,
            over=direction.options,
            tokens=return_tensors and not return_text,
            clean_up=clean_up_tokenization_spaces,
            stop_sequence=stop_sequence,
            batch_size=batch_size,
            stream=stream,
        )

        lengths = {"max_length", "max_new_tokens"}
        room = self.max_length
        if not lengths & {*self._fixed, *generation_options}:  # whoever gives a length wants no other
            room = min(room, self._most(ask) // 2)

        def script(text: str) -> Script[list[dict[str, Any]]]:
            parts, rest = self._parts(text, direction, room)
            written = yield [self._encoded(part.text, direction) for part in parts]
            self._warn(text, written, ask)
            return [self._record(parts, each, rest, ask) for each in zip(*written, strict=True)]

        def pieces(text: str) -> Iterator[str]:
            return self._stream(*self._parts(text, direction, room), direction, ask)

        return self.respond(inputs, ask, script, pieces)

    # ── languages ────────────────────────────────────────────────────────────

    def _direction(self, source: str | None, target: str | None, given: Mapping[str, Any]) -> _Direction:
        """How this model is told the languages.

        Raises:
            InputError: a language that it doesn't know; the nearest are listed.
        """
        if self.tokenizer.lang_code_to_id:
            return self._marked(source, target, given)
        if codes := self.tokenizer.supported_language_codes:
            self._check(source, None)
            return _Direction(prefix=self._marian_prefix(target, codes))
        pairs = [
            name for name in self.model.config.get("task_specific_params") or {} if name.startswith("translation_")
        ]
        if not pairs:  # a model for one pair of languages
            self._check(source, target)
            self._say_unused(source, target)
            return _Direction(prefix=self.prefix)
        name = f"translation_{source}_to_{target}"
        if name not in pairs:
            known = ", ".join(each.removeprefix("translation_").replace("_to_", " → ") for each in pairs)
            asked = "no languages were given" if target is None else f"{source} → {target} was asked for"
            raise InputError(f"this model translates {known}, and {asked}: pass src_lang= and tgt_lang=")
        options = {key: value for key, value in self._params(name).items() if key in OPTIONS and key != "max_length"}
        return _Direction(prefix=self._prefix_of(name), options=options)

    def _check(self, source: str | None, target: str | None) -> None:
        """Compares what is asked for with the languages that the model's files name, as far as they do.

        Raises:
            InputError: another language is asked for.
        """
        sides = zip(("from", "into"), (source, target), self._stated, strict=True)
        asked = [(side, given, own) for side, given, own in sides if given is not None]
        wrong = [f"{side} {own}, not {given}" for side, given, own in asked if own and not same_language(given, own)]
        if wrong:
            raise InputError(
                f"this model translates {' and '.join(wrong)}: take one for those languages, or leave src_lang and "
                "tgt_lang (--from and --to) out"
            )

    def _say_unused(self, source: str | None, target: str | None) -> None:
        """For a model of one pair: languages that its files don't confirm are not ignored silently."""
        pairs = zip((source, target), self._stated, strict=True)
        if not self._told and any(given is not None and own is None for given, own in pairs):
            self._told = True
            logger.warning(
                "this model translates one pair of languages, and its files don't say which: src_lang and tgt_lang "
                "(--from and --to) change nothing, and could not be checked"
            )

    def _marked(self, source: str | None, target: str | None, given: Mapping[str, Any]) -> _Direction:
        """For tokenizers that mark languages with tokens: mBART, M2M-100, NLLB."""
        tokenizer = self.tokenizer
        codes = tokenizer.lang_code_to_id
        source = tokenizer.src_lang if source is None else code_of(source, codes)
        tokenizer("", src_lang=source)  # an unknown one is an error, which lists the nearest
        target = tokenizer.tgt_lang if target is None else code_of(target, codes)
        if target is not None:
            return _Direction(source, options={"forced_bos_token_id": tokenizer.forced_bos_id(target)})
        begins = {self.defaults.decoder_start_token_id, self.defaults.forced_bos_token_id}
        begins.add(given.get("forced_bos_token_id"))
        if not begins & {*codes.values()}:
            raise InputError(
                f"this model knows {len(codes)} languages ({', '.join([*codes][:5])} …): say which to translate into "
                "with tgt_lang=, and with src_lang= which from"
            )
        return _Direction(source)

    def _marian_prefix(self, target: str | None, codes: Sequence[str]) -> str:
        """What a Marian model of several target languages wants before a text; the text may begin with it itself."""
        if target is None:
            return ""
        names = {code.strip("<>"): code for code in codes}
        code = code_of(target, names)
        if code not in names:
            if self._stated[1] and same_language(target, self._stated[1]):  # the codes have another use
                return ""
            near = sorted(names, key=lambda name: (name[:2] != target[:2], name))[:8]
            raise InputError(f"{target!r} is none of the {len(names)} languages of this model: {', '.join(near)} …")
        return f"{names[code]} "

    # ── texts ────────────────────────────────────────────────────────────────

    def _parts(self, text: str, direction: _Direction, room: int) -> tuple[list[Piece], str]:
        """What is translated at once, with what stands before each, and what follows the last."""
        found, rest = blocks(text)
        if not found:  # nothing but numbers or signs: the model may know better
            found, rest = [Piece("", text)], ""
        parts: list[Piece] = []
        for block in found:
            whole = Piece(block.before, unwrapped(block.text))
            count = len(self._encoded(whole.text, direction, cut=False))
            if count > self.max_length and self.options.long == "error":
                raise self.too_long(count, block.text, self.max_length)
            if self.options.long == "window" and count > room:
                parts += self._sentences(block, direction)
            else:
                parts.append(whole)
        return parts, rest

    def _sentences(self, block: Piece, direction: _Direction) -> Iterator[Piece]:
        def fits(text: str) -> bool:
            return len(self._encoded(text, direction, cut=False)) <= self.max_length

        before = block.before
        for sentence in sentences(block.text):
            before += sentence.before
            for clause in clauses(unwrapped(sentence.text), fits):
                yield Piece(before + clause.before, clause.text)
                before = ""

    def _encoded(self, text: str, direction: _Direction, *, cut: bool = True) -> Ids:
        def encode(each: str) -> Ids:
            return list(self.tokenizer(direction.prefix + each, src_lang=direction.source)["input_ids"])

        return self._fit(encode(text), text, encode) if cut else encode(text)

    # ── results ──────────────────────────────────────────────────────────────

    def _record(self, parts: Sequence[Piece], results: Sequence[Result], rest: str, ask: Ask) -> dict[str, Any]:
        if ask.tokens:
            return {"translation_token_ids": [token for result in results for token in result.tokens]}
        texts = [self._decode(result.tokens, ask) for result in results]
        if len(parts) == 1 and not parts[0].before and not rest:
            return {"translation_text": texts[0]}
        return {"translation_text": "".join(_joined(parts, ([text] for text in texts), rest))}

    def _stream(self, parts: Sequence[Piece], rest: str, direction: _Direction, ask: Ask) -> Iterator[str]:
        written = (self.pieces(self._encoded(part.text, direction), ask) for part in parts)
        return _joined(parts, written, rest)

    def _most(self, ask: Ask) -> int:
        """Tokens that may be written of one part."""
        return ask.config.length_limit(1, context_of(self.model.arch)) - 1

    def _warn(self, text: str, written: Sequence[Sequence[Result]], ask: Ask) -> None:
        """A translation that was stopped by its limit has lost something: it is said."""
        most = self._most(ask)
        stopped = sum(_was_stopped(best, ask, most) for best, *_ in written)
        if stopped:
            logger.warning(
                "%d of %d parts of the translation of %r were stopped by the limit of their length, and may lack their "
                "end: raise max_new_tokens (now %s)",
                stopped, len(written), f"{text[:40]} …", most,
            )  # fmt: skip


def _was_stopped(result: Result, ask: Ask, most: int) -> bool:
    """Whether a text has all the ``most`` tokens it may have; an end token says nothing where it is forced."""
    ended = result.tokens[-1] in ask.config.eos_token_ids and ask.config.forced_eos_token_id is None
    return len(result.tokens) > most and not ended


def _joined(parts: Sequence[Piece], written: Iterable[Iterable[str]], rest: str) -> Iterator[str]:
    """Translations with what belongs between them, as they are written: lines as in the source, or a space."""
    left = ""
    for part, pieces in zip(parts, written, strict=True):
        begun, spaces = False, ""
        for piece in pieces:
            text = spaces + piece if begun else piece.lstrip()
            spaces = text[len(text.rstrip()) :]
            if text := text.rstrip():
                yield text if begun else glue(part.before, left, text) + text
                begun, left = True, text
        if not begun:
            yield part.before
    yield rest
