"""Contrastive search: token for token what the reference wrote while it had it (golden/make_contrastive.py)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.generation.models import ENGINES, writer

CASES = json.loads((Path(__file__).parent / "golden" / "contrastive.json").read_text())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['model']}-{case['options']['top_k']}")
def test_equals_the_reference(case: dict[str, Any], batch_size: int, engine: str) -> None:
    model = writer(case["model"], engine)
    written = model.generate_many(case["prompts"], batch_size=batch_size, max_new_tokens=25, **case["options"])
    finished = {index: result.tokens for index, (result,) in written}
    assert len(finished) == len(case["prompts"])
    for index, tokens in finished.items():
        new = tokens[1 if model.arch.encoder else len(case["prompts"][index]) :]
        assert new == case["new"][index]


def test_a_long_common_beginning_changes_nothing() -> None:
    model = writer("gpt2", "cpu")
    begin = list(range(3, 30))
    prompts = [[*begin, 40], [*begin, 50, 51]]
    options: dict[str, Any] = {"penalty_alpha": 0.6, "top_k": 4, "max_new_tokens": 8}
    together = dict(model.generate_many(prompts, batch_size=2, **options))
    alone = [model.generate([prompt], **options)[0].tolist() for prompt in prompts]
    assert [together[index][0].tokens for index in range(2)] == alone


def test_never_chooses_what_is_forbidden() -> None:
    model = writer("llama", "cpu")
    allowed = [5, 6]
    written = model.generate(
        [[7, 8, 9]],
        penalty_alpha=0.9,
        top_k=8,
        max_new_tokens=12,
        prefix_allowed_tokens_fn=lambda index, tokens: allowed,
    )
    assert set(written[0, 3:].tolist()) <= set(allowed)


def test_more_candidates_than_tokens_are_all_of_them() -> None:
    model = writer("t5", "cpu")
    written = [model.generate([[5, 6, 7]], penalty_alpha=0.6, top_k=k, max_new_tokens=6) for k in (61, 600)]
    np.testing.assert_array_equal(*written)


def test_scores_of_each_step() -> None:
    model = writer("gpt2", "cpu")
    output = model.generate(
        [[5, 6, 7]],
        penalty_alpha=0.6,
        top_k=4,
        max_new_tokens=6,
        output_scores=True,
        output_logits=True,
        return_dict_in_generate=True,
    )
    assert len(output.scores) == len(output.logits) == output.sequences.shape[1] - 3
    for step, token in enumerate(output.sequences[0, 3:]):
        assert token in np.argsort(-output.scores[step][0])[:4]
