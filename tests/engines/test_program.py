"""All layers in one call give, number for number, what they give one by one."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enfold.auto import load_model
from enfold.engines.cpu.native_module import native
from enfold.engines.cpu.program import _Slot, _Writer
from enfold.families import FAMILIES
from tests.reference import REFERENCE_FAMILIES, make_reference

pytestmark = pytest.mark.skipif(native is None, reason="no compiled kernels")
WRITERS = [name for name in REFERENCE_FAMILIES if {"causal-lm", "seq2seq-lm"} & set(FAMILIES[name].heads)]


def step_by_step(model: Any) -> Any:
    """The same model without programs."""
    plan = model.plan
    encoder = replace(plan.encoder, at_once=None) if plan.encoder else None
    model._plan = replace(plan, at_once=None, encoder=encoder)
    return model


def loaded(model_type: str, kind: Any, folder: Path, dtype: str) -> tuple[Any, Any, dict[str, np.ndarray]]:
    """Model, the same without programs, and what goes in."""
    reference = make_reference(model_type, kind, 3, folder)
    models = [load_model(folder, kind, engine="cpu", dtype=dtype) for _ in range(2)]
    return models[0], step_by_step(models[1]), {name: each.numpy() for name, each in reference.inputs.items()}


def made(layers: Any) -> list[bool]:
    """For each program that was asked for, whether there is one."""
    return [program is not None for program in layers._programs.values()]


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("model_type", REFERENCE_FAMILIES)
def test_programs_equal_their_steps(model_type: str, dtype: str, tmp_path: Path) -> None:
    model, stepping, inputs = loaded(model_type, "base", tmp_path, dtype)
    np.testing.assert_array_equal(model(**inputs).last_hidden_state, stepping(**inputs).last_hidden_state)
    first = model.plan.encoder or model.plan
    if model_type == "deberta-v2":
        assert first.at_once is None  # its distances are vectors, which have no kernel
    else:
        assert made(first.at_once) == [True]


@pytest.mark.parametrize("dtype", ["float32", "int8", "int4"])
@pytest.mark.parametrize("model_type", WRITERS)
def test_decoders_without_a_cache_equal_their_steps(model_type: str, dtype: str, tmp_path: Path) -> None:
    kind = "causal-lm" if "causal-lm" in FAMILIES[model_type].heads else "seq2seq-lm"
    model, stepping, inputs = loaded(model_type, kind, tmp_path, dtype)
    found, expected = (each(**inputs, use_cache=False).logits for each in (model, stepping))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float32", "int8", "int4"])
@pytest.mark.parametrize("model_type", WRITERS)
def test_programs_with_a_cache_equal_their_steps(model_type: str, dtype: str, tmp_path: Path) -> None:
    kind = "causal-lm" if "causal-lm" in FAMILIES[model_type].heads else "seq2seq-lm"
    model, stepping, inputs = loaded(model_type, kind, tmp_path, dtype)
    name = "input_ids" if kind == "causal-lm" else "decoder_input_ids"
    rows = len(inputs["input_ids"])
    start = inputs if kind == "causal-lm" else {**inputs, name: np.full((rows, 2), 3)}
    caches: list[Any] = []
    for each in (model, stepping):
        outputs = each(**start, use_cache=True)
        for token in (4, 5):
            outputs = each(**{name: np.full((rows, 1), token)}, past_key_values=outputs.past_key_values, use_cache=True)
        caches.append(outputs)
    np.testing.assert_array_equal(caches[0].logits, caches[1].logits)
    if model.plan.at_once is not None:
        assert True in made(model.plan.at_once)


@pytest.mark.parametrize("seed", range(20))
def test_results_that_are_needed_at_a_time_lie_apart(seed: int) -> None:
    draw, writer = random.Random(seed), _Writer()
    inputs = [writer.slot(draw.randint(1, 9)) for _ in range(2)]
    known: list[_Slot] = list(inputs)
    for _ in range(30):
        reads = draw.sample(known, min(2, len(known)))
        out = writer.slot(draw.randint(1, 9))
        writer.add("step", reads=reads, writes=[out])
        known = [*known, out][-5:]
    starts, total = writer._places(inputs, known[-1])
    for number, step in enumerate(writer.steps):
        later = {slot.result for after in writer.steps[number:] for slot in after.reads} | {known[-1].result}
        written = {slot.result for before in writer.steps[: number + 1] for slot in (*before.writes, *inputs)}
        alive = {*(later & written), *(slot.result for slot in (*step.reads, *step.writes))}
        places = sorted((starts[each], starts[each] + writer._widths[each]) for each in alive)
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(places))
        assert all(end <= total for _, end in places)
