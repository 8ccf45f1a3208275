"""Summaries: every sentence of a long text is read, by models trained for it and by models that chat."""

import json
import logging
from typing import Any

import pytest

from enfold.errors import InputError, TextTooLongError, TokenizerError
from enfold.tasks import pipeline
from enfold.tasks.sentences import blocks, sentences
from tests.support import shared
from tests.tasks.echo import echoing
from tests.tasks.writing_oracle import folder, loaded, tokenizer, writer

SHORT = {"num_beams": 1, "max_new_tokens": 8}
PREFIX = "summarize: "


def documents() -> list[str]:
    articles = json.loads(shared("data", "xquad.en.json").read_text(encoding="utf-8"))["data"]
    passages = [passage["context"] for article in articles for passage in article["paragraphs"]]
    wikipedia = ["\n\n".join(passages[:12]), "\n".join(passages[12:24])]
    return [*wikipedia, shared("data", "tinyshakespeare.txt").read_text(encoding="utf-8")[:8_000]]


def letters(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("kind", ["t5", "gpt2"])
def test_every_sentence_of_a_long_text_is_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = writer("summarization", kind, **SHORT)
    asked = echoing(monkeypatch, task, lambda prompt: prompt[-8:-3])
    limit = 512 if kind == "t5" else 128 - SHORT["max_new_tokens"]
    decode = tokenizer(kind).decode
    for text in documents():
        asked.clear()
        (record,) = task(text)
        assert record["summary_text"] and all(len(prompt) <= limit for prompt in asked)
        read = letters("".join(decode(prompt, skip_special_tokens=True) for prompt in asked))
        for block in blocks(text)[0]:
            for sentence in sentences(block.text):
                ids = tokenizer(kind)(sentence.text)["input_ids"]
                if len(ids) < limit - 60:
                    assert letters(decode(ids, skip_special_tokens=True)) in read
        assert len(asked) > 2, "and the summaries of its parts were summarised"


def test_parts_are_summarised_until_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    task = writer("summarization", "t5", **SHORT)
    own = tokenizer("t5")
    words = [own(word)["input_ids"][0] for word in ("one", "two", "three")]
    asked = echoing(monkeypatch, task, lambda prompt: words)
    (record,) = task("A sentence about the river. " * 200)
    assert record == {"summary_text": "onetwothree"} or record == {"summary_text": "one two three"}
    *parts, last = asked
    assert len(parts) == 3
    assert own.decode(last) == PREFIX + " ".join([record["summary_text"]] * len(parts)) + "</s>"


def test_summaries_that_do_not_get_shorter_stand_one_below_the_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    task = writer("summarization", "t5", **SHORT)
    echoing(monkeypatch, task)
    with caplog.at_level(logging.WARNING, logger="enfold"):
        (record,) = task("A sentence about the river. " * 200)
    assert "too long to be summarised together" in caplog.messages[0]
    assert record["summary_text"].count("A sentence about the river.") == 200


def test_long_error_and_truncate(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "A sentence about the river. " * 200
    count = len(tokenizer("t5")(PREFIX + text)["input_ids"])
    with pytest.raises(TextTooLongError, match=rf"the text has {count} tokens and the limit is 512.*'window' to read"):
        writer("summarization", "t5", long="error", **SHORT)(text)
    task = writer("summarization", "t5", long="truncate", **SHORT)
    asked = echoing(monkeypatch, task)
    with caplog.at_level(logging.WARNING, logger="enfold"):
        task(text)
    (prompt,) = asked
    assert tokenizer("t5").decode(prompt).endswith("river.</s>") and len(prompt) <= 512
    assert caplog.messages == [
        f"cut a text at {len(prompt)} tokens, a sentence's end: {count - len(prompt)} tokens were not read"
    ]


@pytest.mark.parametrize("kind", ["t5", "gpt2"])
def test_a_stream_is_the_text_of_the_record(kind: str) -> None:
    task = writer("summarization", kind, **SHORT)
    for text in ("The bridge was opened in 1932.", "The bridge was opened in 1932. " * 90):
        assert "".join(task(text, stream=True)).strip() == task(text)[0]["summary_text"].strip()


def test_a_chat_model_is_asked() -> None:
    text = "The bridge was opened in 1932."
    question = {"role": "user", "content": f"Summarize the following text in one short paragraph.\n\nText: {text}"}
    (answer,) = writer("text-generation", "gpt2", do_sample=False, max_new_tokens=8)([question], return_full_text=False)
    task = writer("summarization", "gpt2")
    expected = [{"summary_text": answer["generated_text"].strip()}]
    assert task(text, max_new_tokens=8) == expected
    assert task(text, max_length=8, min_length=2) == expected, "they count the summary alone"
    assert task([text] * 2, max_new_tokens=8) == expected * 2
    other = task(text, prompt="Gist of {}?", max_new_tokens=8)
    assert other != expected
    with pytest.raises(InputError, match=r"prompt is 'Gist': write \{\} where the text is to stand"):
        task(text, prompt="Gist")
    with pytest.raises(InputError, match="prompt is for models that chat"):
        writer("summarization", "t5")(text, prompt="Gist of {}")
    with pytest.raises(InputError, match=r"a summary of 120 tokens leaves no room for a text in the model's 128"):
        task(text, max_new_tokens=120)


def test_a_model_that_does_not_chat_is_refused() -> None:
    plain = tokenizer("gpt2").from_folder(folder("gpt2"))
    plain.chat_template = None
    with pytest.raises(TokenizerError, match="no chat template"):
        pipeline("summarization", loaded("gpt2"), tokenizer=plain)


def test_ten_thousand_documents_are_read_as_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    task = writer("summarization", "t5", **SHORT)
    prefix = len(tokenizer("t5")("summarize:")["input_ids"]) - 1
    echoing(monkeypatch, task, lambda prompt: prompt[prefix:])
    read = 0

    def lines() -> Any:
        nonlocal read
        for number in range(10_000):
            read += 1
            yield f"Document {number}."

    for number, (record,) in enumerate(task(lines())):
        assert record == {"summary_text": f"Document {number}."}
        assert read <= number + 200


def test_a_model_that_translates_is_remarked_on(caplog: pytest.LogCaptureFixture) -> None:
    writer("summarization", "marian")
    assert "a marian model translates" in caplog.text
    caplog.clear()
    writer("summarization", "t5")
    assert not caplog.text
