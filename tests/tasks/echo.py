"""Stands for the models of tasks that write: each writes what it reads, so that one sees what it was asked."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import pytest

from enfold.generation.loop import Result


def echoing(
    monkeypatch: pytest.MonkeyPatch, task: Any, written: Callable[[list[int]], list[int]] = lambda prompt: prompt
) -> list[list[int]]:
    """Makes the task's model write ``written`` of its prompts, finished in any order; returns the prompts so far."""
    asked: list[list[int]] = []
    draw = random.Random(0)

    def generate_many(prompts: Iterable[list[int]], *, batch_size: int, **_: Any) -> Iterator[tuple[int, list[Result]]]:
        waiting = iter(enumerate(prompts))
        working: list[tuple[int, list[int]]] = []
        while True:
            working += islice(waiting, batch_size - len(working))
            if not working:
                return
            number, prompt = working.pop(draw.randrange(len(working)))
            asked.append(prompt)
            start = (
                []
                if task.head == "causal-lm" or getattr(task, "_chats", False)
                else [task.defaults.decoder_start_token_id]
            )
            yield number, [Result([*(start or prompt), *written(prompt)])]

    monkeypatch.setattr(task.model, "generate_many", generate_many)
    return asked
