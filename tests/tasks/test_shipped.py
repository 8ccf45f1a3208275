"""The models that come with enfold: small, licensed, documented, and right about what is plain."""

import re
from pathlib import Path

import pytest
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
