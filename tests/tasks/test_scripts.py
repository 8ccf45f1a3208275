"""Scripts run together: their records come in order, soon, and whatever their number."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import pytest

from enfold.errors import InputError
from enfold.generation.loop import Result
from enfold.tasks.scripts import Ids, Script, in_order

Generate = Callable[[Iterable[Ids]], Iterator[tuple[int, list[Result]]]]


def adding_one(slots: int, seed: int = 0) -> Generate:
    """Stands for a model: the number after the prompt's; several prompts are under way, and end in any order."""
    draw = random.Random(seed)

    def generate(prompts: Iterable[Ids]) -> Iterator[tuple[int, list[Result]]]:
        waiting = iter(enumerate(prompts))
        working: list[tuple[int, Ids]] = []
        while True:
            working += islice(waiting, slots - len(working))
            if not working:
                return
            number, prompt = working.pop(draw.randrange(len(working)))
            yield number, [Result([*prompt, prompt[-1] + 1])]

    return generate


def counting(rounds: int, start: int) -> Script[tuple[int, int]]:
    """Asks ``rounds`` times, each time for one prompt more, and returns what it began with and came to."""
    number = start
    for width in range(1, rounds + 1):
        results = yield [[number + place] for place in range(width)]
        assert [each.tokens for (each,) in results] == [[number + p, number + p + 1] for p in range(width)]
        number += 1
    return start, number


@pytest.mark.parametrize("slots", [1, 3, 16])
@pytest.mark.parametrize("seed", range(5))
def test_records_come_in_order(slots: int, seed: int) -> None:
    draw = random.Random(seed)
    rounds = [draw.choice([0, 1, 1, 1, 2, 5]) for _ in range(200)]
    scripts = (counting(count, number) for number, count in enumerate(rounds))
    records = list(in_order(scripts, adding_one(slots, seed)))
    assert records == [(number, number + count) for number, count in enumerate(rounds)]


def test_nothing_asked_is_nothing_written() -> None:
    assert list(in_order([], adding_one(4))) == []
    assert list(in_order((counting(0, number) for number in range(3)), adding_one(4))) == [(0, 0), (1, 1), (2, 2)]


def test_an_endless_stream_is_read_as_slots_are_free() -> None:
    begun = 0

    def scripts() -> Iterator[Script[tuple[int, int]]]:
        nonlocal begun
        while True:
            begun += 1
            yield counting(1, begun)

    records = in_order(scripts(), adding_one(1))
    assert begun == 0
    for number in range(1, 2000):
        assert next(records) == (number, number + 1)
        assert begun <= number + 1


def test_an_error_of_a_script_is_the_callers() -> None:
    def failing() -> Script[None]:
        yield [[1]]
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        list(in_order([failing()], adding_one(2)))
