"""Texts piece by piece: the same text, at once where it is certain, and no work after the last piece that is wanted."""

import asyncio
import contextlib
import gc
import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import transformers

import enfold
from enfold.cache import Cache
from enfold.errors import InputError
from tests.generation.golden.weights import prompts
from tests.generation.models import ENGINES, TYPES, writer
from tests.support import shared

PROMPT = prompts(3, rows=1, longest=9)[0]
LONG: dict[str, Any] = {"max_new_tokens": 30, "min_new_tokens": 30}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return enfold.Tokenizer.from_pretrained(shared("vocab", "gpt2"))


class Watch:
    """What models have computed, and their caches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
        self.steps = 0
        self.caches: list[weakref.ref[Cache]] = []
        run, new_cache = kind.run, kind.new_cache

        def watched_run(model: Any, *args: Any, **rest: Any) -> Any:
            self.steps += 1
            return run(model, *args, **rest)

        def watched_cache(model: Any, **rest: Any) -> Cache:
            cache: Cache = new_cache(model, **rest)
            self.caches.append(weakref.ref(cache))
            return cache

        monkeypatch.setattr(kind, "run", watched_run)
        monkeypatch.setattr(kind, "new_cache", watched_cache)

    @property
    def bytes_held(self) -> int:
        return sum(cache.nbytes for reference in self.caches if (cache := reference()) is not None)


@pytest.fixture(params=ENGINES)
def watch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    model = writer("gpt2", request.param)
    gc.disable()  # what is free must be free at once
    yield model, Watch(monkeypatch, type(model))
    gc.enable()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"do_sample": True, "seed": 2}], ids=str)
def test_pieces_are_the_text(model_type: str, engine: str, options: dict[str, Any], tokenizer: Any) -> None:
    model = writer(model_type, engine)
    whole = model.generate([PROMPT], max_new_tokens=15, **options)[0].tolist()
    new = whole[1 if model.arch.encoder else len(PROMPT) :]
    assert list(model.stream([PROMPT], max_new_tokens=15, **options)) == new
    pieces = list(model.stream([PROMPT], max_new_tokens=15, tokenizer=tokenizer, **options))
    assert "".join(pieces) == tokenizer.decode(new, skip_special_tokens=True)
    assert all(pieces)


def test_a_piece_comes_with_its_token(watch: Any) -> None:
    model, counts = watch
    pieces = model.stream([PROMPT], **LONG)
    for number in range(1, 6):
        next(pieces)
        assert counts.steps == number


def test_closing_ends_the_work_and_frees_the_cache(watch: Any) -> None:
    model, counts = watch
    pieces = model.stream([PROMPT], **LONG)
    next(pieces)
    assert counts.bytes_held > 0
    pieces.close()
    assert counts.bytes_held == 0 and counts.steps == 1
    for piece in model.stream([PROMPT], **LONG):
        assert piece is not None
        break
    assert counts.bytes_held == 0 and counts.steps == 2


def test_arguments_of_generate_are_taken() -> None:
    model = writer("gpt2", "cpu")
    mask = [[0] * 3 + [1] * (len(PROMPT) - 3)]
    own = model.generation_config.updated(max_new_tokens=8)
    options: dict[str, Any] = {
        "attention_mask": mask,
        "generation_config": own,
        "stopping_criteria": [lambda rows: False],
    }
    whole = model.generate([PROMPT], **options)[0, len(PROMPT) :].tolist()
    assert list(model.stream([PROMPT], **options)) == whole
    assert list(model.stream(input_ids=[PROMPT], **options)) == whole


def test_errors_reach_the_caller() -> None:
    model = writer("gpt2", "cpu")

    def breaks(scores: Any, rows: Any) -> Any:
        if len(rows.tokens[0]) > len(PROMPT) + 2:
            raise RuntimeError("broken")
        return scores

    with pytest.raises(InputError, match="stream writes one text, got 2"):
        model.stream([PROMPT, PROMPT])
    pieces = model.stream([PROMPT], logits_processor=[breaks], **LONG)
    assert len([next(pieces) for _ in range(3)]) == 3
    with pytest.raises(RuntimeError, match="broken"):
        next(pieces)

    async def read() -> list[int]:
        return [piece async for piece in model.astream([PROMPT], logits_processor=[breaks], **LONG)]

    with pytest.raises(RuntimeError, match="broken"):
        asyncio.run(read())


# ── async ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=str)
def test_async_pieces_are_the_text(options: dict[str, Any], tokenizer: Any) -> None:
    model = writer("llama", "cpu")

    async def read() -> list[str]:
        found = model.astream([PROMPT], max_new_tokens=12, tokenizer=tokenizer, **options)
        return [piece async for piece in found]

    assert asyncio.run(read()) == list(model.stream([PROMPT], max_new_tokens=12, tokenizer=tokenizer, **options))


def test_two_async_texts_at_once() -> None:
    model = writer("llama", "cpu")

    async def read(prompt: list[int]) -> list[int]:
        return [piece async for piece in model.astream([prompt], **LONG)]

    async def both() -> list[list[int]]:
        return await asyncio.gather(read(PROMPT), read(PROMPT[::-1]))

    assert asyncio.run(both()) == [list(model.stream([prompt], **LONG)) for prompt in (PROMPT, PROMPT[::-1])]


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}], ids=str)
def test_a_cancelled_task_ends_the_work(watch: Any, options: dict[str, Any]) -> None:
    model, counts = watch
    began, proceed = threading.Event(), threading.Event()

    def slow(scores: Any, rows: Any) -> Any:
        if len(rows.tokens[0]) == len(PROMPT) + 3:
            began.set()
            proceed.wait(5)
        return scores

    async def read() -> None:
        async for _ in model.astream([PROMPT], logits_processor=[slow], **LONG, **options):
            pass

    async def cancel() -> None:
        task = asyncio.create_task(read())
        await asyncio.to_thread(began.wait, 5)
        task.cancel()
        await asyncio.sleep(0.01)
        proceed.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert counts.steps <= 6
    assert counts.bytes_held == 0


def test_leaving_an_async_loop_ends_the_work(watch: Any) -> None:
    model, counts = watch

    async def read() -> None:
        pieces = model.astream([PROMPT], **LONG)
        async for _ in pieces:
            break
        await pieces.aclose()

    asyncio.run(read())
    assert counts.steps == 1 and counts.bytes_held == 0


# ── streamers ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("skip_prompt", [True, False])
def test_a_text_streamer_prints_what_the_references_does(
    skip_prompt: bool, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = writer("gpt2", "cpu")
    theirs = transformers.TextStreamer(tokenizer, skip_prompt=skip_prompt, skip_special_tokens=True)
    model.generate([PROMPT], streamer=theirs, **LONG)
    expected = capsys.readouterr().out
    ours = enfold.TextStreamer(tokenizer, skip_prompt=skip_prompt, skip_special_tokens=True)
    for _ in range(2):
        model.generate([PROMPT], streamer=ours, **LONG)
        assert capsys.readouterr().out == expected


def in_thread(model: Any, streamer: Any, **options: Any) -> threading.Thread:
    def work() -> None:
        with contextlib.suppress(InputError):  # which the streamer's reader gets
            model.generate([PROMPT], streamer=streamer, **options)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_an_iterator_of_another_threads_text(tokenizer: Any) -> None:
    model = writer("gpt2", "cpu")
    streamer = enfold.TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=20)
    for _ in range(2):
        thread = in_thread(model, streamer, **LONG)
        assert "".join(streamer) == "".join(model.stream([PROMPT], tokenizer=tokenizer, **LONG))
        thread.join()


def test_what_goes_wrong_reaches_the_reader(tokenizer: Any) -> None:
    model = writer("gpt2", "cpu")
    streamer = enfold.TextIteratorStreamer(tokenizer, timeout=20)
    thread = in_thread(model, streamer, temprature=3)
    with pytest.raises(InputError, match="temperature"):
        list(streamer)
    thread.join()
    with pytest.raises(InputError, match="a streamer is told one text, not 2"):
        model.generate([PROMPT] * 2, streamer=streamer)


def test_a_closed_streamer_ends_the_text(tokenizer: Any) -> None:
    model = writer("gpt2", "cpu")
    streamer = enfold.TextIteratorStreamer(tokenizer, skip_prompt=True)
    streamer.close()
    assert model.generate([PROMPT], streamer=streamer, **LONG).shape[1] == len(PROMPT) + 1


def test_waiting_has_an_end(tokenizer: Any) -> None:
    with pytest.raises(queue.Empty):
        next(enfold.TextIteratorStreamer(tokenizer, timeout=0.01))

    async def read() -> str:
        return await anext(enfold.AsyncTextIteratorStreamer(tokenizer, timeout=0.01))

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(read())


def test_an_async_iterator_of_another_threads_text(tokenizer: Any) -> None:
    model = writer("gpt2", "cpu")

    async def read() -> str:
        streamer = enfold.AsyncTextIteratorStreamer(tokenizer, skip_prompt=True, timeout=20)
        thread = in_thread(model, streamer, **LONG)
        text = "".join([piece async for piece in streamer])
        await asyncio.to_thread(thread.join)
        thread = in_thread(model, streamer, num_beams=0)
        with pytest.raises(InputError, match="num_beams is 0"):
            await anext(streamer)
        await asyncio.to_thread(thread.join)
        return text

    assert asyncio.run(read()) == "".join(model.stream([PROMPT], tokenizer=tokenizer, **LONG))


def test_a_streamer_is_told_one_text(tokenizer: Any) -> None:
    with pytest.raises(InputError, match="a streamer is told one text, got 2"):
        enfold.TextStreamer(tokenizer).put(np.zeros((2, 3), np.int64))
