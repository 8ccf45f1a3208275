"""What all tasks promise: records that don't depend on their batch, in order, in a stream; nothing lost silently."""

import itertools
import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from enfold.auto import load_model
from enfold.errors import InputError, TaskError, TextTooLongError, UntrainedHeadError
from enfold.tasks import pipeline
from enfold.tokenization import Tokenizer
from tests.support import minilm
from tests.tasks.oracle import assert_equal, folder, tiny_pipeline
from tests.tasks.tiny import LIMIT, Tiny

WORDS = ["the", "bridge", "over", "a", "river", "was", "London", "opened", "by", "José", "北京", "❤", "unbelievably"]
NLI = ("contradiction", "neutral", "entailment")
ENTITIES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")

Ask = Callable[[Any, Any], Any]
TASKS: dict[str, tuple[str, tuple[str, ...], Ask]] = {
    "fill-mask": ("masked-lm", ("LABEL_0", "LABEL_1"), lambda task, texts: task(texts, targets=WORDS[:7], top_k=3)),
    "token-classification": (
        "token-classification",
        ENTITIES,
        lambda task, texts: task(texts, aggregation_strategy="average", ignore_labels=[]),
    ),
    "question-answering": (
        "question-answering",
        ("LABEL_0", "LABEL_1"),
        lambda task, texts: task({"question": "Where was it?", "context": text} for text in texts),
    ),
    "zero-shot-classification": (
        "sequence-classification",
        NLI,
        lambda task, texts: task(texts, candidate_labels=["travel", "the weather"]),
    ),
    "text-classification": ("sequence-classification", NLI, lambda task, texts: task(texts, top_k=None)),
}
SPREAD = 0.1
"""A model near real ones in how it amplifies the rounding of sums, which differs between shapes of a product."""


def _texts(count: int) -> list[str]:
    """Texts of 1 to 300 words, each with a mask."""
    generator = random.Random(7)
    lengths = itertools.cycle((1, 20, 3, 8, 40, 300, 5, 12))
    return [" ".join(["[MASK]", *generator.choices(WORDS, k=next(lengths))]) for _ in range(count)]


@pytest.mark.parametrize(
    ("family", "engine", "count"),
    [("bert", "cpu", 50), ("distilbert", "cpu", 16), ("deberta-v2", "cpu", 16), ("bert", "torch", 6)],
)
@pytest.mark.parametrize("name", TASKS)
def test_a_record_does_not_depend_on_its_batch_mates(name: str, family: str, engine: str, count: int) -> None:
    head, labels, ask = TASKS[name]
    tiny = Tiny(family=family, head=head, vocabulary="uncased", labels=labels, spread=SPREAD)
    task = tiny_pipeline(name, tiny, engine)
    texts = _texts(count)
    together = list(ask(task, texts))
    for text, record in zip(texts[:8], together, strict=False):
        assert_equal(next(iter(ask(task, [text]))), record, 1e-6)
    order = random.Random(3).sample(range(count), count)
    assert_equal(list(ask(task, [texts[index] for index in order])), [together[index] for index in order], 1e-6)
    narrow = tiny_pipeline(name, tiny, engine, token_budget=1)
    assert_equal(list(ask(narrow, texts)), together, 1e-6)


def classifier(**options: Any) -> Any:
    tiny = Tiny(family="bert", head="sequence-classification", vocabulary="uncased", labels=NLI)
    return tiny_pipeline("text-classification", tiny, **options)


def test_an_endless_stream_is_read_as_it_is_asked_for() -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "a river"

    records = classifier()(endless())
    assert read == 0
    next(records)
    assert read == 1
    for asked in range(2, 1500):
        next(records)
        assert asked <= read <= min(2 * asked, asked + 512)


def test_lists_tuples_and_datasets_are_read() -> None:
    class Dataset:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> str:
            return ["a river", "a bridge"][index]

    classify = classifier()
    records = classify(["a river", "a bridge"])
    assert_equal(classify(("a river", "a bridge")), records, 1e-6)
    assert_equal(list(classify(Dataset())), records, 1e-6)
    assert classify([]) == [] and list(classify(iter([]))) == []


@pytest.mark.parametrize("given", [None, 3, 2.5, b"text", Path("text.txt"), True])
def test_what_is_no_text_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=f"got {type(given).__name__}"):
        classifier()(given)


def test_a_mapping_is_no_list_of_texts() -> None:
    tiny = Tiny(family="bert", head="masked-lm", vocabulary="uncased")
    with pytest.raises(InputError, match=r"got dict .*expected a text, a list"):
        tiny_pipeline("fill-mask", tiny)({"text": "A [MASK]."})


def test_a_text_over_the_limit_is_read_cut_or_refused_as_asked(caplog: pytest.LogCaptureFixture) -> None:
    long = "river " * 200 + "bridge " * 50
    cut = "river " * (LIMIT - 2)
    with caplog.at_level(logging.WARNING, logger="enfold"):
        whole = classifier()(long, top_k=None)
        assert not caplog.messages
        first = classifier(long="truncate")([long, "short"], top_k=None)
    assert caplog.messages == ["cut 1 of 2 texts at 128 tokens: 124 tokens were not read"]
    assert_equal(first[0], classifier()(cut, top_k=None), 1e-6)
    assert abs(first[0][0]["score"] - whole[0]["score"]) > 1e-4
    with pytest.raises(TextTooLongError, match=r"1 of 2 texts .* 128 tokens, the longest has 252.*'river river"):
        classifier(long="error")(["short", long])


def test_windows_share_a_quarter_and_never_more_than_they_have_room_for() -> None:
    task = classifier()
    (windows,) = task.encode_texts(["river " * 300])
    assert len(windows[0]) == LIMIT
    assert windows[1].offsets[1].tolist() == windows[0].offsets[-1 - LIMIT // 4].tolist()
    (tight,) = task.encode_texts(["river " * 300], ["bridge " * 120], cut="first")
    assert all(len(window) <= LIMIT for window in tight)
    assert len(tight) == 100, "of 300 tokens 5 in the first window; 2 shared and 3 new in each further one"


def test_options_are_checked() -> None:
    with pytest.raises(InputError, match="long is 'cut', expected 'window', 'truncate' or 'error'"):
        classifier(long="cut")
    with pytest.raises(InputError, match="token_budget is 0"):
        classifier(token_budget=0)


def test_a_model_without_the_head_is_refused() -> None:
    tiny = Tiny(family="bert", head="masked-lm", vocabulary="uncased")
    model = load_model(folder(tiny), "masked-lm", engine="cpu")
    with pytest.raises(TaskError, match="question-answering needs a model with a question-answering head"):
        pipeline("question-answering", model, tokenizer=folder(tiny))


@pytest.mark.parametrize("task", ["text-classification", "token-classification", "question-answering"])
def test_an_untrained_head_does_not_answer(task: str) -> None:
    with pytest.raises(UntrainedHeadError, match="made fresh"):
        pipeline(task, minilm(), engine="cpu")


def test_a_tokenizer_of_another_model_is_refused() -> None:
    tiny = Tiny(family="bert", head="masked-lm", vocabulary="chinese")
    with pytest.raises(TaskError, match=r"30522 tokens and the model's embeddings 21128"):
        pipeline("fill-mask", folder(tiny), tokenizer=Tokenizer.from_folder(minilm()), engine="cpu")


@pytest.mark.parametrize("task", ["question-answering", "fill-mask"])
def test_a_task_without_a_default_model_names_some(task: str) -> None:
    with pytest.raises(TaskError, match=r"no default model yet.*Models that fit: "):
        pipeline(task)


def test_an_unknown_task_names_the_near_ones() -> None:
    with pytest.raises(TaskError, match=r"no task 'fillmask' \(did you mean fill-mask"):
        pipeline("fillmask")
