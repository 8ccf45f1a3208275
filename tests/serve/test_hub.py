"""Requests side by side: the answers of the same calls alone, few passes, and no harm to neighbours."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import enfold
from enfold.errors import InputError
from enfold.pace import Pace
from enfold.serve.hub import Cancelled, Hub
from enfold.serve.scheduled import scheduled
from tests.serve.asks import Ask, plain, random_ask, same, text
from tests.serve.models import folder


class Served:
    """Tasks whose model is run by one hub."""

    def __init__(self, **options: Any) -> None:
        self.hub = Hub(**options)
        self.task = cache(self._task)

    def _task(self, name: str, task: str) -> Any:
        made = plain(name, task)
        return enfold.pipeline(task, model=self._model(name, made.model), tokenizer=made.tokenizer, progress=False)

    @cache  # noqa: B019 - as long as a test
    def _model(self, name: str, model: Any) -> Any:
        return scheduled(model, self.hub)

    def ask(self, work: Callable[[], Any]) -> tuple[Any, list[Any]]:
        """A request, and the list in which its answer or its error will be."""
        answer: list[Any] = []

        def run() -> None:
            try:
                answer.append(work())
            except Exception as error:
                answer.append(error)

        return self.hub.begin(run), answer

    def call(self, ask: Ask) -> tuple[Any, list[Any]]:
        name, task, given, options = ask
        return self.ask(lambda: self.task(name, task)(given, **options))

    def run(self) -> None:
        while self.hub.busy:
            self.hub.turn()


@pytest.mark.parametrize("seed", range(12))
def test_answers_are_those_of_the_same_calls_alone(seed: int) -> None:
    draw = random.Random(seed)
    served = Served(token_budget=draw.choice([16, 128, 1024]), slots=draw.choice([1, 3, 16]))
    asks = [random_ask(draw) for _ in range(25)]
    answers = []
    for ask in asks:
        answers.append(served.call(ask)[1])
        for _ in range(draw.randint(0, 3)):
            served.hub.turn()
    served.run()
    for (name, task, given, options), (answer,) in zip(asks, answers, strict=True):
        if isinstance(answer, Exception):
            raise answer
        same(answer, plain(name, task)(given, **options))
    assert not served.hub._tables and not served.hub._reads


def test_many_requests_are_one_pass() -> None:
    served = Served()
    draw = random.Random(1)
    asks: list[Ask] = [("judge", "text-classification", text(draw), {"top_k": k}) for k in (1, 2, None)]
    asks += [("judge", "embed", text(draw), {}), ("judge", "embed", [text(draw), text(draw)], {"normalize": True})]
    asks += [("reader", "fill-mask", "a [MASK]", {}), ("reader", "fill-mask", "b c d [MASK]", {"top_k": 2})]
    answers = [served.call(ask)[1] for ask in asks]
    served.run()
    assert all(answers) and not any(isinstance(answer[0], Exception) for answer in answers)
    # one for each model and what is wanted of it: labels, hidden states, masks
    assert len(served.hub.counts.batches) == 3


def test_texts_are_written_in_one_step_whatever_their_options() -> None:
    served = Served(slots=4)
    asks: list[Ask] = [
        ("writer", "text-generation", "a b", {"max_new_tokens": 5, "min_new_tokens": 5, **options})
        for options in ({"do_sample": False}, {"seed": 1}, {"seed": 2, "top_k": 3}, {"do_sample": False}, {"seed": 4})
    ]
    for ask in asks:
        served.call(ask)
    served.run()
    assert served.hub.counts.steps == [4] * 5 + [1] * 5


def test_a_pass_keeps_within_the_budget_and_takes_who_waits_longest() -> None:
    served = Served(token_budget=20)
    order: list[int] = []
    for index, length in enumerate([10, 18, 5, 30, 3]):
        words = " ".join("a" * (length - 2))
        served.ask(lambda words=words, index=index: (served.task("judge", "embed")(words), order.append(index)))
    served.run()
    assert served.hub.counts.batches == [18, 18, 30]
    assert order == [0, 2, 4, 1, 3] or order == [0, 2, 1, 3, 4] or order[0] == 0


def test_an_error_is_told_to_who_made_it_alone() -> None:
    served = Served()
    asks: list[Ask] = [
        ("judge", "text-classification", "", {}),
        ("judge", "text-classification", "a", {}),
        ("writer", "text-generation", "a", {"suppress_tokens": list(range(36)), "do_sample": False}),
        ("writer", "text-generation", "a", {"max_new_tokens": 3, "do_sample": False}),
        ("writer", "text-generation", "a " * 100, {"do_sample": False}),
    ]
    answers = [served.call(ask)[1] for ask in asks]
    served.run()
    kinds = [type(answer[0]) for answer in answers]
    assert kinds[1] is list and kinds[3] is list
    assert all(issubclass(kinds[index], InputError) for index in (0, 2, 4))


def test_a_failing_pass_is_told_to_all_who_were_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served()
    one, two = served.call(("judge", "embed", "a", {}))[1], served.call(("writer", "text-generation", "a", {}))[1]
    three = served.call(("judge", "embed", "b", {}))[1]

    def run(self: Any, *inputs: Any, **options: Any) -> Any:
        raise MemoryError("no room")

    with monkeypatch.context() as context:
        context.setattr(type(plain("judge", "embed").model), "run", run)
        served.run()
    assert [type(each[0]) for each in (one, two, three)] == [MemoryError] * 3
    after = served.call(("writer", "text-generation", "a", {"do_sample": False, "max_new_tokens": 2}))[1]
    served.run()
    assert after[0] == plain("writer", "text-generation")("a", do_sample=False, max_new_tokens=2)


def test_what_is_cancelled_costs_nothing() -> None:
    served = Served(token_budget=8, slots=1)
    writes: Ask = ("writer", "text-generation", "a b", {"max_new_tokens": 20, "min_new_tokens": 20, "do_sample": False})
    first, answered = served.call(writes)
    second, queued = served.call(writes)
    third, _ = served.call(("judge", "embed", ["a b c d e f", "g h i j k l"], {}))
    never, unbegun = served.call(("judge", "embed", "a", {}))
    served.hub.cancel(never)
    for _ in range(3):
        served.hub.turn()
    steps = len(served.hub.counts.steps)
    for request in (first, second, third, third):
        served.hub.cancel(request)
    assert not (answered or queued or unbegun) and all(each.dead for each in (first, second, third, never))
    served.run()
    assert len(served.hub.counts.steps) == steps
    assert not served.hub.busy


def test_a_stream_is_cancelled_where_it_is() -> None:
    served = Served()
    pieces: list[str] = []
    ended: list[str] = []

    def work() -> None:
        task = served.task("writer", "text-generation")
        try:
            for piece in task("a b", stream=True, max_new_tokens=30, min_new_tokens=30, do_sample=False):
                pieces.append(piece)
        except Cancelled:
            ended.append("cancelled")
            raise

    request = served.hub.begin(work)
    for _ in range(5):
        served.hub.turn()
    served.hub.cancel(request)
    served.run()
    assert 1 <= len(pieces) <= 5 and ended == ["cancelled"]
    whole = plain("writer", "text-generation")("a b", max_new_tokens=30, min_new_tokens=30, do_sample=False)
    assert whole[0]["generated_text"][3:].startswith("".join(pieces))


def test_slow_machines_get_smaller_passes() -> None:
    pace = Pace(1024, 0.1)
    assert pace.budget == 256  # before anything is known
    pace.learn(1000, 0.5)
    assert pace.budget == 200
    pace.learn(10, 5.0)  # too few tokens to tell
    assert pace.budget == 200
    for _ in range(100):
        pace.learn(500, 0.01)
    assert pace.budget == 1024
    for _ in range(100):
        pace.learn(500, 60.0)
    assert pace.budget == 64
    assert Pace(20, 0.1).budget == 20


def test_requests_wait_for_what_is_not_there_yet() -> None:
    served = Served()
    loaded: list[int] = []
    _, answer = served.ask(lambda: (served.hub.wait_until(lambda: bool(loaded)), "went on"))
    served.hub.turn()
    served.hub.turn()
    assert not answer and not served.hub.busy
    loaded.append(1)
    served.hub.turn()
    served.hub.turn()
    assert answer == [(None, "went on")]


def test_a_chat_goes_on_from_what_was_read_of_it() -> None:
    served = Served()
    messages = [{"role": "user", "content": "a b c d e f g h i j k l m n o p"}]
    options = {"max_new_tokens": 4, "do_sample": False}
    _, first = served.call(("writer", "text-generation", messages, options))
    served.run()
    longer = [*first[0][0]["generated_text"], {"role": "user", "content": "q"}]
    _, second = served.call(("writer", "text-generation", longer, {**options, "continue_final_message": False}))
    served.run()
    same(second[0], plain("writer", "text-generation")(longer, **options, continue_final_message=False))
    (prefixes,) = served.hub.prefixes.values()
    assert prefixes.found >= 16
    served.hub.forget(served._model("writer", plain("writer", "text-generation").model))
    assert not served.hub.prefixes


def test_what_is_kept_of_a_model_goes_with_it() -> None:
    served = Served()
    served.call(("writer", "text-generation", "a b c d e f g h i j k l m n o p q r", {"max_new_tokens": 3}))
    served.hub.turn()
    served.hub.forget(served._model("writer", plain("writer", "text-generation").model))  # while it is written with
    served.run()
    served.task.cache_clear()
    Served._model.cache_clear()  # type: ignore[attr-defined]
    gc.collect()
    assert not served.hub.prefixes


def test_numbers_are_arrays_of_their_own() -> None:
    served = Served()
    answers = [served.call(("judge", "embed", letter, {}))[1] for letter in "abc"]
    served.run()
    before = answers[1][0].copy()
    answers[0][0][:] = 0
    np.testing.assert_array_equal(answers[1][0], before)
    assert folder("judge").is_dir()
