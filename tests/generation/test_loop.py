"""The loop that writes: the reference's greedy texts, whatever else is written at the same time."""

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from enfold.arch import Rotary, RotaryScaling
from enfold.auto import load_model
from enfold.cache import Cache
from enfold.errors import InputError, NumericalError
from enfold.generation.context import context_of
from enfold.generation.rows import Rows, Scores
from enfold.model import PreTrainedModel
from tests.generation.golden.weights import prompts
from tests.generation.models import ENGINES, TYPES, folder, reference, writer
from tests.reference import CASES, make_reference
from tests.support import shared

WRITERS = [(model_type, kind) for model_type, kind in CASES if kind in ("causal-lm", "seq2seq-lm")]
PROMPTS = prompts(21, rows=7, longest=14)
SAMPLED: dict[str, Any] = {"do_sample": True, "seed": 4, "temperature": 1.5, "top_k": 30}


def texts(model: PreTrainedModel, given: Any, **options: Any) -> list[list[int]]:
    """What is written for each prompt, in their order."""
    found = dict(model.generate_many(given, **options))
    return [result.tokens for index in sorted(found) for result in found[index]]


# ── the reference's texts ────────────────────────────────────────────────────


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("model_type", "kind"), WRITERS)
def test_greedy_texts_equal_the_reference(model_type: str, kind: Any, engine: str, tmp_path: Path) -> None:
    decoder_only = kind == "causal-lm"
    # the reference counts padding in sliding windows, and takes T5's decoder to be as deep as its encoder
    extra: dict[str, Any] = {"sliding_window": None, "use_sliding_window": False} if decoder_only else {}
    extra |= {"num_layers": 2, "num_decoder_layers": 2} if "t5" in model_type else {}
    made = make_reference(model_type, kind, 300, tmp_path, padding="left" if decoder_only else "right", **extra)
    inputs = {name: made.inputs[name] for name in ("input_ids", "attention_mask")}
    room = made.model.config.to_dict().get("max_position_embeddings", 99) if decoder_only else 30
    new = min(12, (room or 99) - inputs["input_ids"].shape[1])
    theirs = made.model.generate(**inputs, max_new_tokens=new, do_sample=False, num_beams=1)
    model = load_model(tmp_path, kind, engine=engine)  # type: ignore[arg-type]
    given = inputs if engine == "torch" else {name: value.numpy() for name, value in inputs.items()}
    ours = model.generate(**given, max_new_tokens=new, do_sample=False, num_beams=1)
    assert isinstance(ours, torch.Tensor if engine == "torch" else np.ndarray)
    np.testing.assert_array_equal(np.asarray(ours), theirs)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_lists_of_different_lengths_need_no_padding(model_type: str, engine: str) -> None:
    longest = max(map(len, PROMPTS))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in PROMPTS])
    theirs = reference(model_type).generate(ids, attention_mask=(ids != 0).long(), max_new_tokens=10)
    ours = writer(model_type, engine).generate(PROMPTS, max_new_tokens=10)
    for row, its, prompt in zip(ours.tolist(), theirs.tolist(), PROMPTS, strict=True):
        new = row[len(prompt) : len(prompt) + theirs.shape[1] - longest]
        assert new + [0] * (theirs.shape[1] - longest - len(new)) == its[longest:]


@pytest.mark.parametrize("model_type", ["bart", "t5"])
def test_a_decoder_goes_on_from_given_ids(model_type: str) -> None:
    given = torch.tensor([[5, 6], [7, 8]])
    source = torch.tensor([[9, 10, 11], [12, 13, 14]])
    theirs = reference(model_type).generate(source, decoder_input_ids=given, max_new_tokens=8)
    ours = writer(model_type, "cpu").generate(source.numpy(), decoder_input_ids=given.numpy(), max_new_tokens=8)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("options", [{"forced_bos_token_id": 9}, {"decoder_start_token_id": 6}], ids=str)
def test_what_a_decoder_begins_with(options: dict[str, Any]) -> None:
    source = torch.tensor([[9, 10, 11], [12, 13, 14]])
    theirs = reference("bart").generate(source, max_new_tokens=6, num_beams=1, **options)
    np.testing.assert_array_equal(writer("bart", "cpu").generate(source.numpy(), max_new_tokens=6, **options), theirs)


def test_each_input_may_have_its_own_start() -> None:
    model, source = writer("bart", "cpu"), [[9, 10, 11], [12, 13, 14]]
    both = model.generate(source, decoder_start_token_id=[6, 7], max_new_tokens=5)
    for row, start in enumerate([6, 7]):
        alone = model.generate(source[row : row + 1], decoder_start_token_id=start, max_new_tokens=5)
        np.testing.assert_array_equal(both[row : row + 1, : alone.shape[1]], alone)


def test_several_end_tokens_as_the_reference() -> None:
    ids = torch.tensor([PROMPTS[0][:5], PROMPTS[1][:5] if len(PROMPTS[1]) >= 5 else PROMPTS[0][5:10]])
    plain = reference("llama").generate(ids, max_new_tokens=20)
    ends = [int(plain[0, 9]), int(plain[1, 12])]
    theirs = reference("llama").generate(ids, max_new_tokens=20, eos_token_id=ends)
    ours = writer("llama", "cpu").generate(ids.numpy(), max_new_tokens=20, eos_token_id=ends)
    np.testing.assert_array_equal(ours, theirs)
    assert ours.shape[1] < plain.shape[1]


# ── many texts ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("options", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_a_text_does_not_depend_on_its_batch_mates(model_type: str, engine: str, options: dict[str, Any]) -> None:
    model = writer(model_type, engine)
    alone = texts(model, PROMPTS, batch_size=1, max_new_tokens=12, **options)
    assert len({tuple(text) for text in alone}) > 1
    for size in (2, 3, 16):
        assert texts(model, PROMPTS, batch_size=size, max_new_tokens=12, **options) == alone
    together = model.generate(PROMPTS, max_new_tokens=12, **options).tolist()
    assert [row[: len(text)] for row, text in zip(together, alone, strict=True)] == alone


def test_prompts_are_read_as_others_finish() -> None:
    model = writer("llama", "cpu")
    read = 0

    def given() -> Iterator[list[int]]:
        nonlocal read
        for prompt in PROMPTS:
            read += 1
            yield prompt

    written = model.generate_many(given(), batch_size=2, max_new_tokens=12)
    assert read == 0
    seen = []
    for index, _ in written:
        seen.append(index)
        assert read <= len(seen) + 2
    assert sorted(seen) == list(range(len(PROMPTS)))


def test_rows_end_one_by_one() -> None:
    model = writer("llama", "cpu")

    def ends(rows: Rows) -> np.ndarray:
        given = np.array(rows.inputs)
        return np.array([len(t) - n for t, n in zip(rows.tokens, rows.prompt_lengths, strict=True)]) > 6 - 2 * given

    written = model.generate([[5, 6]] * 3, stopping_criteria=[ends], max_new_tokens=20, eos_token_id=60)
    assert (written != 0).sum(axis=1).tolist() == [9, 7, 5]


@pytest.mark.parametrize("model_type", ["gpt2", "t5"])
def test_several_samples_of_each(model_type: str) -> None:
    model = writer(model_type, "cpu")
    options: dict[str, Any] = {"num_return_sequences": 3, "max_new_tokens": 10, **SAMPLED}
    rows = model.generate(PROMPTS[:3], **options).tolist()
    assert len(rows) == 9 and len({tuple(row) for row in rows}) > 6
    many = dict(model.generate_many(PROMPTS[:3], batch_size=2, **options))
    assert [len(many[index]) for index in range(3)] == [3, 3, 3]
    for index in range(3):
        for number, result in enumerate(many[index]):
            assert rows[3 * index + number][: len(result.tokens)] == result.tokens


def test_a_seed_decides_what_is_drawn() -> None:
    model = writer("gpt2", "cpu")
    drawn = [
        model.generate([PROMPTS[0]], do_sample=True, seed=seed, min_new_tokens=15, max_new_tokens=15).tolist()
        for seed in (1, 1, 2, None, None)
    ]
    assert drawn[0] == drawn[1]
    assert len({str(each) for each in drawn}) == 4


# ── what is computed ─────────────────────────────────────────────────────────


def test_a_common_beginning_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = np.random.default_rng(2).integers(3, 61, 30).tolist()
    given = [[*begin, 7, 8, 9], [*begin, 11], [*begin[:20], 12], begin, [5, 6]]
    for engine in ENGINES:
        model = writer("llama", engine)
        alone = [texts(model, [each], max_new_tokens=4, min_new_tokens=4)[0] for each in given]
        passes: list[int] = []
        original = type(model).run

        def run(self: Any, batch: Any, *, original: Any = original, passes: list[int] = passes, **rest: Any) -> Any:
            passes.append(len(batch.ids))
            return original(self, batch, **rest)

        monkeypatch.setattr(type(model), "run", run)
        assert texts(model, given, batch_size=5, max_new_tokens=4, min_new_tokens=4) == alone
        # the first prompt and the short one, the others' ends, then three steps of five rows
        assert passes == [33 + 2, 1 + 1 + 1, 5, 5, 5]


def test_a_closed_iterator_frees_the_cache_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = writer("llama", "cpu")
    caches: list[weakref.ref[Cache]] = []
    steps = 0
    original, made = type(model).run, type(model).new_cache

    def run(self: Any, *args: Any, **rest: Any) -> Any:
        nonlocal steps
        steps += 1
        return original(self, *args, **rest)

    def new_cache(self: Any, **rest: Any) -> Cache:
        cache = made(self, **rest)
        caches.append(weakref.ref(cache))
        return cache

    monkeypatch.setattr(type(model), "run", run)
    monkeypatch.setattr(type(model), "new_cache", new_cache)
    gc.disable()
    try:
        written = model.generate_many(PROMPTS * 3, batch_size=2, max_new_tokens=12)
        next(written)
        cache = caches[0]()
        assert cache is not None and cache.nbytes > 0
        del cache
        before = steps
        written.close()  # type: ignore[attr-defined]
        assert caches[0]() is None
        assert steps == before
    finally:
        gc.enable()


# ── how texts end ────────────────────────────────────────────────────────────


def test_stop_strings() -> None:
    from enfold.tokenization import Tokenizer

    tokenizer = Tokenizer.from_pretrained(shared("vocab", "gpt2"))
    model = writer("gpt2", "cpu")
    plain = model.generate([PROMPTS[0]], max_new_tokens=20, min_new_tokens=20)[0, len(PROMPTS[0]) :].tolist()
    stop = tokenizer.decode(plain[5:7])
    stopped = model.generate(
        [PROMPTS[0]], max_new_tokens=20, min_new_tokens=20, stop_strings=[stop], tokenizer=tokenizer
    )[0, len(PROMPTS[0]) :].tolist()
    assert stopped == plain[: len(stopped)] and len(stopped) <= 7
    assert tokenizer.decode(stopped).endswith(stop)


def test_time_runs_out() -> None:
    written = writer("gpt2", "cpu").generate([PROMPTS[0]], max_time=1e-9, max_new_tokens=20, min_new_tokens=20)
    assert written.shape[1] == len(PROMPTS[0]) + 1


def test_own_processors_and_criteria() -> None:
    model = writer("gpt2", "cpu")

    def only_even(scores: Scores, rows: Rows) -> Scores:
        scores[:, 1::2] = -np.inf
        return scores

    def five_new(rows: Rows) -> bool:
        return len(rows.tokens[0]) == rows.prompt_lengths[0] + 5

    written = model.generate([PROMPTS[0]], logits_processor=[only_even], stopping_criteria=[five_new], eos_token_id=3)
    new = written[0, len(PROMPTS[0]) :]
    assert len(new) == 5 and not (new % 2).any()


def test_the_references_processors_and_criteria() -> None:
    ids = torch.tensor([PROMPTS[0]])
    own: dict[str, Any] = {
        "logits_processor": transformers.LogitsProcessorList([transformers.MinLengthLogitsProcessor(18, 2)]),
        "stopping_criteria": transformers.StoppingCriteriaList([transformers.MaxLengthCriteria(20)]),
    }
    theirs = reference("gpt2").generate(ids, max_new_tokens=30, **own)
    np.testing.assert_array_equal(writer("gpt2", "torch").generate(ids, max_new_tokens=30, **own), theirs)


# ── what can't be done ───────────────────────────────────────────────────────


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("model_type", "given", "options", "message"),
    [
        ("gpt2", [[]], {}, "no token to go on from"),
        ("gpt2", [[5], []], {}, "row 1 of input_ids has no token"),
        ("gpt2", [[5, 61]], {}, "ids from 5 to 61, and this model knows 0 to 60"),
        ("gpt2", [[5, -1]], {}, "ids from -1 to 5"),
        ("gpt2", [[5] * 64], {}, "has 64 tokens, and this model reads 64"),
        ("gpt2", [[5] * 60], {"max_new_tokens": 5}, "60 tokens and 5 new ones are 65, .* max_new_tokens=4"),
        ("gpt2", [[5] * 30], {"max_length": 30}, "has 30 tokens, and max_length is 30"),
        ("llama", [[5] * 64], {"max_new_tokens": 2}, "has 64 tokens, and this model reads 64"),
        ("llama", [[5] * 60], {"max_new_tokens": 10**9}, "60 tokens and 1000000000 new ones .* max_new_tokens=4"),
        ("bart", [[5] * 65], {}, "the input has 65 tokens, and this model's encoder reads 64"),
        ("bart", [[5]], {"max_new_tokens": 70}, "1 tokens and 70 new ones are 71"),
        ("bart", [[5], [6]], {"decoder_start_token_id": [1]}, "decoder_start_token_id has 1 tokens"),
        ("gpt2", [[5]], {"num_return_sequences": 2}, "would all be the same"),
        ("gpt2", [[5]], {"suppress_tokens": list(range(61))}, "the options forbid every token"),
        ("gpt2", [[5]], {"prompt_lookup": 3}, "prompt_lookup_num_tokens"),
    ],
)
def test_what_can_not_be_written_is_refused(
    model_type: str, given: Any, options: dict[str, Any], message: str, engine: str
) -> None:
    with pytest.raises(InputError, match=message):
        writer(model_type, engine).generate(given, **options)


def test_the_default_length_keeps_within_the_model() -> None:
    assert writer("gpt2", "cpu").generate([[5] * 55], eos_token_id=60).shape[1] == 64


def test_a_length_of_the_checkpoint_keeps_within_the_model() -> None:
    made = load_model(folder("gpt2"), "causal-lm", engine="cpu")
    made.generation_config = made.generation_config.updated(max_new_tokens=500, eos_token_id=None)
    with pytest.raises(InputError, match="ask for at most max_new_tokens=9"):
        made.generate([[5] * 55])  # this one was asked for
    made.generation_config = made.generation_config.unasked()
    assert made.generate([[5] * 55]).shape[1] == 64
    assert [len(result.tokens) for _, (result,) in made.generate_many([[5] * 55, [5]])] == [64, 64]
    with pytest.raises(InputError, match="ask for at most max_new_tokens=9"):
        made.generate([[5] * 55], max_new_tokens=10)


def test_the_context_is_scaled_with_the_angles() -> None:
    plain = writer("llama", "cpu").arch
    scalings = (
        RotaryScaling(kind="dynamic", factor=2.0),
        RotaryScaling(kind="yarn", factor=4.0, original_length=32),
        RotaryScaling(kind="llama3", factor=8.0, original_length=4),
    )
    scaled = [replace(plain, relative=Rotary(size=4, scaling=each)) for each in scalings]
    assert [context_of(arch) for arch in (plain, *scaled)] == [64, 128, 128, 64]
    assert context_of(writer("t5", "cpu").arch) is None


def test_prompts_of_generate_many_are_checked_one_by_one() -> None:
    written = writer("gpt2", "cpu").generate_many([[5, 6], [7, 99]], batch_size=1, max_new_tokens=2)
    assert next(written)[0] == 0
    with pytest.raises(InputError, match="prompt 1 has ids from 7 to 99"):
        next(written)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "options", [{}, {"do_sample": True}, {"penalty_alpha": 0.5, "top_k": 3}, {"num_beams": 2}], ids=str
)
@pytest.mark.parametrize(
    ("model_type", "weight", "layer"),
    [
        ("llama", "layers.1.attention.output.weight", "layer 1"),
        ("bart", "layers.1.feed_forward", "the decoder's layer 1"),
    ],
)
def test_weights_that_are_not_numbers_are_named(
    model_type: str, weight: str, layer: str, options: dict[str, Any], engine: Any
) -> None:
    kind: Any = "seq2seq-lm" if model_type == "bart" else "causal-lm"
    model: Any = load_model(folder(model_type), kind, engine=engine)
    if engine == "torch":
        leaf = next(
            leaf for name, leaf in model._named_leaves().items() if weight.startswith(name) or name.startswith(weight)
        )
        with torch.no_grad():
            leaf.weight[0, 0] = float("nan")
    else:
        name = next(name for name in model._tensors if name.startswith(weight))
        broken = model._tensors[name].copy()
        broken[0, 0] = np.nan
        model._tensors = {**model._tensors, name: broken}
        model._plan = model._wire()
    with pytest.raises(NumericalError, match=f"NaN after .* tokens; they begin in {layer}"):
        model.generate([[5, 6, 7]], max_new_tokens=3, **options)


@pytest.mark.parametrize("engine", ENGINES)
def test_keys_that_are_turned_by_the_length_of_a_text_are_not_shared(engine: Any, tmp_path: Path) -> None:
    scaling = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    make_reference("llama", "causal-lm", 60, tmp_path, rope_parameters=scaling, max_position_embeddings=32)
    model = load_model(tmp_path, "causal-lm", engine=engine)
    drawn = np.random.default_rng(3)
    for _ in range(4):
        long = drawn.integers(3, 60, 90).tolist()
        short = [*long[:24], *drawn.integers(3, 60, 3).tolist()]
        options: dict[str, Any] = {"max_new_tokens": 4, "eos_token_id": None}
        assert texts(model, [long, short], **options)[1:] == texts(model, [short], **options)
