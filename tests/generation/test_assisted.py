"""Assisted generation: the model's own texts, in fewer passes."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from enfold.auto import make_model
from enfold.errors import InputError
from enfold.families import config_of
from enfold.generation.assisted import _choose
from enfold.generation.config import GenerationConfig
from enfold.generation.drafts import Lookup, probabilities
from enfold.generation.loop import Request, Text
from enfold.generation.recipe import Recipe
from enfold.model import PreTrainedModel
from tests.generation.golden.weights import prompts
from tests.generation.models import ENGINES, TYPES, writer

PROMPTS = prompts(5, rows=3, longest=12)
ASSISTANTS = {"gpt2": "llama", "llama": "gpt2", "bart": "t5", "t5": "bart"}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"repetition_penalty": 1.5, "no_repeat_ngram_size": 3},
    {"min_new_tokens": 10},
]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[PreTrainedModel, int]]:
    """What models are asked: each pass's model and tokens."""
    counted: list[tuple[PreTrainedModel, int]] = []
    for engine in ENGINES:
        kind = type(writer("gpt2", engine))
        original = kind.run

        def run(self: Any, batch: Any, *, original: Any = original, **rest: Any) -> Any:
            counted.append((self, len(batch.ids)))
            return original(self, batch, **rest)

        monkeypatch.setattr(kind, "run", run)
    return counted


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "penalties", "at-least"])
def test_greedy_texts_are_those_of_greedy_search(model_type: str, engine: str, options: dict[str, Any]) -> None:
    model, assistant = writer(model_type, engine), writer(ASSISTANTS[model_type], engine)
    plain = model.generate(PROMPTS, max_new_tokens=24, **options)
    for drafts in (
        {"assistant_model": model},
        {"assistant_model": assistant, "num_assistant_tokens": 4, "assistant_confidence_threshold": 0.0},
        {"assistant_model": assistant, "num_assistant_tokens_schedule": "heuristic"},
        {"prompt_lookup_num_tokens": 5},
        {"prompt_lookup_num_tokens": 3, "max_matching_ngram_size": 1},
    ):
        np.testing.assert_array_equal(model.generate(PROMPTS, max_new_tokens=24, **options, **drafts), plain)


def test_a_model_agrees_with_itself(passes: list[tuple[PreTrainedModel, int]]) -> None:
    model, assistant = writer("llama", "cpu"), writer("llama", "torch")
    options: dict[str, Any] = {"num_assistant_tokens": 4, "assistant_confidence_threshold": 0.0, "min_new_tokens": 21}
    written = model.generate([[5, 6, 7]], assistant_model=assistant, max_new_tokens=21, **options)
    assert written.shape[1] == 24
    mine = [tokens for who, tokens in passes if who is model]
    # the prompt gives the first token; then each pass checks four and adds one
    assert mine == [3, 5, 5, 5, 5]


def test_the_heuristic_drafts_more_after_success(passes: list[tuple[PreTrainedModel, int]]) -> None:
    model, assistant = writer("llama", "cpu"), writer("llama", "torch")
    options: dict[str, Any] = {"num_assistant_tokens": 2, "assistant_confidence_threshold": 0.0, "min_new_tokens": 16}
    model.generate(
        [[5, 6, 7]],
        assistant_model=assistant,
        max_new_tokens=16,
        num_assistant_tokens_schedule="heuristic",
        **options,
    )
    assert [tokens for who, tokens in passes if who is model] == [3, 3, 5, 7]


def test_a_doubtful_assistant_stops_drafting(passes: list[tuple[PreTrainedModel, int]]) -> None:
    model = writer("llama", "cpu")
    model.generate(
        [[5, 6, 7]],
        assistant_model=writer("llama", "torch"),
        assistant_confidence_threshold=1.0,
        max_new_tokens=9,
        min_new_tokens=9,
    )
    assert [tokens for who, tokens in passes if who is model] == [3, 2, 2, 2, 2]


def test_lookup_saves_passes_where_texts_repeat(passes: list[tuple[PreTrainedModel, int]]) -> None:
    model = writer("bart", "cpu")
    written = model.generate([PROMPTS[0]], prompt_lookup_num_tokens=6, max_new_tokens=30)
    repeated = len(set(written[0].tolist())) < 8
    assert repeated, "the tiny model says the same again and again"
    assert len([tokens for who, tokens in passes if who is model]) < 15


@pytest.mark.parametrize(
    ("tokens", "source", "expected"),
    [
        ([1, 2, 3, 4, 9, 2, 3], None, [4, 9, 2]),
        ([2, 7, 1, 2, 8, 5, 1, 2], None, [8, 5, 1]),
        ([4, 5, 6], None, []),
        ([5, 5], None, [5]),
        ([5], None, []),
        ([0, 8, 9], [7, 8, 9, 10, 11], [10, 11, 0]),
    ],
    ids=["longest first", "the pair, not the token", "new", "overlapping", "alone", "in the source"],
)
def test_lookup(tokens: list[int], source: list[int] | None, expected: list[int]) -> None:
    lookup = Lookup(GenerationConfig(prompt_lookup_num_tokens=3))
    assert lookup.draft(Text(Request(0, tokens[:1], source), tokens, {}), room=9).tokens == expected


@pytest.mark.parametrize("model_type", ["gpt2", "t5"])
def test_sampling_with_lookup_is_sampling(model_type: str) -> None:
    model = writer(model_type, "cpu")
    options: dict[str, Any] = {"do_sample": True, "seed": 7, "top_k": 0, "num_return_sequences": 3}
    plain = model.generate(PROMPTS, max_new_tokens=15, **options)
    drafted = model.generate(PROMPTS, max_new_tokens=15, prompt_lookup_num_tokens=4, **options)
    np.testing.assert_array_equal(drafted, plain)


def chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    """How far counts are from expected ones, in standard deviations of the statistic."""
    kept = expected > 5
    observed = np.append(counts[kept], counts[~kept].sum())
    wanted = np.append(expected[kept], expected[~kept].sum())
    observed, wanted = observed[wanted > 0], wanted[wanted > 0]
    freedom = len(observed) - 1
    return float((((observed - wanted) ** 2 / wanted).sum() - freedom) / np.sqrt(2 * freedom))


def test_a_drawn_draft_keeps_the_distribution() -> None:
    model = writer("gpt2", "cpu")
    recipe = Recipe.of(model, model.generation_config.updated(do_sample=True))
    generator = np.random.default_rng(11)
    for _ in range(3):
        scores, guesses = generator.standard_normal((2, 1, 9)).astype(np.float32) * 1.5
        chances = probabilities(guesses[0])
        text = Text(Request(0, [1], generator=generator), [1], {})
        guessed = generator.choice(9, 6000, p=chances).tolist()
        drawn = [_choose(recipe, text, scores, token, chances) for token in guessed]
        counts = np.bincount(drawn, minlength=9)
        assert chi_square(counts, probabilities(scores[0]) * len(drawn)) < 5
        assert chi_square(counts, chances * len(drawn)) > 50


def few_words(seed: int, vocabulary: int = 5) -> PreTrainedModel:
    """A random model of few tokens and positions."""
    config = config_of(
        {"model_type": "gpt2", "vocab_size": vocabulary, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}
    )
    model = make_model(config, "causal-lm", engine="cpu")
    generator = np.random.default_rng(seed)
    for tensor in model._tensors.values():
        tensor[...] = generator.standard_normal(tensor.shape) * (0.8 if tensor.ndim > 1 else 0.3)
    return model


def test_assisted_texts_have_the_models_distribution() -> None:
    model, assistant = few_words(1), few_words(2)
    prompt = [1, 2, 3]
    count = 800
    written = model.generate(
        [prompt],
        assistant_model=assistant,
        do_sample=True,
        top_k=0,
        seed=3,
        num_return_sequences=count,
        max_new_tokens=3,
        assistant_confidence_threshold=0.0,
        num_assistant_tokens=2,
    )
    found = Counter(tuple(row) for row in written[:, 3:].tolist())
    texts = np.array(np.meshgrid(*[range(5)] * 3, indexing="ij")).reshape(3, -1).T
    logits = model(input_ids=np.concatenate([np.tile(prompt, (125, 1)), texts], axis=1)).logits
    chances = np.array(
        [
            np.prod([probabilities(row[2 + step])[text[step]] for step in range(3)])
            for row, text in zip(logits, texts, strict=True)
        ]
    )
    np.testing.assert_allclose(chances.sum(), 1, atol=1e-5)
    counts = np.array([found[tuple(text)] for text in texts.tolist()])
    assert chi_square(counts, chances * count) < 5


def test_texts_stop_where_greedy_ones_do() -> None:
    model = writer("llama", "cpu")
    plain = model.generate([PROMPTS[0]], max_new_tokens=20)
    last = int(plain[0, len(PROMPTS[0]) + 6])
    stopped = model.generate([PROMPTS[0]], max_new_tokens=20, eos_token_id=[last, 2])
    drafted = model.generate([PROMPTS[0]], max_new_tokens=20, eos_token_id=[last, 2], assistant_model=model)
    np.testing.assert_array_equal(drafted, stopped)


def test_scores_of_each_token() -> None:
    model = writer("gpt2", "cpu")
    options: dict[str, Any] = {
        "max_new_tokens": 12,
        "min_new_tokens": 12,
        "output_scores": True,
        "output_logits": True,
        "return_dict_in_generate": True,
    }
    plain = model.generate([PROMPTS[0]], **options)
    drafted = model.generate([PROMPTS[0]], prompt_lookup_num_tokens=3, **options)
    assert len(drafted.scores) == len(drafted.logits) == 12
    for name in ("scores", "logits"):
        for ours, theirs in zip(drafted[name], plain[name], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_streams() -> None:
    model = writer("llama", "cpu")
    plain = model.generate([PROMPTS[1]], max_new_tokens=12)[0, len(PROMPTS[1]) :].tolist()
    assert list(model.stream([PROMPTS[1]], max_new_tokens=12, prompt_lookup_num_tokens=3)) == plain


def test_an_assistant_of_another_kind_is_refused() -> None:
    model, other = writer("gpt2", "cpu"), few_words(1)
    with pytest.raises(InputError, match=r"it has 5 tokens, and the model 61"):
        model.generate([[5]], assistant_model=other)
    with pytest.raises(InputError, match=r"it is a BartForConditionalGeneration, and the model a GPT2LMHeadModel"):
        model.generate([[5]], assistant_model=writer("bart", "cpu"))
    with pytest.raises(InputError, match=r"drafts .* go with greedy and sample"):
        model.generate([[5]], assistant_model=model, num_beams=2)


def test_an_assistant_with_fewer_positions_drafts_while_it_can() -> None:
    model, assistant = writer("gpt2", "cpu"), few_words(1, vocabulary=61)
    options: dict[str, Any] = {"max_new_tokens": 30, "eos_token_id": None}
    for prompt in ([5, 6, 7], [*range(3, 24)]):
        plain = model.generate([prompt], **options)
        np.testing.assert_array_equal(model.generate([prompt], assistant_model=assistant, **options), plain)
