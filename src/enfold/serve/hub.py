"""Requests side by side in one thread: what they read is read together, what they write is written together.

Each request runs the very code that a call from Python runs, on a stack of its own (a greenlet). Where that code would
run the model, it hands over what it wants and waits; the hub packs what several want into one pass.

::

    request ─▶ task ─▶ model.run ─┐                              ┌─▶ outputs of its own sequences
    request ─▶ task ─▶ model.run ─┴─▶ one packed pass of many ───┴─▶ outputs of its own sequences

    request ─▶ task ─▶ call.events ─┐                            ┌─▶ events of its own texts
    request ─▶ chat ─▶ call.events ─┴─▶ a step of all that write ┴─▶ events of its own texts

Nothing is padded and texts don't depend on their neighbours, so an answer is what the same call gives alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from greenlet import GreenletExit, getcurrent, greenlet
from numpy.typing import NDArray

from enfold.generation.calls import Call, session_of, strategy_of
from enfold.generation.loop import Event, Loop, Request, Strategy
from enfold.generation.prefixes import Prefixes
from enfold.model import PreTrainedModel
from enfold.pace import Pace
from enfold.packing import Packed, together

__all__ = ["Asker", "Cancelled", "Counts", "Hub"]

Outputs = dict[str, NDArray[np.float32]]


class Cancelled(GreenletExit):
    """Raised where a request waits that nobody wants answered any more; it ends the request and nothing else."""


class Asker(greenlet):
    """A request on its own stack, and the tokens that were read for it."""

    read_tokens = 0


@dataclass
class Counts:
    """What a hub has done since somebody last asked, who then begins new ones; what operators look at.

    ``read_tokens`` and ``written_tokens`` are tokens, ``batches`` the tokens of each pass that read, ``steps`` the
    texts of each step that wrote.
    """

    read_tokens: int = 0
    written_tokens: int = 0
    batches: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)


@dataclass
class _Read:
    """Sequences that a request wants read."""

    model: PreTrainedModel
    batch: Packed
    fields: tuple[str, ...]
    tokens: NDArray[np.int64] | None
    asker: greenlet

    @property
    def key(self) -> Hashable:
        """What may be read in one pass."""
        return id(self.model), self.fields


class _Ticket:
    """A request's place among the texts that are written, the news of its own, and whether it waits for some."""

    def __init__(self, asker: greenlet) -> None:
        self.asker, self.waits = asker, False
        self.events: deque[Event | Exception] = deque()


class _Table:
    """Texts of one model that are written in one loop, whose strategies have as many rows."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.tickets: dict[int, _Ticket] = {}
        self.waiting: deque[tuple[Request, Strategy]] = deque()

    @property
    def idle(self) -> bool:
        """Whether nobody writes here."""
        return not (self.loop or self.waiting or self.tickets)

    def leave(self, requests: Sequence[Request]) -> None:
        """Ends texts that nobody wants any more."""
        gone = set(map(id, requests))
        self.waiting = deque(each for each in self.waiting if id(each[0]) not in gone)
        for request in requests:
            self.loop.leave(request)
            self.tickets.pop(id(request), None)

    def tell(self, events: Iterable[tuple[_Ticket, Event | Exception]]) -> list[greenlet]:
        """Hands out news; the requests that waited for them."""
        told = []
        for ticket, event in events:
            ticket.events.append(event)
            if ticket.waits:
                ticket.waits = False
                told.append(ticket.asker)
        return told


class Hub:
    """Runs requests; :meth:`turn` takes all of them a step further.

    Args:
        token_budget: tokens of one pass that reads, prompts included.
        latency_s: seconds that such a pass may take; where the machine is slower than the budget, fewer tokens do.
        slots: texts that are written at once.
        prefix_bytes: memory for the beginnings of finished texts, of each model.
    """

    def __init__(
        self, *, token_budget: int = 1024, latency_s: float = 0.1, slots: int = 16, prefix_bytes: int = 256 << 20
    ) -> None:
        self.token_budget, self._latency_s = token_budget, latency_s
        self._slots, self._prefix_bytes = slots, prefix_bytes
        self._paces: WeakKeyDictionary[PreTrainedModel, Pace] = WeakKeyDictionary()
        self._reads: deque[_Read] = deque()
        self._ready: deque[greenlet] = deque()
        self._parked: dict[greenlet, Callable[[], bool]] = {}
        self._tables: dict[Hashable, _Table] = {}
        self.prefixes: WeakKeyDictionary[PreTrainedModel, Prefixes] = WeakKeyDictionary()
        self.counts = Counts()

    # ── what whoever drives it calls ─────────────────────────────────────────

    @property
    def busy(self) -> bool:
        """Whether a turn has something to do."""
        waits = any(ready() for ready in self._parked.values())
        return waits or bool(
            self._ready or self._reads or any(table.loop or table.waiting for table in self._tables.values())
        )

    def begin(self, work: Callable[[], None]) -> Asker:
        """A request; it runs from the next turn on. What ``work`` raises is raised by :meth:`turn`."""
        current = getcurrent()
        request = Asker(work, current.parent or current)  # of whoever drives the hub, also where a request begins it
        self._ready.append(request)
        return request

    def cancel(self, request: greenlet) -> None:
        """Ends a request where it waits; what it asked for is not computed."""
        self._reads = deque(read for read in self._reads if read.asker is not request)
        self._ready = deque(each for each in self._ready if each is not request)
        self._parked.pop(request, None)
        request.throw(Cancelled)

    def turn(self) -> None:
        """Runs requests until each waits; then one pass of what they want read, one step of what they write."""
        for request in [request for request, ready in self._parked.items() if ready()]:
            del self._parked[request]
            self._ready.append(request)
        self._run_ready()
        self._read_some()
        for key, table in list(self._tables.items()):
            self._write_some(table)
            if table.idle:
                self._tables.pop(key, None)

    def forget(self, model: PreTrainedModel) -> None:
        """Frees what was kept for a model that is no longer used."""
        self.prefixes.pop(model, None)

    # ── what requests call ───────────────────────────────────────────────────

    def read(
        self, model: PreTrainedModel, batch: Packed, fields: Sequence[str], tokens: NDArray[np.int64] | None
    ) -> Outputs:
        """The model's outputs for a batch, read together with what others want read.

        Within a request; arguments as :meth:`enfold.model.PreTrainedModel.run` takes them.
        """
        asker = getcurrent()
        if isinstance(asker, Asker):
            asker.read_tokens += len(batch.ids)
        self._reads.append(_Read(model, batch, tuple(fields), tokens, asker))
        outputs: Outputs = self._wait()
        return outputs

    def pause(self) -> None:
        """Lets others go on; within a request, before it computes something by itself."""
        self._ready.append(getcurrent())
        self._wait()

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Within a request: others go on until ``ready()``."""
        if not ready():
            self._parked[getcurrent()] = ready
            self._wait()

    def write(self, call: Call, requests: Iterable[Request], slots: int) -> Generator[Event, None, None]:
        """Writes texts together with those of others; news of them as they come.

        Within a request; arguments and errors as :func:`enfold.generation.calls.events` has them.
        """
        strategy, table = strategy_of(call), None
        ticket, waiting = _Ticket(getcurrent()), iter(requests)
        running: list[Request] = []
        try:
            while True:
                joining = list(islice(waiting, slots - len(running)))
                if not (running or joining):
                    return
                table = table if table and running else self._table(call, strategy)
                running += joining
                self._count_prompts(ticket.asker, joining)
                table.tickets.update((id(request), ticket) for request in joining)
                table.waiting.extend((request, strategy) for request in joining)
                event = self._news(ticket)
                if event.ended:
                    running = [request for request in running if request is not event.request]
                    table.tickets.pop(id(event.request), None)
                if event.error is not None:
                    raise event.error
                yield event
        finally:
            if table:
                table.leave(running)

    def _count_prompts(self, asker: greenlet, requests: Sequence[Request]) -> None:
        tokens = sum(len(request.prompt) + len(request.source or ()) for request in requests)
        self.counts.read_tokens += tokens
        if isinstance(asker, Asker):
            asker.read_tokens += tokens

    def _news(self, ticket: _Ticket) -> Event:
        """The next event of a request's texts, as soon as there is one."""
        if not ticket.events:
            ticket.waits = True
            self._wait()
        event = ticket.events.popleft()
        if isinstance(event, Exception):
            raise event
        return event

    # ── inside ───────────────────────────────────────────────────────────────

    def _wait(self) -> Any:
        """Gives the thread back to whoever drives the hub, until this request goes on."""
        parent = getcurrent().parent
        assert parent is not None, "only a request can wait"
        return parent.switch()

    def _run_ready(self) -> None:
        waiting, self._ready = self._ready, deque()
        while waiting:
            request = waiting.popleft()
            if not request.dead:  # it may have been cancelled by one before
                request.switch()

    def _read_some(self) -> None:
        """One pass: what waits longest, and what fits beside it."""
        if not self._reads:
            return
        key, pace = self._reads[0].key, self._pace(self._reads[0].model)
        budget = pace.budget
        chosen: list[_Read] = []
        tokens = 0
        for read in self._reads:
            size = len(read.batch.ids)
            if read.key == key and (not chosen or tokens + size <= budget):
                chosen.append(read)
                tokens += size
        taken = set(map(id, chosen))
        self._reads = deque(read for read in self._reads if id(read) not in taken)
        began = time.perf_counter()
        try:
            outputs: list[Outputs] = _run_together(chosen)
        except Exception as error:
            for read in chosen:
                read.asker.throw(error)
            return
        pace.learn(tokens, time.perf_counter() - began)
        self.counts.read_tokens += tokens
        self.counts.batches.append(tokens)
        for read, own in zip(chosen, outputs, strict=True):
            read.asker.switch(own)

    def _pace(self, model: PreTrainedModel) -> Pace:
        return self._paces.setdefault(model, Pace(self.token_budget, self._latency_s))

    def _table(self, call: Call, strategy: Strategy) -> _Table:
        """Where a call's texts are written: with those of others whose options need the same of a session."""
        config, model = call.config, id(call.model)
        key = (
            model, strategy.width, strategy.wants_hidden, config.cache_implementation, config.guidance_scale,
            tuple(config.shortlist or ()),
        )  # fmt: skip
        if key not in self._tables:
            prefixes = self.prefixes.setdefault(call.model, Prefixes(self._prefix_bytes))
            session = session_of(call, strategy.width, strategy.wants_hidden, prefixes)
            self._tables[key] = _Table(Loop(session, self._pace(call.model)))
        return self._tables[key]

    def _write_some(self, table: _Table) -> None:
        """One step of a table's texts; those that wait join where there is room."""
        while table.waiting and len(table.loop) < self._slots:
            request, strategy = table.waiting.popleft()
            table.loop.join([request], strategy)
        if not table.loop:
            return
        self.counts.steps.append(len(table.loop))
        try:
            events = table.loop.step()
        except Exception as error:
            self._tables = {key: each for key, each in self._tables.items() if each is not table}
            tickets = {id(ticket): ticket for ticket in table.tickets.values()}
            told = table.tell((ticket, error) for ticket in tickets.values())
        else:
            self.counts.written_tokens += sum(len(event.final) for event in events)
            tickets = table.tickets
            told = table.tell((tickets[id(each.request)], each) for each in events if id(each.request) in tickets)
        for asker in told:
            asker.switch()


def _run_together(reads: Sequence[_Read]) -> list[Outputs]:
    """Runs several batches as one; the outputs of each."""
    model, fields = reads[0].model, reads[0].fields
    if len(reads) == 1:
        return [model.run(reads[0].batch, fields=fields, tokens=reads[0].tokens)]
    batches = [read.batch for read in reads]
    tokens, counts = None, [len(batch.ids) for batch in batches]
    begins = np.concatenate([[0], np.cumsum(counts)])[:-1]
    if any(read.tokens is not None for read in reads):
        wanted = [np.arange(len(read.batch.ids)) if read.tokens is None else read.tokens for read in reads]
        tokens = np.concatenate([own + begin for own, begin in zip(wanted, begins, strict=True)])
        counts = [len(own) for own in wanted]
    outputs = model.run(together(batches), fields=fields, tokens=tokens)
    of_texts = model.head.of_texts
    sizes = {
        name: [len(batch.spans) for batch in batches]
        if name in of_texts
        else ([len(batch.ids) for batch in batches] if name == "last_hidden_state" else counts)
        for name in outputs
    }
    parts = {name: np.split(array, np.cumsum(sizes[name])[:-1]) for name, array in outputs.items()}
    return [{name: parts[name][index] for name in outputs} for index in range(len(reads))]
