"""Everything that a strategy asks of the options: processors, stopping criteria, what to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enfold.errors import InputError, NumericalError
from enfold.generation.config import GenerationConfig
from enfold.generation.context import context_of
from enfold.generation.grammar import grammar_mask
from enfold.generation.logits import processors
from enfold.generation.loop import Request, Text
from enfold.generation.rows import Criterion, Processor, Scores
from enfold.generation.session import Answer
from enfold.generation.stop import criteria
from enfold.model import PreTrainedModel

__all__ = ["Recipe"]


@dataclass
class Recipe:
    """The options of one call, made ready.

    Attributes:
        config: the options.
        processors: what scores go through at each step.
        criteria: what ends a row.
        kept: records to keep of each step: ``"scores"`` (processed) and ``"logits"`` (as the model gave them).
        generator: draws where a request has no generator of its own.
        explain: told the tokens of a row whose scores are not numbers; raises the error that says why.
        positions: how many tokens the model reads; None: no limit.
    """

    config: GenerationConfig
    processors: list[Processor]
    criteria: list[Criterion]
    kept: tuple[str, ...]
    generator: np.random.Generator
    explain: Callable[[list[int], list[int] | None], None]
    positions: int | None = None

    @classmethod
    def of(
        cls,
        model: PreTrainedModel,
        config: GenerationConfig,
        *,
        tokenizer: Any = None,
        own_processors: Iterable[Any] = (),
        own_criteria: Iterable[Any] = (),
        prefix_allowed_tokens_fn: Callable[[int, list[int]], Any] | None = None,
    ) -> Recipe:
        """Makes the options ready for a model; arguments as :meth:`enfold.PreTrainedModel.generate` takes them.

        Raises:
            InputError: options that don't fit the model or each other, or that need the tokenizer.
        """
        positions = context_of(model.arch)
        chain = processors(
            config,
            model.arch.vocab_size,
            own=[*own_processors],
            prefix_allowed_tokens_fn=prefix_allowed_tokens_fn,
            grammar=grammar_mask(config, tokenizer),
            positions=positions,
        )
        kept = tuple(name for name in ("scores", "logits") if getattr(config, f"output_{name}"))
        return cls(
            config=config,
            processors=chain,
            criteria=criteria(config, tokenizer, own=own_criteria, positions=positions),
            kept=kept,
            generator=np.random.default_rng(config.seed),
            explain=lambda tokens, source: explain_nan(model, tokens, source),
            positions=positions,
        )

    def limit(self, prompt_length: int) -> int:
        """How many tokens a text may have, its prompt's counted."""
        return self.config.length_limit(prompt_length, self.positions)

    def text(self, request: Request) -> Text:
        """The beginning of a text."""
        return Text(request, list(request.prompt), self.records())

    def records(self) -> dict[str, list[Any]]:
        """Room for what is to be kept of each step."""
        return {name: [] for name in self.kept}

    def raw(self, answer: Answer) -> Scores:
        """(R, V) as the model gave them and processors leave alone, where they are to be kept."""
        if answer.unguided is not None:
            return answer.unguided
        return answer.logits.copy() if "logits" in self.kept else answer.logits

    def check(self, chosen: NDArray[np.floating[Any]], writings: Sequence[Any]) -> None:
        """Looks at the highest scores, of which tokens were chosen.

        Raises:
            NumericalError: one is NaN, as the highest is when any is.
            InputError: one is -inf: the options forbid every token.
        """
        if np.isfinite(chosen).all():
            return
        bad = np.flatnonzero(np.isnan(chosen))
        if bad.size:
            writing = writings[int(bad[0]) * len(writings) // len(chosen)]
            self.explain(writing.rows[0], writing.request.source)
        if (chosen == -np.inf).any():
            raise InputError(
                "the options forbid every token; expected at least one with a finite score. Look at what suppresses "
                "or allows tokens (bad_words_ids, suppress_tokens, prefix_allowed_tokens_fn …)"
            )


def explain_nan(model: PreTrainedModel, tokens: list[int], source: list[int] | None) -> None:
    """Finds where NaN begins in a forward pass, by running it once more.

    Raises:
        NumericalError: always; it names the layer.
    """
    began = _where_nan_begins(model, tokens, source)
    raise NumericalError(
        f"the scores of the next token are NaN after {len(tokens)} tokens; {began}. Is the checkpoint whole, and did "
        "training diverge? Half precision overflows too: load with dtype='float32'"
    )


def _where_nan_begins(model: PreTrainedModel, tokens: list[int], source: list[int] | None) -> str:
    if source is None:
        output = model.forward(input_ids=[tokens], output_hidden_states=True, use_cache=False)
        states = list(output.hidden_states)
    else:
        output = model.forward(
            input_ids=[source], decoder_input_ids=[tokens], output_hidden_states=True, use_cache=False
        )
        states = [*output.encoder_hidden_states, *output.decoder_hidden_states]
    names = [f"{side}{part}" for side, part in _names_of_states(model)]
    bad = [name for name, state in zip(names, states, strict=True) if bool((state != state).any())]
    if bad:
        return f"they begin in {bad[0]}"
    if bool((output.logits != output.logits).any()):
        return "they begin in the language-model head"
    return "the model's own scores are numbers: a logits processor made them"


def _names_of_states(model: PreTrainedModel) -> Iterator[tuple[str, str]]:
    """What each of the hidden states comes from."""
    encoder = model.arch.encoder
    for side, arch in (("the encoder's ", encoder), ("the decoder's " if encoder else "", model.arch)):
        if arch is not None:
            yield side, "embeddings" if side else "the embeddings"
            for depth in range(arch.num_layers):
                yield side, f"layer {depth}"
