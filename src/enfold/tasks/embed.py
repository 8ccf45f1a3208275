"""Embeddings: a text to a vector, as the model's folder says it was trained to be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import normalizers

from enfold.checkpoint.atomic import atomic_folder
from enfold.checkpoint.modules import Modules, Normalize, read_modules, write_modules
from enfold.errors import InputError
from enfold.model import PreTrainedModel
from enfold.tasks.base import Fields, Options, Task, check_text, respond
from enfold.tasks.pooling import apply_modules, merge_windows, normalized, pool
from enfold.tokenization import Encoded, Tokenizer

__all__ = ["Embed", "EmbeddingTask", "check_texts"]

Floats = NDArray[np.float32]

_SHOWN = 5
_STALE = (
    "model.safetensors",
    "model-?????-of-?????.safetensors",
    "model.safetensors.index.json",
    *(f"[0-9]_{kind}/*" for kind in ("Pooling", "Dense", "Normalize")),
)
"""What an earlier save may have left in a folder."""


class Embed(Task):
    """Texts to vectors whose closeness is likeness of meaning.

    Pooling, normalisation, prompts and the limit of tokens come from the folder's sentence-transformers files; a
    folder without them gives the mean of the tokens. Of a text over the limit each window is pooled, and the vectors
    are averaged with the windows' tokens as weights before anything else is done to them.

    >>> embed = pipeline("embed")                      # doctest: +SKIP
    >>> embed(["A text.", "Another."]).shape           # doctest: +SKIP
    (2, 384)
    """

    name = "embed"
    head = "encoder"
    want = "embedding"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        options: Options | None = None,
        *,
        modules: Modules | None = None,
    ) -> None:
        """Made by :func:`enfold.pipeline`; ``modules`` stand in for those of the model's folder."""
        super().__init__(model, tokenizer, options)
        self.modules = modules or (read_modules(model.source) if model.source else Modules())

    @property
    def max_length(self) -> int:
        """Tokens that one window may have: the least that model, tokenizer and folder allow."""
        return min(super().max_length, self.modules.max_seq_length or super().max_length)

    @cached_property
    def width(self) -> int:
        """Numbers of one embedding, D."""
        return self.modules.width(self.model.arch.hidden_size)

    @cached_property
    def prompts(self) -> Mapping[str, str]:
        """Prompts by name; ``query`` and ``document`` are always there, empty where the model has none."""
        return {"query": "", "document": "", **self.modules.prompts}

    def __call__(
        self,
        inputs: Any,
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        normalize: bool | None = None,
        truncate_dim: int | None = None,
    ) -> Any:
        """Embeds texts.

        Args:
            inputs: a text, a list of texts, or anything else that yields texts.
            prompt: put before each text.
            prompt_name: the same, by its name in the model's folder; by default the folder's default, if any.
            normalize: whether vectors get length 1, after everything else; None leaves it to the model's folder.
            truncate_dim: keep the first numbers alone, for models trained to be cut (Matryoshka). As in
                sentence-transformers, a vector that is cut is of length 1 only with ``normalize=True``.

        Returns:
            float32: (D,) for a text, (N, D) for a list, a generator of (D,) for anything else.

        Raises:
            InputError: something that is not a text, an empty text, or an option that does not fit the model.
            TextTooLongError: with ``long="error"``, a text over the limit.
        """

        def vectors(items: Iterable[Any], total: int | None) -> Iterator[Floats]:
            pairs = self.pairs(
                items,
                prompt=prompt,
                prompt_name=prompt_name,
                normalize=normalize,
                truncate_dim=truncate_dim,
                total=total,
            )
            return (vector for _, vector in pairs)

        if isinstance(inputs, list | tuple):
            check_texts(inputs)
            rows = vectors(inputs, len(inputs))
            return np.fromiter(rows, np.dtype((np.float32, truncate_dim or self.width)), len(inputs))
        return respond(inputs, vectors, single=isinstance(inputs, str | bytes | os.PathLike | Mapping))

    def pairs(
        self,
        texts: Iterable[str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        normalize: bool | None = None,
        truncate_dim: int | None = None,
        total: int | None = None,
    ) -> Iterator[tuple[str, Floats]]:
        """Each text with its embedding (D,), in order, as they are ready; texts are taken in chunks, even endless ones.

        Arguments and errors are those of a call; ``total`` tells the progress bar how many texts there are.
        """
        width = _check_width(truncate_dim, self.width)
        prompt = self._prompt(prompt, prompt_name)
        after = self.modules.after
        if normalize is False and after and isinstance(after[-1], Normalize):
            after = after[:-1]
        read = normalizers.Lowercase().normalize_str if self.modules.do_lower_case else str

        def encode(chunk: list[str]) -> list[list[Encoded]]:
            return self.encode_texts([read(prompt + check_text(item)) for item in chunk])

        def finish(text: str, windows: list[Encoded], outputs: list[Fields]) -> tuple[str, Floats]:
            pooled = merge_windows(windows, [output["pooled"] for output in outputs])
            vector = apply_modules(pooled, after)[:width]
            return text, normalized(vector) if normalize else vector

        keep = self._pooler(len(read(prompt)))
        return self.stream(texts, encode, finish, fields=("last_hidden_state",), total=total, keep=keep)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes model, tokenizer and modules into one folder, all or nothing; sentence-transformers loads it."""
        with atomic_folder(folder, replaces=_STALE) as aside:
            super().save_pretrained(aside)
            write_modules(aside, self.modules, self.model.arch.hidden_size)

    def _prompt(self, prompt: str | None, name: str | None) -> str:
        if prompt is not None and name is not None:
            raise InputError(f"both prompt={prompt!r} and prompt_name={name!r} were given, expected one of them")
        if prompt is not None:
            if not isinstance(prompt, str):
                raise InputError(f"prompt is {prompt!r:.60}, expected a text")
            return prompt
        name = self.modules.default_prompt_name if name is None else name
        if name is not None and name not in self.prompts:
            raise InputError(f"prompt_name is {name!r}; this model has {', '.join(sorted(self.prompts))}")
        return "" if name is None else self.prompts[name]

    def _pooler(self, prompt_length: int) -> Callable[[Encoded, Fields], Fields]:
        """Pools a window as soon as it is computed, so that hidden states don't pile up."""
        pooling = self.modules.pooling

        def keep(window: Encoded, outputs: Fields) -> Fields:
            skip = 0 if pooling.include_prompt else _prompt_tokens(window, prompt_length)
            return {"pooled": pool(outputs["last_hidden_state"], pooling.modes, skip)}

        return keep


class EmbeddingTask(Task):
    """A task that is built on embeddings."""

    head = "encoder"
    want = "embedding"

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, options: Options | None = None) -> None:
        super().__init__(model, tokenizer, options)
        self.embed = Embed(model, tokenizer, options)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes model, tokenizer and modules as :meth:`Embed.save_pretrained` does."""
        self.embed.save_pretrained(folder)


def check_texts(texts: Sequence[object]) -> None:
    """Looks at all texts before the first is embedded.

    Raises:
        InputError: some are not texts, or empty; says which and of how many.
    """
    problems = []
    for index, text in enumerate(texts):
        try:
            check_text(text)
        except InputError as error:
            problems.append(f"[{index}] {error}")
    if problems:
        more = f"\n  … and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        listed = "\n  ".join(problems[:_SHOWN])
        raise InputError(f"{len(problems)} of {len(texts)} can't be read:\n  {listed}{more}")


def _check_width(truncate_dim: int | None, width: int) -> int:
    if truncate_dim is None:
        return width
    if isinstance(truncate_dim, bool) or not isinstance(truncate_dim, int) or not 1 <= truncate_dim <= width:
        raise InputError(f"truncate_dim is {truncate_dim!r}, expected 1 to {width}, the model's width")
    return truncate_dim


def _prompt_tokens(window: Encoded, prompt_length: int) -> int:
    """Tokens up to the end of a prompt of so many characters, the special ones before it among them; 0 without one."""
    inside = np.flatnonzero(~window.special_mask & (window.offsets[:, 1] <= prompt_length))
    return min(int(inside[-1]) + 1, len(window) - 1) if len(inside) else 0
