"""Multiple choice: each row's choices side by side, and the loss over them."""

from typing import Any

import numpy as np
import pytest
import torch
import transformers

from enfold.errors import InputError
from enfold.training.goals.choices import MultipleChoice
from enfold.training.settings import Settings
from tests.training.goals.support import lesson, reading_of, table_of, tiny_folder

ROWS: list[dict[str, Any]] = [
    {"text": "who lives in London", "choices": ["Ada", "a long book that nobody read", "北京"], "label": 0},
    {"text": "北京是", "choices": ["首都", "x", "a film"], "label": "2"},
    {"text": "a", "choices": ["b", "c", "d"], "label": "c"},
]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_references(smoothing: float, tmp_path: Any) -> None:
    place = tiny_folder("uncased", "sequence-classification")
    torch.manual_seed(0)
    config = transformers.AutoConfig.from_pretrained(place)
    theirs = transformers.BertForMultipleChoice._from_config(config).eval()
    theirs.save_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    tokenizer.save_pretrained(tmp_path)
    here = lesson(tmp_path, None, ROWS, MultipleChoice, settings=Settings(label_smoothing=smoothing))
    assert np.asarray(here.examples.targets).tolist() == [0, 2, 1]
    pairs = [(row["text"], choice) for row in ROWS for choice in row["choices"]]
    inputs = tokenizer([one for one, _ in pairs], [other for _, other in pairs], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = theirs(**{name: each.view(3, 3, -1) for name, each in inputs.items()}).logits
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2, 1]), label_smoothing=smoothing)
    assert here.loss() == pytest.approx(float(loss), abs=1e-5)
    for index, (one, other) in enumerate(pairs):
        assert here.examples.ids[index].tolist() == tokenizer(one, other)["input_ids"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"choices": ["a", "b"]}, r"row 4: 2 choices, expected 3 as in the first row"),
        ({"choices": "abc"}, r"row 4: no list of choices, expected 3"),
        ({"choices": ["a", " ", "b"]}, r"row 4: choices are \['a', ' ', 'b'\], expected texts"),
        *[({"label": label}, r"row 4: label is .*, expected 0 to 2") for label in (3, -1, 1.5, True, None, "z", "nan")],
        ({"label": float("inf")}, r"row 4: label is inf, expected 0 to 2"),
        ({"text": ""}, r"row 4: 'text' is '', expected a text"),
    ],
)
def test_rows_that_are_none_are_named(row: dict[str, Any], message: str) -> None:
    table = table_of([*ROWS, {"text": "a", "choices": ["b", "c", "d"], "label": 1, **row}], MultipleChoice)
    reading = reading_of(tiny_folder("uncased", "sequence-classification"), long="truncate")
    with pytest.raises(InputError, match=message):
        MultipleChoice.of(table, Settings(), None).encode(table, reading)


def test_windows_of_choices_are_refused() -> None:
    table = table_of(ROWS, MultipleChoice)
    with pytest.raises(InputError, match="this task learns from each text as a whole: long='truncate'"):
        MultipleChoice(3).encode(table, reading_of(tiny_folder("uncased", "sequence-classification"), long="window"))


def test_one_choice_is_none() -> None:
    table = table_of([{"text": "a", "choices": ["b"], "label": 0}], MultipleChoice)
    with pytest.raises(InputError, match=r"row 1: choices are \['b'\], expected a list of two texts or more"):
        MultipleChoice.of(table, Settings(), None)
