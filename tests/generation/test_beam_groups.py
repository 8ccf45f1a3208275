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


@pytest.mark.parametrize(
    "options",
    [
        {"num_beam_groups": 2, "diversity_penalty": 0.5, "early_stopping": True},
        {"force_words_ids": [[9, 8], [[7], [20, 21]]]},
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize("model_type", ["llama", "bart"])
def test_scores_add_up_along_the_path(model_type: str, options: dict[str, Any], tmp_path: Path) -> None:
    """A text's score is that of its tokens in the rows that ``beam_indices`` says, by its length."""
    model = load({"model": model_type, "seed": 0}, tmp_path, "cpu")
    prompts = [[5, 6, 7], [9, 10], [11, 30, 4, 8]]
    kept = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
    ends = {"eos_token_id": 12, "pad_token_id": 0, "forced_eos_token_id": None}
    answer = model.generate(
        prompts, num_beams=4, num_return_sequences=3, max_new_tokens=9, length_penalty=2.0, **ends, **kept, **options
    )
    assert {each.shape for each in (*answer.scores, *answer.logits)} == {(12, model.arch.vocab_size)}
    for place, (row, path) in enumerate(zip(answer.sequences.tolist(), answer.beam_indices.tolist(), strict=True)):
        path = [index for index in path if index >= 0]
        begin = 1 if model.arch.encoder else len(prompts[place // 3])
        new = row[begin : begin + len(path)]
        parts = [answer.scores[step][index, token] for step, (index, token) in enumerate(zip(path, new, strict=True))]
        assert sum(parts) / len(path) ** 2 == pytest.approx(answer.sequences_scores[place], rel=1e-5)


def test_phrases_occur_and_groups_differ(tmp_path: Path) -> None:
    model = load({"model": "gpt2", "seed": 0}, tmp_path, "cpu")
    forced = model.generate([[5, 6]], num_beams=4, max_new_tokens=10, force_words_ids=[[9, 8], [[7], [20, 21]]])
    text = " ".join(map(str, forced[0].tolist()[2:]))
    assert "9 8" in text
    assert "7" in text.split() or "20 21" in text
    options = {"num_beams": 3, "num_return_sequences": 3, "max_new_tokens": 6}
    groups = model.generate([[5, 6]], num_beam_groups=3, diversity_penalty=50.0, **options)
    assert len({*groups[:, 2].tolist()}) == 3
