"""Every goal learns, and the saved folder answers on the CPU engine with the labels as the data have them."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import enfold
from enfold.errors import InputError
from enfold.training.fit import Fitted, fit
from enfold.training.settings import Settings
from tests.cli.tiny import WORDS
from tests.support import shared
from tests.tasks.writers import build
from tests.training.support import FILLERS, reviews, tiny

QUICK = Settings(max_steps=60, batch_size=16, learning_rate=4e-3, warmup=0.1, dropout=0.0, log_every=5)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small BERT without a head, as the reference makes one."""
    folder = tiny(tmp_path_factory.mktemp("small"))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=40,
        initializer_range=0.1,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small T5."""
    folder = build("t5", shared("vocab", "t5-small"), tmp_path_factory.mktemp("writer"))
    torch.manual_seed(0)
    sizes = {"d_model": 64, "num_layers": 1, "num_heads": 4, "d_kv": 16, "d_ff": 64}
    config = transformers.T5Config(vocab_size=32128, decoder_start_token_id=0, **sizes)
    transformers.T5ForConditionalGeneration(config).save_pretrained(folder)
    return str(folder)


def falls(fitted: Fitted, below: float) -> None:
    losses = [line["loss"] for line in fitted.history if "loss" in line]
    assert losses[-1] < below * losses[0], losses


def answers(task: Any, folder: Path, **options: Any) -> Any:
    return enfold.pipeline(task, str(folder), engine="cpu", **options)


@pytest.mark.parametrize("names", [("无聊", "很好 !"), (3, 10)])
def test_labels_come_back_as_they_were_written(small: str, tmp_path: Path, names: tuple[Any, Any]) -> None:
    rows = [{**row, "label": names[row["label"] == "yes"]} for row in reviews(160)]
    fitted = fit(small, rows, out=tmp_path / "out", settings=QUICK)
    assert fitted.task == "text-classification"
    falls(fitted, 0.2)
    assert fitted.metrics["accuracy"] > 0.9
    classify = answers("text-classification", tmp_path / "out")
    assert [
        classify(text)[0]["label"] if isinstance(classify(text), list) else classify(text)["label"]
        for text in ("ada a bad book", "ada a good book")
    ] == [str(name) for name in names]


def test_several_labels(small: str, tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = []
    for _ in range(200):
        words = draw.choices(FILLERS, k=draw.randint(2, 9))
        rows.append({"text": " ".join(words), "label": sorted({word for word in words if word in ("film", "book")})})
    fitted = fit(small, rows, out=tmp_path / "out", settings=QUICK)
    falls(fitted, 0.2)
    assert (fitted.task, fitted.metric) == ("multi-label-classification", "f1_micro")
    assert fitted.metrics["f1_micro"] > 0.9
    classify = answers("text-classification", tmp_path / "out", top_k=None)
    scores = {each["label"]: each["score"] for each in classify("ada in a film")}
    assert scores["film"] > 0.5 > scores["book"]


def test_a_number(small: str, tmp_path: Path) -> None:
    rows = [{"text": row["text"], "score": 1.5 if row["label"] == "yes" else -0.5} for row in reviews(160)]
    fitted = fit(small, rows, out=tmp_path / "out", settings=QUICK)
    falls(fitted, 0.2)
    assert fitted.task == "regression" and fitted.metrics["pearson"] > 0.9
    rate = answers("text-classification", tmp_path / "out")
    record = rate("ada lives in a good book")
    value = record["score"] if isinstance(record, dict) else record[0]["score"]
    assert value == pytest.approx(1.5, abs=0.3)


def test_entities(small: str, tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = []
    for _ in range(160):
        words = draw.choices([*FILLERS, "北", "london"], k=draw.randint(3, 12))
        place = draw.randrange(len(words))
        words[place : place + 1] = ["北", "京"]
        tags = ["O"] * len(words)
        for index, word in enumerate(words):
            tags[index] = "B-人" if word == "ada" else "B-LOC" if word == "london" else "O"
            if word == "京":
                tags[index - 1 : index + 1] = ["B-LOC", "I-LOC"]
        rows.append({"tokens": words, "ner_tags": tags})
    fitted = fit(small, rows, out=tmp_path / "out", settings=QUICK)
    assert fitted.task == "token-classification"
    falls(fitted, 0.3)
    assert fitted.metrics["f1"] > 0.8
    found = answers("token-classification", tmp_path / "out")("ada lives in 北京 .", aggregation_strategy="simple")
    assert [(each["entity_group"], each["word"], each["start"]) for each in found] == [
        ("人", "ada", 0),
        ("LOC", "北 京", 13),
    ]


def test_answers(small: str, tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = []
    for _ in range(160):
        words = draw.choices([word for word in FILLERS if word not in ("ada", "london")], k=draw.randint(3, 20))
        place = draw.randrange(len(words) + 1)
        wanted = draw.choice(["ada", "london", ""])
        if wanted:
            words.insert(place, wanted)
        context = " ".join(words)
        answer = (
            {"text": [wanted], "answer_start": [context.index(wanted)]} if wanted else {"text": [], "answer_start": []}
        )
        rows.append({"question": "who lives ?", "context": context, "answers": answer})
    settings = Settings(max_steps=150, batch_size=16, learning_rate=4e-3, dropout=0.0, log_every=5)
    fitted = fit(small, rows, out=tmp_path / "out", settings=settings)
    assert fitted.task == "question-answering"
    falls(fitted, 0.3)
    assert fitted.metrics["f1"] > 0.8
    answer = answers("question-answering", tmp_path / "out")
    assert answer(question="who lives ?", context="a film , ada in a book")["answer"] == "ada"
    empty = answer(question="who lives ?", context="a film , a book", handle_impossible_answer=True)
    assert empty["answer"] == ""


def test_choices(small: str, tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = []
    for _ in range(160):
        choices = draw.sample(["a good film", "a bad book", "ada in a bad film"], 3)
        rows.append(
            {
                "question": " ".join(draw.choices(FILLERS, k=5)),
                "choices": choices,
                "label": choices.index("a good film"),
            }
        )
    fitted = fit(small, rows, out=tmp_path / "out", settings=replace(QUICK, batch_size=8))
    assert fitted.task == "multiple-choice"
    falls(fitted, 0.2)
    assert fitted.metrics["accuracy"] == 1.0
    model = enfold.AutoModelForMultipleChoice.from_pretrained(str(tmp_path / "out"))
    tokenizer = enfold.AutoTokenizer.from_pretrained(str(tmp_path / "out"))
    inputs = tokenizer(["who ?"] * 3, ["a bad book", "a good film", "a film"], padding=True, return_tensors="np")
    logits = model(**{name: each[None] for name, each in inputs.items()}).logits
    assert logits.argmax(-1).tolist() == [1]


def test_hidden_words(small: str, tmp_path: Path) -> None:
    rows = [{"text": "ada lives in london ."}] * 60
    settings = Settings(max_steps=100, batch_size=8, learning_rate=4e-3, dropout=0.0, log_every=5)
    fitted = fit(small, rows, out=tmp_path / "out", evaluation=None, settings=settings, max_length=8)
    assert fitted.task == "masked-lm"
    falls(fitted, 0.5)
    fill = answers("fill-mask", tmp_path / "out")
    assert fill("ada lives in [MASK] . [SEP]")[0]["token_str"] == "london"


def test_what_comes_next(tmp_path: Path) -> None:
    folder = build("gpt2", shared("vocab", "gpt2"), tmp_path / "gpt2")
    rows = [{"text": "Ada lives in London, and writes."}] * 24
    settings = Settings(max_steps=25, batch_size=2, learning_rate=2e-2, dropout=0.0, log_every=5)
    fitted = fit(str(folder), rows, out=tmp_path / "out", evaluation=rows[:2], settings=settings, max_length=32)
    assert fitted.task == "causal-lm"
    falls(fitted, 0.3)
    assert fitted.metrics["accuracy"] > 0.8
    write = answers("text-generation", tmp_path / "out")
    written = write("Ada lives", max_new_tokens=3, do_sample=False, return_full_text=True)
    assert written[0]["generated_text"] == "Ada lives in London,"


def test_texts_from_texts(writer: str, tmp_path: Path) -> None:
    pairs = {"a house": "ein Haus", "a dog": "ein Hund", "the book": "das Buch"}
    rows = [{"source": source, "target": target} for source, target in pairs.items()] * 8
    settings = Settings(max_steps=60, batch_size=6, learning_rate=1e-2, dropout=0.0, log_every=5)
    fitted = fit(writer, rows, out=tmp_path / "out", evaluation=rows[:3], settings=settings)
    assert fitted.task == "text2text-generation"
    falls(fitted, 0.1)
    assert fitted.metrics["chrf"] > 90 and fitted.metrics["perplexity"] < 2
    write = answers("text2text-generation", tmp_path / "out", num_beams=1)
    assert [write(source)[0]["generated_text"] for source in pairs] == list(pairs.values())


def test_gaps(writer: str) -> None:
    rows = [{"text": "the quick brown fox jumps over the lazy dog"}] * 20
    settings = Settings(max_steps=20, batch_size=4, learning_rate=1e-2, dropout=0.0, log_every=2)
    fitted = fit(writer, rows, task="span-corruption", evaluation=None, settings=settings, max_length=24)
    falls(fitted, 0.8)


def test_likeness(small: str, tmp_path: Path) -> None:
    draw = random.Random(0)
    kinds = {"good film": "bad book", "london": "北 京", "ada": "who ?"}
    rows = []
    for _ in range(96):
        (one, other), filler = draw.choice(list(kinds.items())), draw.choice(FILLERS)
        wrong = draw.choice([each for each in kinds.values() if each != other])
        rows.append({"anchor": f"{filler} {one}", "positive": f"{other} {filler}", "score": 1.0})
        rows.append({"anchor": f"{filler} {one}", "positive": f"{wrong} {filler}", "score": 0.0})
    fitted = fit(small, rows, task="embed", out=tmp_path / "out", evaluation=rows[:40], settings=QUICK)
    falls(fitted, 0.5)
    assert fitted.metrics["spearman"] > 0.7
    embed = answers("embed", tmp_path / "out")
    near = embed(["北 京 a", "bad book a"], normalize=True) @ embed("a london", normalize=True)
    assert near[0] > near[1] + 0.3


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], {}, r"no rows|empty|nothing"),
        (reviews(30), {"evaluation": []}, r"no rows|empty|nothing"),
        (reviews(30), {"evaluation": [{"text": "a", "label": "perhaps"}]}, r"(?s)'perhaps', 1 time:.*Trained are"),
        (
            reviews(30),
            {
                "evaluation": [
                    {"review": "a", "label": "yes"},
                ],
                "task": "ner",
            },
            r"has the columns text, label",
        ),
        ([{"text": "a", "label": "x"}, {"text": "", "label": "y"}], {}, r"row 2: 'text' is '', expected a text"),
        (
            [{"a": 1, "b": 2}],
            {"task": "text-classification"},
            r"has the columns a, b, and text-classification needs text",
        ),
    ],
)
def test_bad_data_are_one_clear_error(rows: Any, options: dict[str, Any], message: str, small: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(small, rows, settings=Settings(max_steps=1), **options)
