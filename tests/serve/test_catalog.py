"""Which models are in memory: loaded, unloaded where memory is short, loaded again; workers are stood in for."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest

from enfold.serve.catalog import Catalog
from enfold.serve.faults import Fault
from enfold.serve.queue import Job
from enfold.serve.settings import Settings

SIZES = {"a": 50, "b": 30, "c": 30, "d": 10}


class StandIn:
    """A worker that takes messages, and loads when it is told to go on."""

    def __init__(self, number: int, catalog: Catalog) -> None:
        self.number, self._catalog = number, catalog
        self.models: dict[str, int] = {}
        self.running: dict[int, Any] = {}
        self.held: dict[str, int] = {}
        self.messages: list[dict[str, Any]] = []
        self._wanted: dict[str, int] = {}

    def send(self, message: dict[str, Any]) -> None:
        if "drop" in message:
            self._wanted.pop(message["drop"], None)
            self.held.pop(message["drop"], None)
        else:
            self._wanted[message["load"]] = message["version"]
            self.messages.append(message)

    def load(self) -> None:
        message = self.messages.pop(0)
        name, version = message["load"], message["version"]
        if self._wanted.get(name) == version:
            self.held[name] = SIZES[name]
            told = {"loaded": name, "version": version, "info": {"tasks": ["embed"]}, "bytes": SIZES[name]}
            self._catalog.loaded(self, told)  # type: ignore[arg-type]


def made(memory: int | None, workers: int = 1, names: str = "abcd") -> tuple[Catalog, list[Any]]:
    sources = [f"{name}=/nowhere/{name}" for name in names]
    catalog = Catalog(sources, "auto", Settings(memory_bytes=memory), lambda: None)
    members: Any = [StandIn(number, catalog) for number in range(workers)]
    catalog.members = members
    for member in members:
        catalog.began(member)
    return catalog, members


def load_all(members: list[Any]) -> None:
    while any(member.messages for member in members):
        for member in members:
            if member.messages:
                member.load()


def states(catalog: Catalog) -> dict[str, str]:
    return {name: model.state for name, model in catalog.models.items()}


def ask(catalog: Catalog, name: str) -> None:
    """A job waits for a model."""
    catalog.models[name].queue.put(Job(name, "task", {}))
    catalog.take(catalog.models[name])


def begin(catalog: Catalog, member: Any, name: str) -> None:
    """A worker has got the model's next job."""
    job = catalog.models[name].queue.pop()
    assert job is not None
    member.running[job.number] = SimpleNamespace(job=job)


def end(catalog: Catalog, member: Any) -> None:
    """All that runs has ended."""
    member.running.clear()
    catalog.make_room()


def answer(catalog: Catalog, member: Any, name: str) -> None:
    """A model is asked, loaded where it must be, and answers."""
    ask(catalog, name)
    load_all([member])
    begin(catalog, member, name)
    end(catalog, member)


def test_the_first_named_are_kept_until_others_are_asked_for() -> None:
    catalog, (member,) = made(95)
    load_all([member])
    assert states(catalog) == {"a": "ready", "b": "ready", "c": "asleep", "d": "ready"} and catalog.ready
    answer(catalog, member, "d")
    answer(catalog, member, "b")
    ask(catalog, "c")
    assert states(catalog)["c"] == "waking" and "a" not in member.held  # room is made before it is loaded
    load_all([member])
    assert states(catalog) == {"a": "asleep", "b": "ready", "c": "ready", "d": "ready"}
    begin(catalog, member, "c")
    end(catalog, member)
    answer(catalog, member, "a")
    assert member.held == {"a": 50, "c": 30}  # d and b were asked for before c


def test_one_that_is_too_large_alone_answers_nevertheless() -> None:
    catalog, (member,) = made(20)
    load_all([member])
    assert list(member.held) == ["a"]
    for name in ("b", "a"):
        answer(catalog, member, name)
        assert list(member.held) == [name]


def test_who_is_at_work_gives_way_when_its_turn_is_over_and_its_jobs_have_ended() -> None:
    catalog, (member,) = made(80, names="abc")
    load_all([member])
    assert sorted(member.held) == ["a", "b"]
    for name in "ab":
        ask(catalog, name)
        ask(catalog, name)
        begin(catalog, member, name)
    ask(catalog, "c")
    assert sorted(member.held) == ["a", "b"] and not member.messages  # there is no room yet
    assert not any(map(catalog.is_leaving, catalog.models.values()))
    for model in catalog.models.values():
        model.since -= 60
    catalog.make_room()
    assert [name for name, model in catalog.models.items() if catalog.is_leaving(model)] == ["a"]
    end(catalog, member)
    assert set(states(catalog).values()) == {"waking"}  # jobs wait for each of them, and two are loaded now
    load_all([member])
    assert sorted(member.held) == ["a", "c"]
    for name in "ca":
        begin(catalog, member, name)
        end(catalog, member)
    load_all([member])
    assert "b" in member.held and sum(member.held.values()) <= 80


def test_who_has_gone_needs_no_room() -> None:
    catalog, (member,) = made(60, names="ab")
    load_all([member])
    ask(catalog, "a")
    ask(catalog, "b")
    catalog.models["b"].queue.pop()
    catalog.make_room()
    assert states(catalog) == {"a": "ready", "b": "asleep"}


def test_a_model_whose_load_ends_processes_does_not_take_the_others_along() -> None:
    catalog, (member,) = made(None, names="abc")
    for _ in range(2):
        member.models, member.held, member.messages = {}, {}, []
        catalog.began(member, "a")
    assert [each["load"] for each in member.messages] == ["b", "c"]
    load_all([member])
    assert states(catalog) == {"a": "failed", "b": "ready", "c": "ready"}
    assert "ends each time" in (catalog.models["a"].error or "")


def test_one_that_could_not_be_loaded_again_is_tried_at_the_next_request() -> None:
    catalog, (member,) = made(60, names="ab")
    load_all([member])
    ask(catalog, "b")
    version = catalog.models["b"].version
    catalog.failed({"failed": "b", "version": version, "message": "no such file"})
    assert states(catalog)["b"] == "asleep" and catalog.ready
    catalog.models["b"].queue.pop()
    member.messages.clear()
    answer(catalog, member, "b")
    assert states(catalog)["b"] == "ready" and catalog.models["b"].error is None


def test_heads_that_are_loaded_later_count() -> None:
    catalog, (member,) = made(100, names="bc")
    load_all([member])
    answer(catalog, member, "b")
    catalog.weigh(member, {"b": 90, "gone": 5})
    assert list(member.held) == ["b"]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_all_is_answered_and_memory_kept(seed: int) -> None:
    draw = random.Random(seed)
    limit = draw.choice([None, 60, 100, 200])
    catalog, members = made(limit, workers=draw.choice([1, 2]))
    for _ in range(200):
        ready = [member for member in members if member.messages]
        match draw.randint(0, 5):
            case 0 | 1 if ready:
                draw.choice(ready).load()
            case 2:
                name = draw.choice("abcd")
                if catalog.models[name].state != "loading":
                    ask(catalog, name)
            case 3:
                for model in catalog.models.values():
                    if model.state == "ready" and not catalog.is_leaving(model):
                        model.queue.pop()
                    model.since -= draw.choice([0, 10])
                catalog.make_room()
            case 4:
                member = draw.choice(members)  # it dies, and another begins
                member.models, member.held, member.messages, member._wanted = {}, {}, [], {}
                catalog.began(member)
        for member in members:
            assert set(member.models) <= set(member.held)
    for _ in range(400):
        load_all(members)
        for model in catalog.models.values():
            if model.state == "ready":
                model.queue.pop()
            model.since -= 10
        catalog.make_room()
    assert not any(model.queue for model in catalog.models.values())
    assert catalog.ready and not set(states(catalog).values()) & {"loading", "waking"}
    if limit:
        assert sum(sum(each.held.values()) for each in members) <= max(limit, 50 * len(members))


def test_a_load_anew_is_told_of_and_keeps_its_model_awake() -> None:
    async def tried() -> None:
        catalog, (member,) = made(60, names="ab")
        load_all([member])
        assert states(catalog) == {"a": "ready", "b": "asleep"}
        asked = asyncio.ensure_future(catalog.reload("a"))
        await asyncio.sleep(0)
        ask(catalog, "b")
        assert states(catalog)["a"] == "ready"  # somebody waits for it
        load_all([member])
        assert (await asked).name == "a"
        assert states(catalog) == {"a": "asleep", "b": "ready"}
        again = asyncio.ensure_future(catalog.reload("a"))
        await asyncio.sleep(0)
        catalog.failed({"failed": "a", "version": catalog.models["a"].version, "message": "no such file"})
        with pytest.raises(Fault, match="no such file"):
            await again

    asyncio.run(tried())
