"""Extractive question answering: windows, and where in them an answer begins and ends."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from enfold.auto import load_model
from enfold.errors import InputError, TextTooLongError
from enfold.training.data import read_table
from enfold.training.goals.answers import QuestionAnswering
from enfold.training.settings import Settings
from tests.support import shared
from tests.training.goals.support import lesson, reading_of, reference, table_of, tiny_folder

WORDS = [
    "Ada",
    "lives",
    "in",
    "London",
    "unbelievable",
    "北京",
    "是",
    "首都",
    "café",
    "1843",
    "and",
    "writes",
    ".",
    ",",
]


def rows_of(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Contexts of 1 to 90 words with an answer of 1 to 4, at the edges too; every fourth question has none."""
    draw = random.Random(seed)
    rows = []
    for index in range(count):
        words = draw.choices(WORDS, k=draw.randint(1, 90))
        first = draw.choice([0, len(words) - 1, draw.randrange(len(words))])
        text = " ".join(words[first : first + draw.randint(1, 4)])
        start = len(" ".join(words[:first])) + (first > 0)
        answers = {"text": [], "answer_start": []} if index % 4 == 3 else {"text": [text], "answer_start": [start]}
        question = " ".join(draw.choices(WORDS, k=draw.randint(1, 3)))
        rows.append({"question": question, "context": " ".join(words), "answers": answers})
    return rows


def expected(theirs: Any, row: dict[str, Any], max_length: int, stride: int) -> list[tuple[list[int], int, int]]:
    """Windows and places by the reference's tokenizer and its example's rule.

    The first token is the last one that begins at the answer's first character or before, and the last token the first
    one that ends at its last character or after it; a window that lacks a part of the answer points at its [CLS]. Of
    several tokens that are one character's bytes the outer ones count: by the reference's rule an answer of one such
    character would end before it begins.
    """
    encoded = theirs(
        row["question"],
        row["context"],
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    windows = []
    for index, ids in enumerate(encoded["input_ids"]):
        offsets = encoded["offset_mapping"][index]
        inside = [place for place, side in enumerate(encoded.sequence_ids(index)) if side == 1]
        first = last = 0
        if row["answers"]["text"]:
            begin = row["answers"]["answer_start"][0]
            end = begin + len(row["answers"]["text"][0])
            if offsets[inside[0]][0] <= begin and offsets[inside[-1]][1] >= end:
                nearest = max(offsets[place][0] for place in inside if offsets[place][0] <= begin)
                first = next(place for place in inside if offsets[place][0] == nearest)
                nearest = min(offsets[place][1] for place in inside if offsets[place][1] >= end)
                last = next(place for place in reversed(inside) if offsets[place][1] == nearest)
        windows.append((ids, first, last))
    return windows


@pytest.mark.parametrize("vocabulary", ["uncased", "chinese", "roberta"])
@pytest.mark.parametrize("max_length", [32, 64])
def test_windows_and_places_are_those_of_the_reference(vocabulary: str, max_length: int) -> None:
    place = tiny_folder(vocabulary, "question-answering")
    reading = reading_of(place, max_length=max_length)
    table = table_of(rows_of(80), QuestionAnswering)
    goal = QuestionAnswering.of(table, Settings(), None)
    examples = goal.encode(table, reading)
    theirs = transformers.AutoTokenizer.from_pretrained(place)
    targets = np.asarray(examples.targets)
    ours: dict[int, list[Any]] = {}
    for index, row in enumerate(examples.rows.tolist()):
        ours.setdefault(row, []).append((examples.ids[index].tolist(), *targets[index].tolist()))
    for row, values in enumerate(table.rows):
        around = len(theirs(values["question"], ".")["input_ids"]) - 1
        stride = min(max_length // 4, (max_length - around) // 2)
        assert ours[row] == expected(theirs, dict(values), max_length, stride), dict(values)


def test_windows_cover_the_context_and_every_answer_is_whole_in_one() -> None:
    place = tiny_folder("uncased", "question-answering")
    table = table_of(rows_of(150, seed=1), QuestionAnswering)
    reading = reading_of(place, max_length=40)
    examples = QuestionAnswering().encode(table, reading)
    targets = np.asarray(examples.targets)
    for row, values in enumerate(table.rows):
        own = np.flatnonzero(examples.rows == row)
        whole = reading.tokenizer.encode_many([values["context"]], add_special_tokens=False)[0].ids.tolist()
        parts = [examples.ids[index].tolist() for index in own]
        question = len(reading.tokenizer.encode_many([values["question"]])[0])
        read = [part[question:-1] for part in parts]
        assert all("".join(map(chr, part)) in "".join(map(chr, whole)) for part in read)
        assert read[0] == whole[: len(read[0])] and read[-1] == whole[-len(read[-1]) :]
        assert sum(map(len, read)) >= len(whole)
        assert targets[own].any() == bool(values["answers"]["text"])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_references(smoothing: float) -> None:
    place = tiny_folder("uncased", "question-answering")
    here = lesson(place, None, rows_of(12), QuestionAnswering, settings=Settings(label_smoothing=smoothing))
    model = reference(place, "question-answering")
    total = 0.0
    targets = torch.from_numpy(np.asarray(here.examples.targets))
    types = here.examples.types
    assert types is not None
    for index, (start, end) in enumerate(targets):
        inputs = {
            "input_ids": torch.as_tensor(here.examples.ids[index]).long()[None],
            "token_type_ids": torch.as_tensor(types[index]).long()[None],
        }
        with torch.no_grad():
            out = model(**inputs, start_positions=start[None], end_positions=end[None])
        loss = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
        both = float(loss(out.start_logits, start[None]) + loss(out.end_logits, end[None])) / 2
        assert smoothing or both == pytest.approx(float(out.loss), abs=1e-6)
        total += both
    assert here.loss() == pytest.approx(total / len(targets), abs=1e-5)


def test_a_squad_file_is_read_as_it_is() -> None:
    table = read_table(shared("data", "xquad.zh.json")).take(range(60))
    from enfold.training.columns import with_roles

    table = with_roles(table, QuestionAnswering)
    reading = reading_of(tiny_folder("chinese", "question-answering"), max_length=96)
    examples = QuestionAnswering().encode(table, reading)
    targets = np.asarray(examples.targets)
    for row, values in enumerate(table.rows):
        found = [index for index in np.flatnonzero(examples.rows == row) if targets[index].any()]
        assert found, "every answer is whole in some window"
        first, last = targets[found[0]]
        said = "".join(reading.tokenizer.convert_ids_to_tokens(examples.ids[found[0]][first : last + 1].tolist()))
        assert said.replace("##", "").startswith(values["answers"]["text"][0][:1]) or "[UNK]" in said


def test_answers_may_be_written_in_any_known_way() -> None:
    context = "Ada lives in London."
    ways: list[Any] = [
        "London",
        ["London", "in London"],
        {"text": "London", "answer_start": 13},
        {"text": ["London"], "answer_start": np.array([13])},
        [{"text": "London", "answer_start": 13}, {"text": "in London", "answer_start": 10}],
    ]
    table = table_of([{"question": "who", "context": context, "answers": each} for each in ways], QuestionAnswering)
    examples = QuestionAnswering().encode(table, reading_of(tiny_folder("uncased", "question-answering")))
    assert len({tuple(each) for each in np.asarray(examples.targets).tolist()}) == 1
    nothing: list[Any] = [None, "", [], {"text": [], "answer_start": []}]
    table = table_of([{"question": "who", "context": context, "answers": each} for each in nothing], QuestionAnswering)
    examples = QuestionAnswering().encode(table, reading_of(tiny_folder("uncased", "question-answering")))
    assert not np.asarray(examples.targets).any()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"answers": {"text": ["London"], "answer_start": [3]}},
            r"row 1: the answer 'London' is not at 3 .* begins at 13",
        ),
        ({"answers": "Paris"}, r"row 1: the answer 'Paris' is not at -1 .* isn't in the context at all"),
        ({"answers": 7}, r"row 1: an answer is 7, expected a text"),
        ({"answers": {"text": ["London"], "answer_start": ["13"]}}, r"is not at 13"),
        ({"context": " "}, r"row 1: 'context' is ' ', expected a text"),
        ({"question": None}, r"row 1: 'question' is None, expected a text"),
        (
            {"question": "who " * 90, "context": "London " * 40},
            r"(?s)1 question of the data without room.*row 1: 93 ",
        ),
    ],
)
def test_rows_that_are_none_are_named(row: dict[str, Any], message: str) -> None:
    rows = [{"question": "who", "context": "Ada lives in London.", "answers": "London", **row}]
    reading = reading_of(tiny_folder("uncased", "question-answering"))
    with pytest.raises(InputError, match=message):
        QuestionAnswering().encode(table_of(rows, QuestionAnswering), reading)


def test_a_long_question_beside_a_short_context_is_read() -> None:
    rows = [{"question": "who " * 55, "context": "in London", "answers": "London"}]
    table = table_of(rows, QuestionAnswering)
    reading = reading_of(tiny_folder("uncased", "question-answering"))
    assert QuestionAnswering().encode(table, reading).ids.lengths.tolist() == [60]
    goal = QuestionAnswering()
    model: Any = load_model(str(tiny_folder("uncased", "question-answering")), "question-answering", engine="torch")
    assert set(goal.examine(model, reading, table)) >= {"f1", "exact_match"}


def test_contexts_may_be_cut_or_refused() -> None:
    table = table_of([{"question": "who", "context": "word " * 90 + "London", "answers": "London"}], QuestionAnswering)
    place = tiny_folder("uncased", "question-answering")
    examples = QuestionAnswering().encode(table, reading_of(place, long="truncate"))
    assert examples.ids.lengths.tolist() == [64] and not np.asarray(examples.targets).any()
    with pytest.raises(TextTooLongError, match=r"the first at row 1 \(95 tokens\)"):
        QuestionAnswering().encode(table, reading_of(place, long="error"))


def test_an_evaluation_asks_as_users_do(tmp_path: Path) -> None:
    place = tiny_folder("uncased", "question-answering")
    model: Any = load_model(str(place), "question-answering", engine="torch")
    table = table_of(rows_of(30), QuestionAnswering)
    found = QuestionAnswering().examine(model, reading_of(place), table)
    assert set(found) >= {"exact_match", "f1", "no_answer_accuracy", "has_answer_f1"}
    some = table.take([index for index in range(30) if index % 4 != 3])
    assert "no_answer_accuracy" not in QuestionAnswering().examine(model, reading_of(place), some)
