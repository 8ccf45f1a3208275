"""What a model with a language-model head can do: write texts, one or many, whole or piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enfold.generation.calls import Call
    from enfold.generation.config import GenerationConfig
    from enfold.generation.loop import Event, Request, Result

__all__ = ["GenerationMixin"]


class GenerationMixin:
    """``model.generate``, ``model.stream``, ``model.astream`` and ``model.generate_many``."""

    _generation_config: Any = None

    @property
    def generation_config(self) -> GenerationConfig:
        """The checkpoint's own options; those of a call go over them."""
        if self._generation_config is None:
            from enfold.generation.calls import stored_config

            self._generation_config = stored_config(self)  # type: ignore[arg-type]
        config: GenerationConfig = self._generation_config
        return config

    @generation_config.setter
    def generation_config(self, config: GenerationConfig) -> None:
        self._generation_config = config

    def generate(
        self,
        inputs: Any = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Iterable[Any] | None = None,
        stopping_criteria: Iterable[Any] | None = None,
        prefix_allowed_tokens_fn: Callable[[int, list[int]], Any] | None = None,
        *,
        input_ids: Any = None,
        attention_mask: Any = None,
        decoder_input_ids: Any = None,
        negative_prompt_ids: Any = None,
        negative_prompt_attention_mask: Any = None,
        assistant_model: Any = None,
        tokenizer: Any = None,
        streamer: Any = None,
        **options: Any,
    ) -> Any:
        """Writes on from token ids.

        Args:
            inputs: (B, S) token ids, or lists of different lengths; for an encoder-decoder model what its encoder
                reads.
            generation_config: options that go over the checkpoint's own.
            logits_processor: the caller's own processors of scores; see :mod:`enfold.generation.rows`.
            stopping_criteria: the caller's own criteria.
            prefix_allowed_tokens_fn: (index of the input, tokens so far) to the ids that may follow.
            input_ids: another name of ``inputs``.
            attention_mask: (B, S), 0 where there is padding; padding may be on either side.
            decoder_input_ids: (B, S') that an encoder-decoder model's text begins with.
            negative_prompt_ids: what ``guidance_scale`` guides away from; by default the last token of the prompt.
            negative_prompt_attention_mask: its mask.
            assistant_model: a small model whose drafts this one checks; same vocabulary.
            tokenizer: the model's, for ``stop_strings`` and structured output.
            streamer: told the one prompt and then tokens as they become final, by ``put`` and ``end``.
            options: any of :class:`enfold.GenerationConfig`'s, for this call.

        Returns:
            (B · num_return_sequences, L) ids, prompts included for decoder-only models, padded on the right, as the
            engine's arrays; with ``return_dict_in_generate`` a record with ``sequences`` and what was asked for.

        Raises:
            InputError: ids, options or contradictions between them; all problems of the options at once.
            NumericalError: the model's scores are NaN.
        """
        from enfold.generation.calls import Call, generate
        from enfold.generation.streamers import failures_told

        with failures_told(streamer):
            call = Call.of(
                self,  # type: ignore[arg-type]
                inputs if input_ids is None else input_ids,
                generation_config,
                options,
                attention_mask=attention_mask,
                decoder_input_ids=decoder_input_ids,
                negative_prompt_ids=negative_prompt_ids,
                negative_prompt_attention_mask=negative_prompt_attention_mask,
                assistant_model=assistant_model,
                tokenizer=tokenizer,
                streamer=streamer,
                logits_processor=logits_processor,
                stopping_criteria=stopping_criteria,
                prefix_allowed_tokens_fn=prefix_allowed_tokens_fn,
            )
            return generate(call)

    def stream(self, inputs: Any = None, *, tokenizer: Any = None, **options: Any) -> Iterator[Any]:
        """Writes one text piece by piece: strings with a ``tokenizer``, otherwise token ids, as they become final.

        Closing the iterator ends the work and frees the cache. ``options`` are those of :meth:`generate` and its other
        arguments; errors are the same.
        """
        from enfold.generation.stream import stream

        return stream(self, inputs, tokenizer=tokenizer, **options)

    def astream(self, inputs: Any = None, *, tokenizer: Any = None, **options: Any) -> AsyncIterator[Any]:
        """:meth:`stream` for ``async for``; the work runs in a thread."""
        from enfold.generation.stream import astream

        return astream(self, inputs, tokenizer=tokenizer, **options)

    def generate_many(
        self,
        prompts: Iterable[Any],
        *,
        batch_size: int = 16,
        tokenizer: Any = None,
        generation_config: GenerationConfig | None = None,
        **options: Any,
    ) -> Iterator[tuple[int, list[Result]]]:
        """Writes on from any number of prompts, lazily, and gives each as soon as it is finished.

        Args:
            prompts: lists of token ids, read one by one as others finish.
            batch_size: texts that are written at once.
            tokenizer: as for :meth:`generate`.
            generation_config: as for :meth:`generate`.
            options: as for :meth:`generate`.

        Yields:
            The prompt's number and its results; those of ``num_return_sequences`` together.
        """
        from enfold.generation.calls import generate_many

        return generate_many(self, prompts, batch_size, tokenizer, generation_config, options)  # type: ignore[arg-type]

    def events(self, call: Call, requests: Iterable[Request], slots: int) -> Generator[Event, None, None]:
        """Writes the texts of a call, at most ``slots`` at once; news of them as they come.

        Everything that writes goes through here, so that a server can let many calls write together.
        """
        from enfold.generation.calls import events

        return events(call, requests, slots)
