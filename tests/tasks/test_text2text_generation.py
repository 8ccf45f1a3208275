"""Text-to-text generation: streams, limits, and the gaps that T5 fills."""

import logging
from typing import Any

import pytest

from enfold.errors import InputError, TextTooLongError
from enfold.generation.loop import Result
from enfold.tasks import pipeline
from enfold.tasks.sentinels import fill_spans, read_spans
from enfold.tokenization import Tokenizer
from tests.tasks.writing_oracle import folder, loaded, tokenizer, writer

GREEDY = {"num_beams": 1, "max_new_tokens": 6}


def rewrite(kind: str = "t5", **options: Any) -> Any:
    return writer("text2text-generation", kind, **{**GREEDY, **options})


def test_spans_are_read_from_what_t5_writes() -> None:
    text = "The <extra_id_0> walks in <extra_id_1> park"
    spans = read_spans("<pad> <extra_id_0> cute dog<extra_id_1> the <extra_id_2></s>")
    assert spans == {"<extra_id_0>": "cute dog", "<extra_id_1>": "the", "<extra_id_2>": ""}
    assert fill_spans(text, spans) == "The cute dog walks in the park"
    assert read_spans("no sentinel") == {}
    assert read_spans("<extra_id_0> a<extra_id_0> b") == {"<extra_id_0>": "a"}


def test_a_text_with_gaps_gets_what_fills_them(monkeypatch: pytest.MonkeyPatch) -> None:
    task = rewrite()
    written = tokenizer("t5")("<extra_id_0> cute dog<extra_id_1> the<extra_id_2>")["input_ids"]
    monkeypatch.setattr(
        task.model, "generate_many", lambda prompts, **_: ((i, [Result([0, *written])]) for i, _ in enumerate(prompts))
    )
    (record,) = task("The <extra_id_0> walks in <extra_id_1> park, <extra_id_7>")
    assert record == {
        "generated_text": "cute dog the",
        "spans": {"<extra_id_0>": "cute dog", "<extra_id_1>": "the", "<extra_id_7>": ""},
        "sequence": "The cute dog walks in the park, ",
    }
    assert list(task("The dog walks.")[0]) == ["generated_text"]


@pytest.mark.parametrize("kind", ["t5", "marian"])
def test_a_stream_is_the_text_of_the_record(kind: str) -> None:
    pieces = list(rewrite(kind, max_new_tokens=20)("How old are you?", stream=True))
    (record,) = rewrite(kind, max_new_tokens=20)("How old are you?")
    assert "".join(pieces) == record["generated_text"] and len(pieces) > 1


def test_a_generator_gives_what_single_texts_give() -> None:
    texts = ["one", "two", "three"]
    assert list(rewrite()(iter(texts))) == [rewrite()(text) for text in texts]
    assert rewrite()(texts) == [record for text in texts for record in rewrite()(text)]
    assert rewrite()([]) == []


def test_a_text_over_the_limit_is_refused_or_cut(caplog: pytest.LogCaptureFixture) -> None:
    words = tokenizer("marian")("river")["input_ids"]
    long = " ".join(["river"] * 200)
    count = len(tokenizer("marian")(long)["input_ids"])
    with pytest.raises(TextTooLongError, match=rf"the text has {count} tokens and the limit is 128; it begins 'river"):
        rewrite("marian")(long)
    task = rewrite("marian", long="truncate")
    with caplog.at_level(logging.WARNING, logger="enfold"):
        ids = task._prompt(long)
    assert caplog.messages == [f"cut a text at 128 tokens: {count - 128} tokens were not read"]
    assert len(ids) == 128 and ids[-1] == words[-1] and ids[:-1] == tokenizer("marian")(long)["input_ids"][:127]


def test_what_is_no_text_is_refused() -> None:
    for given in (None, 3, [3], {"text": "x"}):
        with pytest.raises(InputError, match="got "):
            rewrite()(given)
    with pytest.raises(InputError, match="empty"):
        rewrite()(" ")


def test_t5_reads_as_much_as_its_tokenizer_says() -> None:
    long = "river " * 600
    with pytest.raises(TextTooLongError, match=r"the limit is 512.*raise tokenizer.model_max_length"):
        rewrite()(long)
    own = Tokenizer.from_folder(folder("t5"), model_max_length=2048)
    task = pipeline("text2text-generation", loaded("t5"), tokenizer=own, **GREEDY)
    assert task(long)[0]["generated_text"]
    unlimited = Tokenizer.from_folder(folder("t5"), model_max_length=int(1e30))  # as files say that state none
    assert pipeline("text2text-generation", loaded("t5"), tokenizer=unlimited).max_length == 512
