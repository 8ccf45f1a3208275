"""Classifier-free guidance (arXiv 2306.17806): a second session beside the first, which reads another prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from enfold.errors import InputError
from enfold.generation.config import GenerationConfig
from enfold.generation.context import context_of
from enfold.generation.logits import guide
from enfold.generation.prefixes import Prefix
from enfold.generation.session import Answer, Session
from enfold.model import PreTrainedModel

__all__ = ["GuidedSession", "check_guidance"]


class GuidedSession(Session):
    """Slots whose answers lead away from what the model says to the same text after a negative prompt.

    That prompt is the last token of the text's own where :meth:`open` is not told another.

    Args:
        model: with a language-model head.
        scale: how far; 1 is where the model is by itself.
        width: rows of a slot.
        wants_hidden: whether answers carry hidden states, which are those of the text's own prompt.
        quantized: as for :class:`Session`.
        shortlist: as for :class:`Session`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        scale: float,
        *,
        width: int = 1,
        wants_hidden: bool = False,
        quantized: bool = False,
        shortlist: Iterable[int] | None = None,
    ) -> None:
        super().__init__(model, width=width, wants_hidden=wants_hidden, quantized=quantized, shortlist=shortlist)
        self._scale = scale
        self._other = Session(model, width=width, quantized=quantized, shortlist=shortlist)

    def open(
        self,
        prompts: Sequence[list[int]],
        sources: Sequence[list[int]] | None = None,
        negatives: Sequence[list[int] | None] | None = None,
        read: Sequence[Prefix | None] | None = None,
    ) -> Answer:
        given = negatives or [None] * len(prompts)
        others = [prompt[-1:] if other is None else other for prompt, other in zip(prompts, given, strict=True)]
        return self._guided(super().open(prompts, sources), self._other.open(others))

    @property
    def in_pieces(self) -> bool:
        return False  # there are two prompts

    def close(self, slot: int, tokens: Sequence[int] = ()) -> int:
        self._other.close(slot)
        return super().close(slot, tokens)

    def step(self, tokens: Sequence[int]) -> Answer:
        return self._guided(super().step(tokens), self._other.step(tokens))

    def extend(self, row: int, tokens: Sequence[int]) -> Answer:
        return self._guided(super().extend(row, tokens), self._other.extend(row, tokens))

    def drop(self, row: int, count: int) -> None:
        self._other.drop(row, count)
        super().drop(row, count)

    def follow(self, parents: Sequence[int]) -> None:
        self._other.follow(parents)
        super().follow(parents)

    def _guided(self, answer: Answer, other: Answer) -> Answer:
        return Answer(guide(answer.logits.copy(), other.logits, self._scale), answer.hidden, unguided=answer.logits)


def check_guidance(
    model: PreTrainedModel,
    config: GenerationConfig,
    prompts: Sequence[list[int]],
    negatives: Sequence[list[int]] | None,
) -> None:
    """Looks at what ``guidance_scale`` and negative prompts need.

    Raises:
        InputError: an encoder-decoder model, negative prompts without a scale, as many as there are no prompts, or too
            long for the model; all problems in one.
    """
    problems = []
    scale, limit = config.guidance_scale, context_of(model.arch)
    if scale is not None and scale != 1 and model.arch.encoder is not None:
        problems.append("guidance_scale is for decoder-only models, and this one has an encoder")
    if negatives is not None and (scale is None or scale == 1):
        problems.append("negative_prompt_ids have no effect without guidance: set guidance_scale to more than 1")
    if negatives is not None and len(negatives) != len(prompts):
        problems.append(f"there are {len(negatives)} negative prompts for {len(prompts)} prompts: give one for each")
    for prompt, negative in zip(prompts, negatives or (), strict=False):
        needed = len(negative) + config.length_limit(len(prompt), limit) - len(prompt)
        if limit is not None and needed > limit:
            problems.append(
                f"a negative prompt of {len(negative)} tokens and the new ones are {needed}, and this model reads "
                f"{limit}"
            )
    if problems:
        raise InputError("; ".join(problems))
