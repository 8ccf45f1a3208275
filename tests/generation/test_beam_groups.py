"""Diverse groups and constrained beams write what transformers 4.55 wrote (golden/make_beams.py says how)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enfold import AutoModelForCausalLM, AutoModelForSeq2SeqLM
from tests.generation.golden.tiny import tiny

CASES = json.loads((Path(__file__).parent / "golden" / "beams.json").read_text())


def load(case: dict[str, Any], folder: Path, engine: str) -> Any:
    tiny(case["model"], case["seed"]).save_pretrained(folder)
    causal = case["model"] in ("gpt2", "llama")
    return (AutoModelForCausalLM if causal else AutoModelForSeq2SeqLM).from_pretrained(folder, engine=engine)


def written(model: Any, case: dict[str, Any]) -> list[list[tuple[list[int], float]]]:
    """New tokens and scores of all texts of each prompt."""
    answer = model.generate(case["prompts"], return_dict_in_generate=True, **case["options"])
    count = case["options"]["num_return_sequences"]
    texts = []
    for place, (row, path) in enumerate(zip(answer.sequences.tolist(), answer.beam_indices.tolist(), strict=True)):
        begin = 1 if model.arch.encoder else len(case["prompts"][place // count])
        texts.append((row[begin : begin + len(path) - path.count(-1)], float(answer.sequences_scores[place])))
    return [texts[first : first + count] for first in range(0, len(texts), count)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['model']}-{case['seed']}")
def test_golden(case: dict[str, Any], tmp_path: Path) -> None:
    model = load(case, tmp_path, "torch" if case["seed"] % 4 == 3 else "cpu")
    for ours, theirs in zip(written(model, case), case["best"], strict=True):
        ours = ours[: len(theirs)]
        assert [tokens for tokens, _ in ours] == [tokens for tokens, _ in theirs]
        np.testing.assert_allclose([score for _, score in ours], [score for _, score in theirs], rtol=1e-4, atol=2e-4)
