"""The whole chain of a configuration gives the reference's scores: every processor is there, in its order."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.generation import UnbatchedClassifierFreeGuidanceLogitsProcessor

from enfold.errors import InputError
from enfold.generation.config import GenerationConfig
from enfold.generation.logits import apply, guide, processors
from enfold.generation.rows import Rows
from tests.generation.support import VOCABULARY, random_rows, random_scores

CHAINS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "lengths": {"min_new_tokens": 4, "forced_eos_token_id": 7, "max_length": 16},
    "history": {
        "repetition_penalty": 1.2,
        "encoder_repetition_penalty": 1.1,
        "no_repeat_ngram_size": 3,
        "encoder_no_repeat_ngram_size": 2,
        "bad_words_ids": [[7], [9], [4, 8]],
        "sequence_bias": [[[5], 1.5], [[6, 4], -2.0]],
    },
    "positions": {
        "min_length": 9,
        "forced_bos_token_id": 5,
        "exponential_decay_length_penalty": (2, 1.1),
        "suppress_tokens": [1, 2],
        "begin_suppress_tokens": [3],
        "remove_invalid_values": True,
    },
    "sampling": {
        "do_sample": True,
        "temperature": 0.8,
        "top_k": 40,
        "top_p": 0.95,
        "min_p": 0.01,
        "typical_p": 0.97,
        "epsilon_cutoff": 3e-3,
        "eta_cutoff": 1e-3,
        "renormalize_logits": True,
    },
    "beams that sample": {"do_sample": True, "num_beams": 3, "top_k": 1, "top_p": 0.5, "top_h": 0.9},
    "all": {
        "do_sample": True,
        "temperature": 1.3,
        "top_p": 0.9,
        "repetition_penalty": 1.5,
        "no_repeat_ngram_size": 2,
        "min_new_tokens": 3,
        "suppress_tokens": [1],
        "sequence_bias": [[[5], 3.0]],
        "renormalize_logits": True,
    },
}


@pytest.fixture(scope="module")
def peer() -> Any:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=VOCABULARY, n_embd=4, n_layer=1, n_head=1, n_positions=64)
    )


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("seed", range(3))
def test_chains(name: str, seed: int, peer: Any) -> None:
    options = {**CHAINS[name], "eos_token_id": [7, 11]}
    scores, rows = random_scores(seed), random_rows(seed)
    rows.sources = [tokens[:given] for tokens, given in zip(rows.tokens, rows.prompt_lengths, strict=True)]
    expected = []
    for row, tokens in enumerate(rows.tokens):
        config = transformers.GenerationConfig(
            **{**transformers.GenerationConfig._get_default_generation_params(), **options}
        )
        config._eos_token_tensor = torch.tensor([7, 11])
        chain = peer._get_logits_processor(
            config,
            input_ids_seq_length=rows.prompt_lengths[row],
            encoder_input_ids=torch.tensor([rows.sources[row]]),
        )
        expected.append(chain(torch.tensor([tokens]), torch.from_numpy(scores[row : row + 1].copy())).numpy())
    ours = apply(processors(GenerationConfig(**options), VOCABULARY), scores.copy(), rows)
    np.testing.assert_array_equal(np.isneginf(ours), np.isneginf(np.concatenate(expected)))
    np.testing.assert_allclose(ours, np.concatenate(expected), rtol=1e-5, atol=1e-5)


def test_own_processors_come_before_the_warpers() -> None:
    seen = []

    def own(scores: np.ndarray, rows: Rows) -> np.ndarray:
        seen.append(scores.copy())
        return np.where(scores > 0, np.float32(0), scores)

    def grammar(scores: np.ndarray, rows: Rows) -> np.ndarray:
        seen.append(scores.copy())
        return scores

    config = GenerationConfig(do_sample=True, temperature=2.0, suppress_tokens=[0])
    scores = np.ones((1, 5), np.float32)
    apply(processors(config, 5, own=[own], grammar=grammar), scores, Rows([[1]], [1], [[1]]))
    assert seen[0].tolist() == [[-np.inf, 1, 1, 1, 1]]
    assert seen[1][0, 1:].tolist() == [0, 0, 0, 0]


def test_guidance() -> None:
    scores, free = random_scores(0, 3), random_scores(1, 3)
    reference = UnbatchedClassifierFreeGuidanceLogitsProcessor(
        1.7, lambda *_, **__: SimpleNamespace(logits=torch.from_numpy(free)[:, None], get=lambda *_: None)
    )
    expected = reference(torch.zeros(3, 1, dtype=torch.long), torch.from_numpy(scores)).numpy()
    np.testing.assert_allclose(guide(scores.copy(), free.copy(), 1.7), expected, atol=2e-5)


def test_ids_outside_the_vocabulary_are_listed() -> None:
    config = GenerationConfig(suppress_tokens=[1, 50], bad_words_ids=[[2], [60, 61]], sequence_bias={(3, 70): 1.0})
    message = "vocabulary of 50: bad_words_ids has 60, 61; suppress_tokens has 50; sequence_bias has 70"
    with pytest.raises(InputError, match=message):
        processors(config, 50)


def test_end_tokens_without_a_score_are_passed_over() -> None:
    config = GenerationConfig(eos_token_id=[3, 900], min_new_tokens=4).unasked()
    scores = apply(processors(config, 5), np.zeros((1, 5), np.float32), Rows([[1]], [1], [[1]]))
    assert scores.tolist() == [[0, 0, 0, -np.inf, 0]]


def test_decay_needs_an_end_token() -> None:
    with pytest.raises(InputError, match="eos_token_id is not known"):
        processors(GenerationConfig(exponential_decay_length_penalty=[1, 1.1]), 50)
