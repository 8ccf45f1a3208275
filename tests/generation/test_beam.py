"""Beam search and beam sampling write what the reference writes, token for token."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from enfold import AutoModelForCausalLM, AutoModelForSeq2SeqLM
from enfold.errors import InputError, NumericalError
from enfold.generation.sampling import choose_distinct, generator
from tests.reference import Reference, make_reference

FAMILIES = ["gpt2", "llama", "bart", "marian", "t5"]
CASES_PER_MODEL = 12


@pytest.fixture(scope="module", params=[(family, seed) for family in FAMILIES for seed in (1, 2)], ids=str)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reference, Any]:
    """A reference model and ours."""
    family, seed = request.param
    return make_pair(family, seed, tmp_path_factory.mktemp("model"), "torch" if seed == 2 else "cpu")


def make_pair(family: str, seed: int, folder: Path, engine: str) -> tuple[Reference, Any]:
    depths = {"num_layers": 2, "num_decoder_layers": 2} if family == "t5" else {}
    if family in ("gpt2", "llama"):
        reference = make_reference(family, "causal-lm", seed, folder, "left")
        return reference, AutoModelForCausalLM.from_pretrained(folder, engine=engine)
    reference = make_reference(family, "seq2seq-lm", seed, folder, **depths)
    return reference, AutoModelForSeq2SeqLM.from_pretrained(folder, engine=engine)


def random_options(chance: random.Random, encoder: bool, vocabulary: int) -> dict[str, Any]:
    """How beams are kept, and what changes scores or ends texts."""
    beams = chance.choice([2, 3, 5])
    made: dict[str, Any] = {
        "num_beams": beams,
        "num_return_sequences": chance.randint(1, beams),
        "max_new_tokens": chance.choice([1, 5, 10]),
        "length_penalty": chance.choice([-1.5, 0.0, 1.0, 2.0]),
        "early_stopping": chance.choice([True, False, "never"]),
        "eos_token_id": chance.sample(range(3, vocabulary - 1), chance.choice([1, 2, 8])),
        "pad_token_id": 1,
    }
    made |= chance.choice(
        [
            {},
            {"no_repeat_ngram_size": 2},
            {"repetition_penalty": 1.3},
            {"min_new_tokens": 4, "max_new_tokens": 9},
            {"bad_words_ids": [[chance.randint(3, vocabulary - 1)], [7, 8]]},
            {"forced_eos_token_id": made["eos_token_id"][0]},
            {"suppress_tokens": chance.sample(range(vocabulary), 5), "renormalize_logits": True},
        ]
    )
    if encoder:
        made.setdefault("forced_eos_token_id", None)  # BART's configuration has one
        made |= chance.choice(
            [{}, {}, {"forced_bos_token_id": 4, "max_new_tokens": 6}, {"max_length": 8, "max_new_tokens": None}]
        )
    return made


def expected(reference: Reference, options: dict[str, Any]) -> list[tuple[list[int], float]]:
    """The reference's new tokens and scores; its padding is cut off."""
    encoder = reference.model.config.is_encoder_decoder
    ids, mask = reference.inputs["input_ids"], reference.inputs["attention_mask"]
    batches = [(ids, mask)]
    if not encoder and options.keys() & {"no_repeat_ngram_size", "repetition_penalty"}:  # which see padding as text
        rows = [row[real][None] for row, real in zip(ids, mask.bool(), strict=True)]
        batches = [(row, torch.ones_like(row)) for row in rows]
    texts = []
    for each, real in batches:
        answer = reference.model.generate(
            input_ids=each, attention_mask=real, return_dict_in_generate=True, output_scores=True, **options
        )
        texts += _texts(answer, 1 if encoder else each.shape[1])
    return texts


def written(model: Any, reference: Reference, **options: Any) -> list[tuple[list[int], float]]:
    """Our new tokens and scores."""
    ids, mask = reference.inputs["input_ids"], reference.inputs["attention_mask"]
    answer = model.generate(ids, attention_mask=mask, return_dict_in_generate=True, **options)
    return _texts(answer, 1 if model.arch.encoder else ids.shape[1])


def _texts(answer: Any, begin: int) -> list[tuple[list[int], float]]:
    parts = zip(answer.sequences.tolist(), answer.beam_indices.tolist(), answer.sequences_scores.tolist(), strict=True)
    return [(row[begin : begin + len(path) - path.count(-1)], score) for row, path, score in parts]


def assert_same(ours: list[tuple[list[int], float]], theirs: list[tuple[list[int], float]]) -> None:
    assert [tokens for tokens, _ in ours] == [tokens for tokens, _ in theirs]
    np.testing.assert_allclose([score for _, score in ours], [score for _, score in theirs], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", range(CASES_PER_MODEL))
def test_beam_search(pair: tuple[Reference, Any], case: int) -> None:
    reference, model = pair
    options = random_options(random.Random(case), model.arch.encoder is not None, model.arch.vocab_size)
    assert_same(written(model, reference, **options), expected(reference, options))


@pytest.fixture
def same_draws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The reference draws candidates as enfold does with ``seed=5``."""
    own = [generator(5, place) for place in range(4)]

    def multinomial(probabilities: torch.Tensor, num_samples: int) -> torch.Tensor:
        with np.errstate(divide="ignore"):
            rows = np.log(probabilities.numpy())
        drawn = [choose_distinct(row, num_samples, each) for row, each in zip(rows, own, strict=True)]
        return torch.from_numpy(np.stack(drawn))

    monkeypatch.setattr(torch, "multinomial", multinomial)
    yield


@pytest.mark.parametrize("case", range(3))
def test_beam_sampling(pair: tuple[Reference, Any], case: int, same_draws: None) -> None:
    reference, model = pair
    chance = random.Random(case)
    beams = chance.choice([2, 4])
    options = {
        "do_sample": True,
        "num_beams": beams,
        "num_return_sequences": chance.randint(1, beams),
        "max_new_tokens": 7,
        "temperature": chance.choice([0.7, 1.0, 2.0]),
        "top_k": chance.choice([20, 30]),
        "length_penalty": chance.choice([-1.0, 1.0]),
        "early_stopping": chance.choice([True, False, "never"]),
        "eos_token_id": chance.sample(range(3, 39), 2),
        "pad_token_id": 1,
        "forced_eos_token_id": None,
    }
    assert_same(written(model, reference, seed=5, **options), expected(reference, options))


def test_records(pair: tuple[Reference, Any]) -> None:
    """Scores, logits and the rows that tokens came through have the reference's shapes and values."""
    reference, model = pair
    options = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 4, "pad_token_id": 1}
    options |= {"min_new_tokens": 4, "forced_eos_token_id": None, "eos_token_id": 7}
    options |= {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
    ids, mask = reference.inputs["input_ids"], reference.inputs["attention_mask"]
    theirs = reference.model.generate(input_ids=ids, attention_mask=mask, **options)
    ours = model.generate(ids, attention_mask=mask, **options)
    np.testing.assert_array_equal(ours.sequences, theirs.sequences)
    np.testing.assert_array_equal(ours.beam_indices, theirs.beam_indices)
    np.testing.assert_allclose(ours.sequences_scores, theirs.sequences_scores, rtol=1e-4)
    for name in ("scores", "logits"):
        assert len(ours[name]) == len(theirs[name]) == 4
        for mine, other in list(zip(ours[name], theirs[name], strict=True))[1:]:  # at first rows are equal
            np.testing.assert_allclose(mine, other, atol=1e-4)


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"num_return_sequences": 2, "length_penalty": 2.0},
        {"do_sample": True, "seed": 3},
        {"num_beam_groups": 2, "diversity_penalty": 1.0},
        {"force_words_ids": [[9, 8]]},
    ],
    ids=str,
)
def test_streams(pair: tuple[Reference, Any], extra: dict[str, Any]) -> None:
    """Pieces of a stream are never taken back, and are the best text in the end."""
    reference, model = pair
    row = reference.inputs["input_ids"][:1]
    options = {"num_beams": 4, "max_new_tokens": 12, "eos_token_id": [7, 11, 12], "pad_token_id": 1, **extra}
    whole = model.generate(row, return_dict_in_generate=True, **options)
    begin = 1 if model.arch.encoder else row.shape[1]
    path = whole.beam_indices[0].tolist()
    assert list(model.stream(row, **options)) == whole.sequences[0].tolist()[begin : begin + len(path) - path.count(-1)]


def test_a_text_does_not_depend_on_others(pair: tuple[Reference, Any]) -> None:
    """Texts that join while others are being written come out as they do alone."""
    _, model = pair
    options = {"num_beams": 3, "max_new_tokens": 8, "eos_token_id": [7, 11, 12], "pad_token_id": 1}
    options |= {"num_return_sequences": 2, "repetition_penalty": 1.2}
    chance = random.Random(0)
    prompts = [[chance.randint(3, 30) for _ in range(chance.randint(1, 9))] for _ in range(7)]
    together = dict(model.generate_many(prompts, batch_size=3, **options))
    for number, prompt in enumerate(prompts):
        ((_, alone),) = model.generate_many([prompt], **options)
        assert [each.tokens for each in together[number]] == [each.tokens for each in alone]


def tokens_of(model: Any, **options: Any) -> list[list[int]]:
    """New tokens of all texts for a prompt of one token, without padding."""
    answer = model.generate([[5]], return_dict_in_generate=True, pad_token_id=1, **options)
    return [tokens for tokens, _ in _texts(answer, 1)]


def test_fewer_texts_than_asked_for(pair: tuple[Reference, Any]) -> None:
    """Where only so many texts are allowed, each comes once; the others are empty and score -1e9."""
    _, model = pair
    allowed = {1: [4, 5], 2: [6]}
    options = {"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 9, "eos_token_id": 9}
    texts = tokens_of(model, prefix_allowed_tokens_fn=lambda _, tokens: allowed.get(len(tokens), [9]), **options)
    assert sorted(texts) == [[], [], [4, 6, 9], [5, 6, 9]]
    assert texts[2:] == [[], []]


def test_nothing_allowed(pair: tuple[Reference, Any]) -> None:
    _, model = pair
    options = {"num_beams": 2, "max_new_tokens": 3, "forced_eos_token_id": None}
    options["suppress_tokens"] = list(range(model.arch.vocab_size))
    with pytest.raises(InputError, match="forbid every token"):
        tokens_of(model, **options)


def test_scores_that_are_no_numbers(pair: tuple[Reference, Any]) -> None:
    _, model = pair

    def spoil(scores: Any, rows: Any) -> Any:
        scores[1, 4] = np.nan
        return scores

    for extra in ({}, {"do_sample": True}, {"num_beam_groups": 2, "diversity_penalty": 1.0}):
        with pytest.raises(NumericalError, match="NaN"):
            tokens_of(model, num_beams=4, max_new_tokens=3, logits_processor=[spoil], **extra)
