"""A small real model answers, summarises and keeps to a schema."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from enfold.tasks import pipeline
from tests.support import smollm2

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "big": {"type": "boolean"}},
    "required": ["city", "big"],
    "additionalProperties": False,
}


@cache
def loaded() -> Any:
    return pipeline("text-generation", smollm2(), engine="cpu", do_sample=False, max_new_tokens=40)


def chat(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


def test_a_question_is_answered() -> None:
    question = chat("What is the capital of France?")
    (record,) = loaded()(question)
    assert record["generated_text"][:-1] == question
    answer = record["generated_text"][-1]
    assert answer["role"] == "assistant" and "Paris" in answer["content"]
    assert "".join(loaded()(question, stream=True)) == answer["content"]
    (begun,) = loaded()([*question, {"role": "assistant", "content": "The capital of"}], return_full_text=False)
    assert "Paris" in begun["generated_text"]


def test_paragraphs_are_summarised() -> None:
    paragraphs = (ROOT / "README.md").read_text(encoding="utf-8").split("\n\n")
    prose = [each for each in paragraphs if each[0].isalpha() and each.rstrip()[-1] == "." and 200 < len(each) < 600][
        :3
    ]
    task = pipeline("summarization", loaded().model, tokenizer=loaded().tokenizer, max_new_tokens=60)
    summaries = [record["summary_text"] for record in task(prose)]
    assert len(summaries) == 3
    words, known = (set(re.findall(r"\w{4,}", " ".join(texts).lower())) for texts in (summaries, prose))
    assert all(summaries) and len(words & known) >= 0.4 * len(words), "they speak of what the paragraphs say"


def test_twenty_samples_of_twenty_obey_a_schema() -> None:
    question = chat("Name a city. Is it big? Answer in JSON.")
    sample = {"do_sample": True, "json_schema": SCHEMA, "return_full_text": False, "max_new_tokens": 60}
    texts = [loaded()(question, seed=seed, **sample)[0]["generated_text"] for seed in range(20)]
    for text in texts:
        value = json.loads(text)
        assert list(value) == ["city", "big"] and isinstance(value["big"], bool) and len(value["city"]) <= 12
    assert len({*texts}) > 5
