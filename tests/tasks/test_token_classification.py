"""Entities: the reference's records, exact places, and long texts read whole."""

from typing import Any

import numpy as np
import pytest

from enfold.errors import InputError
from enfold.tasks.spans import exact_span
from tests.tasks.oracle import ENGINES, assert_equal, golden, tiny_pipeline
from tests.tasks.tiny import LIMIT, Tiny

LABELS = ("O", "B-LOC", "I-LOC")
UNCASED = Tiny(family="bert", head="token-classification", vocabulary="uncased", labels=LABELS)
ROBERTA = Tiny(family="roberta", head="token-classification", vocabulary="roberta", labels=LABELS)
CHINESE = Tiny(family="bert", head="token-classification", vocabulary="chinese", labels=LABELS)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("tiny", "call", "records"), golden("token-classification"))
def test_records_are_those_of_the_reference(tiny: Tiny, call: Any, records: Any, engine: str) -> None:
    assert_equal(tiny_pipeline("ner", tiny, engine)(*call["args"], **call["kwargs"]), records)


def told(monkeypatch: pytest.MonkeyPatch, tiny: Tiny, labels: dict[str, str], *, sight: int = 0, **options: Any) -> Any:
    """A task whose model labels tokens by their text alone, and errs on those closer than ``sight`` to an edge."""
    task = tiny_pipeline("ner", tiny, **options)
    ids = {task.tokenizer.convert_tokens_to_ids(token): tiny.labels.index(label) for token, label in labels.items()}

    def run(batch: Any, *, fields: Any = (), tokens: Any = None) -> dict[str, Any]:
        logits = np.zeros((len(batch.ids), len(tiny.labels)), np.float32)
        for begin, end in batch.spans:
            for place in range(begin, end):
                hidden = min(place - begin, end - 1 - place) < sight
                logits[place, 1 if hidden else ids.get(int(batch.ids[place]), 0)] = 9
        return {"logits": logits}

    monkeypatch.setattr(task.model, "run", run)
    return task


def test_an_entity_anywhere_in_a_long_text_is_found_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    ner = told(monkeypatch, UNCASED, {"london": "B-LOC", "bridge": "I-LOC"})
    for place in range(0, 3000, 139):
        words = ["river"] * 3000
        words[place : place + 2] = ["London", "Bridge"]
        (found,) = ner(" ".join(words), aggregation_strategy="simple")
        assert (found["start"], found["end"]) == (place * 6, place * 6 + 13)
        assert (found["entity_group"], found["word"]) == ("LOC", "london bridge")


@pytest.mark.parametrize("stride", [None, 0, 1, 33, 90])
def test_every_token_of_a_long_text_comes_once_and_in_order(stride: int | None) -> None:
    text = " ".join(f"word{number % 7}s" for number in range(700))
    ner = tiny_pipeline("ner", UNCASED)
    found = ner(text, ignore_labels=[], stride=stride)
    encoded = ner.tokenizer.encode_many([text])[0]
    assert [record["index"] for record in found] == list(range(1, len(encoded) - 1))
    assert [[record["start"], record["end"]] for record in found] == encoded.offsets[1:-1].tolist()
    assert [record["word"] for record in found] == list(encoded.tokens[1:-1])


def test_tokens_are_read_where_they_are_farthest_from_an_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    overlap = LIMIT // 4
    ner = told(monkeypatch, UNCASED, {}, sight=1 + overlap // 2)
    text = " ".join(["river"] * 1000)
    hidden = [record["index"] for record in ner(text)]
    edge = overlap // 2
    assert hidden == [*range(1, edge + 1), *range(1001 - edge, 1001)], "only the text's own ends are near an edge"


def test_a_long_text_gives_the_same_however_its_windows_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    ner = told(monkeypatch, UNCASED, {"london": "B-LOC", "bridge": "I-LOC"})
    text = " ".join(["a London Bridge falls"] * 300)
    found = [ner(text, aggregation_strategy="first", stride=stride) for stride in (None, 2, 50, 100)]
    assert len(found[0]) == 300 and all(each == found[0] for each in found)


def test_truncate_reads_the_first_window_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ner = told(monkeypatch, UNCASED, {"london": "B-LOC"}, long="truncate")
    assert len(ner(" ".join(["London"] * 1000), aggregation_strategy="none")) == LIMIT - 2


@pytest.mark.parametrize(
    ("tiny", "text", "labels", "expected"),
    [
        (UNCASED, "to Cafe\u0301 now", {"cafe": "B-LOC"}, "Cafe\u0301"),
        (UNCASED, "to Café now", {"cafe": "B-LOC"}, "Café"),
        (UNCASED, "I ❤️ it", {"❤": "B-LOC"}, "❤️"),
        (ROBERTA, "to Paris, now", {"ĠParis": "B-LOC"}, "Paris"),
        (ROBERTA, "👩‍👩‍👧 in  Paris\u0301", {"ĠParis": "B-LOC"}, "Paris\u0301"),
        (CHINESE, "我住在北京市。", {"北": "B-LOC", "京": "I-LOC"}, "北京"),
        (CHINESE, "𠮷野在𠮷祥寺 上海。", {"上": "B-LOC", "海": "I-LOC"}, "上海"),
    ],
)
@pytest.mark.parametrize("strategy", ["simple", "first", "average", "max"])
def test_places_are_exact(
    monkeypatch: pytest.MonkeyPatch, tiny: Tiny, text: str, labels: Any, expected: str, strategy: str
) -> None:
    found = told(monkeypatch, tiny, labels)(text, aggregation_strategy=strategy)
    assert "".join(text[record["start"] : record["end"]] for record in found) == expected


@pytest.mark.parametrize(
    ("text", "span", "exact"),
    [
        ("in Paris", (2, 8), (3, 8)),
        ("a\u00a0", (0, 2), (0, 1)),
        (" ", (0, 1), (1, 1)),
        ("e\u0301\u0302x", (0, 1), (0, 3)),
    ],
)
def test_a_span_takes_no_space_in_and_leaves_no_mark_out(text: str, span: Any, exact: Any) -> None:
    assert exact_span(text, *span) == exact


def test_a_text_without_tokens_has_no_entities() -> None:
    assert tiny_pipeline("ner", UNCASED)("\u200b", ignore_labels=[]) == []


def test_punctuation_is_no_part_of_a_word_for_roberta_either(monkeypatch: pytest.MonkeyPatch) -> None:
    ner = told(monkeypatch, ROBERTA, {"ĠLondon": "B-LOC"})
    (found,) = ner("I love London.", aggregation_strategy="first")
    assert (found["start"], found["end"], found["word"]) == (7, 13, " London")


@pytest.mark.parametrize(
    "labels",
    [("O", "B-LOC", "I-LOC", "E-LOC", "S-LOC"), ("O", "B-LOC", "I-LOC", "L-LOC", "U-LOC")],
)
def test_other_schemes_are_joined_as_bio_is(monkeypatch: pytest.MonkeyPatch, labels: tuple[str, ...]) -> None:
    _, begin, inside, last, single = labels
    tiny = Tiny(family="bert", head="token-classification", vocabulary="uncased", labels=labels)
    ner = told(monkeypatch, tiny, {"new": begin, "york": inside, "city": last, "paris": single})
    found = ner("New York City Paris Paris and New City", aggregation_strategy="simple")
    assert [record["word"] for record in found] == ["new york city", "paris", "paris", "new city"]
    assert {record["entity_group"] for record in found} == {"LOC"}


def test_labels_without_a_prefix_keep_their_hyphens(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Tiny(family="bert", head="token-classification", vocabulary="uncased", labels=("O", "NN-HL", "VB"))
    ner = told(monkeypatch, tiny, {"cats": "NN-HL", "dogs": "NN-HL", "sleep": "VB"})
    found = ner("Cats dogs sleep", aggregation_strategy="simple")
    assert [(record["entity_group"], record["word"]) for record in found] == [("NN-HL", "cats dogs"), ("VB", "sleep")]


def test_given_words_are_labelled_as_words(monkeypatch: pytest.MonkeyPatch) -> None:
    ner = told(monkeypatch, UNCASED, {"u": "B-LOC"})
    words = ["the", "U.S.A.", "today"]
    (found,) = ner(words, is_split_into_words=True, aggregation_strategy="first")
    assert (found["start"], found["end"]) == (4, 10)
    many = ner([words, words], is_split_into_words=True, aggregation_strategy="first")
    assert many == [[found], [found]]


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (None, {}, "NoneType"),
        (7, {}, "int"),
        ([None], {}, "NoneType"),
        ("", {}, "empty"),
        (["a", "  "], {}, "empty"),
        (b"London", {}, "decode the bytes"),
        ([["a", "b"]], {}, "is_split_into_words=True"),
        ("a text", {"aggregation_strategy": "best"}, "none, simple, first, average, max"),
        ("a text", {"ignore_labels": "O"}, "list of labels"),
        ("a text", {"is_split_into_words": True}, "list of words"),
        ([["a", 1]], {"is_split_into_words": True}, "list of words"),
        ([[]], {"is_split_into_words": True}, "empty"),
        ("river " * 500, {"stride": 500}, "stride=500"),
    ],
)
def test_what_can_not_be_read_is_refused(inputs: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_pipeline("ner", UNCASED)(inputs, **options)
