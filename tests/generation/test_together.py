"""Texts with options of their own in one loop, and beginnings that are kept for texts to come."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from enfold.errors import InputError
from enfold.generation.calls import Call, session_of, strategy_of
from enfold.generation.loop import Event, Loop
from enfold.generation.prefixes import Prefix, Prefixes
from enfold.generation.session import Session
from enfold.model import PreTrainedModel
from enfold.pace import Pace
from tests.generation.models import ENGINES, writer

PROMPTS = [[5, 6, 7], [8, 9], [10, 11, 12, 13], [14]]
OPTIONS: list[dict[str, Any]] = [
    {"max_new_tokens": 9},
    {"max_new_tokens": 5, "do_sample": True, "seed": 3, "temperature": 1.3},
    {"max_new_tokens": 12, "repetition_penalty": 1.5},
    {"max_new_tokens": 7, "do_sample": True, "seed": 4, "top_k": 5},
]


def calls(model: PreTrainedModel, width: int) -> list[Call]:
    beams = {} if width == 1 else {"num_beams": width, "do_sample": False, "temperature": 1.0, "top_k": 50}
    return [
        Call.of(model, [prompt], None, {**options, **beams, "min_new_tokens": 3})
        for prompt, options in zip(PROMPTS, OPTIONS, strict=True)
    ]


def finished(events: list[Event]) -> dict[int, list[int]]:
    return {id(event.request): event.results[0].tokens for event in events if event.results}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("model_type", ["gpt2", "llama", "t5"])
def test_each_text_has_its_own_options_and_joins_when_it_likes(model_type: str, width: int, engine: str) -> None:
    model = writer(model_type, engine)
    made = calls(model, width)
    alone = [finished(list(call.events())) for call in calls(model, width)]
    loop = Loop(session_of(made[0], width))
    got: dict[int, list[int]] = {}
    for call in made:
        loop.join(call.requests, strategy_of(call))
        got |= finished(loop.step())
    while len(loop):
        got |= finished(loop.step())
    assert [got[id(call.requests[0])] for call in made] == [next(iter(each.values())) for each in alone]


def test_who_leaves_does_not_disturb_the_others() -> None:
    model = writer("llama", "cpu")
    made = calls(model, 1)
    expected = next(iter(finished(list(calls(model, 1)[2].events())).values()))
    loop = Loop(session_of(made[0]))
    for call in made:
        loop.join(call.requests, strategy_of(call))
    loop.leave(made[3].requests[0])  # before it began
    loop.step()
    loop.leave(made[0].requests[0])
    loop.leave(made[0].requests[0])  # not there any more
    loop.step()
    loop.leave(made[1].requests[0])
    events: list[Event] = []
    while len(loop):
        events += loop.step()
    assert finished(events) == {id(made[2].requests[0]): expected}
    assert len(loop.session) == 0


def test_an_error_ends_only_its_own_text() -> None:
    model = writer("llama", "cpu")
    good, bad = (Call.of(model, [PROMPTS[0]], None, {"max_new_tokens": 6, "min_new_tokens": 6}) for _ in range(2))
    bad.recipe.processors.append(
        lambda scores, rows: np.full_like(scores, -np.inf) if len(rows.tokens[0]) > 5 else scores
    )
    loop = Loop(session_of(good))
    for call in (bad, good):
        loop.join(call.requests, strategy_of(call))
    events: list[Event] = []
    while len(loop):
        events += loop.step()
    (failed,) = [event for event in events if event.error]
    assert failed.request is bad.requests[0] and isinstance(failed.error, InputError)
    assert len(finished(events)[id(good.requests[0])]) == len(PROMPTS[0]) + 6


# ── beginnings ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("engine", "quantized"), [("torch", False), ("cpu", False), ("cpu", True)])
def test_a_text_goes_on_from_what_another_began_with(engine: str, quantized: bool, monkeypatch: Any) -> None:
    model = writer("llama", engine)
    begin = np.random.default_rng(0).integers(3, 61, 30).tolist()
    asked = [[*begin, 7], [*begin, 8, 9], [*begin[:20], 10], [11, 12]]

    def written(prefixes: Prefixes | None) -> list[list[int]]:
        texts = []
        session = Session(model, quantized=quantized, prefixes=prefixes)
        for prompt in asked:
            call = Call.of(model, [prompt], None, {"max_new_tokens": 6, "min_new_tokens": 6})
            loop = Loop(session)
            loop.join(call.requests, strategy_of(call))
            while len(loop):
                texts += finished(loop.step()).values()
        return texts

    plain = written(None)
    read: list[int] = []
    original = type(model).run
    monkeypatch.setattr(
        type(model), "run", lambda self, batch, **rest: read.append(len(batch.ids)) or original(self, batch, **rest)
    )
    prefixes = Prefixes(10**9)
    assert written(prefixes) == plain
    assert [count for count in read if count != 1] == [31, 2, 2]  # of 31, 32, 21 and 2 tokens; one was a single one
    assert prefixes.found == 30 + 20 and len(prefixes) == 3


def test_beginnings_give_way_to_longer_and_to_newer_ones() -> None:
    def tokens(*numbers: int) -> list[int]:
        return [number for number in numbers for _ in range(10)]

    def prefix(*numbers: int) -> Prefix:
        given = tuple(tokens(*numbers))
        return Prefix(given, [(np.zeros((1, len(given), 25), np.float32),) * 2])

    prefixes = Prefixes(20000)  # a hundred tokens
    prefixes.keep(prefix(1, 2, 3))
    prefixes.keep(prefix(1, 2, 3, 4))
    assert len(prefixes) == 1 and prefixes.nbytes == 8000 and prefixes.has(tokens(1, 2)) and not prefixes.has([2])
    prefixes.keep(prefix(5, 6, 7))
    length, found = prefixes.take(tokens(1, 2, 9))
    assert length == 20 and found is not None and list(found.tokens) == tokens(1, 2, 3, 4)
    assert (prefixes.asked, prefixes.found) == (30, 20)
    prefixes.keep(prefix(8, 9, 10, 11))  # the one that was of no use goes
    assert [prefixes.has([first]) for first in (1, 5, 8)] == [True, False, True]
    prefixes.keep(prefix(*range(20, 40)))  # more than there is room for
    assert len(prefixes) == 2 and prefixes.best(tokens(5, 6)) == (0, None)
    assert prefixes.best(tokens(1)) == (0, None)  # too few to be worth it


# ── prompts in pieces ────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("model_type", ["llama", "gpt2", "t5"])
def test_long_prompts_are_read_in_pieces_and_give_the_same(model_type: str, seed: int, monkeypatch: Any) -> None:
    draw = random.Random(seed)
    model = writer(model_type, "cpu")
    width, budget = draw.choice([1, 1, 3]), draw.randint(1, 30)
    beams = {} if width == 1 else {"num_beams": width, "do_sample": False, "temperature": 1.0, "top_k": 50}
    begin = [draw.randint(3, 60) for _ in range(30)]

    def prompt() -> list[int]:
        return begin[: draw.choice([0, 18, 30])] + [draw.randint(3, 60) for _ in range(draw.randint(1, 10))]

    options = {"max_new_tokens": 6, "min_new_tokens": 2, **beams}
    made = [Call.of(model, [prompt()], None, options) for _ in range(6)]
    alone = [next(iter(finished(list(call.events())).values())) for call in made]
    reads: list[int] = []
    original = type(model).run
    monkeypatch.setattr(
        type(model), "run", lambda self, batch, **rest: reads.append(len(batch.ids)) or original(self, batch, **rest)
    )
    loop = Loop(session_of(made[0], width, prefixes=Prefixes(draw.choice([0, 10**9]))), Pace(budget, 1.0))
    got: dict[int, list[int]] = {}
    waiting = list(made)
    while waiting or len(loop):
        for _ in range(draw.randint(0, 2)):
            if waiting:
                loop.join(waiting[0].requests, strategy_of(waiting.pop(0)))
        got |= finished(loop.step())
    assert [got[id(call.requests[0])] for call in made] == alone
    if model_type != "t5":  # whose prompts are the encoder's, which reads each whole
        assert max(reads) <= max(budget, 6 * width)
    assert len(loop.session) == 0


def test_short_prompts_begin_beside_a_long_one_that_is_read_before_it_is_given_up() -> None:
    model = writer("llama", "cpu")
    options = {"max_new_tokens": 3, "min_new_tokens": 3}
    long = Call.of(model, [np.random.default_rng(0).integers(3, 61, 55).tolist()], None, options)
    short = [Call.of(model, [[5 + number, 6]], None, options) for number in range(3)]
    loop = Loop(session_of(long), Pace(12, 1.0))
    ended: list[int] = []
    for call in (long, *short):
        loop.join(call.requests, strategy_of(call))
    for _ in range(4):
        ended += finished(loop.step())
    assert ended == [id(call.requests[0]) for call in short] and len(loop) == 1
    loop.leave(long.requests[0])
    assert len(loop) == 0 and loop.step() == []
