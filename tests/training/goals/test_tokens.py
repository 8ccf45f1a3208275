"""Token classification: each word's label stands at its first piece, as the reference's alignment has it."""

import random
from typing import Any

import pytest
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from enfold.errors import InputError
from enfold.tokenization import Tokenizer
from enfold.training.data import read_table
from enfold.training.examples import Examples
from enfold.training.goals import Reading
from enfold.training.goals.base import IGNORED
from enfold.training.goals.tokens import TokenClassification, joined_words
from enfold.training.settings import Settings
from tests.support import shared
from tests.training.goals.support import lesson, reading_of, table_of, tiny_folder

WORDS = [
    "Ada",
    "unbelievable",
    "lives",
    "don't",
    "London",
    ".",
    "北",
    "京",
    "。",
    "３",
    "café",
    "\u200b",
    "\ufffd",
    "A-1",
    "ab c",
]
WORDS += ["日本", "한국어", "\u0301", "👍🏽", "[CLS]", "x" * 30]


def sentences(count: int, seed: int = 0, words: list[str] = WORDS) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    chosen = [draw.choices(words, k=draw.randint(1, 12)) for _ in range(count)]
    return [
        {"tokens": ["Ada", *each], "tags": [str(draw.randint(0, 4)) for _ in range(len(each) + 1)]} for each in chosen
    ]


def expected(theirs: Any, row: dict[str, Any], ids: dict[str, int]) -> tuple[list[int], list[int]]:
    """Ids and labels as the reference's own example makes them: of each word's first piece."""
    encoded = theirs(row["tokens"], is_split_into_words=True)
    labels, before = [], None
    for word in encoded.word_ids():
        labels.append(IGNORED if word is None or word == before else ids[row["tags"][word]])
        before = word
    return encoded["input_ids"], labels


def compare(rows: list[dict[str, Any]], examples: Examples, goal: TokenClassification, theirs: Any) -> None:
    ids = {label: index for index, label in enumerate(goal.labels)}
    targets: Any = examples.targets
    for index, row in enumerate(rows):
        assert (examples.ids[index].tolist(), targets[index].tolist()) == expected(theirs, row, ids), row


def encode(rows: list[dict[str, Any]], reading: Reading) -> tuple[TokenClassification, Examples]:
    table = table_of(rows, TokenClassification)
    goal = TokenClassification.of(table, Settings(), None)
    return goal, goal.encode(table, reading)


@pytest.mark.parametrize("vocabulary", ["uncased", "chinese"])
def test_labels_stand_where_the_reference_puts_them(vocabulary: str) -> None:
    place = tiny_folder(vocabulary, "token-classification")
    # a special token's name is a word to the reference, and a special token to both tokenizers
    rows = sentences(200, words=[word for word in WORDS if word != "[CLS]"])
    goal, examples = encode(rows, reading_of(place, max_length=512))
    compare(rows, examples, goal, transformers.AutoTokenizer.from_pretrained(place))


def test_byte_level_tokenizers_too() -> None:
    """With the space before the first word that the reference asks of them; without Chinese, where ours reads on."""
    place = tiny_folder("roberta", "token-classification")
    rows = sentences(
        200, words=[word for word in WORDS if word.isascii() or word in ("café", "👍🏽", "한국어", "\u0301")]
    )
    reading = reading_of(place, max_length=512)
    reading = Reading(Tokenizer.from_folder(place, add_prefix_space=True), reading.arch, 512, "window")
    goal, examples = encode(rows, reading)
    compare(rows, examples, goal, transformers.AutoTokenizer.from_pretrained(place, add_prefix_space=True))


@pytest.mark.parametrize("vocabulary", ["uncased", "chinese", "roberta"])
def test_every_word_is_learnt_once_whatever_the_windows(vocabulary: str) -> None:
    reading = reading_of(tiny_folder(vocabulary, "token-classification"), max_length=9)
    words = ["Ada", "unbelievable", "London", "北", "京", "。", "don't"]
    rows = [{**row, "tags": [f"t{index}" for index in range(len(row["tags"]))]} for row in sentences(100, 3, words)]
    goal, examples = encode(rows, reading)
    targets: Any = examples.targets
    learnt: list[list[str]] = [[] for _ in rows]
    for index, row in enumerate(examples.rows.tolist()):
        assert len(examples.ids[index]) <= 9
        learnt[row] += [goal.labels[label] for label in targets[index] if label != IGNORED]
    assert learnt == [row["tags"] for row in rows]


@given(st.lists(st.text(min_size=1, max_size=6).filter(lambda word: word.strip()), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_words_are_learnt_once_or_vanish_or_are_counted(words: list[str]) -> None:
    reading = reading_of_chinese()
    rows = [{"tokens": ["a", *words], "tags": [f"t{index}" for index in range(len(words) + 1)]}]
    goal, examples = encode(rows, reading)
    targets: Any = examples.targets
    places = [goal.labels[label] for label in targets[0] if label != IGNORED]
    assert places == sorted(set(places), key=lambda tag: int(tag[1:]))
    text, owners = joined_words(rows[0]["tokens"])
    assert len(text) == len(owners) and owners[-1] == len(words)
    parts = [
        "".join(char for char, owner in zip(text, owners, strict=True) if owner == index)
        for index in range(owners[-1] + 1)
    ]
    assert [part.lstrip(" ") for part in parts] == [word.lstrip(" ") for word in rows[0]["tokens"]]


_chinese: list[Reading] = []


def reading_of_chinese() -> Reading:
    if not _chinese:
        _chinese.append(reading_of(tiny_folder("chinese", "token-classification"), max_length=512))
    return _chinese[0]


def test_words_that_share_a_token_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """SentencePiece makes one token of a Chinese word; the label is that of its first character."""
    place = tiny_folder("chinese", "token-classification")
    reading = reading_of(place)
    core = tokenizers.Tokenizer(
        tokenizers.models.Unigram(
            [("<unk>", 0.0), ("▁在", -1.0), ("北京", -1.0), ("大", -2.0), ("学", -2.0), ("▁", -3.0)], 0
        )
    )
    core.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    folder = place.parent / "spm-like"
    folder.mkdir(exist_ok=True)
    core.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}'
    )
    rows = [{"tokens": list("在北京大学"), "tags": ["O", "B-ORG", "I-ORG", "I-ORG", "I-ORG"]}]
    reading = Reading(Tokenizer.from_folder(folder), reading.arch, 64, "window")
    goal, examples = encode(rows, reading)
    targets: Any = examples.targets
    named = [goal.labels[label] if label != IGNORED else "" for label in targets[0]]
    assert "1 of 5 words share a token with the word before and are not learnt" in caplog.text
    assert named == ["O", "B-ORG", "I-ORG", "I-ORG"]


def test_the_loss_is_the_references() -> None:
    labels = ("O", "B-LOC", "I-LOC")
    place = tiny_folder("uncased", "token-classification", labels=labels)
    rows = [{"tokens": ["Ada", "lives", "in", "unbelievable", "London"], "tags": ["O", "O", "O", "B-LOC", "I-LOC"]}]
    rows += [{"tokens": ["Hello", "."], "tags": ["O", "O"]}]
    here = lesson(place, None, rows, TokenClassification)
    assert here.goal.labels == labels
    from tests.training.goals.support import reference

    theirs = transformers.AutoTokenizer.from_pretrained(place)
    both = [expected(theirs, row, {label: index for index, label in enumerate(labels)}) for row in rows]
    features = [{"input_ids": ids, "labels": targets} for ids, targets in both]
    inputs = transformers.DataCollatorForTokenClassification(theirs)(features)
    assert here.loss() == pytest.approx(
        float(reference(place, "token-classification")(**inputs).loss.detach()), abs=1e-5
    )


@pytest.mark.parametrize(("name", "vocabulary"), [("wnut17.dev.conll", "uncased"), ("msra-ner.dev.tsv", "chinese")])
def test_real_data_lose_no_word(name: str, vocabulary: str, caplog: pytest.LogCaptureFixture) -> None:
    path = shared("data", name)
    table = read_table(path) if name.endswith("conll") else read_table(_msra(path))
    from enfold.training.columns import with_roles

    table = with_roles(table, TokenClassification).take(range(min(300, len(table))))
    goal = TokenClassification.of(table, Settings(), None)
    examples = goal.encode(table, reading_of(tiny_folder(vocabulary, "token-classification"), max_length=64))
    targets: Any = examples.targets
    learnt = int((targets.flat != IGNORED).sum())
    words = sum(len(row["tokens"]) for row in table.rows)
    assert "share a token" not in caplog.text
    assert words - learnt <= 0.001 * words, "some vanish, as variation selectors do"


def _msra(path: Any) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return [dict(zip(("tokens", "tags"), map(str.split, line.split("\t")), strict=True)) for line in lines]


@pytest.mark.parametrize(
    ("tokens", "tags", "message"),
    [
        (["a", "b"], ["O"], r"row 1: 2 words and 1 label\b"),
        ([], [], r"row 1: 'tokens' is \[\], expected a list of words"),
        (["a"], [None], r"row 1: 'tags' is \[None\], expected a list of labels"),
        (["a", 1.5], ["O", "O"], r"'tokens' is \['a', 1.5\]"),
        ([" "], ["O"], r"'tokens' is \[' '\]"),
        ({"a": 1}, ["O"], r"'tokens' is \{'a': 1\}"),
    ],
)
def test_rows_that_are_none_are_named(tokens: Any, tags: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TokenClassification.of(table_of([{"tokens": tokens, "tags": tags}], TokenClassification), Settings(), None)
