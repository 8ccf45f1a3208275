"""Text classification: what is read and learnt of a row, and what is said of rows that can't be."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sklearn.utils.class_weight import compute_class_weight

from enfold.errors import InputError, TextTooLongError
from enfold.training.goals.classification import Classification, MultiLabel, Regression
from enfold.training.settings import Settings
from tests.training.goals.support import lesson, reading_of, reference, table_of, tiny_folder

TEXTS = ["a fine film", "北京很好，我喜欢。", "bad!", "the quick brown fox jumps over the lazy dog", "A naïve café"]


def rows_of(count: int, labels: list[Any], seed: int = 0) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    return [{"text": draw.choice(TEXTS), "label": labels[index % len(labels)]} for index in range(count)]


@pytest.mark.parametrize("vocabulary", ["uncased", "chinese", "roberta"])
@pytest.mark.parametrize("paired", [False, True], ids=["texts", "pairs"])
def test_rows_are_read_as_the_reference_reads_them(vocabulary: str, paired: bool) -> None:
    place = tiny_folder(vocabulary, "sequence-classification")
    rows = rows_of(8, ["yes", "no"])
    if paired:
        rows = [{**row, "pair": TEXTS[index % 5]} for index, row in enumerate(rows)]
    here = lesson(place, None, rows, Classification)
    theirs = transformers.AutoTokenizer.from_pretrained(place)
    model = reference(place, "sequence-classification")
    total = 0.0
    for index, row in enumerate(rows):
        inputs = theirs(row["text"], row.get("pair"), return_tensors="pt")
        assert here.examples.ids[index].tolist() == inputs["input_ids"][0].tolist()
        label = torch.tensor([["no", "yes"].index(row["label"])])
        with torch.no_grad():
            total += float(model(**inputs, labels=label).loss)
    assert here.loss() == pytest.approx(total / len(rows), abs=1e-5)


@pytest.mark.parametrize("weights", ["balanced", {"no": 0.5, "yes": 3}])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_weights_and_smoothing_are_those_of_torch(weights: Any, smoothing: float) -> None:
    place = tiny_folder("uncased", "sequence-classification")
    rows = rows_of(9, ["yes", "no", "no"])
    here = lesson(
        place, None, rows, Classification, settings=Settings(class_weights=weights, label_smoothing=smoothing)
    )
    targets = np.asarray(here.examples.targets)
    wanted = (
        compute_class_weight("balanced", classes=np.array([0, 1]), y=targets) if weights == "balanced" else [0.5, 3]
    )
    model = reference(place, "sequence-classification")
    theirs = transformers.AutoTokenizer.from_pretrained(place)
    with torch.no_grad():
        logits = model(**theirs([row["text"] for row in rows], padding=True, return_tensors="pt")).logits
    loss = torch.nn.CrossEntropyLoss(torch.tensor(wanted, dtype=torch.float32), label_smoothing=smoothing)
    assert here.loss() == pytest.approx(float(loss(logits, torch.from_numpy(targets))), abs=1e-5)


def test_several_labels_are_weighted_and_smoothed_by_formula() -> None:
    place = tiny_folder("uncased", "sequence-classification", labels=("a", "b", "c"))
    rows = [{"text": TEXTS[0], "label": ["a", "c"]}, {"text": TEXTS[2], "label": []}, {"text": TEXTS[3], "label": "b"}]
    rows[2]["label"] = ["b"]
    settings = Settings(class_weights={"a": 1.0, "b": 2.0, "c": 0.5}, label_smoothing=0.1)
    here = lesson(place, None, rows, MultiLabel, settings=settings)
    assert np.asarray(here.examples.targets).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    model = reference(place, "sequence-classification")
    theirs = transformers.AutoTokenizer.from_pretrained(place)
    with torch.no_grad():
        scores = model(**theirs([row["text"] for row in rows], padding=True, return_tensors="pt")).logits.double()
    soft = torch.from_numpy(np.asarray(here.examples.targets)) * 0.9 + 0.05
    each = -(soft * scores.sigmoid().log() + (1 - soft) * (1 - scores.sigmoid()).log())
    assert here.loss() == pytest.approx(float((each * torch.tensor([1.0, 2.0, 0.5])).mean()), abs=1e-5)


def test_long_texts_are_cut_and_counted_read_in_windows_or_refused(caplog: pytest.LogCaptureFixture) -> None:
    place = tiny_folder("uncased", "sequence-classification")
    rows = [{"text": "word " * 50, "label": "yes"}, {"text": "short", "label": "no"}]
    table = table_of(rows, Classification)
    goal = Classification.of(table, Settings(), None)
    cut = goal.encode(table, reading_of(place, max_length=20, long="truncate"))
    assert cut.ids.lengths.tolist() == [20, 3]
    assert "1 of 2 texts were cut at 20 tokens; 32 tokens are not read" in caplog.text
    windows = goal.encode(table, reading_of(place, max_length=20, long="window"))
    assert windows.rows.tolist() == [0, 0, 0, 1]
    assert np.asarray(windows.targets).tolist() == [1, 1, 1, 0]
    assert sum(windows.ids.lengths.tolist()[:3]) == 50 + 3 * 2
    with pytest.raises(TextTooLongError, match=r"1 of 2 texts are over the limit of 20 tokens, the first at row 1"):
        goal.encode(table, reading_of(place, max_length=20, long="error"))


def test_a_trained_heads_labels_stay_in_their_order(tmp_path: Path) -> None:
    place = tiny_folder("uncased", "sequence-classification", labels=("yes", "maybe", "no"))
    config = transformers.AutoConfig.from_pretrained(place)
    from enfold.auto import load_config

    table = table_of(rows_of(4, ["no", "yes"]), Classification)
    assert Classification.of(table, Settings(), load_config(str(place))).labels == ("yes", "maybe", "no")
    assert Classification.of(table, Settings(), None).labels == ("no", "yes")
    assert config.num_labels == 3


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a", "label": "x"}, {"text": " ", "label": "y"}], r"row 2: 'text' is ' ', expected a text"),
        ([{"text": None, "label": "x"}, {"text": 3, "label": "y"}], r"(?s)2 of 2 rows.*row 1: .*None.*row 2: .*3"),
        ([{"text": "a", "label": "x"}, {"text": "b", "label": 1}], r"1 word, 1 number in 'label'"),
        ([{"text": "a", "label": "x"}, {"text": "b", "label": ""}], r"empty label"),
        ([{"text": "a", "label": "x"}, {"text": "b", "label": "x "}], r"every row of .* has the label 'x'"),
    ],
)
def test_rows_that_are_none_are_named(rows: list[dict[str, Any]], message: str) -> None:
    table = table_of(rows, Classification)
    place = tiny_folder("uncased", "sequence-classification")
    with pytest.raises(InputError, match=message):
        Classification.of(table, Settings(), None).encode(table, reading_of(place))


def test_labels_and_numbers_that_were_not_learnt_are_named() -> None:
    reading = reading_of(tiny_folder("uncased", "sequence-classification"))
    with pytest.raises(InputError, match=r"(?s)1 label of .* is not among the 2.*'spma', 1 time: row 2"):
        Classification(("ham", "spam")).encode(table_of(rows_of(2, ["ham", "spma"]), Classification), reading)
    with pytest.raises(InputError, match=r"(?s)not among the 1.*'b', 1 time: row 1"):
        MultiLabel(("a",)).encode(table_of([{"text": "x", "label": ["a", "b"]}], MultiLabel), reading)
    with pytest.raises(InputError, match=r"(?s)1 of 2 values of 'label' are no finite numbers.*row 2: 'four'"):
        Regression.of(table_of(rows_of(2, [1.5, "four"]), Regression), Settings(), None)
    with pytest.raises(InputError, match=r"class_weights names \['no'\], and the labels are \['no', 'yes'\]"):
        settings = Settings(class_weights={"no": 1.0})
        Classification.of(table_of(rows_of(2, ["no", "yes"]), Classification), settings, None)


def test_weights_may_be_named_by_numbers() -> None:
    settings = Settings(class_weights={0: 1.0, 1: 4.0})  # type: ignore[dict-item]
    goal = Classification.of(table_of(rows_of(4, [0, 1]), Classification), settings, None)
    assert goal.label_weights is not None and goal.label_weights.tolist() == [1.0, 4.0]
