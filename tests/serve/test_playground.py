"""The playground against a real server: every task is drawn with the numbers that Python gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import enfold
from enfold.tasks import TASKS
from tests.serve.asks import plain
from tests.serve.browsing import Look, looking
from tests.serve.models import build
from tests.serve.running import running

TEXT = "the cat sat on a mat . it saw a dog"
WRITING = {"max_new_tokens": 12, "temperature": 0}
GREEDY: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False}


def percent(score: float) -> str:
    return f"{100 * score:.1f}%"


def test_every_task_that_can_be_served_has_a_drawing(look: Look) -> None:
    look.open()
    shown = look.page.evaluate("async () => Object.keys((await import('/playground/tasks.js')).TASKS)")
    assert set(shown) == {*TASKS, "chat", "tokens"} - {"search"}


def test_labels_are_bars_with_percents(look: Look) -> None:
    look.open(task="text-classification", model="judge")
    look.type(text=TEXT)
    look.run()
    found = plain("judge", "text-classification")(TEXT, top_k=None)
    assert look.bars == {each["label"]: percent(each["score"]) for each in found}
    look.type(top_k=1)
    look.run()
    assert len(look.bars) == 1


def test_entities_are_marked_where_they_stand_in_the_text(look: Look) -> None:
    text = "😀 the cat\nsat on 北京 . it saw a dog"
    look.open(task="token-classification", model="tagger")
    look.type(text=text)
    look.run()
    found = plain("tagger", "token-classification")(text, aggregation_strategy="simple")
    assert found
    marks = [f"{text[each['start'] : each['end']]} {each['entity_group']}" for each in found]
    assert look.texts("#drawing mark") == marks
    assert look.texts("#drawing .bar-share") == [percent(each["score"]) for each in found]
    unmarked = look.page.locator("#drawing .marked").evaluate(
        "each => { const copy = each.cloneNode(true); "
        "copy.querySelectorAll('.entity-kind').forEach((kind) => kind.remove()); return copy.textContent; }"
    )
    assert unmarked == text
    kinds = {each["entity_group"] for each in found}
    assert {line.partition(" ×")[0] for line in look.texts("#drawing .legend li")} == kinds


def test_an_answer_is_marked_in_its_context(look: Look) -> None:
    look.open(task="question-answering", model="answerer")
    context = "😀 " + TEXT
    look.type(question="who sat", context=context, top_k=3)
    look.run()
    found = plain("answerer", "question-answering")({"question": "who sat", "context": context}, top_k=3)
    assert look.text("#drawing mark") == found[0]["answer"]
    assert look.text("#drawing .marked") == context
    assert look.texts("#drawing .bar-share") == [percent(each["score"]) for each in found]
    look.page.locator("#drawing .bar-name").nth(1).click()
    assert look.text("#drawing mark") == found[1]["answer"]


def test_masked_words_have_candidates_and_the_text_is_filled_in(look: Look) -> None:
    text = "a [MASK] c"
    look.open(task="fill-mask", model="reader")
    look.type(text=text, top_k=4)
    look.run()
    found = plain("reader", "fill-mask")(text, top_k=4)
    assert look.bars == {each["token_str"]: percent(each["score"]) for each in found}
    assert look.text("#drawing .marked") == f"a {found[0]['token_str']} c"
    look.page.locator("#drawing .bar-name").nth(2).click()
    assert look.text("#drawing .marked") == f"a {found[2]['token_str']} c"
    look.type(text="[MASK] b [MASK]")
    look.run()
    both = plain("reader", "fill-mask")("[MASK] b [MASK]", top_k=4)
    assert look.text("#drawing .marked") == f"{both[0][0]['token_str']} b {both[1][0]['token_str']}"
    assert look.texts("#drawing .bar-name") == [each["token_str"] for mask in both for each in mask]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_labels_of_ones_own_are_ranked(look: Look, language: str) -> None:
    look.open(task="zero-shot-by-embedding", model="reader", lang=language)
    look.type(text=TEXT, labels="a cat,a dog，北京、the sea")
    template = look.page.input_value("#field-template")
    look.run()
    labels = ["a cat", "a dog", "北京", "the sea"]
    found = plain("reader", "zero-shot-by-embedding")(TEXT, labels, hypothesis_template=template)
    assert look.bars == dict(zip(found["labels"], map(percent, found["scores"]), strict=True))


def test_labels_of_ones_own_are_judged_by_inference(browser: Any, tmp_path: Path) -> None:
    names = ["contradiction", "neutral", "entailment"]
    told = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    model = build(tmp_path / "nli", "bert", "sequence-classification", num_labels=3, **told)
    with running(model, threads=1) as server, looking(browser, server.address, tmp_path) as look:
        look.open(task="zero-shot-classification")
        look.type(text=TEXT, labels="a, b, c", multi_label=True)
        look.run()
        found = enfold.pipeline("zero-shot-classification", model)(TEXT, ["a", "b", "c"], multi_label=True)
        assert look.bars == dict(zip(found["labels"], map(percent, found["scores"]), strict=True))


def test_similarities_are_a_table_of_numbers(look: Look) -> None:
    sentences = ["the cat sat", "a dog ran . it ran", "<b>b & c</b>"]
    look.open(task="sentence-similarity", model="reader")
    look.type(sentences="\n".join([*sentences, "", " "]))
    look.run()
    found = plain("reader", "sentence-similarity")(sentences)
    assert look.texts("#drawing tbody td") == [f"{score:.2f}" for score in found.ravel()]
    assert look.texts("#drawing tbody th") == [f"{number} {text}" for number, text in enumerate(sentences, 1)]


def test_an_embedding_is_a_strip_with_its_length(look: Look) -> None:
    look.open(task="embed", model="reader")
    look.type(text=TEXT)
    look.run()
    vector = plain("reader", "embed")(TEXT)
    assert f"{len(vector)}" in look.text("#drawing h3 >> nth=0")
    assert look.page.locator("#drawing canvas").get_attribute("width") == str(len(vector))
    facts = [float(text.replace(",", "")) for text in look.texts("#drawing dd")]
    expected = [np.linalg.norm(vector), vector.min(), vector.max(), vector.mean()]
    np.testing.assert_allclose(facts, expected, atol=1e-4)
    first = [float(text) for text in look.text("#drawing .numbers").split()[:-1]]
    np.testing.assert_allclose(first, vector[:8], atol=1e-4)
    painted = look.page.locator("#drawing canvas").evaluate(
        "each => each.getContext('2d').getImageData(0, 0, each.width, 1).data.some((part) => part > 0)"
    )
    assert painted


def test_every_token_has_its_vector(look: Look) -> None:
    look.open(task="feature-extraction", model="tagger")
    look.type(text="a b zebra")
    look.run()
    task = plain("tagger", "feature-extraction")
    (states,) = task("a b zebra", return_tensors=True)
    lengths = [float(text) for text in look.texts("#drawing .amount")]
    np.testing.assert_allclose(lengths, np.linalg.norm(states, axis=-1), atol=6e-3)
    (encoded,) = task.tokenizer.encode_many(["a b zebra"])
    assert look.texts("#drawing tbody th") == list(encoded.tokens)


def test_a_text_is_cut_into_tokens_with_ids(look: Look) -> None:
    look.open(task="tokens", model="reader")
    look.type(text="a b\n😀 c")
    look.run()
    (encoded,) = plain("reader", "fill-mask").tokenizer.encode_many(["a b\n😀 c"])
    assert look.texts("#drawing .token-id") == [str(number) for number in encoded.ids]
    assert look.texts("#drawing .token-text") == ["[CLS]", "a", "b", "😀", "c", "[SEP]"]
    assert look.page.locator("#drawing .special:not(.swatch)").count() == 2
    assert look.texts("#drawing .unread .token-text") == ["😀"] and "unknown to this model" in look.text(
        "#drawing .legend"
    )


def test_tokens_that_share_a_character_stand_together(look: Look) -> None:
    look.open()
    tokens = [("H", 0, 1), ("Ġðł", 1, 3), ("Ģ", 2, 3), ("!", 3, 4)]
    found = [
        {"id": number, "text": text, "special": False, "start": start, "stop": stop}
        for number, (text, start, stop) in enumerate(tokens)
    ]
    shown = look.page.evaluate(
        """async (found) => {
          const { tokens } = await import("/playground/draw/tokens.js");
          const chips = tokens(found, "H 😀!").querySelectorAll(".token");
          const parts = (chip) => [...chip.querySelectorAll(".token-text, .token-id")];
          return [...chips].map((chip) => parts(chip).map((each) => each.textContent));
        }""",
        found,
    )
    assert shown == [["H", "0"], ["·😀", "1", "2"], ["!", "3"]]


@pytest.mark.parametrize(
    ("task", "key"),
    [
        ("summarization", "summary_text"),
        ("translation", "translation_text"),
        ("text2text-generation", "generated_text"),
    ],
)
def test_what_is_made_of_a_text_stands_beside_it(look: Look, task: str, key: str) -> None:
    look.open(task=task, model="translator")
    greedy = GREEDY
    if task == "text2text-generation":
        look.type(text=TEXT, **WRITING)
    else:
        look.type(text=TEXT, max_new_tokens=12)
        greedy = {"max_new_tokens": 12}
    look.run()
    (found,) = plain("translator", task)(TEXT, **greedy)
    assert look.texts("#drawing .prose") == [TEXT, found[key].strip()]


def test_how_a_text_goes_on_is_marked(look: Look) -> None:
    look.open(task="text-generation", model="writer")
    look.type(text=TEXT, **WRITING)
    look.run()
    (found,) = plain("writer", "text-generation")(TEXT, return_full_text=False, **GREEDY)
    assert look.text("#drawing .prompt") == TEXT
    assert look.text("#drawing .written") == found["generated_text"]


def test_a_chat_goes_on_and_can_be_cleared(look: Look) -> None:
    look.open(task="chat", model="writer")
    look.type(message="a b c", **WRITING)
    look.run()
    chat = [{"role": "user", "content": "a b c"}]
    task = plain("writer", "text-generation")
    for again in ("d e", None):
        (answer,) = task(chat, return_full_text=False, **GREEDY)
        chat.append({"role": "assistant", "content": answer["generated_text"]})
        assert look.texts("#drawing .prose") == [each["content"].strip() for each in chat]
        assert look.page.input_value("#field-message") == ""
        if again:
            look.type(message=again)
            look.run()
            chat.append({"role": "user", "content": again})
    look.page.click("#clear")
    assert look.texts("#drawing .prose") == []
