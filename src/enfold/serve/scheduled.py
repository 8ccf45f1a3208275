"""A model whose passes are run by a hub: the same class, tensors and answers, and another say of when."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from greenlet import getcurrent

from enfold.generation import calls
from enfold.generation.calls import Call
from enfold.generation.loop import Event, Request
from enfold.generation.rules import mode
from enfold.model import PreTrainedModel
from enfold.serve.hub import Hub

__all__ = ["scheduled"]


class _Scheduled(PreTrainedModel):
    """What comes before an engine's class: passes within a request are handed to the hub."""

    hub: Hub

    def run(self, batch: Any, **options: Any) -> Any:
        if getcurrent().parent is None:
            return super().run(batch, **options)
        alone = [options.get(name) for name in ("source", "turn", "plan")]
        if batch.embeds is None and all(option is None for option in alone):
            return self.hub.read(self, batch, options.get("fields", ()), options.get("tokens"))
        self.hub.pause()
        return super().run(batch, **options)

    def events(self, call: Call, requests: Iterable[Request], slots: int) -> Generator[Event, None, None]:
        alone = mode(call.config, assistant=call.assistant is not None) == "assisted"
        if alone or getcurrent().parent is None:
            return calls.events(call, requests, slots)
        return self.hub.write(call, requests, slots)


def scheduled(model: PreTrainedModel, hub: Hub) -> Any:
    """The same model, for requests that a hub runs; outside of them it runs as ever."""
    kind = type(model)
    made: Any = object.__new__(type(f"Scheduled{kind.__name__}", (_Scheduled, kind), {}))
    vars(made).update(vars(model), hub=hub)
    return made
