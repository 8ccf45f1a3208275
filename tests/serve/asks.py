"""Random requests of every task, and what the same call from Python gives."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

import enfold
from tests.serve.models import folder

LETTERS = "abcdefghijklmnopqrstuvwxyz"
Ask = tuple[str, str, Any, dict[str, Any]]
"""The model's name, the task, its input, its options."""


def text(draw: random.Random, longest: int = 20) -> str:
    return " ".join(draw.choices(LETTERS, k=draw.randint(1, longest)))


def one_or_many(draw: random.Random, make: Callable[[], Any]) -> Any:
    return make() if draw.random() < 0.5 else [make() for _ in range(draw.randint(1, 4))]


def masked(draw: random.Random) -> str:
    words = text(draw).split()
    words[draw.randrange(len(words))] = "[MASK]"
    return " ".join(words)


def random_ask(draw: random.Random) -> Ask:
    """Any task, with options that change the answer."""
    drawn = {"do_sample": True, "temperature": 1.5, "seed": draw.randint(0, 99)}
    writing = draw.choice([{"do_sample": False}, drawn, {"num_beams": 3, "do_sample": False}])
    length = {"max_new_tokens": draw.randint(1, 12)}
    match draw.choice(
        ["embed", "similar", "features", "fill", "judge", "tag", "answer", "chat", "go on", "t2t", "labels"]
    ):
        case "embed":
            return "reader", "embed", one_or_many(draw, lambda: text(draw, 60)), {"normalize": draw.random() < 0.5}
        case "similar":
            given = {"source_sentence": text(draw), "sentences": [text(draw), text(draw)]}
            return "judge", "sentence-similarity", given, {}
        case "features":
            return "tagger", "feature-extraction", text(draw), {}
        case "fill":
            return "reader", "fill-mask", one_or_many(draw, lambda: masked(draw)), {"top_k": draw.randint(1, 9)}
        case "judge":
            options = {"top_k": draw.choice([None, 1, 2]), "function_to_apply": draw.choice([None, "sigmoid", "none"])}
            return "judge", "text-classification", one_or_many(draw, lambda: text(draw, 60)), options
        case "tag":
            options = {"aggregation_strategy": draw.choice(["none", "simple", "max"])}
            return "tagger", "token-classification", one_or_many(draw, lambda: text(draw, 60)), options
        case "answer":
            given = {"question": text(draw, 5), "context": text(draw, 60)}
            return "answerer", "question-answering", given, {"top_k": draw.randint(1, 3)}
        case "chat":
            return "writer", "text-generation", [{"role": "user", "content": text(draw, 8)}], {**length, **writing}
        case "go on":
            more = {"repetition_penalty": 1.3} if draw.random() < 0.5 else {}
            prompts = one_or_many(draw, lambda: text(draw))
            return "writer", "text-generation", prompts, {**length, **writing, **more, "return_full_text": False}
        case "labels":
            return "reader", "zero-shot-by-embedding", text(draw), {"candidate_labels": ["a", "b c", "z"]}
        case _:
            return "translator", "text2text-generation", text(draw), {**length, **writing}


@cache
def plain(name: str, task: str) -> Any:
    """The task as Python has it."""
    return enfold.pipeline(task, folder(name), progress=False)


def same(found: Any, expected: Any) -> None:
    """Fails unless two answers are alike, their numbers within rounding."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            same(found[name], value)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, float | np.ndarray | np.floating):
        np.testing.assert_allclose(found, expected, atol=2e-5, rtol=1e-4)
    else:
        assert found == expected
