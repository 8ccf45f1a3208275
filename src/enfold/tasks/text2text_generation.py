"""Text-to-text generation: an encoder-decoder model reads a text and writes another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from enfold.generation.loop import Result
from enfold.tasks.scripts import Ids, Script
from enfold.tasks.sentinels import fill_spans, read_spans, sentinels_of
from enfold.tasks.writing import Ask, Writing

__all__ = ["Text2TextGeneration"]


class Text2TextGeneration(Writing):
    """What a sequence-to-sequence model makes of a text.

    >>> rewrite = pipeline("text2text-generation", "google/flan-t5-small")                        # doctest: +SKIP
    >>> rewrite("Translate to German: How old are you?")                                          # doctest: +SKIP
    [{'generated_text': 'Wie alt sind Sie?'}]

    Records are those of the reference's last 4.x release: up to 256 tokens by four beams, where neither the checkpoint
    nor the call says otherwise. Where a text has T5's sentinels, its record also has what fills them.
    """

    name = "text2text-generation"
    head = "seq2seq-lm"
    long = "error"
    usual: ClassVar[Mapping[str, Any]] = {"max_new_tokens": 256, "num_beams": 4}

    def __call__(
        self,
        inputs: Any,
        *,
        return_text: bool | None = None,
        return_tensors: bool = False,
        clean_up_tokenization_spaces: bool | None = False,
        stop_sequence: str | None = None,
        batch_size: int = 16,
        stream: bool = False,
        **generation_options: Any,
    ) -> Any:
        """Writes a text of each text.

        Args:
            inputs: a text, or many.
            return_text: texts are returned; the default.
            return_tensors: token ids are returned instead.
            clean_up_tokenization_spaces: spaces before punctuation are removed.
            stop_sequence: a text that ends what is written; ``stop_strings`` takes several.
            batch_size: texts that are written at once.
            stream: yields what is written of one text piece by piece, instead of returning it.
            generation_options: those of :class:`enfold.GenerationConfig`, as ``max_new_tokens=50``.

        Returns:
            For a text a list of ``{"generated_text"}``, one for each of ``num_return_sequences``; for a list a list of
            records where each text has one, otherwise a list of lists. With ``return_tensors`` records are
            ``{"generated_token_ids"}``. A text with sentinels (``<extra_id_0>``) adds ``"spans"``, what was written
            for each of them, and ``"sequence"``, the text with these in their places.

        Raises:
            InputError: options that are unknown, wrong, or contradict each other; what is no text.
            TextTooLongError: a text over the limit.
        """
        ask = self._ask(
            generation_options,
            tokens=return_tensors and not return_text,
            clean_up=clean_up_tokenization_spaces,
            stop_sequence=stop_sequence,
            batch_size=batch_size,
            stream=stream,
        )

        def script(text: str) -> Script[list[dict[str, Any]]]:
            (results,) = yield [self._prompt(text)]
            return [self._record(text, result, ask) for result in results]

        def pieces(text: str) -> Iterator[str]:
            return self.pieces(self._prompt(text), ask)

        return self.respond(inputs, ask, script, pieces)

    def _prompt(self, text: str) -> Ids:
        return self._fit(self._encoded(text), text, self._encoded)

    def _encoded(self, text: str) -> Ids:
        return list(self.tokenizer(self.prefix + text)["input_ids"])

    def _record(self, text: str, result: Result, ask: Ask) -> dict[str, Any]:
        if ask.tokens:
            return {"generated_token_ids": result.tokens}
        record: dict[str, Any] = {"generated_text": self._decode(result.tokens, ask)}
        if sentinels := sentinels_of(text):
            written = read_spans(self.tokenizer.decode(result.tokens))
            record["spans"] = {each: written.get(each, "") for each in sentinels}
            record["sequence"] = fill_spans(text, record["spans"])
        return record
