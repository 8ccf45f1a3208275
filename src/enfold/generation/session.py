"""A model that writes: its cache in slots of rows, one slot for each text, and the passes that fill it.

A slot has as many rows as its text has candidates (beams); slots stand side by side, so that every pass runs all rows
in order and none has padding. When a text is finished, the last slot takes its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from enfold.arch import Rotary
from enfold.cache import Cache, Turn
from enfold.engines.cpu.native_module import empty
from enfold.generation.prefixes import LEAST_SHARED, Prefix, Prefixes, common_beginning
from enfold.generation.rows import Scores
from enfold.model import PreTrainedModel
from enfold.packing import Packed, pack, token_budget_batches
from enfold.positions import depends_on_length

__all__ = ["Answer", "Opening", "Session", "joined"]

_TOKEN_BUDGET = 2048


@dataclass
class Answer:
    """What the model says to the last token of each row.

    Attributes:
        logits: (R, V).
        hidden: where wanted, for each row the last hidden states (n, D) of the n tokens that it has just read; at a
            text's first step those are its whole prompt.
        unguided: (R, V) as the model gave them, where ``logits`` were changed since.
    """

    logits: Scores
    hidden: list[NDArray[np.float32]] | None = None
    unguided: Scores | None = None

    def repeated(self, times: int) -> Answer:
        """Each row several times."""
        return self if times == 1 else self.chosen([row for row in range(len(self.logits)) for _ in range(times)])

    def chosen(self, rows: Sequence[int]) -> Answer:
        """Copies of some rows."""
        return Answer(
            self.logits[rows],
            None if self.hidden is None else [self.hidden[row] for row in rows],
            None if self.unguided is None else self.unguided[rows],
        )


def joined(answers: Sequence[Answer]) -> Answer:
    """The rows of several answers, one after another."""
    hidden = [states for answer in answers for states in answer.hidden or ()]
    unguided = [answer.unguided for answer in answers if answer.unguided is not None]
    return Answer(
        np.concatenate([answer.logits for answer in answers]),
        hidden or None,
        np.concatenate(unguided) if unguided else None,
    )


class Opening:
    """A prompt that is read piece by piece, beside the slots, until a text can begin with it.

    Args:
        session: where the text will be written.
        prompt: its tokens.
    """

    def __init__(self, session: Session, prompt: Sequence[int]) -> None:
        self._session, self._prompt = session, prompt
        self._cache = session.new_cache()
        self._cache.add()
        self._cache.expect(len(prompt))
        length, donor = session.donor(prompt, begins=True)
        if donor is not None:
            self._cache.put_row(0, donor.layers, length)

    @property
    def left(self) -> int:
        """Tokens that are to be read yet."""
        return len(self._prompt) - self._cache.lengths[0]

    def read(self, count: int) -> None:
        """Reads so many more of its tokens; the last one is for the text itself to read."""
        past = self._cache.lengths[0]
        piece = self._prompt[past : min(past + count, len(self._prompt) - 1)]
        if piece:
            model = self._session.model
            batch = pack(model.arch, [np.asarray(piece)], pasts=[past])
            model.run(batch, fields=("last_hidden_state",), turn=self._cache.turn([0], [len(piece)]))

    @property
    def prefix(self) -> Prefix:
        """What was read."""
        length = self._cache.lengths[0]
        return Prefix(tuple(self._prompt[:length]), self._cache.row(0, length))


class Session:
    """Slots in which texts are written.

    Args:
        model: with a language-model head.
        width: rows of a slot.
        wants_hidden: whether answers carry hidden states.
        quantized: whether keys and values are kept as bytes.
        shortlist: the only tokens that are thought of, which the vocabulary's matrix is cut down to; all others have
            the score -inf.
        prefixes: beginnings of texts that were written before.

    Raises:
        InputError: the model's engine has no quantized cache.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        width: int = 1,
        wants_hidden: bool = False,
        quantized: bool = False,
        shortlist: Iterable[int] | None = None,
        prefixes: Prefixes | None = None,
    ) -> None:
        self.model, self.width = model, width
        self._fields = ("logits", "last_hidden_state") if wants_hidden else ("logits",)
        rotary = model.arch.relative
        # keys that are turned by the length of their text are of no use to a text of another length
        self._can_share = not wants_hidden and not (isinstance(rotary, Rotary) and depends_on_length(rotary))
        self._shortlist = None if shortlist is None else np.array([*shortlist], np.int64)
        self._plan = model.quick_plan(self._shortlist)
        self._prefixes = prefixes if self.in_pieces else None
        self._quantized = quantized
        self.cache = self.new_cache()
        self.prompts: list[list[int]] = []

    def __len__(self) -> int:
        return len(self.prompts)

    def new_cache(self) -> Cache:
        """An empty cache as this session's."""
        return self.model.new_cache(quantized=self._quantized)

    @property
    def in_pieces(self) -> bool:
        """Whether a prompt may be read in pieces, or begin with what another text has read."""
        return self._can_share and self.model.arch.encoder is None

    # ── texts come and go ────────────────────────────────────────────────────

    def open(
        self,
        prompts: Sequence[list[int]],
        sources: Sequence[list[int]] | None = None,
        negatives: Sequence[list[int] | None] | None = None,
        read: Sequence[Prefix | None] | None = None,
    ) -> Answer:
        """New slots after the others; the answer has one row for each.

        Args:
            prompts: tokens that the text begins with, at least one each.
            sources: the encoder's tokens of each, for an encoder-decoder model.
            negatives: prompts to lead away from, for :class:`enfold.generation.guidance.GuidedSession` alone.
            read: beginnings of the prompts that were read already.
        """
        if sources is not None:
            self._read(sources)
        first = len(self.prompts)
        for slot, prompt in enumerate(prompts, first):
            self.cache.add(self.width, owner=slot)
            self.prompts.append(list(prompt))
        self.cache.expect(max(map(len, prompts), default=0))
        plain, sharing = self._donors(first, read or (), share=sources is None and self._can_share)
        answers = self.read(plain, [0] * len(plain))
        for slot, (donor, length) in sharing.items():
            if isinstance(donor, Prefix):
                self.cache.put_row(slot * self.width, donor.layers, length)
            else:
                self.cache.copy_row(donor * self.width, slot * self.width, length)
        answers |= self.read(list(sharing), [length for _, length in sharing.values()])
        for slot in answers:
            for row in range(slot * self.width + 1, (slot + 1) * self.width):
                self.cache.copy_row(slot * self.width, row)
        return joined([answers[slot] for slot in range(first, len(self.prompts))])

    def close(self, slot: int, tokens: Sequence[int] = ()) -> int:
        """Ends a slot: the last one takes its place. Returns the number that the last one had.

        Args:
            slot: its number.
            tokens: of its first row, from the beginning, as far as texts to come may begin alike.
        """
        self._remember(slot, tokens)
        last = len(self.prompts) - 1
        for offset in reversed(range(self.width)):
            row = slot * self.width + offset
            if slot != last:
                self.cache.copy_row(last * self.width + offset, row)
                self.cache.owners[row] = slot
        self.cache.pop(self.width)
        if self.cache.sources:
            self.cache.forget(slot)
        self.prompts[slot] = self.prompts[last]
        self.prompts.pop()
        return last

    def _read(self, sources: Sequence[list[int]]) -> None:
        arch = self.model.arch.encoder
        assert arch is not None
        for chosen in token_budget_batches([len(source) for source in sources], _TOKEN_BUDGET):
            batch = pack(arch, [np.asarray(sources[index]) for index in chosen])
            self.model.remember(batch, self.cache, plan=self._plan)

    def _remember(self, slot: int, tokens: Sequence[int]) -> None:
        """Keeps the tokens that a slot's first row has read."""
        row = slot * self.width
        length = min(len(tokens), self.cache.lengths[row])
        if self._prefixes is None or length < LEAST_SHARED or self._prefixes.has(tokens[:length]):
            return
        self._prefixes.keep(Prefix(tuple(tokens[:length]), self.cache.taken_row(row, length)))

    def donor(self, prompt: Sequence[int], *, begins: bool = False) -> tuple[int, Prefix | None]:
        """The tokens at a prompt's beginning that need not be read, and who has read them.

        Args:
            prompt: its tokens.
            begins: whether the text begins now, so that what was kept for it is of use.
        """
        if not self.in_pieces:
            return 0, None
        length, donor = self._alike(prompt, range(len(self.prompts)))
        kept, prefix = self._kept(prompt, begins=begins)
        if max(length, kept) < LEAST_SHARED:
            return 0, None
        most = min(max(length, kept), len(prompt) - 1)
        if kept <= length:
            prefix = Prefix(tuple(prompt[:most]), self.cache.row(donor * self.width, most))
        return most, prefix

    def _kept(self, prompt: Sequence[int], *, begins: bool) -> tuple[int, Prefix | None]:
        """The text that was written before and begins as a prompt does, and how many tokens they have in common."""
        if self._prefixes is None:
            return 0, None
        return self._prefixes.take(prompt) if begins else self._prefixes.best(prompt)

    def _alike(self, prompt: Sequence[int], slots: Iterable[int]) -> tuple[int, int]:
        """The most tokens that a prompt has in common with a slot's, and that slot."""
        return max(((common_beginning(self.prompts[slot], prompt), slot) for slot in slots), default=(0, 0))

    def _donors(
        self, first: int, read: Sequence[Prefix | None], *, share: bool
    ) -> tuple[list[int], dict[int, tuple[int | Prefix, int]]]:
        """Which new slots are computed whole, and which begin as another text does: slot → (that, tokens alike)."""
        whole: list[int] = []
        sharing: dict[int, tuple[int | Prefix, int]] = {
            slot: (prefix, len(prefix.tokens)) for slot, prefix in enumerate(read, first) if prefix is not None
        }
        # the longest first: the others find the most in common with it
        for slot in sorted(range(first, len(self.prompts)), key=lambda slot: -len(self.prompts[slot])):
            if slot in sharing:
                continue
            prompt = self.prompts[slot]
            length, donor = self._alike(prompt, [*range(first), *whole] if share and len(prompt) > LEAST_SHARED else ())
            kept, prefix = self._kept(prompt, begins=True) if share else (0, None)
            if max(length, kept) < LEAST_SHARED:
                whole.append(slot)
                continue
            sharing[slot] = (
                donor if prefix is None or length >= kept else prefix,
                min(max(length, kept), len(prompt) - 1),
            )
        return whole, sharing

    def read(self, slots: Sequence[int], pasts: Sequence[int]) -> dict[int, Answer]:
        """Reads the prompts of slots beyond the tokens that the first row of each holds already; answers by slot."""
        answers: dict[int, Answer] = {}
        rests = [self.prompts[slot][past:] for slot, past in zip(slots, pasts, strict=True)]
        for chosen in token_budget_batches([len(rest) for rest in rests], _TOKEN_BUDGET):
            before = [pasts[index] for index in chosen]
            batch = pack(self.model.arch, [np.asarray(rests[index]) for index in chosen], pasts=before)
            turn = self.cache.turn([slots[index] * self.width for index in chosen], [len(rests[i]) for i in chosen])
            answer = self._run(batch, turn, batch.starts[1:] - 1)
            for place, index in enumerate(chosen):
                answers[slots[index]] = answer.chosen([place])
        return answers

    # ── steps ────────────────────────────────────────────────────────────────

    def step(self, tokens: Sequence[int]) -> Answer:
        """One more token for every row, and what the model says to it."""
        count = len(tokens)
        pasts = list(self.cache.lengths)
        ids = np.asarray(tokens, np.int64)
        batch = Packed(
            ids=ids,
            positions=self._positions(ids, np.asarray(pasts)),
            types=np.zeros_like(ids),
            starts=np.arange(count + 1),
            spans=[(row, row + 1) for row in range(count)],
            pasts=pasts,
        )
        return self._run(batch, self.cache.turn(range(count), [1] * count), None)

    def extend(self, row: int, tokens: Sequence[int]) -> Answer:
        """Several more tokens for one row, and what the model says to each of them."""
        past = self.cache.lengths[row]
        batch = pack(self.model.arch, [np.asarray(tokens)], pasts=[past])
        return self._run(batch, self.cache.turn([row], [len(tokens)]), None)

    def drop(self, row: int, count: int) -> None:
        """Forgets a row's last ``count`` tokens."""
        self.cache.truncate(row, self.cache.lengths[row] - count)

    def follow(self, parents: Sequence[int]) -> None:
        """Row ``i`` goes on from what row ``parents[i]`` was, within its slot."""
        moved = [row for row, parent in enumerate(parents) if row != parent]
        if moved:
            since = min(len(self.prompts[row // self.width]) for row in moved)
            self.cache.reorder(parents, since=since)

    def _positions(self, ids: NDArray[np.int64], pasts: NDArray[np.int64]) -> NDArray[np.int64]:
        positions = self.model.arch.positions
        if positions is None or positions.counted_from is None:
            return pasts + (positions.offset if positions else 0)
        pad = positions.counted_from
        return np.where(ids == pad, pad, pasts + pad + 1)

    def _run(self, batch: Packed, turn: Turn, tokens: NDArray[np.int64] | None) -> Answer:
        outputs = self.model.run(batch, fields=self._fields, tokens=tokens, turn=turn, plan=self._plan)
        states, logits = outputs.get("last_hidden_state"), outputs["logits"]
        if self._shortlist is not None:
            chosen, logits = logits, empty(len(logits), self.model.arch.vocab_size)
            logits.fill(-np.inf)
            logits[:, self._shortlist] = chosen
        return Answer(logits, None if states is None else [states[b:e] for b, e in batch.spans])
