"""What every task shares: texts in, records out, in order, in a stream, with batches cut by a token budget.

::

    inputs ─▶ chunk ─▶ encode: windows of each input ─▶ sort ─▶ batches within the budget ─▶ model ─▶ finish: record

A task says how an input becomes windows (``encode``), which of the model's outputs it wants, and how the windows'
outputs become a record (``finish``). Nothing is padded, so a record does not depend on its batch mates.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from enfold.checkpoint.sources import Want
from enfold.errors import InputError, TaskError, TextTooLongError
from enfold.heads import HeadKind
from enfold.model import PreTrainedModel
from enfold.packing import pack, token_budget_batches
from enfold.tasks.progress import track
from enfold.tokenization import Encoded, Tokenizer
from enfold.tokenization.encoded import Strategy

__all__ = ["Fields", "Long", "Options", "Side", "Task"]

logger = logging.getLogger("enfold")

Long = Literal["window", "truncate", "error"]
Side = Literal["first", "second", "longer"]
"""Which text of a pair gives way: always one of them, or the longer one until both are equally long."""

_STRATEGIES: Mapping[Side, Strategy] = {"first": "only_first", "second": "only_second", "longer": "longest_first"}
Fields = Mapping[str, NDArray[Any]]
"""One sequence's outputs, or what is kept of them: (S, …) of its tokens, (…) where the head reads the first."""

Given = TypeVar("Given")
Record = TypeVar("Record")

_CHUNK = 512


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a task treats long texts and long runs.

    Attributes:
        long: texts over the model's limit are read in overlapping windows, cut (with a count) or refused.
        stride: tokens that neighbouring windows share; by default a quarter of the limit.
        token_budget: tokens of one batch. More needs more memory and is not faster where the processor is full.
        progress: a bar on the terminal; ``"auto"`` shows it there for runs of more than a second, never in a pipe.
    """

    long: Long = "window"
    stride: int | None = None
    token_budget: int = 1024
    progress: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.long not in ("window", "truncate", "error"):
            raise InputError(f"long is {self.long!r}, expected 'window', 'truncate' or 'error'")
        if self.token_budget < 1:
            raise InputError(f"token_budget is {self.token_budget}, expected 1 token or more")


class Task:
    """A model, its tokenizer and a way to ask: call it with a text, a list, a generator or a dataset.

    A text gives a record, a list a list, anything else that can be iterated a generator of records.
    """

    name: ClassVar[str]
    head: ClassVar[HeadKind]
    other_heads: ClassVar[tuple[HeadKind, ...]] = ()
    """Heads that will do as well."""
    long: ClassVar[Long] = "window"
    """What becomes of long texts where nobody says."""
    want: ClassVar[Want] = "all"
    """The files of a model that the task needs."""

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, options: Options | None = None) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.options = options or Options(long=self.long)
        self._require_head()
        if len(tokenizer) > model.arch.vocab_size:
            raise TaskError(
                f"the tokenizer has {len(tokenizer)} tokens and the model's embeddings {model.arch.vocab_size}: "
                "they don't belong together"
            )

    def _require_head(self) -> None:
        """An encoder task reads hidden states alone: any model will do, whatever its head and its training."""
        if self.head == "encoder":
            return
        heads = (self.head, *self.other_heads)
        if self.model.kind not in heads:
            raise TaskError(
                f"{self.name} needs a model with a {' or '.join(heads)} head, got a {self.model.blueprint.class_name}"
            )
        self.model.require_trained()

    @property
    def max_length(self) -> int:
        """Tokens that one window may have, special ones included."""
        return min(self.model.arch.max_length, self.tokenizer.model_max_length)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes model and tokenizer into one folder."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(Path(folder))

    def adopt(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Takes call options that hold from now on into the task itself; returns those that each call needs anew."""
        return dict(options)

    def encode_texts(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        cut: Side = "first",
        limit: int | None = None,
        stride: int | None = None,
    ) -> list[list[Encoded]]:
        """The windows of each text or pair; see :meth:`fit`."""
        return self.fit(self.tokenizer.encode_many(texts, pairs), cut=cut, limit=limit, stride=stride)

    def fit(
        self,
        encoded: Sequence[Encoded],
        *,
        cut: Side = "first",
        limit: int | None = None,
        stride: int | None = None,
    ) -> list[list[Encoded]]:
        """The windows of each text, or of each pair with one side cut; one window where it fits.

        Args:
            encoded: what to read.
            cut: the text of a pair that gives way.
            limit: tokens of a window where that is less than the model's limit.
            stride: tokens that neighbouring windows share, before the task's own.

        Raises:
            TextTooLongError: with ``long="error"``, a text over the limit.
        """
        limit = self.max_length if limit is None else min(limit, self.max_length)
        result = [[one] for one in encoded]
        over = [index for index, one in enumerate(encoded) if len(one) > limit]
        if not over:
            return result
        if self.options.long == "error":
            item = encoded[over[0]].item
            raise TextTooLongError(
                f"{len(over)} of {len(encoded)} texts are over the limit of {limit} tokens, the longest has "
                f"{max(len(encoded[index]) for index in over)}; the first begins "
                f"{(item[0] if isinstance(item, tuple) else item)[:40]!r}: "
                "pass long='window' to read them whole or long='truncate' to cut them"
            )
        truncate = self.options.long == "truncate"
        for index in over:
            shared = 0 if truncate else self._stride(encoded[index], cut, limit, stride)
            windows = self.tokenizer.windows(encoded[index], max_length=limit, stride=shared, strategy=_STRATEGIES[cut])
            result[index] = windows[:1] if truncate else windows
        if truncate:
            lost = sum(len(encoded[index]) - limit for index in over)
            logger.warning(
                "cut %d of %d texts at %d tokens: %d tokens were not read", len(over), len(encoded), limit, lost
            )
        return result

    def _stride(self, encoded: Encoded, cut: Side, limit: int, asked: int | None) -> int:
        """As asked; else a quarter of the limit, and at most half of what a window has room for."""
        asked = self.options.stride if asked is None else asked
        if asked is not None:
            return asked
        stays = {"first": (None, 1), "second": (None, 0), "longer": (None,)}[cut]
        around = sum(side in stays for side in encoded.sequence_ids)
        return min(limit // 4, max(0, limit - around) // 2)

    def stream(
        self,
        items: Iterable[Given],
        encode: Callable[[list[Given]], list[list[Encoded]]],
        finish: Callable[[Given, list[Encoded], list[Fields]], Record],
        *,
        fields: Sequence[str] = (),
        total: int | None = None,
        tokens: Callable[[Encoded], NDArray[np.int64]] | None = None,
        keep: Callable[[Encoded, Fields], Fields] | None = None,
    ) -> Iterator[Record]:
        """Records in the order of the items, as they are ready.

        Args:
            items: what is asked; read in chunks, so that it may be endless.
            encode: a chunk of items to the windows of each.
            finish: an item, its windows and their outputs to a record.
            fields: the model's outputs that are wanted; empty: the head's.
            total: how many items there are, for the progress bar.
            tokens: the tokens of a window that the head is wanted for; all where absent.
            keep: what to keep of a window's outputs until its chunk is done; hidden states take much memory.
        """
        self._require_head()
        source = iter(items)

        def run(batch: list[Encoded]) -> Iterator[Fields]:
            outputs = self._run(batch, fields, tokens)
            return outputs if keep is None else map(keep, batch, outputs)

        with track(self.name, total, self.options.progress) as advance:
            size = _CHUNK if total is not None else 1
            while chunk := list(islice(source, size)):
                size = min(2 * size, _CHUNK)  # the first records of a stream come early, later ones in full batches
                windows = encode(chunk)
                flat = [window for each in windows for window in each]
                outputs = iter(self._outputs(flat, run, advance, len(chunk) / max(1, len(flat))))
                for item, own in zip(chunk, windows, strict=True):
                    yield finish(item, own, list(islice(outputs, len(own))))

    def _outputs(
        self,
        windows: list[Encoded],
        run: Callable[[list[Encoded]], Iterator[Fields]],
        advance: Callable[[float], None],
        share: float,
    ) -> list[Fields]:
        """Runs windows of similar length together: fewer distinct shapes, and nothing else depends on it."""
        order = sorted(range(len(windows)), key=lambda index: len(windows[index]))
        results: list[Fields] = [{}] * len(windows)
        for batch in token_budget_batches([len(windows[index]) for index in order], self.options.token_budget):
            chosen = [order[index] for index in batch]
            for index, output in zip(chosen, run([windows[i] for i in chosen]), strict=True):
                results[index] = output
            advance(len(chosen) * share)
        return results

    def _run(
        self,
        windows: list[Encoded],
        fields: Sequence[str],
        tokens: Callable[[Encoded], NDArray[np.int64]] | None,
    ) -> Iterator[Fields]:
        typed = "token_type_ids" in self.tokenizer.model_input_names
        batch = pack(
            self.model.arch,
            [window.ids for window in windows],
            [window.type_ids for window in windows] if typed else None,
        )
        wanted = [tokens(window) for window in windows] if tokens else []
        rows = [chosen + begin for chosen, (begin, _) in zip(wanted, batch.spans, strict=True)] if tokens else None
        outputs = self.model.run(batch, fields=fields, tokens=None if rows is None else np.concatenate(rows))
        of_texts = self.model.head.of_texts
        ends = np.cumsum([len(chosen) for chosen in wanted]).tolist() if tokens else []
        for index, (begin, end) in enumerate(batch.spans):
            span = slice(begin, end)
            head_span = slice(ends[index] - len(wanted[index]), ends[index]) if tokens else span
            yield {
                name: array[index] if name in of_texts else array[span if name == "last_hidden_state" else head_span]
                for name, array in outputs.items()
            }


def respond(given: Any, records: Callable[[Iterable[Any], int | None], Iterator[Any]], *, single: bool) -> Any:
    """One record for one input, a list for a list, a generator for anything else that can be iterated."""
    if single:
        return next(records([given], 1))
    if isinstance(given, list | tuple):
        return list(records(given, len(given)))
    many = isinstance(given, Iterable) or hasattr(given, "__getitem__")
    if many and not isinstance(given, str | bytes | bytearray | os.PathLike | Mapping):
        return records(given, len(given) if hasattr(given, "__len__") else None)
    raise InputError(
        f"got {type(given).__name__} ({given!r:.60}), expected a text, a list of texts, a generator or a dataset"
        f"{_hint(given)}"
    )


def _hint(given: object) -> str:
    return "; read the file or decode the bytes first" if isinstance(given, bytes | bytearray | os.PathLike) else ""


def check_count(name: str, value: object) -> int:
    """``value``, if it is a whole number of 1 or more.

    Raises:
        InputError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} is {value!r}, expected a whole number of 1 or more")
    return value


def check_text(text: object) -> str:
    """``text``, if it is one.

    Raises:
        InputError: it is not, or it is empty.
    """
    if not isinstance(text, str):
        raise InputError(f"got {type(text).__name__} ({text!r:.60}), expected a text{_hint(text)}")
    if not text.strip():
        raise InputError(f"the text is empty ({text!r:.20}): there is nothing to read")
    return text
