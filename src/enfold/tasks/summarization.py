"""Summarisation: the gist of a text, by a model that was trained for it or by one that chats."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from enfold.errors import InputError
from enfold.generation.loop import Result
from enfold.model import PreTrainedModel
from enfold.tasks.base import Options
from enfold.tasks.scripts import Ids, Script
from enfold.tasks.sentences import windows
from enfold.tasks.writing import Ask, Writing
from enfold.tokenization import Tokenizer

__all__ = ["Summarization"]

logger = logging.getLogger("enfold")

_PROMPT = "Summarize the following text in one short paragraph.\n\nText: {}"
"""What a chat model is asked where the call doesn't say. SmolLM2 keeps to the text with it; with longer instructions it
invents, and without "one short paragraph" it repeats."""

_TRANSLATE = ("marian", "m2m_100")
"""Kinds of models that are trained to translate and for nothing else."""


class Summarization(Writing):
    """Summaries of texts of any length.

    >>> summarize = pipeline("summarization", "sshleifer/distilbart-cnn-12-6")                    # doctest: +SKIP
    >>> summarize(open("report.txt").read(), max_length=60)                                       # doctest: +SKIP
    [{'summary_text': ' The bridge was opened in 1932 after eight years of construction …'}]

    A text over the model's limit is read in windows of whole sentences, and their summaries are summarised together,
    until one window holds them. Records and usual options are those of the reference's last 4.x release. A causal
    model with a chat template is asked for a summary; there ``max_length`` and ``min_length`` count the summary alone.
    """

    name = "summarization"
    head = "seq2seq-lm"
    other_heads = ("causal-lm",)

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, options: Options | None = None) -> None:
        self._chats = model.kind == "causal-lm"
        super().__init__(model, tokenizer, options)
        if self._chats:
            tokenizer.get_chat_template()  # says what is missing where there is none
        if model.config.model_type in _TRANSLATE:
            logger.warning(
                "a %s model translates and will hardly summarise; enfold translate or the task 'translation' is for it",
                model.config.model_type,
            )  # fmt: skip

    def _usual(self) -> Mapping[str, Any]:
        """Four beams, or the likeliest words of a model that chats."""
        return {"max_new_tokens": 256} if self._chats else {"max_new_tokens": 256, "num_beams": 4}

    def __call__(
        self,
        documents: Any,
        *,
        return_text: bool | None = None,
        return_tensors: bool = False,
        clean_up_tokenization_spaces: bool | None = False,
        stop_sequence: str | None = None,
        prompt: str | None = None,
        batch_size: int = 16,
        stream: bool = False,
        **generation_options: Any,
    ) -> Any:
        """Summarises texts.

        Args:
            documents: a text, or many.
            return_text: texts are returned; the default.
            return_tensors: token ids are returned instead.
            clean_up_tokenization_spaces: spaces before punctuation are removed.
            stop_sequence: a text that ends a summary; ``stop_strings`` takes several.
            prompt: what a chat model is asked, with ``{}`` where the text is to stand.
            batch_size: texts that are written at once.
            stream: yields the summary of one text piece by piece, instead of returning it.
            generation_options: those of :class:`enfold.GenerationConfig`, as ``max_new_tokens=50``.

        Returns:
            For a text a list of ``{"summary_text"}``, one for each of ``num_return_sequences``; for a list a list of
            records where each text has one, otherwise a list of lists. With ``return_tensors`` records are
            ``{"summary_token_ids"}``.

        Raises:
            InputError: options that are unknown, wrong, or contradict each other; what is no text.
            TextTooLongError: with ``long="error"``, a text over the limit.
        """
        ask = self._ask(
            generation_options,
            tokens=return_tensors and not return_text,
            clean_up=clean_up_tokenization_spaces,
            stop_sequence=stop_sequence,
            batch_size=batch_size,
            stream=stream,
        )
        reader = _Reader(self, self._counting_new(ask), self._template(prompt))
        return self.respond(documents, reader.ask, reader.script, reader.pieces)

    def _template(self, prompt: str | None) -> str:
        if prompt is None:
            return _PROMPT
        if not self._chats:
            raise InputError("prompt is for models that chat, and this one was trained to summarise: leave it out")
        if "{}" not in prompt:
            raise InputError(f"prompt is {prompt!r:.80}: write {{}} where the text is to stand")
        return prompt

    def _counting_new(self, ask: Ask) -> Ask:
        """For a chat model, lengths that don't count its prompt."""
        config = ask.config
        if not self._chats:
            return ask
        if config.max_new_tokens is None:
            config = config.updated(max_new_tokens=config.max_length)
        if config.min_length and config.min_new_tokens is None:
            config = config.updated(min_new_tokens=config.min_length)
        return replace(ask, config=config)

    def _record(self, prompt: Ids, result: Result, ask: Ask) -> dict[str, Any]:
        if ask.tokens:
            return {"summary_token_ids": result.tokens[len(prompt) :] if self._chats else result.tokens}
        return {"summary_text": self._written(prompt, result, ask)}

    def _written(self, prompt: Ids, result: Result, ask: Ask) -> str:
        whole = self._decode(result.tokens, ask)
        return whole[len(self._decode(prompt, ask)) :].strip() if self._chats else whole


class _Reader:
    """One call's way through long texts."""

    def __init__(self, task: Summarization, ask: Ask, template: str) -> None:
        self._task, self.ask, self._template = task, ask, template
        spare = ask.config.max_new_tokens if task._chats else 0  # a decoder's context holds what it writes, too
        if not ask.config.asks_for("max_new_tokens"):
            spare = min(spare, task.max_length // 2)
        self._limit = task.max_length - spare
        self._room = self._limit - len(self._encoded(""))
        if self._room < 1:
            raise InputError(
                f"a summary of {spare} tokens leaves no room for a text in the model's {task.max_length}: lower "
                "max_new_tokens"
            )

    def script(self, text: str) -> Script[list[dict[str, Any]]]:
        """Asks for summaries until one prompt is left, and for the last."""
        last = yield from self._reduced(text)
        if isinstance(last, str):
            tokens = self._task.tokenizer(last)["input_ids"]
            return [{"summary_token_ids": tokens} if self.ask.tokens else {"summary_text": last}]
        (results,) = yield [last]
        return [self._task._record(last, result, self.ask) for result in results]

    def pieces(self, text: str) -> Iterator[str]:
        """The last summary as it is written."""
        (last,) = self._task.write([self._reduced(text)], self.ask)
        if isinstance(last, str):
            return iter([last])
        return self._task.pieces(last, self.ask, follows=self._task._chats)

    def _reduced(self, text: str) -> Script[Ids | str]:
        """The prompt for the last summary; or the summaries of all parts, where those get no shorter."""
        parts = self._parts(text)
        while len(parts) > 1:
            prompts = [self._encoded(part) for part in parts]
            written = yield prompts
            pairs = zip(prompts, written, strict=True)
            text = "\n".join(self._task._written(prompt, best, self.ask).strip() for prompt, (best, *_) in pairs)
            fewer = self._parts(text)
            if len(fewer) >= len(parts):
                logger.warning(
                    "the summaries of %d parts are too long to be summarised together, and stand one below the other: "
                    "lower max_new_tokens (now %s)", len(parts), self.ask.config.max_new_tokens,
                )  # fmt: skip
                return text
            parts = fewer
        return self._encoded(parts[0])

    def _parts(self, text: str) -> list[str]:
        task = self._task
        if self._fits(text):
            return [text]
        count = len(self._encoded(text))
        if task.options.long == "error":
            raise task.too_long(count, text, self._limit)
        parts = windows(text, self._sizes, self._room, self._fits)
        if task.options.long == "truncate":
            read = len(self._encoded(parts[0]))
            logger.warning("cut a text at %d tokens, a sentence's end: %d tokens were not read", read, count - read)
            return parts[:1]
        return parts

    def _sizes(self, texts: list[str]) -> list[int]:
        return [len(each) for each in self._task.tokenizer.encode_many(texts, add_special_tokens=False)]

    def _fits(self, text: str) -> bool:
        return len(self._encoded(text)) <= self._limit

    def _encoded(self, text: str) -> Ids:
        task = self._task
        if not task._chats:
            return list(task.tokenizer(task.prefix + text)["input_ids"])
        message = {"role": "user", "content": self._template.replace("{}", text)}
        return list(task.tokenizer.apply_chat_template([message], add_generation_prompt=True, return_dict=False))
