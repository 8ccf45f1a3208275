"""The models that come with enfold: small, licensed, documented, and right about what is plain."""

import re
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

import pytest
import seqeval.metrics
import yaml

import enfold
from enfold.checkpoint.sources import resolve
from enfold.checkpoint.sources.shipped import shipped_names
from enfold.errors import InputError, SourceError
from tests.support import minilm, shared

CLEAR = {
    "positive": ["A wonderful film, warm and funny.", "I loved every minute of it!", "The best acting of the year."],
    "negative": ["A dull and tedious waste of time.", "I hated this movie.", "The worst script I have ever seen."],
}


@pytest.mark.parametrize("name", shipped_names())
def test_each_is_small_and_has_a_card(name: str) -> None:
    folder = resolve(f"enfold:{name}")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2_000_000
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".md"}
    card = (folder / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(card.split("---")[1])
    assert header["license"] and header["base_model"] and header["pipeline_tag"]
    for part in ("## Data", "## Figures", "## Limits", "## Again", "licence" if name == "sentiment" else "CC BY"):
        assert part in card


def test_sentiment_where_no_model_is_named() -> None:
    minilm()
    classify = enfold.pipeline("sentiment-analysis")
    for label, texts in CLEAR.items():
        assert [record["label"] for record in classify(texts)] == [label] * len(texts)


def test_its_card_says_what_it_does() -> None:
    """On a sample of clear film reviews that were kept aside; the card's figure is of all of them."""
    minilm()
    found = []
    for line in shared("data", "vader-movieReviewSnippets.tsv").read_text(encoding="utf-8").splitlines():
        _, rating, text = line.split("\t", 2)
        if abs(float(rating)) >= 1:
            found.append((text.strip(), "positive" if float(rating) > 0 else "negative"))
    aside = [each for each in found if held_out(each[0].casefold())][:400]
    said = enfold.pipeline("text-classification")([text for text, _ in aside])
    right = sum(one["label"] == label for one, (_, label) in zip(said, aside, strict=True)) / len(aside)
    card = (resolve("enfold:sentiment") / "README.md").read_text(encoding="utf-8")
    told = re.search(r"film reviews, rated clearly.*\| (0\.\d+)", card)
    assert told and right == pytest.approx(float(told[1]), abs=0.05) and right > 0.85


def test_entities_where_no_model_is_named() -> None:
    minilm()
    text = "Marie Curie was born in Warsaw and worked with Ada Lovelace in London."
    found = enfold.pipeline("ner", aggregation_strategy="first")(text)
    said = [(text[each["start"] : each["end"]], each["entity_group"]) for each in found]
    people, places = [("Marie Curie", "person"), ("Ada Lovelace", "person")], ["Warsaw", "London"]
    assert said == [people[0], (places[0], "location"), people[1], (places[1], "location")]
    assert enfold.pipeline("ner")("no names are in this sentence at all") == []


def test_the_card_of_entities_says_what_it_finds() -> None:
    """Of the words of the development part alone, as a recount by another library: one tag for each word."""
    minilm()
    rows: list[tuple[list[str], list[str]]] = [([], [])]
    for line in shared("data", "wnut17.dev.conll").read_text(encoding="utf-8").splitlines():
        if line.strip():
            word, tag = line.split("\t")[:2]
            rows[-1][0].append(word)
            rows[-1][1].append(tag)
        elif rows[-1][0]:
            rows.append(([], []))
    rows = [row for row in rows if row[0]]
    ner = enfold.pipeline("ner", is_split_into_words=True)
    said = []
    for (words, _), found in zip(rows, ner([words for words, _ in rows]), strict=True):
        starts = list(accumulate((len(word) + 1 for word in words), initial=0))
        tags = ["O"] * len(words)
        for one in reversed(found):
            tags[bisect_right(starts, one["start"]) - 1] = one["entity"]
        said.append(tags)
    f1 = seqeval.metrics.f1_score([tags for _, tags in rows], said)
    card = (resolve("enfold:entities") / "README.md").read_text(encoding="utf-8")
    told = re.search(r"\| all \|.*\| (0\.\d+) \|", card)
    assert told and f1 == pytest.approx(float(told[1]), abs=0.003) and f1 > 0.5


def held_out(key: str) -> bool:
    """As the recipe has it."""
    import hashlib

    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 2**32 < 1 / 6


def test_zero_shot_without_a_model_ranks_by_likeness() -> None:
    minilm()
    classify = enfold.pipeline("zero-shot-classification")
    assert classify("The striker scored twice.", ["politics", "sport"])["labels"][0] == "sport"
    with pytest.raises(InputError, match=r"only which is nearest.*name a model of inference"):
        classify("The striker scored twice.", ["politics", "sport"], multi_label=True)


def test_unknown_names_are_refused_with_near_ones() -> None:
    with pytest.raises(SourceError, match=r"no model 'enfold:sentimnt' \(did you mean enfold:sentiment\?\)"):
        resolve("enfold:sentimnt")


def test_every_default_is_there() -> None:
    from enfold.tasks.registry import TASKS

    for entry in TASKS.values():
        if entry.default and entry.default.startswith("enfold:"):
            assert Path(resolve(entry.default)).is_dir()
