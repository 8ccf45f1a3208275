"""The state of constraints after every token is the reference's (golden/make.py says which and how)."""

import json
from pathlib import Path
from typing import Any

import pytest

from enfold.errors import InputError
from enfold.generation.config import GenerationConfig
from enfold.generation.constraints import DisjunctiveConstraint, PhrasalConstraint, Progress, constraints_of

CASES = json.loads((Path(__file__).parent / "golden" / "constraints.json").read_text())


def snapshot(progress: Progress) -> dict[str, Any]:
    return {"bank": progress.bank, "advance": progress.following(), "completed": progress.completed}


@pytest.mark.parametrize("case", CASES, ids=lambda case: json.dumps(case["force_words_ids"]))
def test_every_step(case: dict[str, Any]) -> None:
    config = GenerationConfig(force_words_ids=case["force_words_ids"], num_beams=2)
    progress = start = Progress.start(constraints_of(config))
    assert snapshot(progress) == case["steps"][0]
    for place, token in enumerate(case["tokens"], start=1):
        progress = progress.advanced([token])
        assert snapshot(progress) == case["steps"][place]
        assert start.advanced(case["tokens"][:place]) == progress


def test_the_cases_reach_the_end() -> None:
    assert sum(case["steps"][-1]["completed"] for case in CASES) > 10


def test_a_constraint_can_always_be_finished() -> None:
    progress = Progress.start([PhrasalConstraint([1, 2, 3]), DisjunctiveConstraint([[4, 5], [6]])])
    steps = 0
    while not progress.completed:
        progress, steps = progress.advanced(progress.following()[:1]), steps + 1
    assert (steps, progress.bank, progress.following()) == (5, 6, [])


def test_constraints_of_a_configuration() -> None:
    mine = PhrasalConstraint([1, 2])
    assert constraints_of(GenerationConfig(constraints=[mine], num_beams=2))[0].phrases == ((1, 2),)
    assert constraints_of(GenerationConfig()) == []
    with pytest.raises(InputError, match="expected PhrasalConstraint and DisjunctiveConstraint"):
        constraints_of(GenerationConfig(constraints=["stop"], num_beams=2))


@pytest.mark.parametrize(
    ("phrases", "message"),
    [
        ([], "there are no phrases"),
        ([[]], r"\[\] is no list of token ids"),
        ([[1, -2], "ab"], r"\[1, -2\] is no list of token ids; 'ab' is no list"),
        ([[1, 2], [1, 2, 3]], r"\[1, 2, 3\] begins with \[1, 2\], which is enough"),
        ([[1, 2], [1, 2]], r"\[1, 2\] begins with \[1, 2\]"),
    ],
)
def test_phrases_that_cannot_be_used(phrases: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        DisjunctiveConstraint(phrases)
