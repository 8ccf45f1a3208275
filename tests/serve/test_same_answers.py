"""Whatever is asked, by however many at once, the answer is the one that Python gives."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.serve.asks import Ask, plain, random_ask, same
from tests.serve.models import KINDS, folder
from tests.serve.running import running


def asked(client: httpx.Client, ask: Ask) -> Any:
    """What the server answers, as the task's own records."""
    name, task, given, options = ask
    if task != "text-generation":
        path = f"/models/{name}/pipeline/{task}"
        return answered(client, path, {"inputs": given, "parameters": options})
    if isinstance(given, str):
        found = answered(client, f"/models/{name}", {"inputs": given, "parameters": options})
        return [{"generated_text": found[0]["generated_text"]}]
    if isinstance(given[0], str):
        return [asked(client, (name, task, each, options)) for each in given]
    chat = {"model": name, "messages": given, "max_tokens": options["max_new_tokens"], "temperature": 0}
    chat |= {each: options[each] for each in ("temperature", "seed") if each in options}
    found = answered(client, "/v1/chat/completions", chat)
    return [{"generated_text": [*given, {"role": "assistant", "content": found["choices"][0]["message"]["content"]}]}]


def answered(client: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, (path, body, answer.text)
    return answer.json()


def shaped(ask: Ask, answer: Any) -> Any:
    """Python's answer as this interface has it."""
    _, task, given, _ = ask
    if task == "text-classification" and isinstance(given, str):
        return [answer]
    if task == "zero-shot-by-embedding":
        pairs = zip(answer["labels"], answer["scores"], strict=True)
        return [{"label": label, "score": score} for label, score in pairs]
    return answer


def without_what_this_interface_lacks(ask: Ask) -> Ask:
    name, task, given, options = ask
    if task == "text-generation" and isinstance(given, list) and isinstance(given[0], dict) and "num_beams" in options:
        return name, task, given, {**options, "num_beams": 1}
    if task == "text-generation" and options.get("seed") is not None and isinstance(given, list) and len(given) > 1:
        return name, task, given[:1], options  # a seed draws for each text of one call in its own way
    return ask


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("workers", [1, 2])
def test_answers_are_those_of_python(seed: int, workers: int) -> None:
    draw = random.Random(100 + seed)
    asks = [without_what_this_interface_lacks(random_ask(draw)) for _ in range(60)]
    budget = draw.choice([32, 256, 1024])
    with (
        running(
            *(folder(name) for name in KINDS),
            threads=1,
            workers=workers,
            token_budget=budget,
            slots=draw.choice([2, 16]),
        ) as server,
        httpx.Client(base_url=server.address, timeout=60) as client,
        ThreadPoolExecutor(12) as pool,
    ):
        found = list(pool.map(lambda ask: asked(client, ask), asks))
    for ask, answer in zip(asks, found, strict=True):
        name, task, given, options = ask
        same(answer, shaped(ask, plain(name, task)(given, **options)))
